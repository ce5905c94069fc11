"""The engine: one event and the time go in, its wishes come out.

Candles become a slice, slices fill the window, the window yields a forecast, the strategy turns it into
targets, risk trims them, the planner makes wishes, risk approves orders, fills move the ledger. Nothing here
waits, opens, logs or asks the time; the same events give the same commands, bit for bit.

A slice is decided at most once, in order, across restarts: `decided_ms` is part of the snapshot. Days, pauses and
cooldowns are counted in slices' closes, not in the time they were handled: a replay must count the same.
"""

from decimal import Decimal
from typing import assert_never

import numpy as np
from msgspec import Struct

from bot.core.commands import AnyCommand, Cancel, Confirm, Fetch, Infer, Note, Query, Submit, WakeAt
from bot.core.doubt import Doubt
from bot.core.events import (
    UNRECORDED,
    Accepted,
    AnyEvent,
    Canceled,
    CandleClosed,
    CandleRefused,
    Confirmed,
    Filled,
    Forecast,
    Forecasted,
    ForecastFailed,
    History,
    Impaired,
    Operator,
    Reconciled,
    Rejected,
    Repaired,
    Report,
    Sent,
    SliceClosed,
    Stopping,
    Unanswered,
    Unfound,
    Verb,
    Wake,
)
from bot.core.ledger import Ledger
from bot.core.market import Candle, Floats, Instrument, Panel, Side, Slice
from bot.core.orders import UNPROVEN, Orders, intent
from bot.core.planner import Planner, Wish, plan
from bot.core.risk import Level, Limits, Risk, Veto
from bot.core.slices import Kept, Slices
from bot.core.snapshot import Assembly, Cause, Order, Snapshot, State, Streaks
from bot.core.strategy import Portfolio, Strategy, View
from bot.core.window import Past, Sight, Window

QUERY_EVERY_MS = 2_000
CONFIRM_WITHIN = 0.05
FAILED_FORECASTS_MAX = 3
TINY = 1e-300  # above the value of nothing


class Setup(Struct, frozen=True):
    """What the engine is built for; `rows` is what the window must hold at least."""

    symbols: tuple[str, ...]
    interval_ms: int
    quote_asset: str
    soft_limit_ms: int
    hard_limit_ms: int
    rows: int
    limits: Limits
    planner: Planner


def waits(strategy: Strategy, limits: Limits) -> bool:
    """Whether decisions wait for a forecast: the strategy reads it, or the ceiling on forecast volatility does."""
    return strategy.wants_forecast or strategy.wants_volatility or limits.forecast_volatility_max > 0


def capacity(setup: Setup, strategy: Strategy) -> int:
    """The slices a window must hold."""
    volatility = setup.limits.volatility_slices if setup.limits.volatility_max else 0
    return max(setup.rows, strategy.warmup, strategy.rows, volatility) + 1


