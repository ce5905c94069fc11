"""What an hour's forecast of volatility costs: of one, ten and 111 coins, hour by hour as a bot asks, on one core.

    python -m benchmarks.volatility [--json]

The network that comes with lacuna beside the panel HAR in the same run; the ratio is to that. Set OMP_NUM_THREADS=1.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.features import candles, timed
from benchmarks.tables import Row, run
from models.checkpoint import load_volatility
from models.shipped_volatility import NETWORK, SIMPLE

PAST, ASKED = 1_000, 150


def asking(folder: Path, coins: int) -> Callable[[], object]:
    """One more hour, and the forecast of the next."""
    panel = candles(PAST + ASKED, coins)
    model = load_volatility(folder, "cpu").of(panel.symbols)
    model.observe(panel.rows(0, PAST))
    coming = iter(range(PAST, PAST + ASKED))

    def ask() -> object:
        row = next(coming)
        model.observe(panel.rows(row, row + 1))
        return model.forecast()

    return ask


def costs() -> list[Row]:
    """One row for each model and number of coins."""
    rows: list[Row] = []
    for coins in (1, 10, 111):
        took = {folder.name: timed(asking(folder, coins), ASKED) / 1e3 for folder in (SIMPLE, NETWORK)}
        for name, milliseconds in took.items():
            p50, p99 = np.percentile(milliseconds, (50, 99))
            ratio = p50 / np.median(took[SIMPLE.name])
            rows.append(
                {
                    "model": name,
                    "coins": coins,
                    "least ms": round(float(milliseconds.min()), 2),
                    "p50 ms": round(float(p50), 2),
                    "p99 ms": round(float(p99), 2),
                    "ratio": round(float(ratio), 1),
                }
            )
    return rows


if __name__ == "__main__":
    run(__doc__, costs)
