"""What the closed forms cost and find: a live step, the hourly refresh, fitting, scoring.

    python -m benchmarks.models [--coins 111] [--candles ../candles] [--coverage 0.9] [--json]

A live step is observe + infer of one slice. Beside it stands the floor of the same run: the product and the inverse
of matrices of the Gaussian's size. With a candle folder the models are fitted and scored on it as well. The matrices
are small: set OPENBLAS_NUM_THREADS=1, or threads that wait for each other are what is measured.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.tables import Row, table
from bot.core.market import MINUTE_MS, Floats, Panel
from bot.edge.candles import covered, load_panel
from models.baselines import Gaussian
from models.checkpoint import load
from models.evaluate import evaluate
from models.train import train

START_MS = 1_699_999_200_000  # on the hour
WARM, LIVE = 2_000, 600


def candles(coins: int, rows: int) -> Panel:
    """A seeded market with one factor, one candle in a hundred absent."""
    rng = np.random.default_rng(1)
    steps = rng.normal(0, 0.001, (rows, 1)) + rng.normal(0, 0.001, (rows, coins))
    close = np.where(rng.random((rows, coins)) < 0.01, np.nan, 100 * np.exp(np.cumsum(steps, axis=0)))
    symbols = tuple(f"C{at}/USDT" for at in range(coins))
    open_ms = START_MS + MINUTE_MS * np.arange(rows, dtype=np.int64)
    return Panel(symbols, MINUTE_MS, open_ms, close, close, close, close, close, np.isfinite(close))


def live_steps(coins: int) -> tuple[Floats, Floats]:
    """Milliseconds of each live step: those within an hour, and those that begin one."""
    panel = candles(coins, WARM + LIVE)
    model = Gaussian(panel.symbols, panel.interval_ms)
    model.observe(panel.rows(0, WARM))
    took = np.empty(LIVE)
    for row in range(LIVE):
        began = time.perf_counter()
        model.observe(panel.rows(WARM + row, WARM + row + 1))
        model.infer()
        took[row] = (time.perf_counter() - began) * 1e3
    first = panel.open_ms[WARM:] % 3_600_000 == 0
    return took[~first], took[first]


def timed(work: Callable[[], object], times: int = 50) -> Floats:
    """Milliseconds of each call."""
    took = np.empty(times)
    for at in range(times):
        began = time.perf_counter()
        work()
        took[at] = (time.perf_counter() - began) * 1e3
    return took


def costs(coins: int) -> list[Row]:
    """One row for each thing that is timed."""
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(4 * coins, 2 * coins))
    matrix, row = rows.T @ rows / len(rows) + 0.2 * np.eye(2 * coins), rows[:1]
    within, hourly = live_steps(coins)
    return [
        {"ms": what, "p50": round(float(np.median(took)), 3), "p99": round(float(np.percentile(took, 99)), 3)}
        for what, took in (
            ("live step", within),
            ("live step with the hourly refresh", hourly),
            ("floor: one product", timed(lambda: row @ matrix)),
            ("floor: one inverse", timed(lambda: np.linalg.inv(matrix))),
        )
    ]


def figures(folder: Path, coverage: float) -> list[Row]:
    """The three models on real candles: fitted on the first 70 %, scored on the last 15 %."""
    began = time.perf_counter()
    whole = load_panel(folder)
    panel = whole.of(covered(whole, coverage))
    loaded = time.perf_counter() - began
    with tempfile.TemporaryDirectory() as scratch:
        trained = train("gaussian", panel, Path(scratch) / "gaussian")
        found = evaluate(load(Path(scratch) / "gaussian"), panel)
    rows: list[Row] = [
        {
            "model": name,
            "lag 0": round(scores.lag0.mean or np.nan, 4),
            "lag 1": round(scores.lag1.mean or np.nan, 4),
            "divergence, next": round(scores.divergence_next.mean or np.nan, 4),
            "r2": round(scores.r2 or np.nan, 4),
            "seconds": "",
        }
        for name, scores in found.baselines.items()
    ]
    for what, seconds in (("load", loaded), ("train gaussian", trained.seconds), ("evaluate", found.seconds)):
        blank: Row = dict.fromkeys(rows[0], "")
        rows.append(blank | {"model": what, "seconds": round(seconds, 1)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coins", type=int, default=111)
    parser.add_argument("--candles", type=Path)
    parser.add_argument("--coverage", type=float, default=0.9)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    parts = [costs(options.coins)]
    if options.candles:
        parts.append(figures(options.candles, options.coverage))
    print(json.dumps(parts) if options.json else "\n\n".join(table(part) for part in parts))


if __name__ == "__main__":
    main()
