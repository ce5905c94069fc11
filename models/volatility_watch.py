"""How well a volatility model at work does of late, hour by hour, beside the panel HAR: what shows a model that drifts.

Scored  a pair of an hour and a coin: the hour moved, follows right on the one at whose close it was forecast, and both
        models had forecast it. QLIKE on the forecasts' `volatility`, coverage by the interval of INTERVAL.
Rolling the scores of the last `span` hours by time; an hour that was not scored counts for nothing.
"""

import math
from collections import deque

import numpy as np
from msgspec import Struct

from bot.core.market import HOUR_MS, Floats, Mask, Panel
from models.volatility import Estimator, volatility
from models.volatility_model import INTERVAL, QUANTILES, VolatilityForecast
from models.volatility_scores import qlike

SPAN = 168  # hours

_LOW, _HIGH = (QUANTILES.index(round(0.5 + sign * 0.5 * INTERVAL, 6)) for sign in (-1, 1))


class WatchScore(Struct, frozen=True):
    """Means over `pairs` in `hours`: QLIKE of the model and of the panel HAR, and how much the interval held.

    NaN where nothing was scored yet.
    """

    hours: int = 0
    pairs: int = 0
    qlike: float = math.nan
    simple: float = math.nan
    coverage: float = math.nan


class _Hour(Struct, frozen=True):
    """Sums over the pairs of one hour."""

    open_ms: int
    pairs: int
    qlike: float
    simple: float
    held: int


class VolatilityWatch:
    """`realised` [N] is the Garman-Klass volatility of the newest hour, NaN where a coin did not move.

    `hours` counts forecasts; `fallbacks` and `clamped` the coins in them that a simpler rule has answered for, and whose
    answers were outside of what fitting saw.
    """

    def __init__(self, symbols: tuple[str, ...], span: int = SPAN) -> None:
        self.hours = self.fallbacks = self.clamped = 0
        self.realised: Floats = np.full(len(symbols), np.nan)
        self._span_ms = span * HOUR_MS
        self._before: tuple[VolatilityForecast, VolatilityForecast] | None = None
        self._recent: deque[_Hour] = deque()

    def observe(self, hours: Panel, model: VolatilityForecast | None, simple: VolatilityForecast | None) -> None:
        """The next complete hours, and what both say of the hour after the last of them; None where one has failed."""
        if not len(hours):
            return
        found = volatility(hours, Estimator.GARMAN_KLASS)
        moved = np.where(found > 0.0, found, np.nan)
        if self._before is not None and int(hours.open_ms[0]) == int(self._before[0].open_ms[0]) + HOUR_MS:
            self._score(int(hours.open_ms[0]), moved[0], *self._before)
        newest_ms, self.realised = int(hours.open_ms[-1]), moved[-1]
        while self._recent and self._recent[0].open_ms <= newest_ms - self._span_ms:
            self._recent.popleft()
        self._before = None
        if model is not None:
            self.hours += 1
            self.fallbacks += int(np.count_nonzero(model.fallback))
            self.clamped += int(np.count_nonzero(model.clamped))
            self._before = (model, simple) if simple is not None else None

    def _score(self, open_ms: int, actual: Floats, model: VolatilityForecast, simple: VolatilityForecast) -> None:
        ours, theirs = model.volatility[0], simple.volatility[0]
        pairs: Mask = np.isfinite(actual) & np.isfinite(ours) & np.isfinite(theirs)
        if not pairs.any():
            return
        bounds = model.quantiles[0][pairs]
        held = (bounds[:, _LOW] <= actual[pairs]) & (actual[pairs] <= bounds[:, _HIGH])
        first, second = (float(qlike(one[pairs], actual[pairs]).sum()) for one in (ours, theirs))
        self._recent.append(_Hour(open_ms, int(pairs.sum()), first, second, int(held.sum())))

    @property
    def score(self) -> WatchScore:
        """Of the last hours."""
        pairs = sum(hour.pairs for hour in self._recent)
        if not pairs:
            return WatchScore()
        sums = (sum(getattr(hour, name) for hour in self._recent) for name in ("qlike", "simple", "held"))
        return WatchScore(len(self._recent), pairs, *(float(one) / pairs for one in sums))
