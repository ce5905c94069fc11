"""From Parquet to the report over the published span: 111 coins x 341,802 minutes, 38 million candles.

    python -m benchmarks.span --data DIR [--json]

DIR holds w3/ as benchmarks.replay reads it; it is put into a candle store at DIR/w3-store first, once, which is not
counted. Inference is not counted either: what each coin is inferred to have done is the mean of the others, made
ahead with numpy. Masked divergence then trades it, with its limits wide enough that it trades all the time there is.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from backtest.forecasts import Forecasts, history_hash
from backtest.measure import measure
from backtest.report import write_report, write_results, write_trades
from backtest.run import play
from benchmarks.replay import load as load_arrays
from benchmarks.tables import Row, table
from bot.config import load
from bot.core.market import Panel
from bot.edge.candle_store import CandleStore
from bot.edge.candles import check_holes, load_panel, store_panel

T = TypeVar("T")
SETTINGS = {
    "strategies.masked-divergence.divergence_threshold": 0.005,
    "strategies.masked-divergence.min_return_threshold": 0.004,
    "strategies.masked-divergence.round_trip_cost": 0.0,
    "risk.daily_loss_max": 1.0,
    "risk.drawdown_max": 1.0,
    "account.cash": 1_000_000.0,
}


def stored(data: Path) -> Path:
    """The store, made where it is not there."""
    folder = data / "w3-store"
    if not folder.exists():
        with CandleStore(folder) as store:
            store_panel(load_arrays(data / "w3"), store, "binance")
    return folder


def mean_of_others(panel: Panel) -> Forecasts:
    """What the other coins' mean return says of each."""
    returns = np.zeros_like(panel.close)
    returns[1:] = panel.close[1:] / panel.close[:-1] - 1
    total = returns.sum(axis=1, keepdims=True)
    return Forecasts((total - returns) / (len(panel.symbols) - 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    folder = stored(options.data)
    rows: list[Row] = []

    def timed(what: str, work: Callable[[], T]) -> T:
        began = time.perf_counter()
        found = work()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        rows.append({"what": what, "seconds": round(time.perf_counter() - began, 2), "peak_mb": peak})
        return found

    def checked() -> Panel:
        panel = load_panel(folder)
        check_holes(panel, 86_400_000)
        return panel

    panel = timed("Parquet to panel", checked)
    forecasts = timed("(inference, not counted)", lambda: mean_of_others(panel))
    result = timed("replay", lambda: play(load(None, SETTINGS), panel, 300, forecasts))
    timed("hash of the history", lambda: history_hash(panel))
    figures = timed("statistics", lambda: measure(result, [], np.random.default_rng(1)))
    report = options.data / "report.html"

    def written() -> None:
        write_report(result, figures, report)
        write_trades(result, figures, options.data / "trades.csv")
        write_results(figures, options.data / "results.json")

    timed("report", written)
    counted = sum(float(row["seconds"]) for row in rows if "not counted" not in str(row["what"]))
    rows.append({"what": "in all", "seconds": round(counted, 2), "peak_mb": rows[-1]["peak_mb"]})
    if options.json:
        print(json.dumps({"candles": panel.close.size, "fills": len(result.fills), "stages": rows}))
    else:
        print(table(rows))
        print(f"{panel.close.size:,} candles, {len(result.fills):,} fills, report {report.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
