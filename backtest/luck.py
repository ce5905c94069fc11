"""How much of a result may be chance: Sharpe ratios with their error, trials counted, and intervals by resampling.

Basis     returns of whole days where there are at least OBSERVATIONS_MIN of them, else of hours, else of slices: minute
          returns are autocorrelated (stale prices, bounces, held positions), which the error formulas do not allow for.
Sources   Bailey and Lopez de Prado, "The Sharpe Ratio Efficient Frontier", 2012 (probabilistic ratio); "The Deflated Sharpe
          Ratio", 2014 (expected best of N trials, equation 1). Politis and Romano, "The Stationary Bootstrap", 1994. Politis and
          White, "Automatic Block-Length Selection", 2004, corrected by Patton, Politis and White, 2009 (mean block length).
Ratios    a year's, save inside `probabilistic` and `best_of_chance`, where they are of one period of the basis.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from backtest.curve import FLAT, annual_return, resampled, returns_of, sharpe
from backtest.statistics import YEAR_MS, Interval, Luck
from bot.core.market import DAY_MS, HOUR_MS, Floats, Integers

OBSERVATIONS_MIN = 30
RUN = 5  # max(5, sqrt(log10 n))
DRAWS = 2_000
LEVEL = 0.9
CELLS_MAX = 2_000_000  # of one batch of draws: 16 MB a series
EULER = 0.5772156649015329
NORMAL = NormalDist()


def basis_of(open_ms: Integers, interval_ms: int) -> tuple[str, int]:
    """The name and length of the periods that inference is on."""
    span_ms = int(open_ms[-1] - open_ms[0])
    for name, length in (("day", DAY_MS), ("hour", HOUR_MS)):
        if length > interval_ms and span_ms // length >= OBSERVATIONS_MIN:
            return name, length
    return "slice", interval_ms


def sharpe_of(equity: Floats, open_ms: Integers, interval_ms: int) -> float | None:
    """The annual Sharpe ratio on the basis of inference: what the trial ledger keeps."""
    length = basis_of(open_ms, interval_ms)[1]
    return sharpe(returns_of(resampled(equity, open_ms, length)), YEAR_MS / length)


def luck(
    equity: Floats,
    hold: Floats | None,
    open_ms: Integers,
    interval_ms: int,
    others: Sequence[float | None],
    rng: np.random.Generator,
) -> Luck:
    """Of a curve [T] and buy and hold's [T], given the annual ratios of the other trials (None: it never moved)."""
    name, length = basis_of(open_ms, interval_ms)
    returns = returns_of(resampled(equity, open_ms, length))
    beside = returns_of(resampled(hold, open_ms, length)) if hold is not None else np.empty(0)
    periods = YEAR_MS / length
    ratio = sharpe(returns, periods)
    skew, kurt = moments(returns)
    known = [one for one in (ratio, *others) if one is not None]
    chance = best_of_chance(len(others) + 1, [one / math.sqrt(periods) for one in known])
    block = block_length(returns)
    draws = DRAWS if block is not None else 0
    total = yearly = spread = versus = None
    if block is not None:
        totals, ratios, differences = resample(returns, beside, block, DRAWS, rng)
        total, spread, versus = interval(totals), interval(ratios * math.sqrt(periods)), interval(differences)
        yearly = _annual(total, length * len(returns))
    once = None if ratio is None else ratio / math.sqrt(periods)
    return Luck(
        basis=name,
        observations=len(returns),
        sharpe=ratio,
        skewness=skew,
        kurtosis=kurt,
        trials=len(others) + 1,
        sharpe_by_chance=chance * math.sqrt(periods),
        probabilistic_sharpe=probabilistic(once, 0.0, len(returns), skew, kurt),
        deflated_sharpe=probabilistic(once, chance, len(returns), skew, kurt),
        block=block,
        draws=draws,
        total_return=total,
        annual_return=yearly,
        sharpe_interval=spread,
        versus_hold=versus,
    )


def moments(returns: Floats) -> tuple[float | None, float | None]:
    """Skewness, and kurtosis (3 for a normal), of the sample; None where nothing moved."""
    if len(returns) < 2 or returns.std() <= FLAT:
        return None, None
    scaled = (returns - returns.mean()) / returns.std()
    return float(np.mean(scaled**3)), float(np.mean(scaled**4))


def probabilistic(
    ratio: float | None, benchmark: float, observations: int, skew: float | None, kurt: float | None
) -> float | None:
    """The probability that the true ratio of one period is above `benchmark`, from an estimate over `observations`.

    Phi((ratio - benchmark) sqrt(n - 1) / sqrt(1 - skew ratio + (kurt - 1) / 4 ratio^2)).
    """
    if ratio is None or skew is None or kurt is None or observations < 2:
        return None
    variance = 1.0 - skew * ratio + (kurt - 1.0) / 4.0 * ratio**2
    if variance <= 0.0:
        return None
    return NORMAL.cdf((ratio - benchmark) * math.sqrt(observations - 1) / math.sqrt(variance))


