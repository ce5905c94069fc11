"""How figures read: money, shares, lengths of time, times in UTC. What has no meaning is "-", never a zero.

Numbers have a true minus sign, so that "-" alone is none of them. All text that goes into the page passes `text` or `figure`.
"""

import math
from datetime import UTC, datetime
from html import escape

NONE = "-"
UNITS_MS = (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000))
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
WIDE = 1e12  # longer numbers than this are written with an exponent


def text(value: object) -> str:
    """Any value as text of an element or of a quoted attribute."""
    return escape(str(value))


def number(value: float | None, digits: int = 2) -> str:
    """1,234.50; "-" for None."""
    if value is None or not math.isfinite(value):
        return NONE
    shown = f"{value:.3g}" if abs(value) >= WIDE else f"{value:,.{digits}f}"
    if not shown.strip("-0.,"):
        return shown.lstrip("-")  # rounded away: no minus before a zero
    return shown.replace("-", "\N{MINUS SIGN}", 1) if shown.startswith("-") else shown


def signed(value: float | None, digits: int = 2) -> str:
    """The same, with a plus before what is above zero."""
    shown = number(value, digits)
    return f"+{shown}" if value is not None and value > 0.0 and shown.strip("0.,") else shown


def percent(share: float | None, digits: int = 2) -> str:
    """A share of one as 12.34 %."""
    return NONE if share is None else f"{number(100.0 * share, digits)} %"


def probability(share: float | None) -> str:
    """A probability: never quite 0 or 100 %, which nothing here is."""
    if share is not None and share < 0.001:
        return "under 0.1 %"
    if share is not None and share > 0.999:
        return "over 99.9 %"
    return percent(share, 1)


def gained(share: float | None, digits: int = 2) -> str:
    """A share that was won or lost: +12.34 %."""
    return NONE if share is None else f"{signed(100.0 * share, digits)} %"


def length(span_ms: float | None) -> str:
    """Two units of a length of time: 3 d 4 h, 12 min."""
    if span_ms is None:
        return NONE
    for at, (unit, size) in enumerate(UNITS_MS):
        if span_ms >= size:
            whole, rest = divmod(round(span_ms), size)
            if at + 1 == len(UNITS_MS):
                return f"{whole} {unit}"
            smaller, size = UNITS_MS[at + 1]
            return f"{whole} {unit} {rest // size} {smaller}" if rest // size else f"{whole} {unit}"
    return "0 s" if not span_ms else "under 1 s"


def moment(time_ms: int) -> str:
    """2021-04-20 02:00, UTC."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def counted(count: int, one: str, many: str = "") -> str:
    """1 trial, 2 trials."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def tint(value: float | None) -> str:
    """The class of what was won or lost."""
    return "" if not value else " good" if value > 0.0 else " bad"


def figure(key: str, value: float | None, shown: str) -> str:
    """A figure in the page with its exact value; `key` is its place in results.json."""
    if value is None:
        return NONE
    return f'<data data-figure="{text(key)}" value="{value!r}">{text(shown)}</data>'


def cell(key: str, value: float | None, shown: str, colour: str = "") -> str:
    """The same as a cell of a table."""
    return f'<td class="number{colour}">{figure(key, value, shown)}</td>'
