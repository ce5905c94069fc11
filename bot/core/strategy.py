"""What a strategy sees and what it answers: one method, the same view gives the same answer."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import msgspec

from bot.core.events import Forecast
from bot.core.market import Floats, Integers, Mask
from bot.core.window import Sight


class Portfolio(msgspec.Struct, frozen=True, eq=False):
    """What is owned, as floats in universe order [N], at the last marks.

    `weights` are shares of equity, `entry` the average price paid (NaN where nothing is held), `high` the
    highest mark since the entry, `opened_ms` the time of the entry (0 where nothing is held).
    """

    equity: float
    cash: float
    weights: Floats
    entry: Floats
    high: Floats
    opened_ms: Integers
    mark: Floats


class View:
    """All a decision may use: the window up to the newest slice, its forecast if one is wanted, the portfolio.

    `held` [H] are the indices of the coins that are held, dust included. The portfolio is worked out when it is first
    looked at: most slices give no reason to.
    """

    __slots__ = ("_own", "_portfolio", "forecast", "held", "window")

    def __init__(self, window: Sight, forecast: Forecast | None, held: Integers, own: Callable[[], Portfolio]) -> None:
        self.window = window
        self.forecast = forecast
        self.held = held
        self._own = own
        self._portfolio: Portfolio | None = None

    @property
    def portfolio(self) -> Portfolio:
        """What is owned now."""
        if self._portfolio is None:
            self._portfolio = self._own()
        return self._portfolio


class Block(msgspec.Struct, frozen=True, eq=False):
    """T consecutive slices of N symbols at once, all of them closed and forecast.

    `close_ms` [T] are their closes; `returns` [T, N] and where they are `real`; `inferred` [T, N], None where the
    strategy wants no forecasts.
    """

    close_ms: Integers
    returns: Floats
    real: Mask
    inferred: Floats | None


@runtime_checkable
class Sparing(Protocol):
    """A strategy that can tell for many slices at once where it has nothing to say."""

    def quiet(self, block: Block) -> Mask:
        """Where [T] it would certainly have no opinion on any coin, whatever is held. Saying False is always right."""
        ...


@runtime_checkable
class Standing(Protocol):
    """A strategy that can tell what it wants to hold in the long run, whatever is held now."""

    def standing(self, view: View) -> Floats:
        """Shares of equity [N], none NaN."""
        ...


class Strategy(Protocol):
    """Decides what to hold.

    `warmup` is the number of slices the window must hold before the first decision, `rows` how many of
    them a decision reads. `wants_forecast`: it reads the returns that a model infers, and waits for them;
    `wants_volatility`: the forecast volatilities of the next hour.
    """

    warmup: int
    rows: int
    wants_forecast: bool
    wants_volatility: bool

    def targets(self, view: View) -> Floats | None:
        """Wanted share of equity [N], in universe order. NaN leaves a coin as it is, None all of them."""
        ...

    def explain(self, view: View, at: int) -> str:
        """One line: why this coin's target is what it is."""
        ...
