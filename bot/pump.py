"""The pump of paper and live: takes events in one order, feeds the engine, and has its wishes done.

Every event goes through `_take`: the engine handles it, event and commands go to the journal, and only when an
intent is on disk does the order leave (write before you act). Reports, candles, answers and timers come back as
events through `post`. Nothing slow happens here: inference, disk and REST have their own threads and tasks.
"""

import asyncio
import hashlib
import math
from collections import deque
from typing import Protocol

import numpy as np
from msgspec import Struct

from bot.core.commands import AnyCommand, Approved, Cancel, Confirm, Fetch, Infer, Note, Query, Submit, WakeAt
from bot.core.engine import Engine
from bot.core.events import (
    UNRECORDED,
    AnyEvent,
    CandleClosed,
    Filled,
    Forecasted,
    History,
    Reconciled,
    Rejected,
    Stopping,
    Wake,
)
from bot.core.memory import remember
from bot.core.orders import UNPROVEN
from bot.core.snapshot import State
from bot.edge.broker import PaperBroker
from bot.edge.clock import Clock
from bot.edge.encoding import encode_commands
from bot.edge.forecaster import Forecaster
from bot.edge.journal import Journal
from bot.edge.metrics import Metrics
from bot.edge.trouble import JournalFull, JournalLocked, JournalTrouble

SWITCH_S = 0.0002  # a busy loop must not starve the journal and the model of their turns


class Counts(Struct):
    """What a run did, for its last word."""

    slices: int = 0
    slices_late: int = 0
    decisions: int = 0
    orders: int = 0
    fills: int = 0
    rejected: int = 0


class Hands(Protocol):
    """What the pump cannot do itself: start tasks and tell people."""

    def fetch(self, wanted: Fetch) -> None: ...

    def confirm(self, wanted: Confirm) -> None: ...

    def note(self, note: Note) -> None: ...

    def unwritten(self, why: JournalTrouble) -> None:
        """The journal could not write what was to be acted on; it tries again by itself."""
        ...

    def slice_closed(self) -> None:
        """The newest slice is in the window, decided or not."""
        ...

    def slice_decided(self) -> None:
        """The newest slice is decided, and its orders have left."""
        ...


