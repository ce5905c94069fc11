"""The daemon: puts the parts together, runs them until told to stop, and leaves nothing behind.

Start is recovery: the journal's last state, the exchange's rules and time, past hours where decisions depend on
volatility and they come soon, the feed (already collecting), the history of the window, then events. A task that dies
ends the process: starting again is the same path. A stop makes no new intent, cancels resting entries and closes the
journal behind what was handled.
"""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Awaitable
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from structlog.typing import FilteringBoundLogger

from bot.asking import Asking
from bot.building import remarks_on, volatility_wanted
from bot.config import Settings
from bot.core.commands import Confirm, Fetch, Note
from bot.core.events import AnyEvent, CandleClosed, CandleRefused, History, Operator, Reconciled, Stopping
from bot.core.market import HOUR_MS, Candle, Instrument, LastPrice, Quote
from bot.core.snapshot import Snapshot
from bot.edge.broker import PaperBroker
from bot.edge.clock import Clock
from bot.edge.faults import Alert, Faults, Stage
from bot.edge.feed import Feed
from bot.edge.forecaster import Forecaster
from bot.edge.journal import Journal
from bot.edge.metrics import Metrics
from bot.edge.operator import Desk
from bot.edge.rest import Rest
from bot.edge.storage import PART, Storage
from bot.edge.store import Store
from bot.edge.trouble import JournalFull, JournalLocked, JournalTrouble
from bot.edge.volatility_work import Begun, VolatilityWork
from bot.exchanges.binance import Codec
from bot.fates import Fates
from bot.gauges import Gauges
from bot.pump import Counts, Pump
from bot.session import build_engine, continue_from, recorded_as, recover
from models.model import Model

SETTLE_S = 3.0  # of the 8 s that a stop may take (fault P1)
NOTES_KEPT, SLICES_KEPT, CURVE_KEPT = 20, 12, 1_440
MEASURE_S = 5.0
HOURS_SEEN = 2  # what the window holds at least of them, so that slices tell the running hour whole


class Outcome(Struct, frozen=True):
    """A run's last word; the keys other programs rely on."""

    slices: int
    slices_late: int
    decisions: int
    orders: int
    fills: int
    rejected: int
    equity: float
    cash: str
    positions: dict[str, str]
    faults: dict[str, int]
    journal: str
    digest: str
    remarks: tuple[str, ...]


class Stopped(Exception):
    """Ends the task group once everything is wound down."""


