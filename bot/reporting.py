"""The files of a report: HTML where it was asked for; trades.csv, fills.csv and results.json in the same folder.

Those three have names that others may use too: one that no report of ours wrote is never replaced.
"""

import tempfile
from pathlib import Path

from backtest.result import Result
from backtest.statistics import Statistics
from bot.config import BadConfiguration


def check_report(report: Path | None) -> None:
    """Whether the files can be written, asked before the work that they are of. BadConfiguration, ReportUnwritable."""
    if report is None:
        return
    from backtest.report import foreign  # plotly takes a second

    check_page(report)
    others = foreign(report.parent)
    if others:
        text = f"{' and '.join(others)} beside it would be replaced, and no report wrote that: name another folder"
        raise BadConfiguration([f"--report {report}: {text}"])


def check_page(report: Path) -> None:
    """Whether an HTML file can be written there, asked before the work. BadConfiguration, ReportUnwritable."""
    if report.is_dir() or report.suffix != ".html" or not report.parent.is_dir():
        raise BadConfiguration([f"--report {report}: name a file like report.html in a folder that exists"])
    try:
        with tempfile.TemporaryFile(dir=report.parent):
            pass
    except OSError as why:
        from backtest.report import ReportUnwritable

        text = f"nothing can be written in {report.parent}: {why.strerror or why}: name another folder"
        raise ReportUnwritable(f"--report {report}: {text}") from why


def write(result: Result, figures: Statistics, report: Path) -> None:
    """The report, and beside it the trades and the figures as files."""
    from backtest.report import write_report, write_results, write_trades  # plotly takes a second

    write_report(result, figures, report)
    write_trades(result, figures, report.with_name("trades.csv"))
    write_results(figures, report.with_name("results.json"))
