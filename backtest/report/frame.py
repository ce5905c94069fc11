"""The frame of every page we write to a file: closed by a content security policy, so that it loads nothing.

A page without a script of ours may run none. What stands in the frame is HTML already; the title is text.
"""

from collections.abc import Iterable

from backtest.report.style import STYLE
from backtest.report.wording import text

SHUT = "base-uri 'none'; form-action 'none'"
STILL = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; {SHUT}"
SCRIPTED = f"default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; {SHUT}"


def framed(title: str, header: str, parts: Iterable[str], footer: str, style: str = "", behind: str = "") -> str:
    """A whole page; `style` is of this page alone, `behind` its scripts with what they read, if it has any."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{SCRIPTED if behind else STILL}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{text(title)} · lacuna</title>
<link rel="icon" href="data:,">
<style>{STYLE}{style}</style>
</head>
<body>
<header>{header}</header>
<main>
{"".join(parts)}
</main>
<footer>{footer} · times are UTC · this file needs no network</footer>
{behind}</body>
</html>
"""