class Daemon:
    """One run of the bot. `model` is None for a strategy that wants no forecasts of returns.

    `seed` is of the reconnects' jitter: bots that lost the same exchange must not all come back at once. `volatility`
    forecasts it for the same coins, if anything does; `remarks` are said of the models before trading.
    """

    def __init__(
        self,
        settings: Settings,
        symbols: tuple[str, ...],
        model: Model | None,
        clock: Clock,
        log: FilteringBoundLogger,
        seed: int,
        volatility: VolatilityWork | None = None,
        remarks: tuple[str, ...] = (),
    ) -> None:
        self.settings = settings
        self.symbols = symbols
        self.clock = clock
        self.metrics = Metrics(version("lacuna-trader"), settings.mode, settings.exchange.name, settings.market.quote)
        self.faults = Faults(self._alert)
        self.ready = asyncio.Event()
        self.started_ms = 0
        self.recent_notes: deque[dict[str, Any]] = deque(maxlen=NOTES_KEPT)
        self.recent_slices: deque[dict[str, Any]] = deque(maxlen=SLICES_KEPT)
        self.equity_curve: deque[tuple[int, float]] = deque(maxlen=CURVE_KEPT)
        self._log = log
        self._model = model
        self._volatility = volatility
        hours = HOURS_SEEN * HOUR_MS // settings.market.interval_ms if volatility else 0
        self._model_rows = max(model.warmup if model else 0, hours)
        self.remarks = (*(remarks_on(settings, model) if model else ()), *remarks)
        self._rng = random.Random(seed)
        self._stop = asyncio.Event()
        self._tasks: asyncio.TaskGroup
        self._pumping: asyncio.Task[None]
        self.engine = build_engine(settings, symbols, self._model_rows)
        self._codec = Codec(symbols, settings.market.timeframe)
        self.rest = Rest(self._codec, settings.exchange, settings.feed, clock)
        self._asking = Asking(self.rest, self.engine, settings, clock, log, self.faults, self._deliver)
        self._gauges = Gauges(self.metrics)
        if model:
            self.metrics.model(settings.forecaster.model, model.architecture)
        if volatility:
            self.metrics.volatility_model(settings.forecaster.volatility, volatility.standing.architecture)
        self.fates = Fates(self.engine)
        self.journal: Journal
        self.broker: PaperBroker
        self.pump: Pump
        self.storage: Storage
        self.feed: Feed
        self.forecaster: Forecaster | None = None

    @property
    def counts(self) -> Counts:
        """What was done so far."""
        return self.pump.counts if self.started_ms else Counts()

    def stop(self) -> None:
        """Asks the run to end; it does within seconds, unless the disk holds it up."""
        self._stop.set()

    async def run(self) -> Outcome:
        """Runs until `stop`; raises what ended a task. The journal is closed in every case."""
        self.journal = Journal(Path(self.settings.storage.folder), self.settings.storage)
        ending = "failed"
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._tasks.create_task(self._live(), name="live")
                self._tasks.create_task(self._end(), name="end")
        except* Stopped:
            ending = "stopped"
        finally:
            if self.forecaster:
                self.forecaster.close()
            await self.rest.close()
            await self.journal.close(self.clock.now_ms(), ending)
        return self.outcome()

    async def _end(self) -> None:
        """Waits for the stop, winds down, and ends every task."""
        await self._stop.wait()
        if self.ready.is_set():
            self.pump.post(Stopping())
            with contextlib.suppress(TimeoutError):  # what is not settled by then the next start recovers
                async with asyncio.timeout(SETTLE_S):
                    await self.pump.drain()
                    self._pumping.cancel()  # nothing may be handled behind the last checkpoint
                    await self.pump.part()
                    await self.journal.sync()
        raise Stopped

    # -- the start

    async def _live(self) -> None:
        """From recovery to events; what goes on after it are the tasks it started."""
        with Store(self.journal.folder) as store:
            past = recover(store, self.settings)
        instruments = await self._asking.rules(past)
        session = self.journal.open_session(
            self.clock.now_ms(), recorded_as(self.settings, self._model_rows), self.symbols
        )
        cash = Decimal(repr(self.settings.account.cash))
        snapshot = continue_from(past, self.engine, session, cash, instruments)
        self._wire(snapshot, instruments)
        beginning = None
        if self._volatility and volatility_wanted(self.settings):  # before the feed, which would wait meanwhile
            beginning = self._tasks.create_task(self._begin(), name="begin")
            await asyncio.wait((beginning,), timeout=self.settings.forecaster.warm_within_s / self.clock.speed)
        self._tasks.create_task(self.journal.watch(), name="journal")
        self._tasks.create_task(self.feed.run(), name="feed")
        await self.pump.take(Reconciled(snapshot))
        await self.pump.take(History(await self._asking.first_history()))
        if beginning and beginning.done():
            await self._warm(beginning)
        self.pump.observe()  # a long history takes the model a while: not on the first slice's time
        self._pumping = self._tasks.create_task(self.pump.run(), name="pump")
        self._tasks.create_task(self._asking.keep_time(), name="clock")
        self._tasks.create_task(self._asking.ask_for_the_silent(), name="silent")
        self._tasks.create_task(self.storage.watch(), name="storage")
        self._tasks.create_task(self._measure(), name="measure")
        self._tasks.create_task(Desk(self.journal.folder, self._obey, self.faults).watch(), name="operator")
        if self.forecaster:
            self._tasks.create_task(self.forecaster.watch(), name="forecaster")
        if self._volatility and not (beginning and beginning.done()):
            self._tasks.create_task(self._warm(beginning or self._begin()), name="warm")
        self.started_ms = self.clock.now_ms()
        self.ready.set()
        for remark in self.remarks:
            self._log.warning("model", text=remark)
        self._log.info("trading", session=session, coins=len(self.symbols), equity=round(self.engine.equity, 2))

    def _wire(self, snapshot: Snapshot, instruments: tuple[Instrument, ...]) -> None:
        settings, clock = self.settings, self.clock
        if self._model or self._volatility:
            self.forecaster = Forecaster(self._model, settings.forecaster, clock, self._deliver, self._volatility)
        self.broker = PaperBroker(settings.account, instruments, snapshot, clock, self._deliver)
        every = settings.storage.checkpoint_slices
        self.pump = Pump(self.engine, self.journal, self.broker, self.forecaster, clock, self.metrics, self, every)
        left_open = next((cause.fault for cause in snapshot.risk.causes if cause.code == PART), "")
        self.storage = Storage(self.journal, self.faults, self._deliver, left_open)
        self.feed = Feed(self._codec, settings.feed, settings.exchange, clock, self, self.faults, self._rng)

    async def _begin(self) -> Begun:
        """Volatility models that know the past hours."""
        assert self._volatility is not None
        return await asyncio.to_thread(self._volatility.begin, await self._asking.hours())

    async def _warm(self, beginning: Awaitable[Begun]) -> None:
        """Has volatility forecast by models that begin from past hours, and from the window's slices behind them."""
        assert self.forecaster is not None
        begun = await beginning
        self.pump.observe()
        self.forecaster.warm(begun, self.engine.window.panel())

    def _deliver(self, event: AnyEvent) -> None:
        self.pump.post(event)

    # -- what the pump wants done

    def fetch(self, wanted: Fetch) -> None:
        self._tasks.create_task(self._asking.stragglers(wanted), name="fetch")

    def confirm(self, wanted: Confirm) -> None:
        self._tasks.create_task(self._asking.price(wanted.symbol), name="confirm")

    def note(self, note: Note) -> None:
        """Tells people; counts it under its fault. A cause of risk is an episode that its note ".over" ends."""
        self.recent_notes.append({"time_ms": self.clock.now_ms(), "code": note.code, "text": note.text})
        match note.fault, note.code.split("."):
            case "", ["veto"]:
                self.fates.vetoed(note)
            case "", ["risk", _]:
                self._log.warning(note.code, text=note.text)
            case "", _:
                self._log.info(note.code, text=note.text)
            case fault, ["risk", _, "over"]:
                self.faults.end(fault, note.symbol)
            case fault, ["risk", _]:
                self.faults.begin(fault, note.text, note.symbol)
            case fault, _:
                self.faults.count(fault, note.text, note.symbol)

    async def _obey(self, order: Operator) -> None:
        """A person's word: handled, and on disk before its file goes. On a full disk it waits with all other rows."""
        self.pump.post(order)
        await self.pump.drain()
        with contextlib.suppress(JournalFull, JournalLocked):
            await self.journal.sync()

    def unwritten(self, why: JournalTrouble) -> None:
        """Intents could not be written: no more entries until they can be."""
        self.storage.impaired(why)

    def slice_closed(self) -> None:
        """A point of the equity curve, whatever becomes of the slice."""
        engine = self.engine
        equity = engine.equity
        cash = float(engine.ledger.cash)
        exposure = 1 - cash / equity if equity > 0 else 0.0
        peak = engine.risk.equity_peak
        drawdown = 1 - equity / peak if peak > 0 else 0.0
        state, open_ms, total = engine.risk.level.name, engine.window.newest_ms, len(self.symbols)
        self.journal.record_equity(open_ms, equity, cash, exposure, drawdown, state)
        self.metrics.account(equity, cash, exposure, drawdown)
        self.metrics.risk(state)
        self.equity_curve.append((open_ms, equity))
        self.recent_slices.append(
            {
                "open_ms": open_ms,
                "present": int(np.count_nonzero(np.isfinite(engine.window.close[-1]))),
                "total": total,
                "outcome": self.pump.slice_outcome,
                "decision_s": None,
                "orders": self.pump.slice_orders,
            }
        )

    def slice_decided(self) -> None:
        """What was decided joins the slice's line, and what came of its divergences is worked out."""
        if self.forecaster and self.fates.decided(self.forecaster.newest):
            self._gauges.count_fates(self.fates)
        self.recent_slices[-1] |= {"decision_s": self.pump.decision_seconds, "orders": self.pump.slice_orders}

    @property
    def architecture(self) -> str:
        """The model's kind; "" without one."""
        return self._model.architecture if self._model else ""

    # -- what the feed finds

    def candle(self, candle: Candle, source: str) -> None:
        self.pump.post(CandleClosed(candle, source))

    def refused(self, symbol: str, reason: str) -> None:
        self.pump.post(CandleRefused(symbol, reason))

    def quote(self, quote: Quote) -> None:
        self.broker.quote(quote)

    def last_price(self, last: LastPrice) -> None:
        self.broker.last_price(last)

    def hole(self, start_ms: int) -> None:
        """The stream was away since `start_ms`: what the paper exchange knew is old, what was missed is asked for."""
        self.broker.disconnected()
        self._tasks.create_task(self._fill(start_ms), name="hole")

    async def _fill(self, start_ms: int) -> None:
        missed = self._volatility is not None and start_ms <= self.pump.observed_ms
        if missed and self.forecaster:  # it was shown the hole, and is not shown what fills it
            self.forecaster.cool()
        await self._asking.hole(start_ms)
        if missed:
            await self.pump.drain()
            await self._warm(self._begin())

    # -- people

    async def _measure(self) -> None:
        """Reads the gauges for ever."""
        while True:
            self._gauges.read_queues(self.pump.depth, self.journal, self.faults)
            self._gauges.read_market_data(self.feed, self.rest)
            if self.forecaster:
                self._gauges.read_forecaster(self.forecaster, self.faults, self.clock.now_ms())
            await asyncio.sleep(MEASURE_S)

    def _alert(self, alert: Alert) -> None:
        """One line when an episode begins and one when it ends."""
        if alert.stage is not Stage.ENDED:
            self.metrics.fault(alert.fault)
        self._log.warning(f"fault.{alert.stage}", fault=alert.fault, text=alert.text, symbol=alert.symbol)

    def outcome(self) -> Outcome:
        """What this run did."""
        ledger, counts = self.engine.ledger, self.counts
        return Outcome(
            counts.slices,
            counts.slices_late,
            counts.decisions,
            counts.orders,
            counts.fills,
            counts.rejected,
            round(self.engine.ledger.equity(), 8),
            str(ledger.cash),
            {symbol: str(held.quantity) for symbol, held in ledger.holdings.items()},
            dict(self.faults.counts),
            str(self.journal.folder),
            self.pump.digest if self.started_ms else "",
            self.remarks,
        )
