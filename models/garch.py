"""GARCH(1,1) and EGARCH(1,1,1) with Student's t errors: fitted once by `arch` on train, filtered from there on.

r_t = mu + e_t, returns in percent; z = e / sigma.
garch    sigma2_t+1 = omega + alpha e_t^2 + beta sigma2_t                              Bollerslev 1986
egarch   ln sigma2_t+1 = omega + alpha (|z_t| - sqrt(2 / pi)) + gamma z_t + beta ln sigma2_t     Nelson 1991
Returns  they forecast the deviation of closes; the factors of validation turn it into a Garman-Klass volatility.
Absent   an hour without a return leaves the shock at what was expected of it.
"""

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bot.core.market import Floats, Panel
from models.candles import Candles, CandleTape, shaped
from models.model import Arrays, BadModel, taken
from models.time_features import HOUR_MS
from models.volatility import garman_klass, moves_of
from models.volatility_inputs import log_volatilities
from models.volatility_model import Logs, places, plain_logs

PERCENT = 100.0
MEAN_SIZE = math.sqrt(2.0 / math.pi)  # of a standard normal; arch centres by it whatever the distribution
VARIANCE_BOUNDS = (1e-6, 1e4)  # of percents: a filter never runs away
PARAMETERS = 6  # mu, omega, alpha, gamma, beta, and the variance to begin from


class Kind(StrEnum):
    GARCH = "garch"
    EGARCH = "egarch"


class Garch:
    """A predictor with `parameters` [N, 6]: mu, omega, alpha, gamma, beta, first variance, of returns in percent."""

    warmup = 168

    def __init__(self, symbols: tuple[str, ...], kind: Kind, parameters: Floats) -> None:
        self.symbols = symbols
        self.architecture = kind.value
        self.parameters = parameters
        self._kind = kind
        self._tape = CandleTape(symbols, HOUR_MS, 1)
        self._variance = parameters[:, 5].copy()

    def of(self, symbols: tuple[str, ...]) -> "Garch":
        """The same for these coins, that has seen nothing. BadModel names those not fitted."""
        return Garch(symbols, self._kind, self.parameters[places(self.symbols, symbols)])

    def absorb(self, panel: Panel) -> Logs:
        """What it says of the panel's rows that are new."""
        pieces = [self._logs(candles) for candles in self._tape.take(panel)]
        nothing = np.empty((0, len(self.symbols)))
        location, now = (np.concatenate((nothing, *(piece[at] for piece in pieces))) for at in range(2))
        return plain_logs(panel.open_ms[len(panel) - len(location) :], location, now)

    def _logs(self, candles: Candles) -> tuple[Floats, Floats]:
        moves = moves_of(np.log(candles.prices), candles.before)
        now = log_volatilities(garman_klass(moves.high, moves.low, moves.close), candles.real)
        returns = np.where(candles.linked, PERCENT * (moves.overnight + moves.close), np.nan)
        variances = np.empty(returns.shape)
        for row, moved in enumerate(returns):
            self._variance = variances[row] = self._next(moved)
        kept = candles.kept
        return 0.5 * np.log(variances[kept]) - math.log(PERCENT), now[kept]

    def _next(self, returns: Floats) -> Floats:
        """The variance after one more hour."""
        mu, omega, alpha, gamma, beta, _ = self.parameters.T
        shock, variance = returns - mu, self._variance
        if self._kind is Kind.GARCH:
            square = np.where(np.isfinite(shock), shock * shock, variance)
            found = omega + alpha * square + beta * variance
        else:
            z = shock / np.sqrt(variance)
            news = np.where(np.isfinite(z), alpha * (np.abs(z) - MEAN_SIZE) + gamma * z, 0.0)
            found = np.exp(omega + news + beta * np.log(variance))
        bounded: Floats = np.clip(found, *VARIANCE_BOUNDS)
        return bounded

    def pass_over(self, panel: Panel) -> None:
        """Absorbs hours that nothing is asked about."""
        self.absorb(panel)

    def state(self) -> Arrays:
        return {"variance": self._variance.copy()} | self._tape.state()

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Takes it back. BadModel when it is of another shape."""
        variance: Floats = shaped(state, "variance", self._variance.shape)
        self._tape.restore(state)
        self._variance = variance

    def settings(self) -> dict[str, Any]:
        return {}

    def tensors(self) -> Arrays:
        return {"parameters": self.parameters.copy()}

    @classmethod
    def load(cls, symbols: tuple[str, ...], kind: Kind, tensors: Mapping[str, NDArray[Any]]) -> "Garch":
        """The predictor of a folder. BadModel where it is none."""
        parameters = taken(tensors, "parameters", (len(symbols), PARAMETERS))
        if not (parameters[:, 5] > 0).all():
            raise BadModel("a first variance is not above 0: fit the model again")
        return cls(symbols, kind, parameters)


def fit_garch(kind: Kind, train: Panel) -> Garch:
    """Fitted on these hours, coin by coin. BadModel where `arch` is missing or finds nothing."""
    return Garch(train.symbols, kind, np.stack([_fitted(kind, train, coin) for coin in range(len(train.symbols))]))


def _fitted(kind: Kind, train: Panel, coin: int) -> Floats:
    try:
        from arch import arch_model
    except ImportError as why:
        raise BadModel(f"{kind.value} is fitted by arch, which is not installed: pip install arch") from why
    close = train.close[:, coin]
    close = close[np.isfinite(close) & (close > 0) & train.present[:, coin]]
    returns = PERCENT * np.diff(np.log(close))
    egarch = kind is Kind.EGARCH
    model = arch_model(
        returns, mean="Constant", vol="EGARCH" if egarch else "GARCH", p=1, o=int(egarch), q=1, dist="t", rescale=False
    )
    found = model.fit(disp="off", show_warning=False)
    if found.convergence_flag:
        raise BadModel(f"{train.symbols[coin]}: {kind.value} found no parameters: give more or other candles")
    by_name = {**found.params}
    names = ("mu", "omega", "alpha[1]", "gamma[1]", "beta[1]")
    return np.array([*(float(by_name.get(name, 0.0)) for name in names), float(np.var(returns))])
