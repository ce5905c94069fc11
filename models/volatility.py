"""Five estimators of volatility from candles: of one candle, or over a window.

Each estimates the VARIANCE of one interval's log return; volatility is its root. Windows average variances first.
With u, d, c = ln(high/open), ln(low/open), ln(close/open) and o = ln(open / close before):

garman_klass     (u - d)^2 / 2 - (2 ln 2 - 1) c^2               Garman and Klass 1980, the practical estimator
parkinson        (u - d)^2 / (4 ln 2)                           Parkinson 1980
rogers_satchell  u (u - c) + d (d - c)                          Rogers and Satchell 1991; right with a drift
yang_zhang       var(o) + k var(c) + (1 - k) mean(rogers_satchell),  k = 0.34 / (1.34 + (n + 1) / (n - 1))
                                                                Yang and Zhang 2000; right with drift and jumps
realised         var(o + c), of log returns

var is the sample variance: squares about the mean over n - 1. The last two need a window of two or more.

Absent  a candle that is not real counts for nothing, and o is not known across a hole; a window is known while at
        least half of its candles are. Flat candles have volatility 0.
"""

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from bot.core.market import Floats, Panel
from models.candles import Candles, CandleTape
from models.model import Arrays
from models.running import RunningSums

_CLOSE_SHARE = 2.0 * math.log(2.0) - 1.0
_RANGE_SHARE = 1.0 / (4.0 * math.log(2.0))


class Estimator(StrEnum):
    GARMAN_KLASS = "garman_klass"
    PARKINSON = "parkinson"
    ROGERS_SATCHELL = "rogers_satchell"
    YANG_ZHANG = "yang_zhang"
    REALISED = "realised"


class Moves(Struct, frozen=True, eq=False):
    """Logs [T, N] of open over the close before, and of high, low and close over open."""

    overnight: Floats
    high: Floats
    low: Floats
    close: Floats


def moves_of(logs: Floats, before: Floats) -> Moves:
    """The moves of candles with log prices [4, T, N] and closes before them [T, N], in raw units."""
    high, low, close = logs[1:] - logs[0]
    return Moves(logs[0] - np.log(before), high, low, close)


def garman_klass(high: Floats, low: Floats, close: Floats) -> Floats:
    """Variances from moves against the open; never below 0 where low <= 0, close <= high."""
    width = high - low
    variance: Floats = 0.5 * (width * width) - _CLOSE_SHARE * (close * close)
    return variance


def parkinson(high: Floats, low: Floats) -> Floats:
    """Variances from moves against the open."""
    width = high - low
    variance: Floats = _RANGE_SHARE * (width * width)
    return variance


def rogers_satchell(high: Floats, low: Floats, close: Floats) -> Floats:
    """Variances from moves against the open."""
    return high * (high - close) + low * (low - close)


def sample_variance(sums: Floats, squares: Floats, counts: Floats) -> Floats:
    """Variances from sums of values and of their squares over `counts` values: for values of a mean near 0."""
    found: Floats = (squares - sums * sums / counts) / (counts - 1.0)
    return found


def yang_zhang(overnight: Floats, close: Floats, rogers_satchell: Floats, window: int) -> Floats:
    """Variances from the variances of overnight and open-to-close moves and the mean Rogers-Satchell variance."""
    k = 0.34 / (1.34 + (window + 1.0) / (window - 1.0))
    return overnight + k * close + (1.0 - k) * rogers_satchell


class Volatility:
    """One estimator over one window, of slices that come in pieces: what the whole would give, to the bit."""

    def __init__(self, symbols: tuple[str, ...], interval_ms: int, estimator: Estimator, window: int) -> None:
        least = 2 if estimator in (Estimator.YANG_ZHANG, Estimator.REALISED) else 1
        if window < least:
            raise ValueError(f"{estimator.value} needs a window of {least} or more, not {window}")
        self.estimator = estimator
        self.window = window
        self._tape = CandleTape(symbols, interval_ms, window)
        self._sums = RunningSums(_SERIES, (window,), len(symbols))

    def absorb(self, panel: Panel) -> Floats:
        """The volatilities [t, N] of the panel's rows that are new, NaN where not known."""
        pieces = [self._volatility(candles) for candles in self._tape.take(panel)]
        return np.concatenate(pieces) if pieces else np.empty((0, len(panel.symbols)))

    def _volatility(self, candles: Candles) -> Floats:
        rows = _series(candles)
        (window,) = self._sums.absorb(list(rows), candles.block)
        sums = rows if self.window == 1 else window  # a single one is no difference of long sums
        with np.errstate(divide="ignore", invalid="ignore"):
            variance = self._variance(sums)
        counted = sums[0 if self.estimator in _SINGLE else 1]
        known = (2.0 * counted >= self.window) & np.isfinite(variance)
        found: Floats = np.where(known, np.sqrt(np.maximum(variance, 0.0)), np.nan)
        return found[candles.kept]

    def _variance(self, sums: Sequence[Floats] | Floats) -> Floats:
        candles, linked, *means, o, c, r, oo, cc, rr = sums
        match self.estimator:
            case Estimator.REALISED:
                return sample_variance(r, rr, linked)
            case Estimator.YANG_ZHANG:
                spread = sample_variance(c, cc, candles)
                return yang_zhang(sample_variance(o, oo, linked), spread, means[2] / candles, self.window)
        mean: Floats = means[_SINGLE[self.estimator] - 2] / candles
        return mean

    def state(self) -> Arrays:
        """The running state, to go on from after a restart."""
        return self._tape.state() | self._sums.state()

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Takes it back. BadModel when it is of another shape."""
        self._tape.restore(state)
        self._sums.restore(state)


def volatility(panel: Panel, estimator: Estimator, window: int = 1) -> Floats:
    """The volatilities [T, N] of a whole panel, NaN where not known."""
    return Volatility(panel.symbols, panel.interval_ms, estimator, window).absorb(panel)


_SERIES = 11
_SINGLE = {Estimator.GARMAN_KLASS: 2, Estimator.PARKINSON: 3, Estimator.ROGERS_SATCHELL: 4}


def _series(candles: Candles) -> Floats:
    """What is summed [11, T, N]: two counts, three variances, overnight, close and whole moves, and their squares."""
    moves = moves_of(np.log(candles.prices), candles.before)
    rows = np.empty((_SERIES, *candles.real.shape))
    rows[0], rows[1] = candles.real, candles.linked
    rows[2] = garman_klass(moves.high, moves.low, moves.close)
    rows[3] = parkinson(moves.high, moves.low)
    rows[4] = rogers_satchell(moves.high, moves.low, moves.close)
    rows[5] = moves.overnight * candles.linked
    rows[6] = moves.close
    rows[7] = (moves.overnight + moves.close) * candles.linked
    np.multiply(rows[5:8], rows[5:8], out=rows[8:])
    return rows
