"""The historical pump: a panel's slices through the very engine of the daemon, as fast as they can be decided.

Time      the event's own. A slice is known `slice_ms` after its close, a forecast `forecast_ms` later.
Fills     an order reaches the exchange after its latency and meets the open of the candle that began just before (at
          most OPEN_HOLDS of it ago), else of the next: the first price after the decision's close, moved against us by
          spread and slippage (bot/core/fills.py). In a candle without a trade nothing fills.
Forecasts come from a table made ahead, since none depends on an order; the engine asks and is answered as live.
Equal     the same panel, settings and forecasts give the same commands: `digest` is a hash of orders and fills.
"""

import contextlib
import gc
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal

import numpy as np
from msgspec import Struct

from backtest.forecasts import Forecasts
from bot.core.commands import AnyCommand, Cancel, Confirm, Fetch, Infer, Note, Query, Submit, WakeAt
from bot.core.engine import Engine, Setup, capacity
from bot.core.events import (
    AnyEvent,
    Confirmed,
    Filled,
    Forecasted,
    ForecastFailed,
    History,
    Reconciled,
    Report,
    SliceClosed,
    Wake,
)
from bot.core.fills import FillModel
from bot.core.market import Floats, Instrument, LastPrice, Panel, returns_of
from bot.core.memory import genesis
from bot.core.paper import PaperExchange
from bot.core.snapshot import Order
from bot.core.strategy import Block, Sparing, Strategy
from bot.core.stretch import pass_over, same_day
from bot.core.window import PanelWindow
from bot.edge.digest import Digest

Progress = Callable[[int, int], None]

BLOCK = 512
STRETCH_MIN = 2
OPEN_HOLDS = 0.05  # the share of a candle within which its open is still the price


def nobody(done: int, of: int) -> None:
    """Watches no progress."""


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Without the search for reference cycles: a replay makes none, and the search takes a fifth of its time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class Delays(Struct, frozen=True):
    """What passes between the market and us, in milliseconds."""

    slice_ms: int = 500
    forecast_ms: int = 100
    latency_ms: int = 150


class Venue(Struct, frozen=True):
    """The exchange a replay trades on: its rules, what trading costs there, and how long everything takes."""

    instruments: tuple[Instrument, ...]
    fills: FillModel
    delays: Delays


