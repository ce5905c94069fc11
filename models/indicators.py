"""The formulas of the features, written once: for arrays [T, N] of many candles, and for the floats of one.

A numpy call costs most of a microsecond however little it does, and a candle needs two hundred: one step of one coin
is four times faster in floats, of a dozen as fast. Both run these lines, and neither rounds otherwise than the other.

Terms   what is summed up, one value for each of SERIES, in their order.
Sums    of terms over the last 6, 14 and 24 candles.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from msgspec import Struct

from bot.core.market import Floats
from models.volatility import garman_klass, parkinson, rogers_satchell, sample_variance, yang_zhang

Value = Any  # a float, or an array [T, N] of them

REAL, LINKED, GK, GAIN, LOSS, SPREAD, ROOT, BODY, OVERNIGHT, RETURN = range(10)
ROOTS, BODIES, OVERNIGHTS, RETURNS = range(10, 14)
PARKINSON, ROGERS, VOLUME, VALUE, SIGNED = range(14, 19)
SERIES = 19

BAND = 20


class Arithmetic(Struct, frozen=True):
    """What the formulas need beside + - and *. `divide` gives what is not finite where the divisor is 0.

    `apart`: the sum of values less another, and that of their squares, added up one after the other.
    """

    sqrt: Callable[[Value], Value]
    larger: Callable[[Value, Value], Value]
    smaller: Callable[[Value, Value], Value]
    size: Callable[[Value], Value]
    sign: Callable[[Value], Value]
    divide: Callable[[Value, Value], Value]
    apart: Callable[[Sequence[Value] | Floats, Value], tuple[Value, Value]]


def _sign(x: float) -> float:
    return 1.0 if x > 0.0 else -1.0 if x < 0.0 else 0.0


def _divide(a: float, b: float) -> float:
    return a / b if b else math.nan


def _apart_floats(values: Sequence[float] | Floats, other: float) -> tuple[float, float]:
    total = square = 0.0
    for value in values:
        apart = value - other
        total += apart
        square += apart * apart
    return total, square


def _apart_arrays(values: Sequence[Floats] | Floats, other: Floats) -> tuple[Floats, Floats]:
    total, square, apart = np.zeros_like(other), np.zeros_like(other), np.empty_like(other)
    for value in values:
        np.subtract(value, other, out=apart)
        total += apart
        apart *= apart
        square += apart
    return total, square


ARRAYS = Arithmetic(np.sqrt, np.maximum, np.minimum, np.absolute, np.sign, np.divide, _apart_arrays)
FLOATS = Arithmetic(math.sqrt, max, min, abs, _sign, _divide, _apart_floats)


class Candle(Struct, frozen=True, eq=False):
    """Prices and volume, their logs (the volume's of 1 + v), the last close before, how much the close has changed.

    `closes`: the BAND - 1 known closes before; `past`: the closes that momenta look back at; `volume_before`.
    `decayed`: the decayed sums of changes, for MACD_DECAYS.
    """

    prices: Sequence[Value] | Floats
    volume: Value
    logs: Sequence[Value] | Floats
    log_volume: Value
    before: Value
    log_before: Value
    change: Value
    closes: Sequence[Value] | Floats
    past: Sequence[Value]
    volume_before: Value
    decayed: Sequence[Value] | Floats


def terms(do: Arithmetic, candle: Candle, real: Value, linked: Value) -> tuple[Value, ...]:
    """The terms of one candle; `real` and `linked` are 1 or 0."""
    _, high, low, close = candle.prices
    log_open, log_high, log_low, log_close = candle.logs
    u, d, c = log_high - log_open, log_low - log_open, log_close - log_open
    overnight, whole = (log_open - candle.log_before) * linked, (log_close - candle.log_before) * linked
    variance = do.larger(garman_klass(u, d, c), 0.0)
    root = do.sqrt(variance)
    gain = do.larger(candle.change, 0.0)
    return (
        real,
        linked,
        variance,
        gain,
        gain - candle.change,
        (do.larger(high, candle.before) - do.smaller(low, candle.before)) * linked,
        root,
        c,
        overnight,
        whole,
        root * root,
        c * c,
        overnight * overnight,
        whole * whole,
        parkinson(u, d),
        rogers_satchell(u, d, c),
        candle.volume,
        (high + low + close) * candle.volume,
        do.sign(candle.change) * candle.volume,
    )


def columns(
    do: Arithmetic,
    candle: Candle,
    term: Sequence[Value],
    short: Sequence[Value],
    middle: Sequence[Value],
    day: Sequence[Value],
) -> tuple[Value, ...]:
    """The features but those of time, in the order of REGISTRY."""
    fast, slow, signal = MACD_WEIGHTS
    close = candle.prices[3]
    return (
        *candle.logs,
        candle.log_volume,
        *_single(do, candle, term[RETURN]),
        *_volatilities(do, term, short, day),
        *_closes(do, candle, short, middle),
        do.divide(middle[SPREAD], middle[LINKED] * close),
        do.divide(day[SPREAD], day[LINKED] * close),
        do.divide(fast * candle.decayed[0] + slow * candle.decayed[1] + signal * candle.decayed[2], close),
        *_volumes(do, candle, day),
    )


def _single(do: Arithmetic, candle: Candle, whole: Value) -> tuple[Value, ...]:
    """Log return, its size, range and body."""
    opened, high, low, close = candle.prices
    return whole, do.size(whole), do.divide(high - low, close), do.divide(do.size(close - opened), opened)


def _volatilities(
    do: Arithmetic, term: Sequence[Value], short: Sequence[Value], day: Sequence[Value]
) -> tuple[Value, ...]:
    """Roots of the variances over 1, 6 and 24 candles; the spread of single ones."""
    candles, linked = do.larger(day[REAL], 2.0), do.larger(day[LINKED], 2.0)  # fewer are not known
    rogers = day[ROGERS] / candles
    overnight = sample_variance(day[OVERNIGHT], day[OVERNIGHTS], linked)
    body = sample_variance(day[BODY], day[BODIES], candles)
    variances = (
        term[PARKINSON],
        term[ROGERS],
        do.divide(short[GK], short[REAL]),
        day[GK] / candles,
        day[PARKINSON] / candles,
        rogers,
        yang_zhang(overnight, body, rogers, 24),
        sample_variance(day[RETURN], day[RETURNS], linked),
        sample_variance(day[ROOT], day[ROOTS], candles),
    )
    return term[ROOT], *(do.sqrt(do.larger(variance, 0.0)) for variance in variances)


def _closes(do: Arithmetic, candle: Candle, short: Sequence[Value], middle: Sequence[Value]) -> tuple[Value, ...]:
    """Momenta, relative strength, Bollinger's width and position.

    The bands come from closes less the newest, which is one of them: their squared mean is at most BAND - 1 times
    their variance, so little cancels, and a flat window has a deviation of exactly 0.
    """
    now = candle.prices[3]
    total, square = do.apart(candle.closes, now)
    mean, square = total / BAND, square / BAND
    four = 4.0 * do.sqrt(do.larger(square - mean * mean, 0.0))
    return (
        *(do.divide(now, past) - 1.0 for past in candle.past),
        do.divide(100.0 * short[GAIN], short[GAIN] + short[LOSS]),
        do.divide(100.0 * middle[GAIN], middle[GAIN] + middle[LOSS]),
        do.divide(four, now + mean),
        0.5 - do.divide(mean, four),
    )


def _volumes(do: Arithmetic, candle: Candle, day: Sequence[Value]) -> tuple[Value, ...]:
    """Volume over its mean, its change, on-balance volume, deviation from the volume-weighted price."""
    total = day[VOLUME]
    return (
        do.divide(candle.volume * day[REAL], total),
        do.divide(candle.volume, candle.volume_before) - 1.0,
        do.divide(day[SIGNED], total),
        do.divide(3.0 * candle.prices[3] * total, day[VALUE]) - 1.0,
    )


def _macd_terms() -> tuple[tuple[float, ...], tuple[float, ...]]:
    """MACD(12, 26, 9)'s histogram as three decayed sums of the closes' changes: their decays and weights.

    With b = 1 - 2 / (span + 1) and D_n = sum_j b_n^j d[-j], e_n(c) = c - b_n D_n, and the mean e_9 of D_n is
    (1 - b_9) / (b_n - b_9) (b_n D_n - b_9 D_9).
    """
    fast, slow, signal = (1.0 - 2.0 / (span + 1.0) for span in (12, 26, 9))
    of_fast, of_slow = ((1.0 - signal) / (decay - signal) for decay in (fast, slow))
    weights = (
        fast * (of_fast * fast - 1.0),
        slow * (1.0 - of_slow * slow),
        signal * (of_slow * slow - of_fast * fast),
    )
    return (fast, slow, signal), weights


MACD_DECAYS, MACD_WEIGHTS = _macd_terms()
