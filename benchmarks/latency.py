"""From the closing frame that completes a slice to orders in the broker's hands, inference left out.

    python -m benchmarks.latency [--coins 111] [--slices 400] [--json]

The real codec, pump, engine, journal (an fsync before the orders leave), forecaster and paper broker. All closing frames of
a slice come at once. The model takes INFERENCE_S, as any real one does, and that time is not counted; the journal writes
the slice's candles meanwhile. The two rows differ in how many coins diverge enough to be traded; one fsync of the
disk that TMPDIR is on is the floor of both: let it be a real one.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.engine import START_MS, candles
from benchmarks.tables import Row, table
from bot.config import Settings
from bot.core.commands import Confirm, Fetch, Note
from bot.core.events import CandleClosed, History, Reconciled
from bot.core.market import MINUTE_MS, Candle, Floats, Instrument, Panel, Quote, compact
from bot.core.memory import genesis
from bot.edge.broker import PaperBroker
from bot.edge.clock import Clock
from bot.edge.forecaster import Forecaster
from bot.edge.journal import Journal
from bot.edge.metrics import Metrics
from bot.edge.trouble import JournalTrouble
from bot.exchanges.binance import Codec
from bot.pump import SWITCH_S, Pump
from bot.session import build_engine, recorded_as
from models.model import Arrays, Inferred

HISTORY = 300
INFERENCE_S = 0.005
FEW, MANY = 0.0035, 0.012


class Idle:
    """Hands that have nothing to do."""

    def fetch(self, wanted: Fetch) -> None: ...

    def confirm(self, wanted: Confirm) -> None: ...

    def note(self, note: Note) -> None: ...

    def unwritten(self, why: JournalTrouble) -> None: ...

    def slice_closed(self) -> None: ...

    def slice_decided(self) -> None: ...


class Given:
    """A model that only waits: what happened, and an error of this deviation."""

    def __init__(self, panel: Panel, deviation: float) -> None:
        self._deviation = deviation
        self.symbols, self.interval_ms, self.warmup = panel.symbols, panel.interval_ms, 1
        self.architecture, self.fitted_ms = "given", 0
        self._returns = np.vstack([np.zeros(len(panel.symbols)), panel.close[1:] / panel.close[:-1] - 1])
        self._row = self._open_ms = 0
        self._rng = np.random.default_rng(2)

    def observe(self, panel: Panel) -> None:
        self._open_ms = int(panel.open_ms[-1])
        self._row = (self._open_ms - START_MS) // MINUTE_MS

    def infer(self) -> Inferred:
        time.sleep(INFERENCE_S)
        error = self._rng.normal(0, self._deviation, len(self.symbols))
        return Inferred(self._open_ms, self._returns[self._row] + error)

    def infer_panel(self, panel: Panel) -> Floats:
        return self._returns

    def state(self) -> Arrays:
        return {}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None: ...

    def settings(self) -> dict[str, Any]:
        return {}

    def tensors(self) -> Arrays:
        return {}


class Stepped:
    """A monotonic clock that can jump ahead to the next close and then runs as time does."""

    def __init__(self) -> None:
        self._ahead = -time.perf_counter()

    def __call__(self) -> float:
        return time.perf_counter() + self._ahead

    def jump(self, seconds: float) -> None:
        """It is now this late."""
        self._ahead += seconds - self()


def frames(panel: Panel, row: int) -> list[bytes]:
    """The closing frames of one slice, as the combined stream sends them."""
    open_ms = int(panel.open_ms[row])
    found = []
    for at, symbol in enumerate(panel.symbols):
        name = compact(symbol)
        o, h, low, c = (f"{float(getattr(panel, field)[row, at]):.8f}" for field in ("open", "high", "low", "close"))
        kline = {"t": open_ms, "T": open_ms + 59_999, "s": name, "i": "1m", "o": o, "h": h, "l": low, "c": c}
        kline |= {"f": 1, "L": 9, "v": "10", "n": 9, "x": True, "q": "1000", "V": "5", "Q": "500", "B": "0"}
        event = {"e": "kline", "E": open_ms + 60_002, "s": name, "k": kline}
        found.append(msgspec.json.encode({"stream": f"{name.lower()}@kline_1m", "data": event}))
    return found


async def measure(coins: int, slices: int, deviation: float, folder: Path) -> tuple[list[float], list[int]]:
    """(milliseconds, orders) of each slice that traded."""
    panel = candles(coins, HISTORY + slices)
    symbols = panel.symbols
    settings = Settings.model_validate(
        {
            "account": {"fee_in": "quote", "latency_ms": 0},
            "risk": {"exposure_max": 1.0, "stop_loss": 0.0},
            "strategies": {"masked-divergence": {"round_trip_cost": 0.0}},
        }
    )
    step = Decimal("0.001")
    rules = tuple(Instrument(name, step, step, step, Decimal(0), Decimal(5)) for name in symbols)
    time_of = Stepped()
    clock = Clock(1.0, START_MS, monotonic=time_of)
    engine = build_engine(settings, symbols, 0)
    journal = Journal(folder, settings.storage)
    number = journal.open_session(START_MS, recorded_as(settings, 0), symbols)
    snapshot = genesis(engine.setup, number, Decimal(1_000_000), rules)
    pump: Pump
    broker = PaperBroker(settings.account, rules, snapshot, clock, lambda report: pump.post(report))
    forecaster = Forecaster(Given(panel, deviation), settings.forecaster, clock, lambda answer: pump.post(answer))
    metrics = Metrics("", "paper", "binance", "USDT")
    pump = Pump(engine, journal, broker, forecaster, clock, metrics, Idle(), settings.storage.checkpoint_slices)
    codec = Codec(symbols, "1m")
    runs = asyncio.create_task(pump.run())
    time_of.jump(HISTORY * 60.0)
    await pump.take(Reconciled(snapshot))
    await pump.take(History(panel.rows(0, HISTORY)))
    took: list[float] = []
    orders: list[int] = []
    for row in range(HISTORY, HISTORY + slices):
        closing = frames(panel, row)
        time_of.jump((int(panel.open_ms[row]) - START_MS + MINUTE_MS + 20) / 1000)
        for frame in closing[:-1]:
            await pump.take(_candle(codec, frame))
        before, decided = pump.counts.orders, pump.counts.decisions
        began = time.perf_counter()
        event = _candle(codec, closing[-1])
        decoded = time.perf_counter() - began
        await pump.take(event)
        while pump.counts.decisions == decided:
            await asyncio.sleep(0.0005)  # a loop that never rests starves the worker threads
        if pump.counts.orders > before:
            took.append((decoded + pump.decision_seconds) * 1000)
            orders.append(pump.counts.orders - before)
        time_of.jump(time_of() + 1)
        for at, symbol in enumerate(symbols):
            price = float(panel.close[row, at])
            broker.quote(Quote(symbol, 0, price, 1e6, price, 1e6))
        await pump.drain()
    runs.cancel()
    await asyncio.gather(runs, return_exceptions=True)
    pump.close()
    forecaster.close()
    await journal.close(START_MS, "stopped")
    return took, orders


def _candle(codec: Codec, frame: bytes) -> CandleClosed:
    message = codec.decode(frame)
    assert isinstance(message, Candle)
    return CandleClosed(message)


def fsync_ms(folder: Path) -> float:
    """The floor: writing 4 kB and waiting for the disk, median of 50."""
    took = []
    handle = os.open(folder / "floor", os.O_CREAT | os.O_RDWR)
    for _ in range(50):
        os.write(handle, b"x" * 4096)
        began = time.perf_counter()
        os.fsync(handle)
        took.append((time.perf_counter() - began) * 1000)
    os.close(handle)
    return float(np.median(took))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coins", type=int, default=111)
    parser.add_argument("--slices", type=int, default=400)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    sys.setswitchinterval(SWITCH_S)
    rows: list[Row] = []
    for name, deviation in (("few orders", FEW), ("a burst", MANY)):
        with tempfile.TemporaryDirectory() as folder:
            took, orders = asyncio.run(measure(options.coins, options.slices, deviation, Path(folder)))
            floor = fsync_ms(Path(folder))
        p50, p99 = np.percentile(took, [50, 99])
        rows.append(
            {
                "what": name,
                "coins": options.coins,
                "slices that traded": len(took),
                "orders a slice": round(float(np.mean(orders)), 1),
                "p50 ms": round(float(p50), 3),
                "p99 ms": round(float(p99), 3),
                "one fsync ms": round(floor, 3),
                "p50 x fsync": round(float(p50) / floor, 1),
            }
        )
    print(json.dumps(rows) if options.json else table(rows))


if __name__ == "__main__":
    main()