class Engine:
    """Decides. Starts with Reconciled and History, then takes events in the order the pump saw them.

    `window` is an empty one of `capacity` slices: a ring, unless a replay brings its own.
    """

    def __init__(self, setup: Setup, strategy: Strategy, window: Past | None = None) -> None:
        self.setup = setup
        self.strategy = strategy
        self._waits = waits(strategy, setup.limits)
        self._at = {symbol: at for at, symbol in enumerate(setup.symbols)}
        if window is None:
            window = Window(setup.symbols, setup.interval_ms, capacity(setup, strategy))
        self._begin(window)

    def _begin(self, window: Past) -> None:
        """As if nothing had ever happened."""
        setup, symbols = self.setup, self.setup.symbols
        self.window = window
        self._sight = Sight(window)
        self.slices = Slices(symbols, setup.interval_ms, setup.soft_limit_ms, setup.hard_limit_ms)
        self.ledger = Ledger(symbols, setup.quote_asset, Decimal(0))
        self.risk = Risk(symbols, setup.limits)
        self.orders = Orders()
        self.instruments: tuple[Instrument, ...] = ()
        self._past_forecasts = (np.zeros(0, dtype=np.int64), np.zeros((0, len(symbols))))
        self._checkpoint: tuple[Assembly | None, Streaks | None] = (None, None)
        self.session = 0
        self.decided_ms = 0
        self.orders_made = 0
        self.equity = 0.0
        self.doubt = Doubt(len(symbols), setup.limits.price_jump_max)
        self._amiss = True
        self.sellable = np.zeros(len(symbols))
        self.notional_min = np.zeros(len(symbols))
        self._stopping = False
        self.failed_forecasts = 0
        self._wake_ms = 0
        self._out: list[AnyCommand] = []

    def handle(self, event: AnyEvent, now_ms: int) -> list[AnyCommand]:
        """What to do about one event."""
        self._out = []
        match event:
            case CandleClosed(candle, source):
                self._collect(candle, source, now_ms)
            case SliceClosed(latest):
                self.slices.next_ms = 0  # aligned history needs no assembly and no waking
                self._observe(latest, now_ms)
            case Forecasted(forecast):
                self._answer(forecast, now_ms)
            case Filled() | Accepted() | Canceled() | Sent() | Rejected() | Unanswered() | Unfound():
                self._book(event, now_ms)
            case Wake():
                self._wake(now_ms)
            case ForecastFailed(open_ms, reason):
                self._fail(open_ms, reason)
            case CandleRefused(symbol, reason):
                self._refuse(symbol, reason)
            case Confirmed(symbol, price):
                self._confirm(symbol, price)
            case History(panel):
                self._remember_past(panel)
            case Reconciled(snapshot):
                self._restore(snapshot, now_ms)
            case Operator(verb, who):
                self._obey(verb, who, now_ms)
            case Impaired(part, fault, text):
                self.risk.trip(Cause(part, Level.NO_ENTRIES, text, fault=fault))
            case Repaired(part):
                self.risk.clear(part)
            case Stopping():
                self._stopping = True
                self._cancel_all(now_ms, (Side.BUY,))
            case _:
                assert_never(event)
        if self.risk.opened or self.risk.ended:
            self._tell_causes()
        if self.slices.next_ms or self.orders.live:
            self._plan_wake(now_ms)
        return self._out

    def _tell_causes(self) -> None:
        """Every change of what holds trading back is told, with its fault's number (invariant I36)."""
        for cause in self.risk.opened:
            self._note(f"risk.{cause.code}", cause.text, cause.fault, cause.symbol)
        for cause in self.risk.ended:
            self._note(f"risk.{cause.code}.over", cause.text, cause.fault, cause.symbol)
        self.risk.opened.clear()
        self.risk.ended.clear()

    # -- candles become slices

    def _collect(self, candle: Candle, source: str, now_ms: int) -> None:
        kept = self.slices.add(candle, source)
        if kept is Kept.NEW:
            self._close_slices(now_ms)
        elif kept is Kept.REVISED:
            self._note_revision(candle)
        elif kept is Kept.LATE:
            self._note("candle.late", f"{candle.symbol} {candle.open_ms} came after its slice", "F11", candle.symbol)

    def _note_revision(self, candle: Candle) -> None:
        instrument = self.instruments[self._at[candle.symbol]]
        first = self.slices.close_of(candle)
        if abs(candle.close - first) > 1.5 * float(instrument.price_step):  # more than one tick, in floats
            text = f"{candle.symbol} {candle.open_ms} closed at {first}, is now said to close at {candle.close}"
            self._note("candle.revised", text, "F9", candle.symbol)

    def _close_slices(self, now_ms: int) -> None:
        while (latest := self.slices.take(now_ms)) is not None:
            self._observe(latest, now_ms)

    # -- slices fill the window

    def _observe(self, latest: Slice, now_ms: int) -> None:
        """One more slice: window, marks, limits, stops; then the question to the model, or the decision."""
        self.window.push(latest)
        ledger, risk = self.ledger, self.risk
        risk.slices += 1
        if not self._amiss and self.window.steady(risk.limits.price_jump_max):
            ledger.mark = latest.close
        else:
            self._mark_with_care(latest)
        self.equity = equity = ledger.equity()
        open_ms = latest.open_ms
        close_ms = open_ms + self.setup.interval_ms
        risk.observe(equity, close_ms)
        if risk.causes:
            risk.expire(close_ms)
        if ledger.holdings:
            self._exit(open_ms, now_ms)
        age_ms = now_ms - close_ms
        if age_ms > risk.limits.stale_after_ms:
            self._note("slice.missed", f"slice {open_ms} closed {age_ms} ms after its time", "F13")
        elif self._amiss and not self._anything_moved(latest):
            self.decided_ms = max(self.decided_ms, open_ms)  # nobody has a return: there is nothing to decide
        elif len(self.window) < self.strategy.warmup:
            return
        elif self._waits:
            self._out.append(Infer(open_ms))
        else:
            self._decide(None, open_ms, now_ms)

    def _anything_moved(self, latest: Slice) -> bool:
        """Whether any coin has a return in the newest slice: a candle that traded, and a close before it."""
        return bool((latest.present & np.isfinite(self.window.close[-2])).any())

    def _mark_with_care(self, latest: Slice) -> None:
        """Moves the marks to the new closes; a price that jumped waits for a second source (fault F20)."""
        doubt, before = self.doubt, self.ledger.mark
        mark = self.ledger.mark = doubt.judge(latest.close, before)
        self.risk.broken_at[doubt.missing] = self.risk.slices
        for at in np.nonzero(doubt.jumped)[0]:
            self._pause(self.setup.symbols[at], float(latest.close[at]), float(before[at]), latest.open_ms)
        self._judge_presence()
        unmarked = not (mark > 0).all()
        self._amiss = bool(unmarked or doubt.missing.any() or doubt.jumped.any() or self.risk.level)

    def _judge_presence(self) -> None:
        """Too much of the slice is absent: no entries, until a slice and the window before it are whole again."""
        absent_max = self.setup.limits.absent_max
        missing = self.doubt.missing
        share = np.count_nonzero(missing) / len(missing)
        if share > absent_max:
            text = f"{share:.0%} of the slice is absent, above risk.absent_max {absent_max:.0%}"
            self.risk.trip(Cause("absent", Level.NO_ENTRIES, text, fault="F25"))
            return
        holes = np.isnan(self.window.close[-self.strategy.rows :]).mean() if self.risk.level else 0.0
        if holes <= absent_max:
            self.risk.clear("absent")

    def _pause(self, symbol: str, close: float, before: float, open_ms: int) -> None:
        """No entries after a jump, and a question to a second source (fault F20)."""
        text = f"{symbol} jumped to {close} from {before}: no entries, exits need the book"
        until_ms = open_ms + self.setup.interval_ms + self.setup.limits.price_jump_pause_ms
        self.risk.trip(Cause("price_jump", Level.NO_ENTRIES, text, symbol, until_ms, fault="F20"))
        self._out.append(Confirm(symbol))

    def _confirm(self, symbol: str, price: float) -> None:
        """A second source agrees with the newest close, or it does not."""
        at = self._at[symbol]
        close = float(self.window.close[-1, at])
        if not abs(price / close - 1) <= CONFIRM_WITHIN:
            self._note("price.unconfirmed", f"{symbol} closed at {close}, the book says {price}", "F20", symbol)
            return
        self.ledger.mark_at(at, close)
        self.doubt.jumped[at] = False
        self._note("price.confirmed", f"{symbol} is really at {close}", "F20", symbol)

    def _refuse(self, symbol: str, reason: str) -> None:
        self.risk.broken_at[self._at[symbol]] = self.risk.slices
        self._note("candle.refused", f"{symbol}: {reason}", "F19", symbol)

    # -- forecasts become targets, targets become orders

    def _answer(self, forecast: Forecast, now_ms: int) -> None:
        """Decides on a forecast of the newest slice; any other is noted and dropped."""
        open_ms = forecast.open_ms
        age_ms = now_ms - open_ms - self.setup.interval_ms
        if open_ms != self.window.newest_ms or open_ms <= self.decided_ms:
            self._note("forecast.late", f"slice {open_ms} is not the newest any more", "C9")
        elif age_ms > self.setup.limits.forecast_age_max_ms:
            self._note("forecast.late", f"slice {open_ms}: the forecast came {age_ms} ms after the close", "C1")
        else:
            self.failed_forecasts = 0
            self.risk.clear("forecast")
            if self.strategy.wants_forecast:
                self.window.infer(forecast.returns)
            self._decide(forecast, open_ms, now_ms)

    def _fail(self, open_ms: int, reason: str) -> None:
        self.failed_forecasts += 1
        self._note("forecast.failed", f"slice {open_ms}: {reason}", "C6")
        if self.failed_forecasts == FAILED_FORECASTS_MAX:
            text = f"{FAILED_FORECASTS_MAX} forecasts in a row failed, the last: {reason}"
            self.risk.trip(Cause("forecast", Level.NO_ENTRIES, text, fault="C6"))

    def _decide(self, forecast: Forecast | None, open_ms: int, now_ms: int) -> None:
        if open_ms <= self.decided_ms or self._stopping:
            return
        self.decided_ms = open_ms
        view = View(self._sight, forecast, self.ledger.held, self.portfolio)
        targets = self.strategy.targets(view)
        if targets is None or np.isnan(targets).all():
            return
        portfolio = view.portfolio
        ceiling = self.setup.limits.volatility_max
        volatility = self._market_volatility() if ceiling and (targets > portfolio.weights).any() else 0.0
        close_ms = open_ms + self.setup.interval_ms
        ahead = forecast.volatility if forecast else None
        targets, vetoes = self.risk.trim(targets, portfolio, self._buying(), volatility, close_ms, ahead)
        if vetoes:
            self._note_vetoes(vetoes)
        if self._amiss:
            targets[self.doubt.jumped] = np.nan  # not even an exit on a price in doubt (fault F20)
        wishes = plan(targets, portfolio, self.ledger, self.orders, self.instruments, self.setup.planner)
        for wish in wishes:
            self._submit(wish, self.strategy.explain(view, wish.at), open_ms, now_ms)

    def _buying(self) -> Floats:
        """The shares of equity [N] that live buys may still take."""
        shares = np.zeros(len(self.setup.symbols))
        for symbol, cost in self.orders.buying().items():
            shares[self._at[symbol]] = float(cost) / self.equity if self.equity > 0 else 0.0
        return shares

    def _market_volatility(self) -> float:
        """Standard deviation of the universe's mean return over the last slices, per slice."""
        returns, real = self.window.returns(self.setup.limits.volatility_slices)
        means = returns.sum(axis=1) / np.maximum(real.sum(axis=1), 1)
        return float(means.std()) if len(means) > 1 else 0.0

    def _exit(self, open_ms: int, now_ms: int) -> None:
        """Stops, and the way down while the state is REDUCE: exits that wait for no forecast."""
        ledger = self.ledger
        ledger.raise_highs()
        reasons = self.risk.stops(ledger.entry, ledger.high, ledger.mark)
        if self.risk.level is Level.REDUCE:
            reasons |= {int(at): "reduce" for at in np.nonzero(ledger.opened_ms)[0]}
        if reasons:
            # dust cannot be sold, and an old mark in doubt proves nothing (faults O10, F20)
            able = (self.sellable * ledger.mark >= self.notional_min) & ~self.doubt.jumped
            reasons = {at: reason for at, reason in reasons.items() if able[at]}
        if not reasons:
            return
        targets = np.full(len(self.setup.symbols), np.nan)
        targets[list(reasons)] = 0.0
        for wish in plan(targets, self.portfolio(), self.ledger, self.orders, self.instruments, self.setup.planner):
            self._submit(wish, reasons[wish.at], open_ms, now_ms)
            self.risk.cool_down(wish.symbol, open_ms + self.setup.interval_ms)

    def _submit(self, wish: Wish, reason: str, open_ms: int, now_ms: int) -> None:
        if self._stopping:
            return
        number = self.orders_made + 1
        client_id = f"lac{self.session}-{open_ms // self.setup.interval_ms:x}-{wish.at}-{number}"
        life_ms = self.setup.planner.life_ms
        wish = Wish(wish.symbol, wish.at, wish.side, wish.quantity, wish.price, wish.limit, reason)
        order = self.risk.approve(wish, client_id, self.equity, life_ms, open_ms, now_ms)
        if isinstance(order, Veto):
            self._note_vetoes([order])
            return
        self.orders_made = number
        self.orders.add(intent(order, wish.limit or wish.price, now_ms))
        self._out.append(Submit(order))

    def _note_vetoes(self, vetoes: list[Veto]) -> None:
        by_reason: dict[str, list[str]] = {}
        for veto in vetoes:
            by_reason.setdefault(veto.reason, []).append(veto.symbol)
        for reason, symbols in by_reason.items():
            only = symbols[0] if len(symbols) == 1 else ""
            self._note("veto", f"{', '.join(symbols)}: {reason}", symbol=only)

    # -- reports move orders and the ledger

    def _book(self, report: Report, now_ms: int) -> None:
        change = self.orders.report(report)
        if change is None:
            self._note("report.foreign", f"{report.client_id} is no order of ours", "A8")
            return
        before, after = change
        match report:
            case Filled() if len(after.trade_ids) > len(before.trade_ids):
                self.ledger.apply(report)
                self._weigh(report.symbol)
            case Rejected(code=code, reason=reason) if code == UNRECORDED:
                self._note("order.unrecorded", f"{before.symbol}: {reason}", symbol=before.symbol)
            case Rejected(code=code, reason=reason):
                self._note("order.rejected", f"{before.symbol} {code} {reason}", "O5", before.symbol)
                self.risk.rejected(code, now_ms)
            case Unanswered(reason=reason):
                self._note("order.unknown", f"{before.client_id}: {reason}", "O1", before.symbol)
            case Unfound() if after.state is State.ABSENT:
                self._note("order.absent", f"{before.client_id} never reached the exchange", "O2", before.symbol)

    # -- time

    def _wake(self, now_ms: int) -> None:
        self._wake_ms = 0
        self._close_slices(now_ms)
        stragglers = self.slices.stragglers(now_ms)
        if stragglers:
            self._out.append(Fetch(stragglers, self.slices.next_ms, self.slices.next_ms))
        for order in tuple(self.orders.live.values()):
            self._tend(order, now_ms)
        self.orders.forget(now_ms)

    def _tend(self, order: Order, now_ms: int) -> None:
        """Asks again for what is unknown, cancels what has outlived its slice."""
        if order.state in UNPROVEN:
            if now_ms >= max(order.asked_ms, order.created_ms) + QUERY_EVERY_MS:
                self.orders.ask(order, now_ms)
                self._out.append(Query(order.client_id, order.symbol))
        elif now_ms >= max(order.expires_ms, order.asked_ms + QUERY_EVERY_MS):
            self.orders.cancel(order, now_ms)
            self._out.append(Cancel(order.client_id, order.symbol))

    def _plan_wake(self, now_ms: int) -> None:
        """Asks to be woken for the earliest limit, once per limit."""
        due = self.slices.wake_ms(now_ms)
        for order in self.orders.live.values():
            due_order = max(order.expires_ms, order.asked_ms + QUERY_EVERY_MS)
            if order.state in UNPROVEN:
                due_order = max(order.asked_ms, order.created_ms) + QUERY_EVERY_MS
            due = min(due, due_order) if due else due_order
        if due and due != self._wake_ms and not (self._wake_ms and now_ms < self._wake_ms < due):
            self._wake_ms = due
            self._out.append(WakeAt(due))

    # -- people

    def _obey(self, verb: Verb, who: str, now_ms: int) -> None:
        text = f"{verb} by {who}"
        match verb:
            case Verb.RESUME:
                self.risk.resume(self.equity)
                self._note("operator.resume", text)
            case Verb.PAUSE:
                self.risk.trip(Cause("pause", Level.NO_ENTRIES, text, latched=True))
            case Verb.REDUCE | Verb.FLATTEN:
                self.risk.trip(Cause("reduce", Level.REDUCE, text, latched=True))
                self._exit(self.window.newest_ms, now_ms)
            case Verb.HALT:
                self.risk.trip(Cause("halt", Level.HALTED, text, latched=True))
                self._cancel_all(now_ms, tuple(Side))

    def _cancel_all(self, now_ms: int, sides: tuple[Side, ...]) -> None:
        for order in tuple(self.orders.live.values()):
            if order.side in sides and order.state not in UNPROVEN:
                self.orders.cancel(order, now_ms)
                self._out.append(Cancel(order.client_id, order.symbol))

    # -- memory

    def _restore(self, snapshot: Snapshot, now_ms: int) -> None:
        """Starts anew from a snapshot: an engine that ran and one just made are the same after it."""
        if snapshot.symbols != self.setup.symbols:
            raise ValueError("the snapshot is of another universe than the engine was built for")
        self._begin(self.window.emptied())
        self.session, self.decided_ms = snapshot.session, snapshot.decided_ms
        self.orders_made = snapshot.orders_made
        self.instruments = snapshot.instruments
        self.notional_min[:] = [float(instrument.notional_min) or TINY for instrument in snapshot.instruments]
        ledger = self.ledger = Ledger(snapshot.symbols, snapshot.quote_asset, snapshot.cash_start)
        ledger.cash, ledger.realised = snapshot.cash, snapshot.realised
        ledger.fees, ledger.fees_value = dict(snapshot.fees), snapshot.fees_value
        ledger.restore(snapshot.holdings)
        for symbol in ledger.holdings:
            self._weigh(symbol)
        ledger.mark = snapshot.marks
        self.orders.restore(snapshot.orders, now_ms)
        self.risk.restore(snapshot.risk)
        self._past_forecasts = (snapshot.forecasts_open_ms, snapshot.forecasts)
        self._checkpoint = (snapshot.assembly, snapshot.streaks)

    def _remember_past(self, panel: Panel) -> None:
        """The first history opens the window; later ones only fill holes in it."""
        window = self.window
        if not len(panel):
            return
        if len(window):
            window.fill(panel.rows(0, int(np.searchsorted(panel.open_ms, window.newest_ms, side="right"))))
            return
        window.fill(panel)
        window.adopt(*self._past_forecasts)
        closes = window.close
        self.ledger.mark = self.doubt.judge_past(closes, self.ledger.mark)
        assembly, streaks = self._checkpoint
        if assembly is None:
            self.slices.start(window.newest_ms)
        else:
            self.slices.restore(assembly, window.newest_ms + self.setup.interval_ms)
        if streaks is None:
            gone = np.isnan(closes[::-1])
            self.risk.broken_at[:] = np.where(gone.any(axis=0), -gone.argmax(axis=0), -len(closes))
        else:
            self.risk.broken_at[:] = -streaks.sane
            self.failed_forecasts = streaks.failed_forecasts
        self.equity = self.ledger.equity()

    @property
    def idle(self) -> bool:
        """Nothing is amiss, held back or under way, and the window is long enough: slices may be passed over."""
        quiet = not (self._amiss or self.risk.causes or self.orders.live or self.failed_forecasts)
        return quiet and len(self.window) >= self.strategy.warmup

    def portfolio(self) -> Portfolio:
        """What is owned now, as arrays."""
        ledger = self.ledger
        equity = self.equity = ledger.equity()
        weights = ledger.quantity * ledger.mark
        weights /= equity if equity > 0 else np.inf
        entry, high, opened_ms = ledger.entry, ledger.high, ledger.opened_ms
        owned = self.sellable * ledger.mark >= self.notional_min
        if np.count_nonzero(owned) < len(ledger.holdings):  # dust: nothing an order could be made of (fault O10)
            weights[~owned] = 0.0
            entry, high = np.where(owned, entry, np.nan), np.where(owned, high, np.nan)
            opened_ms = np.where(owned, opened_ms, 0)
        return Portfolio(equity, float(ledger.cash), weights, entry, high, opened_ms, ledger.mark)

    def _weigh(self, symbol: str) -> None:
        """How much of a position could be sold: on the step, and 0 where that is less than an order may be."""
        at, held = self._at[symbol], self.ledger.holdings.get(symbol)
        instrument = self.instruments[at]
        sellable = instrument.floor_quantity(held.quantity) if held else Decimal(0)
        self.sellable[at] = float(sellable) if sellable >= instrument.quantity_min else 0.0

    def _note(self, code: str, text: str, fault: str = "", symbol: str = "") -> None:
        self._out.append(Note(code, text, fault, symbol))
