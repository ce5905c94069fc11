"""The test's forecasts as Parquet and CSV, and every figure as JSON, beside a report.

Columns  symbol; open_ms and open_utc of the hour forecast; actual, its volatility; now, that of the hour before; the model's
         volatility (root of the mean variance), mean, median, quantiles q05 to q95, rising, fallback, clamped.
Units    volatilities as fractions of the price, of one hour.
"""

import io
from pathlib import Path

import msgspec
import pyarrow as pa
from pyarrow import csv, parquet

from backtest.report.files import MADE_BY
from backtest.report.saving import save
from bot.page_parts import put_beside
from bot.volatility_research import Quality
from models.evaluate_volatility import Tested
from models.volatility_model import QUANTILES


def write_files(found: Quality, page: Path) -> None:
    """PAGE-forecasts.parquet and .csv of every coin, and results.json. Raises ReportUnwritable."""
    forecasts = pa.concat_tables([_forecasts(one) for one in found.tested.values()])
    for ending, write in (("parquet", parquet.write_table), ("csv", csv.write_csv)):
        file = io.BytesIO()
        write(forecasts, file)
        put_beside(page, f"forecasts.{ending}", file.getvalue())
    told = msgspec.json.encode(MADE_BY | found.as_dict())
    save(page.with_name("results.json"), msgspec.json.format(told, indent=2).decode() + "\n")


def _forecasts(one: Tested) -> pa.Table:
    columns = {
        "symbol": pa.array([one.symbol] * len(one.open_ms)),
        "open_ms": one.open_ms,
        "open_utc": pa.array(one.open_ms).cast(pa.timestamp("ms", "UTC")),
        "actual": one.actual,
        "now": one.now,
        "volatility": one.volatility,
        "mean": one.mean,
        "median": one.median,
        **{f"q{round(100 * share):02}": one.quantiles[:, at] for at, share in enumerate(QUANTILES)},
        "rising": one.rising,
        "fallback": one.fallback,
        "clamped": one.clamped,
    }
    return pa.table(columns)
