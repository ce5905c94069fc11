"""What came of the strongest divergences of the newest decided slice: an order, a veto, or why they were left alone.

For people who watch, worked out behind the orders of the slice: nothing here is journaled, and nothing moves the
engine. A veto is read from its note, an order from the engine's book; what the strategy left alone it says itself. What
it wanted and neither ordered nor vetoed is, was cut to nothing by a limit, the planner or the exchange's steps.
"""

import copy

import numpy as np
from msgspec import Struct

from bot.core.commands import Note
from bot.core.engine import Engine
from bot.core.events import Forecast
from bot.core.market import Floats, Integers
from bot.core.planner import FULL_EXIT
from bot.core.strategy import Portfolio, Strategy, View
from bot.core.window import Sight
from strategies.telling import telling

STRONGEST = 8


class Fate(Struct, frozen=True):
    """One coin's divergence in a decided slice, returns as fractions.

    `expected` is what buying it was expected to bring, None where that is unknown; `cost` what it had to beat, 0 for
    nothing. `client_id` is the order that was made of it, "" for none; `why` the order's reason, or why there is none.
    """

    symbol: str
    divergence: float
    inferred: float
    actual: float
    expected: float | None
    cost: float
    client_id: str
    vetoed: bool
    why: str


class Fates:
    """Listens to the engine's vetoes; `newest` are the fates of the slice decided last, `open_ms` its open."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._vetoes: dict[str, tuple[int, str]] = {}
        self.newest: tuple[Fate, ...] = ()
        self.open_ms = 0

    def vetoed(self, note: Note) -> None:
        """Keeps what a veto's note says, by coin: "BTC/USDT, ETH/USDT: why"."""
        symbols, _, reason = note.text.partition(": ")
        for symbol in symbols.split(", "):
            self._vetoes[symbol] = (self._engine.window.newest_ms, reason)

    def decided(self, forecast: Forecast | None) -> bool:
        """The newest slice has just been decided; False where this forecast is not of it and nothing came of any."""
        engine = self._engine
        window, open_ms = engine.window, engine.window.newest_ms
        if forecast is None or forecast.open_ms != open_ms:
            return False
        # a copy is asked: looking must not move the equity that the engine decides on, a replay would not see it moved
        view = View(Sight(window), forecast, engine.ledger.held, copy.copy(engine).portfolio)
        divergence, (returns, _) = window.divergences(1)[-1], window.returns(1)
        self.open_ms = open_ms
        self.newest = tuple(self._fate(view, at, divergence, returns[-1]) for at in strongest(divergence).tolist())
        return True

    def _fate(self, view: View, at: int, divergence: Floats, returns: Floats) -> Fate:
        engine, symbol = self._engine, view.window.symbols[at]
        strategy, teller = engine.strategy, telling(engine.strategy)
        opinion = teller.opinion(view, at) if teller else None
        made = (one for one in engine.orders.live.values() if one.symbol == symbol and one.open_ms == self.open_ms)
        order = next(made, None)  # just made, so it lives
        veto_ms, veto = self._vetoes.get(symbol, (0, ""))
        vetoed = order is None and veto_ms == self.open_ms
        if order is not None:
            why = order.reason
        elif vetoed:
            why = veto
        else:
            why = (opinion.refusal if opinion else "") or _unordered(engine, strategy, view, at)
        return Fate(
            symbol,
            float(divergence[at]),
            float(divergence[at] + returns[at]),
            float(returns[at]),
            opinion.expected if opinion else None,
            teller.cost if teller else 0.0,
            order.client_id if order is not None else "",
            vetoed,
            why,
        )


def strongest(divergence: Floats) -> Integers:
    """The coins of the largest divergences [N], the largest first; those without one are left out."""
    known = np.flatnonzero(np.isfinite(divergence))
    return known[np.argsort(-np.abs(divergence[known]), kind="stable")][:STRONGEST]


def _unordered(engine: Engine, strategy: Strategy, view: View, at: int) -> str:
    """Why what the strategy wants of a coin became no order, though risk vetoed nothing."""
    targets, portfolio = strategy.targets(view), view.portfolio
    target = np.nan if targets is None else float(targets[at])
    move = target - float(portfolio.weights[at])
    instrument = engine.instruments[at]
    least = f"below the exchange's minimum of {instrument.notional_min:f} {instrument.quote}"
    if np.isnan(target):
        return "the strategy has no opinion"
    if engine.doubt.jumped[at]:
        return "its price is in doubt"
    if move < 0:
        if move >= -engine.setup.planner.trade_min and target > FULL_EXIT:
            return _too_little(engine, -move)
        return "it is being sold already" if engine.orders.selling(instrument.symbol) else least
    if move == 0:
        return "as much is held as it would buy"
    if instrument.symbol in engine.orders.buying():
        return "it is being bought already"
    return _unbought(engine, portfolio, at, target) or least


def _unbought(engine: Engine, portfolio: Portfolio, at: int, target: float) -> str:
    """What left nothing of an entry up to this share of equity; "" where only the exchange's steps can have."""
    limits, weight = engine.setup.limits, float(portfolio.weights[at])
    trade_min, margin = engine.setup.planner.trade_min, 1.0 - engine.setup.planner.cash_margin
    if target - weight <= trade_min:
        return _too_little(engine, target - weight)
    if limits.position_max - weight <= trade_min:
        return f"risk.position_max {limits.position_max:.1%} is reached"
    ordered = float(sum(engine.orders.buying().values()))
    invested = float(portfolio.weights.sum()) + ordered / portfolio.equity
    if limits.exposure_max - invested <= trade_min:
        return f"risk.exposure_max {limits.exposure_max:.1%} is reached"
    free = (portfolio.cash - ordered) * margin
    least = float(engine.instruments[at].notional_min) * engine.setup.planner.notional_margin
    return f"no more than {max(free, 0.0):,.2f} of cash is free" if free < least else ""


def _too_little(engine: Engine, share: float) -> str:
    return f"{share:.2%} of equity is below planner.trade_min {engine.setup.planner.trade_min:.2%}"
