"""The volatility model beside the return model, on the forecaster's thread: warmed up, asked at each hour's close, watched.

Cold      until `warm`, and again from `cool` on: every volatility is NaN. Where warming up failed, slices alone warm
          fresh models.
Failure   a numeric one, or a forecast that is absurd (C6), costs that hour's forecast: counted, and NaN until the next.
Watched   beside the panel HAR, which sees the same hours; where that fails, an hour is not scored.
"""

import contextlib

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from bot.core.market import HOUR_MS, Floats, Mask, Panel
from models.hourly import Hourly
from models.volatility_model import VolatilityForecast, VolatilityModel
from models.volatility_watch import VolatilityWatch, WatchScore

VOLATILITY_MAX = 1.0
LATEST = 4  # hours that are kept for the worker: the newest may be told by slices, and better
NUMERIC = (np.linalg.LinAlgError, ArithmeticError, ValueError)


class VolatilityStatus(Struct, frozen=True, eq=False):
    """What people are told, as of the newest complete hour; arrays [N] in the order of `symbols`.

    `open_ms` of that hour, 0 before the first; `forecast` of the hour after it and `realised` of itself, NaN where not
    known; `fallback` where a simpler rule has answered. Counts since the start; `trouble` of the last failure.
    """

    architecture: str
    symbols: tuple[str, ...]
    open_ms: int
    forecast: Floats
    realised: Floats
    fallback: Mask
    warm: bool
    hours: int
    failed: int
    fallbacks: int
    clamped: int
    score: WatchScore
    trouble: str

    def of_hour(self, now_ms: int) -> Floats:
        """The forecast [N] of the hour that is running; NaN where it is of one that has passed."""
        if now_ms < self.open_ms + 2 * HOUR_MS:
            return self.forecast
        return np.full(len(self.symbols), np.nan)


class Begun(Struct, frozen=True, eq=False):
    """Models that have passed over long ago's hours, and the latest, still to come. `trouble`: why they could not."""

    model: VolatilityModel
    simple: VolatilityModel
    latest: Panel
    trouble: str


class VolatilityWork:
    """`standing` is replaced whole and may be read on any thread, as `begin` may be called; all else is the worker's alone.

    `simple` is the panel HAR for the same coins. BadModel for slices that make no hours.
    """

    def __init__(self, model: VolatilityModel, simple: VolatilityModel, interval_ms: int) -> None:
        self.symbols = model.symbols
        self.interval_ms = interval_ms
        self._pristine = (model, simple)
        self._model, self._simple = Hourly(model, interval_ms), simple
        self._watch = VolatilityWatch(self.symbols)
        self._warm = False
        self._refused_ms = -1
        self._failed = 0
        self._trouble = ""
        self.standing = self._stands(0, None)

    def begin(self, hours: Panel) -> Begun:
        """Fresh models on these past hours: work of seconds for many coins, which keeps nothing waiting elsewhere."""
        model, simple = (one.of(self.symbols) for one in self._pristine)
        long_ago = max(0, len(hours) - LATEST)
        trouble = ""
        try:
            for one in (model, simple):
                one.predictor.pass_over(hours.rows(0, long_ago))
        except NUMERIC as why:
            trouble = f"{type(why).__name__}: {why}"
        return Begun(model, simple, hours.rows(long_ago, len(hours)), trouble)

    def warm(self, begun: Begun, slices: Panel) -> None:
        """Goes on from these models: with their latest hours before the first that the slices tell whole, and the slices."""
        hours, trouble = begun.latest, begun.trouble
        if len(slices):
            whole_ms = -(-int(slices.open_ms[0]) // HOUR_MS) * HOUR_MS
            hours = hours.rows(0, int(np.searchsorted(hours.open_ms, whole_ms)))
        self._warm = True
        self._model, self._simple = Hourly(begun.model, self.interval_ms), begun.simple
        try:
            self._model.warm(hours)
            self._simple.observe(hours)
        except NUMERIC as why:
            trouble = f"{type(why).__name__}: {why}"
        if trouble:
            hours = hours.rows(0, 0)
            model, self._simple = (one.of(self.symbols) for one in self._pristine)
            self._model = Hourly(model, self.interval_ms)
            self._fail(trouble)
        told = self._completed(slices)
        self._learn(told if len(told) else hours.rows(max(0, len(hours) - 1), len(hours)))
        self.standing = replace(self.standing, warm=True)

    def cool(self) -> None:
        """What comes next does not follow on what came before: nothing is known until `warm`."""
        self._warm = False
        self.standing = replace(self._stands(self.standing.open_ms, None), warm=False)

    def observe(self, slices: Panel) -> None:
        """Absorbs the next slices; where they complete an hour, the one after it is forecast."""
        if self._warm:
            self._learn(self._completed(slices))

    def at(self, close_ms: int) -> Floats:
        """The forecast volatilities [N] that stand at this time, NaN where none does."""
        newest = self._model.newest
        refused = newest is not None and int(newest.open_ms[0]) == self._refused_ms
        found = None if refused or not self._warm else self._model.at(close_ms)
        return np.full(len(self.symbols), np.nan) if found is None else found.copy()

    def _completed(self, slices: Panel) -> Panel:
        """The hours that these slices complete, absorbed by both models; none where that failed."""
        try:
            hours = self._model.observe(slices)
        except NUMERIC as why:
            self._fail(f"{type(why).__name__}: {why}")
            return slices.rows(0, 0)
        with contextlib.suppress(*NUMERIC):
            self._simple.observe(hours)
        return hours

    def _learn(self, hours: Panel) -> None:
        """What was forecast at the close of the last of these hours, and how the one before it did."""
        if not len(hours):
            return
        newest_ms = int(hours.open_ms[-1])
        model, simple = self._model.newest, self._simple.forecast()
        assert model is not None
        why = absurd(model)
        if why:
            self._refused_ms = newest_ms
        followed = int(simple.open_ms[0]) == newest_ms  # not where it has failed
        self._watch.observe(hours, None if why else model, simple if followed else None)
        self.standing = self._stands(newest_ms, None if why else model)
        if why:
            self._fail(why)

    def _fail(self, why: str) -> None:
        self._failed += 1
        self._trouble = why
        self.standing = self._stands(self.standing.open_ms, None)

    def _stands(self, open_ms: int, forecast: VolatilityForecast | None) -> VolatilityStatus:
        watch, coins = self._watch, len(self.symbols)
        return VolatilityStatus(
            self._pristine[0].architecture,
            self.symbols,
            open_ms,
            np.full(coins, np.nan) if forecast is None else forecast.volatility[0],
            watch.realised,
            np.zeros(coins, dtype=np.bool_) if forecast is None else forecast.fallback[0],
            self._warm,
            watch.hours,
            self._failed,
            watch.fallbacks,
            watch.clamped,
            watch.score,
            self._trouble,
        )


def absurd(forecast: VolatilityForecast) -> str:
    """Why this cannot be used (C6); "" when it can. A coin that is not known is NaN, which is no reason."""
    known = forecast.volatility[~np.isnan(forecast.volatility)]
    wrong = known[~((known > 0.0) & (known <= VOLATILITY_MAX))]
    return f"a forecast volatility of {wrong[0]:g}" if len(wrong) else ""
