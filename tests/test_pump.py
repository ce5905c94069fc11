"""The pump without sockets: the real engine, journal and paper broker, and a clock that is told the time."""

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec import Struct

from bot.config import Settings
from bot.core.commands import Confirm, Fetch, Note
from bot.core.events import CandleClosed, History, Reconciled, Stopping, Wake
from bot.core.market import MINUTE_MS
from bot.core.memory import genesis
from bot.edge.broker import PaperBroker
from bot.edge.clock import Clock
from bot.edge.journal import Journal
from bot.edge.metrics import Metrics
from bot.edge.store import Store
from bot.edge.trouble import JournalTrouble
from bot.pump import Pump
from bot.session import build_engine, recorded_as
from tests.making import COINS, START_MS, candle, instruments, walk

HISTORY = 10
SETTINGS = Settings.model_validate(
    {
        "market": {"window": HISTORY},
        "strategy": {"name": "hold"},
        "storage": {"reserve_mib": 0, "checkpoint_slices": 1},
        "web": {"port": -1},
    }
)


class Seen(Struct):
    """Hands that only count what they are told of slices."""

    closed: int = 0
    decided: int = 0

    def fetch(self, wanted: Fetch) -> None: ...

    def confirm(self, wanted: Confirm) -> None: ...

    def note(self, note: Note) -> None: ...

    def unwritten(self, why: JournalTrouble) -> None: ...

    def slice_closed(self) -> None:
        self.closed += 1

    def slice_decided(self) -> None:
        self.decided += 1


class Bench:
    """A pump at the close of its history, in a folder; `minutes` moves the clock on."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.seen, self._now_s = folder, Seen(), 0.0
        clock = Clock(1.0, START_MS + HISTORY * MINUTE_MS, monotonic=lambda: self._now_s)
        engine = build_engine(SETTINGS, COINS, 0)
        self.journal = Journal(folder, SETTINGS.storage)
        session = self.journal.open_session(START_MS, recorded_as(SETTINGS, 0), COINS)
        self._snapshot = genesis(engine.setup, session, Decimal(10_000), instruments())
        broker = PaperBroker(
            SETTINGS.account, instruments(), self._snapshot, clock, lambda report: self.pump.post(report)
        )
        self.metrics = Metrics("", "paper", "binance", "USDT")
        every = SETTINGS.storage.checkpoint_slices
        self.pump = Pump(engine, self.journal, broker, None, clock, self.metrics, self.seen, every)

    async def start(self) -> None:
        await self.pump.take(Reconciled(self._snapshot))
        await self.pump.take(History(walk(HISTORY)))

    def minutes(self, count: float) -> None:
        self._now_s += count * 60

    async def slice(self) -> None:
        """The next slice, whole, a second after its close."""
        open_ms = self.pump.engine.slices.next_ms
        self._now_s = (open_ms - START_MS) / 1000 - (HISTORY - 1) * 60 + 1
        for symbol in COINS:
            await self.pump.take(CandleClosed(candle(symbol, open_ms)))

    async def checkpoints(self) -> int:
        """How many stand in the journal."""
        await self.journal.sync()
        with Store(self.folder) as store:
            return len([row for row in store.rows(1) if isinstance(row.event, Reconciled)]) - 1


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    await made.start()
    yield made
    made.pump.close()
    await made.journal.close(START_MS, "stopped")


async def test_every_slice_that_an_outage_closes_is_counted(bench: Bench) -> None:
    """Five hard limits pass before anyone looks: five slices, all missed, one newest to show, none decided."""
    bench.minutes(5.9)
    await bench.pump.take(Wake())
    assert bench.pump.counts.slices == bench.pump.counts.slices_late == 5
    assert (bench.seen.closed, bench.seen.decided) == (1, 0)
    assert 'lacuna_slices_total{outcome="missed"} 5.0' in bench.metrics.text().decode()


async def test_an_outage_longer_than_the_window_is_survived(bench: Bench) -> None:
    """Fault T4: a machine that slept for hours wakes to more slices than the window holds."""
    bench.minutes(500)
    await bench.pump.take(Wake())
    engine = bench.pump.engine
    assert bench.pump.counts.slices == len(engine.window) < 500


async def test_a_checkpoint_waits_for_the_fate_of_orders_and_no_longer(bench: Bench) -> None:
    """The slice orders: not then, but with the first event that leaves no order in doubt, not only at the next slice."""
    await bench.slice()
    assert bench.pump.counts.orders == len(COINS)
    assert await bench.checkpoints() == 0
    while bench.pump.depth:
        await bench.pump.take(bench.pump._inbox.popleft())
    assert await bench.checkpoints() == 1
    await bench.slice()
    assert await bench.checkpoints() == 2


async def test_behind_a_stop_there_is_no_checkpoint(bench: Bench) -> None:
    """It would forget that nothing may be ordered any more."""
    await bench.pump.take(Stopping())
    await bench.slice()
    assert bench.pump.counts.slices == 1
    assert bench.pump.counts.orders == 0
    assert await bench.checkpoints() == 0
