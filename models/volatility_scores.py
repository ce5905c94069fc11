"""How good forecasts of volatility are: errors, QLIKE, direction, and whether one forecast is really better.

Shapes  T hours; forecasts and actual values are volatilities [T], above 0 and finite, of the same hour.
Three   numbers come from one log model (volatility-findings): score its mean by RMSE, R2 and MAE, the root of its mean
        variance by QLIKE, its median by direction and MAPE.
"""

import math

import numpy as np
from msgspec import Struct

from bot.core.market import Floats

_TINY = 1e-300
_ROUNDING = 1e-9  # of the mean loss: one model, warmed up from other hours, differs by less


class Errors(Struct, frozen=True):
    """In volatility; `mape` as a fraction; `r2` against the mean of the actual values."""

    mse: float
    rmse: float
    mae: float
    mape: float
    r2: float


class Comparison(Struct, frozen=True):
    """Diebold and Mariano's test: a `statistic` below 0 says that the first losses are smaller. Two-sided `p`."""

    statistic: float
    p: float


class Calibration(Struct, frozen=True):
    """actual = intercept + slope x forecast, by least squares: 0 and 1 for a forecast without bias."""

    intercept: float
    slope: float
    intercept_error: float
    slope_error: float
    r2: float


def errors(forecast: Floats, actual: Floats) -> Errors:
    """The usual errors. ValueError where the two do not fit together or are not above 0."""
    _check(forecast, actual)
    missed = actual - forecast
    mse = float(np.mean(missed**2))
    spread = float(np.mean((actual - actual.mean()) ** 2))
    return Errors(
        mse,
        math.sqrt(mse),
        float(np.mean(np.abs(missed))),
        float(np.mean(np.abs(missed) / actual)),
        1.0 - mse / spread if spread > 0 else math.nan,
    )


def qlike(forecast: Floats, actual: Floats) -> Floats:
    """The losses [T], v/f - ln(v/f) - 1 on variances: 0 for a perfect forecast (Patton 2011). Score by their mean."""
    _check(forecast, actual)
    ratio = (actual / forecast) ** 2
    losses: Floats = ratio - np.log(ratio) - 1.0
    return losses


def direction_against_now(forecast: Floats, actual: Floats, now: Floats) -> float:
    """How often forecast and actual value stand on the same side of the present hour's volatility `now` [T]."""
    _check(forecast, actual)
    return float(np.mean((forecast > now) == (actual > now)))


def direction_of_differences(forecast: Floats, actual: Floats) -> float:
    """How often the forecast's step from one hour to the next has the sign of the actual one (as published)."""
    _check(forecast, actual)
    return float(np.mean((np.diff(forecast) > 0) == (np.diff(actual) > 0)))


def diebold_mariano(first: Floats, second: Floats, horizon: int = 1) -> Comparison:
    """Whether losses [T] of one forecast are smaller than those of another, with the small-sample correction.

    Diebold and Mariano 1995, variance of the mean difference from `horizon` - 1 autocovariances; corrected and read off
    Student's t with T - 1 degrees of freedom after Harvey, Leybourne and Newbold 1997. Losses that are
    equal but for rounding: 0 and 1.
    """
    apart = first - second
    count = len(apart)
    if first.shape != second.shape or count <= horizon:
        raise ValueError(f"{len(first)} and {len(second)} losses cannot be compared {horizon} ahead")
    if np.abs(apart).max() <= _ROUNDING * np.abs(first).mean():
        return Comparison(0.0, 1.0)
    centred = apart - apart.mean()
    covariances = [float(centred[lag:] @ centred[: count - lag]) / count for lag in range(horizon)]
    variance = (covariances[0] + 2.0 * sum(covariances[1:])) / count
    if variance <= 0.0:  # autocovariances that leave none: the test has no answer
        return Comparison(math.nan, math.nan)
    share = (count + 1 - 2 * horizon + horizon * (horizon - 1) / count) / count
    statistic = float(apart.mean()) / math.sqrt(variance) * math.sqrt(share)
    return Comparison(statistic, student_two_sided(statistic, count - 1))


def mincer_zarnowitz(forecast: Floats, actual: Floats) -> Calibration:
    """Mincer and Zarnowitz's regression of actual values on forecasts; errors are White's, HC0, for wild hours."""
    _check(forecast, actual)
    if len(actual) < 3 or not np.ptp(forecast):
        raise ValueError("a regression needs three forecasts or more that are not all the same")
    x = np.column_stack((np.ones(len(forecast)), forecast))
    inverse = np.linalg.inv(x.T @ x)
    intercept, slope = beta = inverse @ (x.T @ actual)
    missed = actual - x @ beta
    covariance = inverse @ ((x * missed[:, None] ** 2).T @ x) @ inverse
    spread = float(np.sum((actual - actual.mean()) ** 2))
    r2 = 1.0 - float(missed @ missed) / spread if spread > 0 else math.nan
    return Calibration(float(intercept), float(slope), math.sqrt(covariance[0, 0]), math.sqrt(covariance[1, 1]), r2)


def student_two_sided(statistic: float, degrees: int) -> float:
    """How likely Student's t is to be at least so far from 0: I_x(n/2, 1/2) at x = n / (n + t^2)."""
    square = statistic * statistic
    whole = degrees + square
    return _incomplete_beta(degrees / whole, square / whole, 0.5 * degrees, 0.5)


def _incomplete_beta(x: float, rest: float, a: float, b: float) -> float:
    """The regularised incomplete beta function; DLMF 8.17.22, summed as a continued fraction after Lentz.

    `rest` is 1 - x, told apart: near 1 the difference would have no digits left.
    """
    if x <= 0.0 or rest <= 0.0:
        return 0.0 if x <= 0.0 else 1.0
    if x > (a + 1.0) / (a + b + 2.0):  # beyond it the mirrored fraction converges fast
        return 1.0 - _incomplete_beta(rest, x, b, a)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(rest))
    c, d = 1.0, 1.0 / _off_zero(1.0 - (a + b) * x / (a + 1.0))
    fraction = d
    for m in range(1, 500):
        before = fraction
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 / _off_zero(1.0 + term * d)
            c = _off_zero(1.0 + term / c)
            fraction *= c * d
        if abs(fraction - before) <= 1e-15 * abs(fraction):
            break
    return front * fraction / a


def _off_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def _check(forecast: Floats, actual: Floats) -> None:
    if forecast.shape != actual.shape or forecast.ndim != 1 or not len(actual):
        raise ValueError(
            f"forecasts are {list(forecast.shape)}, actual values {list(actual.shape)}: give the same hours"
        )
    for name, values in (("forecasts", forecast), ("actual values", actual)):
        if not (np.isfinite(values) & (values > 0)).all():
            raise ValueError(f"the {name} are not all finite and above 0: leave such hours out of both")
