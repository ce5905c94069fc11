"""A strategy that tells what it makes of a coin: for people who watch it, never for a decision."""

from typing import Protocol, runtime_checkable

from msgspec import Struct

from bot.core.market import Floats
from bot.core.strategy import Strategy, View
from strategies.volatility_target import VolatilityTarget


class Opinion(Struct, frozen=True):
    """What a strategy makes of one coin of a view.

    `expected` is the coin's next return as a fraction, None where that is unknown; `refusal` says why the coin is left
    as it is, "" where the strategy wants it changed.
    """

    expected: float | None
    refusal: str


@runtime_checkable
class Telling(Protocol):
    """`cost` is what the expected return of a bought coin must be above, as a fraction; 0 where every signal is traded."""

    cost: float

    def hopeless(self, gain: Floats | None) -> str:
        """Why it can buy no coin at all with these gains [N], None where they are unknown; "" where it can."""
        ...

    def opinion(self, view: View, at: int) -> Opinion:
        """Of the coin at this index, by the rule that `targets` follows. Same view, same opinion."""
        ...


def telling(strategy: Strategy) -> Telling | None:
    """Who tells why a coin is or is not bought: the strategy, or the one that it sizes; None where neither does."""
    inner = strategy.inner if isinstance(strategy, VolatilityTarget) else strategy
    return inner if isinstance(inner, Telling) else None
