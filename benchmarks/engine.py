"""What the engine costs: a quiet slice, a traded slice, and 111 candles that make one, through `Engine.handle`.

    python -m benchmarks.engine [--coins 111] [--json]

Beside each row stands the same machine's floor in the same run: copying one slice's six arrays.
"""

import argparse
import json
import time
from collections.abc import Callable
from decimal import Decimal

import numpy as np

from benchmarks.tables import Row, table
from bot.core.engine import Engine, Setup
from bot.core.events import CandleClosed, Forecast, Forecasted, History, Reconciled, SliceClosed
from bot.core.market import FIELDS, MINUTE_MS, Candle, Floats, Instrument, Panel
from bot.core.memory import genesis
from bot.core.planner import Planner
from bot.core.risk import Limits
from strategies.masked_divergence import MaskedDivergence, Settings

START_MS = 1_700_000_040_000
HISTORY, SLICES = 300, 2_000


def candles(coins: int, rows: int) -> Panel:
    """A seeded random walk."""
    steps = np.random.default_rng(1).normal(0, 0.001, (rows, coins))
    close = 100 * np.exp(np.cumsum(steps, axis=0))
    symbols = tuple(f"C{at}/USDT" for at in range(coins))
    open_ms = START_MS + MINUTE_MS * np.arange(rows, dtype=np.int64)
    volume, present = np.ones_like(close), np.ones(close.shape, dtype=np.bool_)
    return Panel(symbols, MINUTE_MS, open_ms, close, close * 1.001, close * 0.999, close, volume, present)


def engine(panel: Panel) -> Engine:
    """An engine with its history, about to see row HISTORY."""
    step = Decimal("0.001")
    instruments = tuple(Instrument(name, step, step, step, Decimal(0), Decimal(5)) for name in panel.symbols)
    setup = Setup(panel.symbols, MINUTE_MS, "USDT", 5_000, 20_000, 240, Limits(), Planner())
    made = Engine(setup, MaskedDivergence(Settings()))
    now_ms = int(panel.open_ms[HISTORY])
    made.handle(Reconciled(genesis(setup, 1, Decimal(10_000), instruments)), now_ms)
    made.handle(History(panel.rows(0, HISTORY)), now_ms)
    return made


def timed(work: Callable[[int], None], rows: int) -> Floats:
    """Microseconds of each call."""
    took = np.empty(rows)
    for row in range(rows):
        began = time.perf_counter()
        work(row)
        took[row] = (time.perf_counter() - began) * 1e6
    return took


def quiet_slices(panel: Panel) -> Floats:
    """SliceClosed, nothing held, nothing wanted yet: window, marks, limits, the question to the model."""
    made = engine(panel)
    events = [SliceClosed(panel.slice(HISTORY + row)) for row in range(SLICES)]
    return timed(lambda row: _discard(made.handle(events[row], _close_ms(panel, row))), SLICES)


def decided_slices(panel: Panel) -> Floats:
    """The forecast's answer that trades nothing: divergences, confidence, targets."""
    made = engine(panel)
    actual = panel.close[1:] / panel.close[:-1] - 1

    def work(row: int) -> None:
        made.handle(Forecasted(Forecast(int(panel.open_ms[HISTORY + row]), actual[HISTORY + row - 1]), 0.001), now)

    took = np.empty(SLICES)
    for row in range(SLICES):
        now = _close_ms(panel, row)
        made.handle(SliceClosed(panel.slice(HISTORY + row)), now)
        took[row] = timed(lambda _, row=row: work(row), 1)[0]  # type: ignore[misc]
    return took


def assembled_slices(panel: Panel) -> Floats:
    """One CandleClosed a coin: the whole slice, from its first candle to the question to the model."""
    made = engine(panel)

    def work(row: int) -> None:
        at, now = HISTORY + row, _close_ms(panel, row)
        for coin, symbol in enumerate(panel.symbols):
            price = float(panel.close[at, coin])
            made.handle(CandleClosed(Candle(symbol, int(panel.open_ms[at]), price, price, price, price, 1, 1, 1)), now)

    return timed(work, 500)


def floor(panel: Panel) -> Floats:
    """Copying the arrays of one slice, six calls of numpy."""
    target = {name: np.empty(len(panel.symbols)) for name in FIELDS}

    def work(row: int) -> None:
        for name in FIELDS:
            target[name][:] = getattr(panel, name)[HISTORY + row]

    return timed(work, SLICES)


def _close_ms(panel: Panel, row: int) -> int:
    return int(panel.open_ms[HISTORY + row]) + MINUTE_MS + 100


def _discard(_: object) -> None:
    return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coins", type=int, default=111)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    panel = candles(options.coins, HISTORY + SLICES)
    least = float(np.median(floor(panel)))
    rows: list[Row] = []
    for name, measure in (
        ("a slice that trades nothing", quiet_slices),
        ("a forecast that trades nothing", decided_slices),
        ("a slice from its candles", assembled_slices),
    ):
        took = measure(panel)
        p50, p99 = np.percentile(took, [50, 99])
        rows.append({"what": name, "p50 us": round(p50, 1), "p99 us": round(p99, 1), "x floor": round(p50 / least, 1)})
    rows.append({"what": "floor: copy one slice", "p50 us": round(least, 1), "p99 us": "", "x floor": 1})
    print(json.dumps(rows) if options.json else table(rows))


if __name__ == "__main__":
    main()
