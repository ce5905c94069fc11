"""The daemon: puts the parts together, runs them until told to stop, and leaves nothing behind.

Start is recovery: the journal's last state, the exchange's rules and time, the feed (already collecting), the
history of the window, then events. A task that dies ends the process: starting again is the same path. A stop
makes no new intent, cancels resting entries and closes the journal behind what was handled.
"""

import asyncio
import contextlib
import random
from collections import Counter, deque
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from structlog.typing import FilteringBoundLogger

from bot.config import Settings
from bot.core.commands import Confirm, Fetch, Note
from bot.core.events import CandleClosed, CandleRefused, Confirmed, History, Reconciled, Stopping
from bot.core.market import Candle, Instrument, LastPrice, Quote, gather
from bot.core.memory import remember
from bot.core.orders import UNPROVEN
from bot.core.snapshot import Snapshot
from bot.edge.broker import PaperBroker
from bot.edge.clock import Clock
from bot.edge.faults import Alert, Faults, Stage
from bot.edge.feed import Feed
from bot.edge.forecaster import Forecaster
from bot.edge.journal import Journal
from bot.edge.metrics import Metrics
from bot.edge.rest import Rest, RestError
from bot.edge.storage import PART, Storage
from bot.edge.store import Store
from bot.edge.trouble import JournalTrouble
from bot.exchanges.binance import Codec
from bot.pump import Counts, Pump
from bot.session import build_engine, continue_from, recorded_as, recover
from models.model import Model

STOP_WITHIN_S = 5.0
RETRY_S = 2.0
SKEW_MAX_MS = 250.0
ASK_SILENT_S = 60.0
NOTES_KEPT, SLICES_KEPT, CURVE_KEPT = 20, 12, 1_440
MEASURE_S = 5.0


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


class Stopped(Exception):
    """Ends the task group once everything is wound down."""