def best_of_chance(trials: int, ratios: Sequence[float]) -> float:
    """The expected highest ratio of so many trials that are worth nothing, which spread as `ratios` do; 0 for one trial.

    sqrt(variance) ((1 - g) Phi^-1(1 - 1/N) + g Phi^-1(1 - 1/(N e))), g the Euler-Mascheroni constant.
    """
    if trials < 2 or len(ratios) < 2:
        return 0.0
    spread = float(np.std(ratios, ddof=1))
    first, second = NORMAL.inv_cdf(1.0 - 1.0 / trials), NORMAL.inv_cdf(1.0 - 1.0 / (trials * math.e))
    return spread * ((1.0 - EULER) * first + EULER * second)


def block_length(returns: Floats) -> float | None:
    """The mean block of the stationary bootstrap that fits how long the returns remember; None where nothing moved.

    The lags that count go to the first of RUN autocorrelations all below 2 sqrt(log10 n / n) (as in the authors' own program;
    without such a run, to the last above it); a flat-top window of twice as many gives G = sum |k| R(k) and g = sum R(k)
    over lags of both signs, and the length is (2 G^2 / (2 g^2))^(1/3) n^(1/3), 1 at least and 3 sqrt(n) or n / 3 at most.
    """
    n = len(returns)
    if n < 2 or returns.std() <= FLAT:
        return None
    lags = min(math.ceil(math.sqrt(n)) + RUN, n - 1)
    centred = returns - returns.mean()
    covariance = np.array([centred[: n - lag] @ centred[lag:] / n for lag in range(lags + 1)])
    small = np.abs(covariance[1:] / covariance[0]) < 2.0 * math.sqrt(math.log10(n) / n)
    loud = np.flatnonzero(~small) + 1
    quiet = np.convolve(small, np.ones(min(RUN, lags)), mode="valid") >= RUN
    counting = int(np.argmax(quiet)) + 1 if quiet.any() else int(loud.max(initial=1))
    width = min(2 * counting, lags)
    lag = np.arange(1, width + 1)
    flat_top = np.minimum(1.0, 2.0 * (1.0 - lag / width))
    long_run = covariance[0] + 2.0 * float(flat_top @ covariance[1 : width + 1])
    memory = 2.0 * float((flat_top * lag) @ covariance[1 : width + 1])
    longest = math.ceil(min(3.0 * math.sqrt(n), n / 3.0))
    if abs(long_run) <= FLAT**2:
        return float(longest)
    return float(np.clip((memory / long_run) ** 2 * n, 1.0, longest**3) ** (1.0 / 3.0))


def resample(
    returns: Floats, beside: Floats, block: float, draws: int, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """Total returns, ratios of one period and differences in total return to `beside`, of `draws` resampled histories.

    Blocks begin anywhere, wrap around the end and go on with probability 1 - 1 / block; both series use the same ones. Without
    a `beside` of equal length there are no differences. A ratio that has no meaning is NaN.
    """
    n = len(returns)
    totals, ratios, differences = [], [], []
    batch = max(1, CELLS_MAX // n)
    for start in range(0, draws, batch):
        rows = _blocks(min(batch, draws - start), n, block, rng)
        drawn = returns[rows]
        total = np.expm1(np.log1p(drawn).sum(axis=1))
        spread = drawn.std(axis=1, ddof=1)
        totals.append(total)
        ratios.append(np.where(spread > FLAT, drawn.mean(axis=1) / np.maximum(spread, FLAT), np.nan))
        if len(beside) == n:
            differences.append(total - np.expm1(np.log1p(beside[rows]).sum(axis=1)))
    return np.concatenate(totals), np.concatenate(ratios), np.concatenate(differences or [np.empty(0)])


def _blocks(draws: int, n: int, block: float, rng: np.random.Generator) -> Integers:
    """Rows [draws, n] of the stationary bootstrap: in every place a new block with probability 1 / block."""
    fresh = rng.random((draws, n)) < 1.0 / block
    fresh[:, 0] = True
    place = np.arange(n)
    began = np.maximum.accumulate(np.where(fresh, place, 0), axis=1)
    first = np.take_along_axis(rng.integers(0, n, (draws, n)), began, axis=1)
    rows: Integers = (first + place - began) % n
    return rows


def interval(values: Floats) -> Interval | None:
    """The middle LEVEL of the values that have a meaning."""
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    low, high = np.quantile(known, [(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0])
    return Interval(float(low), float(high), LEVEL)


def _annual(total: Interval | None, span_ms: int) -> Interval | None:
    """The interval of the annual return: the total's, compounded, since the one grows with the other."""
    if total is None:
        return None
    low, high = annual_return(total.low, span_ms), annual_return(total.high, span_ms)
    return Interval(low, high, total.level) if low is not None and high is not None else None
