"""The exponentially weighted mean of past volatilities; with decay 0 it is persistence, the present hour again.

v_t = decay v_{t-1} + (1 - decay) x_t, in levels of volatility; an hour that is absent or did not move is passed over.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bot.core.market import HOUR_MS, Floats, Panel
from models.candles import shaped
from models.model import Arrays, BadModel
from models.volatility import Estimator, Volatility
from models.volatility_model import Logs, plain_logs

DECAY = 0.7


class Ewma:
    """A predictor without anything to fit."""

    warmup = 24

    def __init__(self, symbols: tuple[str, ...], decay: float = DECAY) -> None:
        if not 0.0 <= decay < 1.0:
            raise BadModel(f"decay must be at least 0 and below 1, not {decay}")
        self.symbols = symbols
        self.architecture = "ewma" if decay else "persistence"
        self._decay = decay
        self._volatility = Volatility(symbols, HOUR_MS, Estimator.GARMAN_KLASS, 1)
        self._mean = np.full(len(symbols), np.nan)

    def of(self, symbols: tuple[str, ...]) -> "Ewma":
        """The same for any coins, that has seen nothing."""
        return Ewma(symbols, self._decay)

    def absorb(self, panel: Panel) -> Logs:
        """What it says of the panel's rows that are new."""
        found = self._volatility.absorb(panel)
        moved = np.where(found > 0.0, found, np.nan)
        means = np.empty(moved.shape)
        for row, now in enumerate(moved):
            mixed = self._decay * self._mean + (1.0 - self._decay) * now
            self._mean = np.where(np.isfinite(mixed), mixed, np.where(np.isfinite(now), now, self._mean))
            means[row] = self._mean
        open_ms = panel.open_ms[len(panel) - len(found) :]
        return plain_logs(open_ms, np.log(means), np.log(moved))

    def pass_over(self, panel: Panel) -> None:
        """Absorbs hours that nothing is asked about."""
        self.absorb(panel)

    def state(self) -> Arrays:
        return {"mean": self._mean.copy()} | self._volatility.state()

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Takes it back. BadModel when it is of another shape."""
        mean: Floats = shaped(state, "mean", self._mean.shape)
        self._volatility.restore(state)
        self._mean = mean

    def settings(self) -> dict[str, Any]:
        return {"decay": self._decay}

    def tensors(self) -> Arrays:
        return {}
