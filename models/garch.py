"""GARCH(1,1) and EGARCH(1,1,1) with Student's t errors: fitted once by `arch` on train, filtered from there on.

r_t = mu + e_t, returns in percent; z = e / sigma.
garch    sigma2_t+1 = omega + alpha e_t^2 + beta sigma2_t                              Bollerslev 1986
egarch   ln sigma2_t+1 = omega + alpha (|z_t| - sqrt(2 / pi)) + gamma z_t + beta ln sigma2_t     Nelson 1991
Returns  they forecast the deviation of closes; the factors of validation turn it into a Garman-Klass volatility.
Absent   an hour without a return leaves the shock at what was expected of it.
Refused  a fit that is no likelier than a constant variance, not stationary, or absurd; others are tried first.
"""

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bot.core.market import HOUR_MS, Floats, Panel
from models.candles import Candles, CandleTape, shaped
from models.har import ROWS_MIN
from models.model import Arrays, BadModel, taken
from models.volatility import garman_klass, moves_of
from models.volatility_inputs import log_volatilities
from models.volatility_model import Logs, places, plain_logs

PERCENT = 100.0
MEAN_SIZE = math.sqrt(2.0 / math.pi)  # of a standard normal; arch centres by it whatever the distribution
VARIANCE_BOUNDS = (1e-6, 1e4)  # of percents: a filter never runs away
PARAMETERS = 6  # mu, omega, alpha, gamma, beta, and the variance to begin from
NEWS_MAX = 1.0  # of alpha and gamma in logs: a deviation more multiplies no variance by more than e each
ROUNDING = 1e-6
SAME = 1e-4  # of the log likelihood: two starts that come so near to each other have found the same


class Kind(StrEnum):
    GARCH = "garch"
    EGARCH = "egarch"


STARTS = {  # alpha, beta, nu: where arch's own start ends nowhere, or stays where it is
    Kind.GARCH: ((0.08, 0.9, 3.0), (0.1, 0.85, 3.0), (0.15, 0.8, 3.0)),
    Kind.EGARCH: ((0.2, 0.98, 4.0), (0.1, 0.99, 6.0), (0.3, 0.9, 3.0)),
}


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
    """Fitted on these hours, coin by coin. BadModel where `arch` is missing, a coin has too few hours, or finds nothing."""
    try:
        import arch  # noqa: F401  it takes a second
    except ImportError as why:
        raise BadModel(f"{kind.value} is fitted by arch, which is not installed: pip install arch") from why
    several = [_returns(train, coin) for coin in range(len(train.symbols))]  # all are looked at before one is fitted
    fits = [_fitted(kind, returns, symbol) for returns, symbol in zip(several, train.symbols, strict=True)]
    return Garch(train.symbols, kind, np.stack(fits))


def _returns(train: Panel, coin: int) -> Floats:
    """One coin's hourly returns in percent, those whose hour before was real. BadModel where there are too few."""
    symbol, close = train.symbols[coin], train.close[:, coin]
    real = np.isfinite(close) & (close > 0) & train.present[:, coin]
    linked = real[1:] & real[:-1] & (np.diff(train.open_ms) == HOUR_MS)
    returns: Floats = PERCENT * np.diff(np.log(np.where(real, close, 1.0)))[linked]
    if len(returns) < ROWS_MIN:
        raise BadModel(f"{symbol}: {len(returns)} returns to fit GARCH on, {ROWS_MIN} are needed: give more candles")
    if not np.var(returns) > 0:
        raise BadModel(f"{symbol}: its closes never moved in train: leave it out")
    return returns


def _fitted(kind: Kind, returns: Floats, symbol: str) -> Floats:
    """The likeliest parameters that make sense, found from one start after another until two agree."""
    from arch.univariate import EGARCH, GARCH, ConstantVariance

    egarch = kind is Kind.EGARCH
    found: Floats | None = None
    likelihood = _likelihood(_result(returns, ConstantVariance(), None))
    for start in (None, *STARTS[kind]):
        process = EGARCH(1, 1, 1) if egarch else GARCH(1, 0, 1)
        result = _result(returns, process, None if start is None else _from(start, returns, egarch))
        parameters, reached = _parameters(result, returns), _likelihood(result)
        if not _sane(kind, parameters, returns):
            continue
        if found is not None and abs(reached - likelihood) <= SAME * abs(likelihood):
            return found if likelihood >= reached else parameters
        if reached > likelihood:
            found, likelihood = parameters, reached
    if found is None:
        raise BadModel(
            f"{symbol}: {kind.value} found no parameters better than a constant variance: give more or other candles"
        )
    return found


def _result(returns: Floats, process: Any, start: Floats | None) -> Any:
    """What arch makes of a volatility process from these values, its own where they are None; None where it gives up."""
    from arch.univariate import ConstantMean, StudentsT

    model = ConstantMean(returns, volatility=process, distribution=StudentsT(), rescale=False)
    try:
        with np.errstate(all="ignore"):
            result = model.fit(disp="off", show_warning=False, starting_values=start)
    except (ValueError, ArithmeticError):
        return None
    return None if result.convergence_flag else result


def _from(start: tuple[float, float, float], returns: Floats, egarch: bool) -> Floats:
    """arch's starting values: mu, omega for the variance of the returns, alpha, gamma of EGARCH, beta, nu."""
    alpha, beta, nu = start
    variance = float(np.var(returns))
    omega = (1.0 - beta) * math.log(variance) if egarch else (1.0 - alpha - beta) * variance
    return np.array([0.0, omega, alpha, *((0.0,) if egarch else ()), beta, nu])


def _likelihood(result: Any) -> float:
    return -math.inf if result is None else float(result.loglikelihood)


def _parameters(result: Any, returns: Floats) -> Floats:
    """Those of the module, NaN where there is no result."""
    by_name = {} if result is None else {**result.params}
    missing = math.nan if result is None else 0.0
    names = ("mu", "omega", "alpha[1]", "gamma[1]", "beta[1]")
    return np.array([*(float(by_name.get(name, missing)) for name in names), float(np.var(returns))])


def _sane(kind: Kind, parameters: Floats, returns: Floats) -> bool:
    """Whether they are those of a market: arch may say that it converged on a mean of 30 % an hour.

    Variances must not run away: alpha + beta up to 1, which hours of coins come to (Nelson 1990), and beta below 1 in logs.
    """
    mu, omega, alpha, gamma, beta, variance = parameters
    if not np.isfinite(parameters).all() or abs(mu) > math.sqrt(variance):
        return False
    if kind is Kind.GARCH:
        return bool(omega >= 0 and alpha >= 0 and beta >= 0 and alpha + beta <= 1.0 + ROUNDING)
    return bool(abs(alpha) <= NEWS_MAX and abs(gamma) <= NEWS_MAX and abs(beta) < 1.0)