class Replay:
    """One run of a strategy over a panel: rows before `first` are history, the others are decided."""

    def __init__(
        self,
        panel: Panel,
        first: int,
        setup: Setup,
        strategy: Strategy,
        venue: Venue,
        cash: Decimal,
        forecasts: Forecasts | None = None,
    ) -> None:
        if not 0 < first < len(panel):
            raise ValueError(f"a replay of {len(panel)} slices cannot begin at {first}")
        self.panel = panel = panel.locked()  # marks and windows are views of it
        self.first = first
        self.digest = Digest()
        self.notes: Counter[str] = Counter()
        self.orders: dict[str, Order] = {}
        self.fills: list[Filled] = []
        window = PanelWindow(panel, capacity(setup, strategy), strategy.wants_forecast)
        self.engine = Engine(setup, strategy, window)
        self._delays = venue.delays
        self._forecasts = forecasts
        self._exchange = PaperExchange(
            venue.instruments, venue.fills, venue.delays.latency_ms, {setup.quote_asset: cash}
        )
        self._confirms: list[str] = []
        self._at = {symbol: at for at, symbol in enumerate(panel.symbols)}
        self._ready_ms: dict[str, int] = {}
        self._wake_ms = 0
        self._open_ms = panel.open_ms.tolist()
        self.equity: list[float] = []
        self.cash: list[Decimal] = []
        began_ms = self._open_ms[first]
        self._tell(Reconciled(genesis(setup, 1, cash, venue.instruments)), began_ms)
        self._tell(History(panel.rows(0, first)), began_ms)
        assert isinstance(self.engine.window, PanelWindow)
        self._window = self.engine.window

    def run(self, progress: Progress = nobody) -> None:
        """Decides every slice, one by one. `progress` is told the slices done, out of all."""
        with _uncollected():
            for first in range(self.first, len(self.panel), BLOCK):
                for row in range(first, min(first + BLOCK, len(self.panel))):
                    self._play(row)
                progress(len(self.equity), len(self.panel) - self.first)

    def run_skipping(self, progress: Progress = nobody) -> None:
        """The same, passing over the stretches of slices in which nothing can happen."""
        strategy = self.engine.strategy
        assert isinstance(strategy, Sparing), "this strategy cannot tell where it is quiet"
        with _uncollected():
            self._skip(strategy, progress)

    def _skip(self, strategy: Sparing, progress: Progress) -> None:
        row = self.first
        for first in range(self.first, len(self.panel), BLOCK):
            stop = min(first + BLOCK, len(self.panel))
            busy = self._busy(strategy, first, stop)
            busy.append(stop)
            at = 0
            while row < stop:
                while busy[at] < row:
                    at += 1
                if busy[at] - row >= STRETCH_MIN and self._may_pass():
                    row += self._pass(row, busy[at])
                if row < stop:
                    self._play(row)
                    row += 1
            progress(row - self.first, len(self.panel) - self.first)

    def _busy(self, strategy: Sparing, first: int, stop: int) -> list[int]:
        """The rows of these that must be decided one by one."""
        returns, real = returns_of(self.panel.close[first - 1 : stop], self.panel.present[first - 1 : stop])
        close_ms = self.panel.open_ms[first:stop] + self.panel.interval_ms
        inferred = self._inferred(first, stop)
        quiet = strategy.quiet(Block(close_ms, returns[1:], real[1:], inferred))
        steady = self._window.steady_rows(self.engine.setup.limits.price_jump_max)[first:stop]
        if inferred is not None:
            quiet &= np.isfinite(inferred).any(axis=1)  # a forecast that fails is an event
        return [first + int(at) for at in np.flatnonzero(~(quiet & np.array(steady)))]

    def _inferred(self, start: int, stop: int) -> Floats | None:
        """The inferred returns of these rows, None where the strategy wants none."""
        if not self.engine.strategy.wants_forecast:
            return None
        assert self._forecasts is not None and self._forecasts.returns is not None
        return self._forecasts.returns[start:stop]

    def _may_pass(self) -> bool:
        return not (self._exchange.waiting or self._confirms) and self.engine.idle

    def _pass(self, row: int, stop: int) -> int:
        """Passes over slices before `stop`; how many."""
        interval_ms = self.panel.interval_ms
        close_ms = self._open_ms[row] + interval_ms
        slices = min(stop - row, same_day(close_ms, interval_ms))
        inferred = self._inferred(row, row + slices)
        equity = pass_over(self.engine, self._window, slices, close_ms, inferred)
        self.equity += equity.tolist()
        self.cash += [self.engine.ledger.cash] * len(equity)
        return len(equity)

    def _play(self, row: int) -> None:
        """One candle's time: orders meet its open, and at its close its slice is decided."""
        engine = self.engine
        if self._exchange.waiting or self._confirms:
            self._meet(row)
        now_ms = self._open_ms[row] + self.panel.interval_ms + self._delays.slice_ms
        if self._wake_ms and self._wake_ms <= now_ms:
            wake_ms, self._wake_ms = self._wake_ms, 0
            if engine.orders.live:
                self._tell(Wake(), wake_ms)
        commands = engine.handle(SliceClosed(self.panel.slice(row)), now_ms)
        if commands:
            self._act(commands, now_ms)
        self.equity.append(engine.equity)
        self.cash.append(engine.ledger.cash)

    def _meet(self, row: int) -> None:
        """What waits at the exchange meets the open of this candle, where anything was traded."""
        panel, open_ms = self.panel, self._open_ms[row]
        for symbol in self._confirms:
            price = float(panel.open[row, self._at[symbol]])
            if np.isfinite(price):
                self._tell(Confirmed(symbol, price), open_ms)
        self._confirms.clear()
        latest_ms = open_ms + panel.interval_ms * OPEN_HOLDS
        for symbol in tuple(self._exchange.waiting):
            at, time_ms = self._at[symbol], max(open_ms, self._ready_ms[symbol])
            if time_ms <= latest_ms and panel.present[row, at]:
                last = LastPrice(symbol, time_ms, float(panel.open[row, at]))
                self._report(self._exchange.last_price(last), time_ms)

    def _tell(self, event: AnyEvent, now_ms: int) -> None:
        self._act(self.engine.handle(event, now_ms), now_ms)

    def _act(self, commands: list[AnyCommand], now_ms: int) -> None:
        for command in commands:
            match command:
                case Infer(open_ms):
                    self._answer(open_ms, now_ms + self._delays.forecast_ms)
                case Submit(order):
                    self.digest.wished(command)
                    self._ready_ms[order.symbol] = now_ms + self._delays.latency_ms
                    self._report(self._exchange.submit(order, now_ms), now_ms)
                case Cancel(client_id):
                    self.digest.wished(command)
                    self._report(self._exchange.cancel(client_id), now_ms)
                case Query(client_id):
                    self._report(self._exchange.query(client_id, now_ms), now_ms)
                case Confirm(symbol):
                    self._confirms.append(symbol)  # the book is asked after the close: the next open tells
                case WakeAt(time_ms):
                    self._wake_ms = time_ms
                case Note(code):
                    self.notes[code] += 1
                case Fetch():
                    raise AssertionError("aligned history has no stragglers to ask for")

    def _answer(self, open_ms: int, now_ms: int) -> None:
        """The forecast of the newest slice."""
        told = self._forecasts
        assert told is not None, "decisions that wait for forecasts were replayed without any"
        row = (open_ms - self._open_ms[0]) // self.panel.interval_ms
        forecast = told.at(self.panel, row)
        if forecast is None:
            self._tell(ForecastFailed(open_ms, "nothing was inferred"), now_ms)
        else:
            self._tell(Forecasted(forecast, 0.0), now_ms)

    def _report(self, reports: list[Report], now_ms: int) -> None:
        for report in reports:
            self.digest.happened(report)
            if isinstance(report, Filled):
                self.fills.append(report)
            self._tell(report, now_ms)
            order = self.engine.orders.get(report.client_id)
            if order is not None and order.final:
                self.orders[order.client_id] = order
