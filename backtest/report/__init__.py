"""A replay on paper: one HTML page for people (`page.py`), its trades as CSV and its figures as JSON (`files.py`)."""

from backtest.report.files import write_results, write_trades
from backtest.report.page import write_report

__all__ = ["write_report", "write_results", "write_trades"]
