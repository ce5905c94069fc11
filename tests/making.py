"""What tests are made of: small universes, slices, candles, an engine and a way to talk to it."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, TypeVar

import numpy as np

from bot.core.commands import AnyCommand, Note, Submit, WakeAt
from bot.core.engine import Engine, Setup
from bot.core.events import Accepted, AnyEvent, Filled, Forecast, Forecasted, History, Reconciled, Sent
from bot.core.market import MINUTE_MS, Candle, Floats, Instrument, Panel, Side
from bot.core.memory import genesis
from bot.core.planner import Planner
from bot.core.risk import Limits
from bot.core.strategy import Strategy, View

Kind = TypeVar("Kind", bound=AnyCommand)

START_MS = 1_700_000_040_000  # on the minute
COINS = ("BTC/USDT", "ETH/USDT", "SOL/USDT")


def instruments(symbols: Sequence[str] = COINS) -> tuple[Instrument, ...]:
    """Steps of 0.01 in price and 0.001 in quantity, 5 USDT at least."""
    step = Decimal("0.001")
    return tuple(Instrument(name, Decimal("0.01"), step, step, Decimal(10_000), Decimal(5)) for name in symbols)


def panel(close: Floats, start_ms: int = START_MS, symbols: Sequence[str] = COINS) -> Panel:
    """Candles from closes [T, N]: open is the close before, no wicks; NaN is an absent candle."""
    close = np.asarray(close, dtype=np.float64)
    before = np.vstack([close[:1], close[:-1]])
    open_ms = start_ms + MINUTE_MS * np.arange(len(close), dtype=np.int64)
    high, low = np.fmax(before, close), np.fmin(before, close)
    volume = np.where(np.isnan(close), np.nan, 1.0)
    return Panel(tuple(symbols), MINUTE_MS, open_ms, before, high, low, close, volume, np.isfinite(close))


def walk(rows: int, symbols: Sequence[str] = COINS, seed: int = 1, start_ms: int = START_MS) -> Panel:
    """A seeded random walk around 100 of `rows` minutes."""
    steps = np.random.default_rng(seed).normal(0, 0.001, (rows, len(symbols)))
    return panel(100 * np.exp(np.cumsum(steps, axis=0)), start_ms, symbols)


def candle(symbol: str, open_ms: int, close: float = 100.0, trades: int = 3) -> Candle:
    return Candle(symbol, open_ms, close, close, close, close, float(trades), close * trades, trades)


def setup(symbols: Sequence[str] = COINS, rows: int = 10, **limits: Any) -> Setup:
    """An engine's setup with easy limits: positions up to 30 %, all of it invested."""
    easy: dict[str, Any] = {"position_max": 0.3, "order_max": 0.3, "exposure_max": 1.0, "volatility_max": 0.0} | limits
    planner = Planner(trade_min=0.001)
    return Setup(tuple(symbols), MINUTE_MS, "USDT", 5_000, 20_000, rows, Limits(**easy), planner)


class Wanting:
    """A strategy that wants what it was last told to want."""

    warmup = 2
    rows = 2
    wants_volatility = False

    def __init__(self, wants_forecast: bool = False, weights: Sequence[float] | None = None) -> None:
        self.wants_forecast = wants_forecast
        self.weights = weights

    def targets(self, view: View) -> Floats:
        if self.weights is None:
            return np.full(len(view.portfolio.weights), np.nan)
        return np.array(self.weights, dtype=np.float64)

    def explain(self, view: View, at: int) -> str:
        return "because"


class Talk:
    """A conversation with an engine: `hears` an event, then look at what it `said`."""

    def __init__(self, engine: Engine, now_ms: int) -> None:
        self.engine = engine
        self.now_ms = now_ms
        self.said: list[AnyCommand] = []

    def hears(self, event: AnyEvent, later_ms: int = 0) -> "Talk":
        self.now_ms += later_ms
        self.said = self.engine.handle(event, self.now_ms)
        return self

    def of(self, kind: type[Kind]) -> list[Kind]:
        """What it said of this kind."""
        return [command for command in self.said if isinstance(command, kind)]

    def says(self, *kinds: type[AnyCommand]) -> "Talk":
        """Asserts the kinds of what it said, timers aside."""
        found = [type(command).__name__ for command in self.said if not isinstance(command, WakeAt)]
        assert found == [kind.__name__ for kind in kinds], self.said
        return self

    @property
    def codes(self) -> list[str]:
        return [command.code for command in self.said if isinstance(command, Note)]

    def fill(self, submit: AnyCommand, price: str, trade_id: str = "1", fee: str = "0") -> "Talk":
        """The exchange accepts an order and fills all of it."""
        assert isinstance(submit, Submit)
        order = submit.order
        self.hears(Sent(order.client_id, self.now_ms)).hears(Accepted(order.client_id, "x"))
        return self.hears(filled(submit, price, trade_id, fee, time_ms=self.now_ms))


def filled(
    submit: AnyCommand, price: str, trade_id: str = "1", fee: str = "0", quantity: str = "", time_ms: int = START_MS
) -> Filled:
    """A trade of this order, all of it unless said otherwise, the fee in USDT."""
    assert isinstance(submit, Submit)
    order = submit.order
    amount = Decimal(quantity) if quantity else order.quantity
    side = Side(order.side)
    return Filled(order.client_id, order.symbol, trade_id, side, amount, Decimal(price), Decimal(fee), "USDT", time_ms)


def started(strategy: Strategy, history: Panel, cash: str = "10000", **limits: Any) -> Talk:
    """An engine that has its account and its history, at the close of the last candle of it."""
    made = setup(history.symbols, **limits)
    engine = Engine(made, strategy)
    talk = Talk(engine, int(history.open_ms[-1]) + MINUTE_MS)
    talk.hears(Reconciled(genesis(made, 1, Decimal(cash), instruments(history.symbols))))
    return talk.hears(History(history))


def answer(open_ms: int, returns: Sequence[float]) -> Forecasted:
    return Forecasted(Forecast(open_ms, np.array(returns, dtype=np.float64)), 0.001)