class Daemon:
    """One run of the bot. `model` is None for a strategy that wants no forecasts."""

    def __init__(
        self,
        settings: Settings,
        symbols: tuple[str, ...],
        model: Model | None,
        clock: Clock,
        log: FilteringBoundLogger,
        seed: int = 0,
    ) -> None:
        self.settings = settings
        self.symbols = symbols
        self.clock = clock
        self.metrics = Metrics(version("lacuna-trader"), settings.mode, settings.exchange.name, settings.market.quote)
        self.faults = Faults(self._alert)
        self.ready = asyncio.Event()
        self.started_ms = 0
        self._checkpoint_at = 0
        self.recent_notes: deque[dict[str, Any]] = deque(maxlen=NOTES_KEPT)
        self.recent_slices: deque[dict[str, Any]] = deque(maxlen=SLICES_KEPT)
        self.equity_curve: deque[tuple[int, float]] = deque(maxlen=CURVE_KEPT)
        self._log = log
        self._model = model
        self._model_rows = model.warmup if model else 0
        self._rng = random.Random(seed)
        self._stop = asyncio.Event()
        self._tasks: asyncio.TaskGroup
        self.engine = build_engine(settings, symbols, self._model_rows)
        self._codec = Codec(symbols, settings.market.timeframe)
        self.rest = Rest(self._codec, settings.exchange, settings.feed, clock)
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
        """Asks the run to end; it does within STOP_WITHIN_S seconds."""
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
                async with asyncio.timeout(STOP_WITHIN_S):
                    await self.pump.drain()
                    await self.journal.sync()
        raise Stopped

    # -- the start

    async def _live(self) -> None:
        """From recovery to events; what goes on after it are the tasks it started."""
        with Store(self.journal.folder) as store:
            past = recover(store, self.settings)
        instruments = await self._rules()
        session = self.journal.open_session(
            self.clock.now_ms(), recorded_as(self.settings, self._model_rows), self.symbols
        )
        cash = Decimal(repr(self.settings.account.cash))
        snapshot = continue_from(past, self.engine, session, cash, instruments)
        self._wire(snapshot, instruments)
        self._tasks.create_task(self.journal.watch(), name="journal")
        self._tasks.create_task(self.feed.run(), name="feed")
        await self.pump.take(Reconciled(snapshot))
        await self._first_history()
        self.pump.observe()  # a long history takes the model a while: not on the first slice's time
        self._tasks.create_task(self.pump.run(), name="pump")
        self._tasks.create_task(self._resync(), name="clock")
        self._tasks.create_task(self._ask_for_the_silent(), name="silent")
        self._tasks.create_task(self.storage.watch(), name="storage")
        self._tasks.create_task(self._measure(), name="measure")
        if self.forecaster:
            self._tasks.create_task(self.forecaster.watch(), name="forecaster")
        self.started_ms = self.clock.now_ms()
        self.ready.set()
        self._log.info("trading", session=session, coins=len(self.symbols), equity=round(self.engine.equity, 2))

    def _wire(self, snapshot: Snapshot, instruments: tuple[Instrument, ...]) -> None:
        settings, clock = self.settings, self.clock
        if self._model:
            self.forecaster = Forecaster(self._model, settings.forecaster, clock, self._deliver)
        self.broker = PaperBroker(settings.account, instruments, snapshot, clock, self._deliver)
        self.pump = Pump(self.engine, self.journal, self.broker, self.forecaster, clock, self.metrics, self)
        left_open = next((cause.fault for cause in snapshot.risk.causes if cause.code == PART), "")
        self.storage = Storage(self.journal, self.faults, self._deliver, left_open)
        self.feed = Feed(self._codec, settings.feed, settings.exchange, clock, self, self.faults, self._rng)

    def _deliver(self, event: Any) -> None:
        self.pump.post(event)

    async def _rules(self) -> tuple[Instrument, ...]:
        """The exchange's time and rules; asked until it answers."""
        while True:
            try:
                await self.rest.sync_clock()
                return await self.rest.instruments(self.symbols)
            except RestError as why:
                self._log.warning("exchange.unreachable", why=str(why))
                await self._wait_after(why)

    async def _first_history(self) -> None:
        """Fills the window from REST up to the last candle that has closed; asked until it answers."""
        interval_ms, rows = self.engine.setup.interval_ms, self.engine.window.capacity
        while True:
            stop_ms = self.clock.now_ms() // interval_ms * interval_ms - interval_ms
            try:
                candles = await self.rest.candles(self.symbols, stop_ms - (rows - 1) * interval_ms, stop_ms)
            except RestError as why:
                self._log.warning("history.unreachable", why=str(why))
                await self._wait_after(why)
                continue
            history = gather(candles, self.symbols, interval_ms)
            if len(history):
                await self.pump.take(History(history))
                return
            await self.clock.sleep(RETRY_S)

    async def _wait_after(self, why: RestError) -> None:
        """A little, or as long as the exchange said (faults A1, A2)."""
        await self.clock.sleep(max(RETRY_S, why.retry_after or 0.0))

    # -- what the pump wants done

    def fetch(self, wanted: Fetch) -> None:
        """Asks REST for stragglers; what comes back are candles like any other."""
        self._tasks.create_task(self._fetch(wanted.symbols, wanted.start_ms, wanted.stop_ms), name="fetch")

    async def _fetch(self, symbols: tuple[str, ...], start_ms: int, stop_ms: int) -> None:
        try:
            candles = await self.rest.candles(symbols, start_ms, stop_ms)
        except RestError as why:
            self.faults.begin("F11", f"REST did not answer for stragglers: {why}")
            return
        self.faults.end("F11")
        for candle in candles:
            self.candle(candle, "rest")

    def confirm(self, wanted: Confirm) -> None:
        """Asks the book for the price of a coin whose candle jumped."""
        self._tasks.create_task(self._confirm(wanted.symbol), name="confirm")

    async def _confirm(self, symbol: str) -> None:
        try:
            price = await self.rest.book_mid(symbol)
        except RestError as why:
            self.faults.count("F20", f"the book of {symbol} could not be had: {why}", symbol)
            return
        self.pump.post(Confirmed(symbol, price))

    def note(self, note: Note) -> None:
        """Tells people; counts it under its fault. A cause of risk is an episode that its note ".over" ends."""
        self.recent_notes.append({"time_ms": self.clock.now_ms(), "code": note.code, "text": note.text})
        match note.fault, note.code.split("."):
            case "", ["veto"]:
                pass
            case "", _:
                self._log.info(note.code, text=note.text)
            case fault, ["risk", _, "over"]:
                self.faults.end(fault, note.symbol)
            case fault, ["risk", _]:
                self.faults.begin(fault, note.text, note.symbol)
            case fault, _:
                self.faults.count(fault, note.text, note.symbol)

    def unwritten(self, why: JournalTrouble) -> None:
        """Intents could not be written: no more entries until they can be."""
        self.storage.impaired(why)

    async def slice_settled(self) -> None:
        """After each slice: a point of the equity curve, and a checkpoint when it is time."""
        engine = self.engine
        equity = engine.equity
        cash = float(engine.ledger.cash)
        exposure = 1 - cash / equity if equity > 0 else 0.0
        peak = engine.risk.equity_peak
        drawdown = 1 - equity / peak if peak > 0 else 0.0
        state = engine.risk.level.name
        self.journal.record_equity(engine.window.newest_ms, equity, cash, exposure, drawdown, state)
        self.metrics.account(equity, cash, exposure, drawdown)
        self.metrics.risk(state)
        self._show_slice(equity)
        settled = all(order.state not in UNPROVEN for order in engine.orders.live.values())
        if settled and self.pump.counts.slices - self._checkpoint_at >= self.settings.storage.checkpoint_slices:
            self._checkpoint_at = self.pump.counts.slices
            snapshot = remember(engine, engine.session, engine.strategy.rows)
            history = engine.window.panel()
            await self.pump.take(Reconciled(snapshot))
            await self.pump.take(History(history))

    def _show_slice(self, equity: float) -> None:
        engine, pump = self.engine, self.pump
        total = len(self.symbols)
        self.equity_curve.append((engine.window.newest_ms, equity))
        self.recent_slices.append(
            {
                "open_ms": engine.window.newest_ms,
                "present": total - int(np.count_nonzero(engine.missing)),
                "total": total,
                "outcome": pump.slice_outcome,
                "decision_s": pump.decision_seconds,
                "orders": pump.slice_orders,
            }
        )

    @property
    def has_model(self) -> bool:
        return self._model is not None

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
        """The stream was away since `start_ms`: REST fills the window, the slice that is waited for is completed."""
        self.broker.disconnected()
        self._tasks.create_task(self._fill_hole(start_ms), name="hole")

    async def _fill_hole(self, start_ms: int) -> None:
        interval_ms = self.engine.setup.interval_ms
        start_ms = max(start_ms // interval_ms * interval_ms - interval_ms, self.engine.window.oldest_ms)
        while True:
            try:
                candles = await self.rest.candles(self.symbols, start_ms, self.clock.now_ms() - interval_ms)
                break
            except RestError as why:
                self._log.warning("hole.unreachable", why=str(why))
                await self._wait_after(why)
        self.faults.end("F11")
        waited_ms = self.engine.slices.next_ms
        past = gather((one for one in candles if one.open_ms < waited_ms), self.symbols, interval_ms)
        if len(past):
            self.pump.post(History(past))
        for candle in candles:
            if candle.open_ms >= waited_ms:
                self.candle(candle, "rest")

    # -- time and people

    async def _resync(self) -> None:
        """Measures the server's time again and again (faults T1, T2)."""
        while True:
            await self.clock.sleep(self.settings.feed.resync_every_s)
            try:
                move = await self.rest.sync_clock()
                if abs(move) > SKEW_MAX_MS * self.clock.speed:
                    self.faults.count("T2", f"the clock was {move:.0f} ms away from the exchange's")
            except RestError as why:
                self.faults.count("T6", f"the server's time could not be had: {why}")

    async def _ask_for_the_silent(self) -> None:
        """Once a minute, what the exchange says of coins that send nothing (fault F7); one alert a coin."""
        alerted: set[str] = set()
        while True:
            await self.clock.sleep(ASK_SILENT_S)
            at = np.nonzero(self.engine.slices.silent())[0]
            silent = {self.symbols[one] for one in at}
            for symbol in alerted - silent:
                self.faults.end("F7", symbol)
            alerted &= silent
            if not silent or len(silent) > self.settings.risk.absent_max * len(self.symbols):
                continue  # when many are away it is the feed or the exchange, and has its own alert
            with contextlib.suppress(RestError):
                for rule in await self.rest.instruments(tuple(sorted(silent))):
                    self.faults.begin("F7", f"no candles; the exchange says {rule.status}", rule.symbol)
                    alerted.add(rule.symbol)

    async def _measure(self) -> None:
        """Readings that are states, not happenings: queues and connections."""
        seen = Counter[str]()
        connections = 0
        while True:
            self.metrics.queue("pump", self.pump.depth)
            self.metrics.queue("journal", self.journal.depth)
            self.metrics.open_faults(len(self.faults.open))
            self.metrics.feed_connections(int(self.feed.connected))
            for _ in range(connections, self.feed.connections - 1):
                self.metrics.feed_reconnected()
            connections = max(connections, self.feed.connections - 1)
            frames = self.feed.frames
            for kind, count in (frames - seen).items():
                if kind.startswith("bad: "):
                    for _ in range(count):
                        self.metrics.bad_frame(kind.removeprefix("bad: "))
                else:
                    self.metrics.frames(kind, count)
            seen = Counter(frames)
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
        )
