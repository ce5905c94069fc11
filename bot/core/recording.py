"""A strategy that keeps what it answered, slice by slice: for proofs that two runs decide the same."""

import numpy as np

from bot.core.market import Floats
from bot.core.strategy import Strategy, View


class Recorded:
    """Answers as `strategy` does. `targets_at` maps a slice's open to the wanted weights [N], None for no opinion."""

    def __init__(self, strategy: Strategy) -> None:
        self.strategy = strategy
        self.warmup = strategy.warmup
        self.rows = strategy.rows
        self.wants_forecast = strategy.wants_forecast
        self.targets_at: dict[int, Floats | None] = {}

    def targets(self, view: View) -> Floats | None:
        """The strategy's own targets, kept; NaN everywhere is no opinion."""
        targets = self.strategy.targets(view)
        opinion = None if targets is None or np.isnan(targets).all() else targets.copy()
        self.targets_at[view.window.newest_ms] = opinion
        return targets

    def explain(self, view: View, at: int) -> str:
        return self.strategy.explain(view, at)