class Pump:
    """Takes a checkpoint behind the first event at which one is due, every `checkpoint_slices`, and nothing is in doubt."""

    def __init__(
        self,
        engine: Engine,
        journal: Journal,
        broker: PaperBroker,
        forecaster: Forecaster | None,
        clock: Clock,
        metrics: Metrics,
        hands: Hands,
        checkpoint_slices: int,
    ) -> None:
        self.engine = engine
        self.counts = Counts()
        self._checkpoint_slices = checkpoint_slices
        self._checkpoint_at: float = checkpoint_slices
        self._journal = journal
        self._broker = broker
        self._forecaster = forecaster
        self._clock = clock
        self._metrics = metrics
        self._hands = hands
        self._inbox: deque[AnyEvent] = deque()
        self._ready = asyncio.Event()
        self._idle = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms = 0
        self.observed_ms = 0
        self._digest = hashlib.blake2b(digest_size=16)
        self._slice_took = 0.0
        self.decision_seconds = 0.0
        self.slice_outcome = ""
        self.slice_orders = 0

    @property
    def digest(self) -> str:
        """A hash of every command so far: equal runs have equal digests."""
        return self._digest.hexdigest()

    @property
    def depth(self) -> int:
        """Events waiting."""
        return len(self._inbox)

    def post(self, event: AnyEvent) -> None:
        """Takes one event in; it is handled in turn."""
        self._inbox.append(event)
        self._ready.set()

    async def run(self) -> None:
        """Handles events for ever."""
        while True:
            await self._ready.wait()
            self._ready.clear()
            self._idle.clear()
            while self._inbox:
                await self.take(self._inbox.popleft())
            self._idle.set()

    async def drain(self) -> None:
        """Waits until everything posted so far is handled."""
        while self._inbox or not self._idle.is_set():
            await self._idle.wait()
            await asyncio.sleep(0)

    async def take(self, event: AnyEvent) -> None:
        """One event through the engine, the journal and the hands."""
        engine, now_ms = self.engine, self._clock.now_ms()
        newest_ms, decided_ms = engine.window.newest_ms, engine.decided_ms
        began = self._clock.monotonic()
        if isinstance(event, CandleClosed):
            lag_ms = now_ms - event.candle.open_ms - engine.setup.interval_ms
            self._metrics.candle_closed(lag_ms / 1000)
        commands = engine.handle(event, now_ms)
        self._journal.append(now_ms, event, commands)
        self._metrics.journal_rows()
        if commands:
            self._digest.update(encode_commands(commands))
        orders = [command.order for command in commands if isinstance(command, Submit)]
        closed = engine.window.newest_ms != newest_ms and not isinstance(event, (Reconciled, History))
        self.slice_orders = len(orders) + (0 if closed else self.slice_orders)
        if orders:
            await self._send(orders)
        for command in commands:
            self._act(command)
        self._count(event)
        took = self._clock.monotonic() - began
        if closed:
            self._observe_unasked()
            self._slices_closed(newest_ms, now_ms, took)
            self._hands.slice_closed()
        if engine.decided_ms != decided_ms and not isinstance(event, Reconciled):
            self._decided(event, took)
            self._hands.slice_decided()
        if isinstance(event, Stopping):
            self._checkpoint_at = math.inf  # a checkpoint would forget that nothing may be ordered any more
        if self.counts.slices >= self._checkpoint_at and self._proven():
            await self._checkpoint()

    async def part(self) -> None:
        """The whole state, as the last rows of a run that ends in good order: the next start replays nothing.

        Who calls has ended `run`. Where an order's fate is unknown the rows tell more than a snapshot: none is made.
        """
        if self._proven():
            await self._checkpoint()

    def _proven(self) -> bool:
        """Whether the fate of every order is known: a snapshot would have to doubt the others again."""
        return all(order.state not in UNPROVEN for order in self.engine.orders.live.values())

    async def _checkpoint(self) -> None:
        """The whole state goes to the journal, from where the next start may begin."""
        self._checkpoint_at = self.counts.slices + self._checkpoint_slices
        engine = self.engine
        snapshot, history = remember(engine, engine.session, engine.strategy.rows), engine.window.panel()
        await self.take(Reconciled(snapshot))
        await self.take(History(history))

    async def _send(self, orders: list[Approved]) -> None:
        """The intents are on disk before the first order leaves; where there is no room, none does (P9, P11)."""
        started = self._clock.monotonic()
        try:
            await self._journal.sync()
        except (JournalFull, JournalLocked) as why:
            self._hands.unwritten(why)
            for order in orders:
                self.post(Rejected(order.client_id, UNRECORDED, str(why)))
            return
        self._metrics.synced(self._clock.monotonic() - started)
        for order in orders:
            self._broker.submit(order)
            self._metrics.order(order.side, State.INTENT)
        self.counts.orders += len(orders)

    def _act(self, command: AnyCommand) -> None:
        match command:
            case Infer(open_ms):
                self._infer(open_ms)
            case Cancel(client_id, symbol):
                self._broker.cancel(client_id, symbol)
            case Query(client_id, symbol):
                self._broker.query(client_id, symbol)
            case Fetch():
                self._hands.fetch(command)
            case Confirm():
                self._hands.confirm(command)
            case WakeAt(time_ms):
                self._wake_at(time_ms)
            case Note():
                self._hands.note(command)
            case Submit():
                pass  # already sent, behind the journal

    def observe(self) -> None:
        """Hands the model every slice it has not seen: the history before the first question, then each new one."""
        if self._forecaster is not None:
            self._forecaster.observe(self.engine.window.panel(self.observed_ms))
            self.observed_ms = self.engine.window.newest_ms

    def _observe_unasked(self) -> None:
        """What was decided without a question is observed too; what is all absent waits, a hole may be filled yet."""
        window = self.engine.window
        if self.engine.decided_ms == window.newest_ms != self.observed_ms and np.isfinite(window.close[-1]).any():
            self.observe()

    def _infer(self, open_ms: int) -> None:
        assert self._forecaster is not None, "a strategy that wants forecasts was started without a model"
        self.observe()
        self._forecaster.infer(open_ms)

    def _wake_at(self, time_ms: int) -> None:
        """Keeps the earliest timer: the engine asks again for what comes later."""
        if self._timer and self._timer_ms <= time_ms:
            return
        if self._timer:
            self._timer.cancel()
        delay = max(0.0, (time_ms - self._clock.now_ms()) / 1000 / self._clock.speed)
        self._timer_ms = time_ms
        self._timer = asyncio.get_running_loop().call_later(delay, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._clock.now_ms() < self._timer_ms:
            self._wake_at(self._timer_ms)  # the clock was set back a little: not yet
        else:
            self.post(Wake())

    # -- counting

    def _slices_closed(self, before_ms: int, now_ms: int, took: float) -> None:
        """One slice, or after an outage all those whose hard limit had passed."""
        engine = self.engine
        interval_ms, newest_ms = engine.setup.interval_ms, engine.window.newest_ms
        self._slice_took = took
        first_ms = max(before_ms + interval_ms, engine.window.oldest_ms)
        for open_ms in range(first_ms, newest_ms + interval_ms, interval_ms):
            age_ms = now_ms - open_ms - interval_ms
            late, missed = age_ms > engine.setup.soft_limit_ms, age_ms > engine.setup.limits.stale_after_ms
            missing = np.isnan(engine.window.close[-1 - (newest_ms - open_ms) // interval_ms])
            whole = "partial" if missing.any() else "complete"
            self.counts.slices += 1
            self.counts.slices_late += late
            self.slice_outcome = "missed" if missed else "late" if late else whole
            self._metrics.slice_closed(self.slice_outcome, 1.0 - float(missing.mean()))

    def _decided(self, event: AnyEvent, took: float) -> None:
        """From the closing frame to orders in the broker's hands, the inference left out."""
        forecasted = isinstance(event, Forecasted)
        self.counts.decisions += 1
        self.decision_seconds = took + self._slice_took if forecasted else took
        self._metrics.decided(self.decision_seconds)
        if isinstance(event, Forecasted):
            self._metrics.inferred(event.seconds)

    def _count(self, event: AnyEvent) -> None:
        match event:
            case Filled(side=side):
                self.counts.fills += 1
                self._metrics.fill(side)
            case Rejected(client_id=client_id):
                self.counts.rejected += 1
                order = self.engine.orders.get(client_id)
                if order:
                    self._metrics.order(order.side, State.REJECTED)

    def close(self) -> None:
        """No more timers."""
        if self._timer:
            self._timer.cancel()
