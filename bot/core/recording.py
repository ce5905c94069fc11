"""A strategy that keeps what it answered, slice by slice: for proofs that two runs decide the same."""

from collections.abc import Iterable

import numpy as np
from msgspec import Struct, structs

from bot.core.market import Floats, Integers
from bot.core.strategy import Portfolio, Strategy, View


class Account(Struct, frozen=True, eq=False):
    """What a decision saw of the account; `held` [H] are the indices of the coins that were held."""

    portfolio: Portfolio
    held: Integers


class Recorded:
    """Answers as `strategy` does. `targets_at` maps a slice's open to the wanted weights [N], None for no opinion.

    `accounts_at` maps a slice's open to the account it was decided with: for each of the times `held_from`, in
    milliseconds, the first slice from then on at which something was held.
    """

    def __init__(self, strategy: Strategy, held_from: Iterable[int] = ()) -> None:
        self.strategy = strategy
        self.warmup = strategy.warmup
        self.rows = strategy.rows
        self.wants_forecast = strategy.wants_forecast
        self.wants_volatility = strategy.wants_volatility
        self.targets_at: dict[int, Floats | None] = {}
        self.accounts_at: dict[int, Account] = {}
        self._held_from = sorted(held_from, reverse=True)

    def targets(self, view: View) -> Floats | None:
        """The strategy's own targets, kept; NaN everywhere is no opinion."""
        self._keep_account(view)
        targets = self.strategy.targets(view)
        opinion = None if targets is None or np.isnan(targets).all() else targets.copy()
        self.targets_at[view.window.newest_ms] = opinion
        return targets

    def _keep_account(self, view: View) -> None:
        at_ms = view.window.newest_ms
        if not self._held_from or at_ms < self._held_from[-1] or not view.portfolio.weights.any():
            return
        while self._held_from and self._held_from[-1] <= at_ms:
            self._held_from.pop()
        seen = {name: getattr(view.portfolio, name) for name in ("weights", "entry", "high", "opened_ms", "mark")}
        kept = structs.replace(view.portfolio, **{name: values.copy() for name, values in seen.items()})
        self.accounts_at[at_ms] = Account(kept, view.held.copy())

    def explain(self, view: View, at: int) -> str:
        return self.strategy.explain(view, at)
