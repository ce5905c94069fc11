"""What features cost: 1,000 candles of one coin in a batch, one step of one and of many coins.

    python -m benchmarks.features [--json]

Beside them stand, from the same run, where they are installed: the same indicators by pandas, by ta and by TA-Lib, as
many of them as each has. The floor is one numpy addition of as much, for each feature. Set OMP_NUM_THREADS=1.
"""

import importlib
import importlib.util
import time
from collections.abc import Callable

import numpy as np

from benchmarks.tables import Row, run
from bot.core.market import FIELDS, Floats, Panel
from models.features import FEATURES, Features, features

HOUR_MS = 3_600_000
START_MS = 1_699_999_200_000
ROWS, YEAR, STEPS = 1_000, 8_760, 3_000


def candles(rows: int, coins: int) -> Panel:
    """Seeded hours with wicks, none absent."""
    rng = np.random.default_rng(1)
    shape = (rows, coins)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0, 0.005, shape), axis=0))
    opened = np.vstack((close[:1], close[:-1]))
    high = np.maximum(opened, close) * (1.0 + 0.002 * rng.random(shape))
    low = np.minimum(opened, close) * (1.0 - 0.002 * rng.random(shape))
    volume = rng.lognormal(3.0, 1.0, shape)
    open_ms = START_MS + HOUR_MS * np.arange(rows, dtype=np.int64)
    symbols = tuple(f"C{at}/USDT" for at in range(coins))
    return Panel(symbols, HOUR_MS, open_ms, opened, high, low, close, volume, np.ones(shape, dtype=np.bool_))


def timed(work: Callable[[], object], times: int) -> Floats:
    """Microseconds of each call."""
    took = np.empty(times)
    for at in range(times):
        began = time.perf_counter()
        work()
        took[at] = (time.perf_counter() - began) * 1e6
    return took


def steps(coins: int) -> Floats:
    """Microseconds of each live step."""
    panel = candles(ROWS + STEPS, coins)
    stream = Features(panel.symbols, panel.interval_ms)
    stream.absorb(panel.rows(0, ROWS))
    rows = [panel.rows(row, row + 1) for row in range(ROWS, ROWS + STEPS)]
    coming = iter(rows)
    return timed(lambda: stream.absorb(next(coming)), STEPS)


def by_pandas(panel: Panel) -> Callable[[], object] | None:
    """Seven of the features."""
    if not importlib.util.find_spec("pandas"):
        return None
    pd = importlib.import_module("pandas")
    _, high, low, close, volume = (pd.Series(getattr(panel, name)[:, 0]) for name in FIELDS)

    def work() -> object:
        macd = close.ewm(span=12, adjust=False).mean() - close.ewm(span=26, adjust=False).mean()
        moved = close.diff()
        gain, loss = moved.clip(lower=0).rolling(14).mean(), (-moved).clip(lower=0).rolling(14).mean()
        return (
            np.log(close).diff().rolling(24).std(),
            ((np.log(high / low) ** 2).rolling(24).mean() / (4 * np.log(2))) ** 0.5,
            close.pct_change(24),
            100 - 100 / (1 + gain / loss),
            close.rolling(20).std(ddof=0) * 4 / close.rolling(20).mean(),
            (macd - macd.ewm(span=9, adjust=False).mean()) / close,
            volume / volume.rolling(24).mean(),
        )

    return work


def by_ta(panel: Panel) -> Callable[[], object] | None:
    """Four of the features."""
    if not importlib.util.find_spec("ta"):
        return None
    pd = importlib.import_module("pandas")
    momentum, trend, bands = (importlib.import_module(f"ta.{name}") for name in ("momentum", "trend", "volatility"))
    _, high, low, close, _ = (pd.Series(getattr(panel, name)[:, 0]) for name in FIELDS)

    def work() -> object:
        return (
            momentum.RSIIndicator(close).rsi(),
            trend.MACD(close).macd_diff(),
            bands.BollingerBands(close).bollinger_wband(),
            bands.AverageTrueRange(high, low, close).average_true_range(),
        )

    return work


def by_talib(panel: Panel) -> Callable[[], object] | None:
    """Six of the features, in C."""
    if not importlib.util.find_spec("talib"):
        return None
    talib = importlib.import_module("talib")
    _, high, low, close, volume = (np.ascontiguousarray(getattr(panel, name)[:, 0]) for name in FIELDS)

    def work() -> object:
        return (
            talib.RSI(close, 14),
            talib.MACD(close, 12, 26, 9),
            talib.BBANDS(close, 20, 2, 2),
            talib.ATR(high, low, close, 14),
            talib.ROCP(close, 24),
            talib.OBV(close, volume),
        )

    return work


def row(what: str, count: int, took: Floats) -> Row:
    least, half, most = np.percentile(took, (0, 50, 99))
    return {"microseconds": what, "features": count, "least": round(float(least), 1), "p50": round(float(half), 1),
            "p99": round(float(most), 1)}  # fmt: skip


def costs() -> list[Row]:
    """One row for each thing that is timed."""
    features(candles(YEAR, 10))  # memory that the process then keeps, as one that trains has
    panel = candles(ROWS, 1)
    wide = np.zeros((len(FEATURES), ROWS))
    one = np.zeros(len(FEATURES))
    rows = [
        row(f"batch of {ROWS}, one coin", len(FEATURES), timed(lambda: features(panel), 500)),
        row("floor: an addition for each, batch", len(FEATURES), timed(lambda: [each + each for each in wide], 500)),
        row("step, one coin", len(FEATURES), steps(1)),
        row("step, 10 coins", len(FEATURES), steps(10)),
        row("step, 111 coins", len(FEATURES), steps(111)),
        row("floor: an addition for each, step", len(FEATURES), timed(lambda: [each + each for each in one], 500)),
    ]
    for name, count, work in (
        ("pandas", 7, by_pandas(panel)),
        ("ta", 4, by_ta(panel)),
        ("TA-Lib", 6, by_talib(panel)),
    ):
        if work:
            rows.append(row(f"batch by {name}", count, timed(work, 100)))
    return rows


if __name__ == "__main__":
    run(__doc__, costs)
