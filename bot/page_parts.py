"""The parts of the pages that `lacuna evaluate` writes: sections, pictures, tables.

What they are given is HTML already where they say cells; all else is text.
"""

import base64
from collections.abc import Iterable
from pathlib import Path

from backtest.report.saving import ReportUnwritable
from backtest.report.wording import text

STYLE = """
img { display: block; width: 100%; background: #fff; border-radius: 4px; padding: 4px; }
"""


def put_beside(page: Path, name: str, content: bytes) -> None:
    """Writes a file beside the page, as the page's name with this one after it. Raises ReportUnwritable."""
    beside = page.with_name(f"{page.stem}-{name}")
    try:
        beside.write_bytes(content)
    except OSError as why:
        raise ReportUnwritable(f"cannot write {beside}: {why.strerror or why}: name a folder that exists") from why


def save_pictures(pictures: dict[str, bytes], page: Path) -> None:
    """Each picture beside the page. Raises ReportUnwritable."""
    for name, picture in pictures.items():
        put_beside(page, f"{name}.png", picture)


def section(title: str, content: str, note: str) -> str:
    """A section as wide as the page; `content` is HTML."""
    return f'<section class="wide"><h2>{text(title)}</h2>{content}<p class="note">{text(note)}</p></section>'


def picture(png: bytes, caption: str, wide: bool = True) -> str:
    """A section with a picture, which stands in the page itself."""
    data = base64.b64encode(png).decode()
    caption = text(caption)
    shown = f'<figure><img alt="{caption}" src="data:image/png;base64,{data}"></figure>'
    return f'<section{" class=wide" if wide else ""}>{shown}<p class="note">{caption}</p></section>'


def table(name: str, heads: Iterable[str], rows: Iterable[tuple[str, ...]], tall: bool = False) -> str:
    """A table of cells that are HTML already; the first of a row is its head."""
    head = "".join(f'<th scope="col"{" class=number" if at else ""}>{text(one)}</th>' for at, one in enumerate(heads))
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td class=number>{one}</td>" for one in rest)}</tr>'
        for first, *rest in rows
    )
    kind = "scroll tall" if tall else "scroll"
    return (
        f'<div class="{kind}" tabindex="0" role="region" aria-label="{name}"><table id="{name}">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
