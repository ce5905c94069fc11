"""A replay on paper: one HTML page for people (`page.py`), its trades as CSV and its figures as JSON (`files.py`)."""

from backtest.report.files import foreign, write_results, write_trades
from backtest.report.page import write_report
from backtest.report.saving import ReportUnwritable

__all__ = ["ReportUnwritable", "foreign", "write_report", "write_results", "write_trades"]
