"""Stretches of slices in which nothing can happen, passed over at once: the engine stands after them as if it had
seen each. For replays alone, where the slices to come are already there.

A slice can be passed over when no order is live and no cause is open, every coin has a candle and moved sanely, the
strategy has certainly no opinion, no stop and no loss limit is reached, and no new day begins.
Shapes  S slices of the stretch, N symbols.
"""

import numpy as np

from bot.core.engine import Engine
from bot.core.market import DAY_MS, Floats
from bot.core.window import PanelWindow


def same_day(close_ms: int, interval_ms: int) -> int:
    """How many slices from the one that closes at `close_ms` on fall on its day."""
    return (DAY_MS - close_ms % DAY_MS + interval_ms - 1) // interval_ms


def pass_over(engine: Engine, window: PanelWindow, slices: int, close_ms: int, inferred: Floats | None) -> Floats:
    """Passes over up to `slices` coming slices; the equity at each passed [S].

    `close_ms` is the first one's close. They must be steady, quiet for the strategy, and of one day; `inferred`
    [S, N] are their forecasts. What ends a stretch earlier - a stop, a loss limit, a new day - is left to `handle`.
    """
    ledger, risk = engine.ledger, engine.risk
    if close_ms // DAY_MS != risk.day:
        return np.zeros(0)
    close = window.ahead(slices)
    if ledger.holdings:
        close = close[: _before_a_stop(engine, close)]
    equity = ledger.equities(close)
    equity = equity[: risk.before_a_limit(equity)]
    passed = len(equity)
    if passed:
        close = close[:passed]
        ledger.mark = close[-1]
        if ledger.holdings:
            np.maximum(ledger.high, close.max(axis=0), out=ledger.high)
        engine.equity = float(equity[-1])
        window.advance(passed, None if inferred is None else inferred[:passed])
        engine.decided_ms = window.newest_ms
        risk.pass_over(passed, float(equity.max()))
    return equity


def _before_a_stop(engine: Engine, close: Floats) -> int:
    """The slices before the first at which a stop is reached."""
    ledger, limits = engine.ledger, engine.risk.limits
    if not limits.stop_loss and not limits.trailing_stop:
        return len(close)
    held = (ledger.opened_ms > 0).nonzero()[0]
    price, entry = close[:, held], ledger.entry[held]
    hit = np.zeros(len(close), dtype=np.bool_)
    able = price * engine.sellable[held] >= engine.notional_min[held]  # dust cannot be sold
    if limits.stop_loss:
        hit |= (able & (price <= entry * (1 - limits.stop_loss))).any(axis=1)
    if limits.trailing_stop:
        high = np.maximum(np.maximum.accumulate(price, axis=0), ledger.high[held])
        hit |= (able & (high > entry) & (price <= high * (1 - limits.trailing_stop))).any(axis=1)
    return int(hit.argmax()) if hit.any() else len(close)
