"""How good a volatility model is on hours it never saw, beside every baseline fitted on the same split.

Scored   hours of the test range that moved, right after one that did, of one coin; forecast by every model.
Three    numbers of each forecast, each by the measure it is for (models/volatility_scores.py).
Against  the baseline with the least QLIKE in the same test: the hardest one there is.
"""

import math
import time
from collections.abc import Mapping

import numpy as np
from msgspec import Struct

from bot.core.market import HOUR_MS, Floats, Integers, Mask, Panel
from models import student
from models.model import BadModel
from models.volatility import Estimator, volatility
from models.volatility_model import QUANTILES, VolatilityForecast, VolatilityModel
from models.volatility_scores import (
    Calibration,
    diebold_mariano,
    direction_against_now,
    direction_of_differences,
    errors,
    mincer_zarnowitz,
    qlike,
)

HOURS_MIN = 24
ROUNDING = 1e-9  # persistence, by way of a logarithm and back, forecasts no rise
INTERVALS = {"0.8": (0.1, 0.9), "0.9": (0.05, 0.95), "0.5": (0.25, 0.75)}


class Score(Struct, frozen=True):
    """Of one model. `direction` against the present hour, `direction_differences` of steps; `mape` as a fraction."""

    qlike: float
    mse: float
    rmse: float
    mae: float
    mape: float
    r2: float
    direction: float
    direction_differences: float


class Test(Struct, frozen=True):
    """Diebold and Mariano's test `against` the best baseline: below 0 the model is better. On QLIKE, and on squares."""

    against: str
    statistic: float
    p: float
    squared_statistic: float
    squared_p: float


class Evaluation(Struct, frozen=True):
    """One coin. `coverage`: the share of hours within the predicted intervals, `below`: that below each predicted
    quantile; `mincer_zarnowitz` of the means.

    `fallbacks`, `clamped`: hours of the test in which a simpler rule answered, or the answer was bounded.
    """

    symbol: str
    start_ms: int
    stop_ms: int
    hours: int
    model: Score
    baselines: dict[str, Score]
    dm: Test
    coverage: dict[str, float]
    below: dict[str, float]
    mincer_zarnowitz: Calibration
    fallbacks: int
    clamped: int
    seconds: float


class Tested(Struct, frozen=True, eq=False):
    """The test's hours, for tables and figures: opens [H] of the hours forecast, actual volatilities, the hour before.

    The rest are the model's rows, one for each hour; `quantiles` [H, Q].
    """

    symbol: str
    open_ms: Integers
    actual: Floats
    now: Floats
    volatility: Floats
    mean: Floats
    median: Floats
    quantiles: Floats
    rising: Floats
    fallback: Mask
    clamped: Mask


class Spoken(Struct, frozen=True, eq=False):
    """What one model says of the test's hours: rows [H] of its coins [N]."""

    symbols: tuple[str, ...]
    found: VolatilityForecast


class Forecasts(Struct, frozen=True, eq=False):
    """What every model says of the hours of `panel` from row `first` on; a baseline may know fewer coins."""

    panel: Panel
    first: int
    model: Spoken
    baselines: dict[str, Spoken]
    seconds: float


def evaluate_volatility(
    model: VolatilityModel,
    baselines: Mapping[str, VolatilityModel],
    panel: Panel,
    test_ms: int,
    symbol: str,
) -> tuple[Evaluation, Tested]:
    """The models on the hours of one coin from `test_ms` on; of several coins, ask `forecasts_of` once."""
    if symbol not in panel.symbols:
        raise BadModel(f"the test needs {symbol} among {', '.join(panel.symbols)}")
    return scored(forecasts_of(model, baselines, panel, test_ms), symbol)


def forecasts_of(
    model: VolatilityModel, baselines: Mapping[str, VolatilityModel], panel: Panel, test_ms: int
) -> Forecasts:
    """What the models say of the hours from `test_ms` on; earlier hours of the panel warm them up.

    `baselines` are those of volatility_rivals.fit_rivals. BadModel where a model was fitted on the test.
    """
    began = time.perf_counter()
    late = {name: one.fitted_ms for name, one in (("the model", model), *baselines.items()) if one.fitted_ms >= test_ms}
    if late:
        raise BadModel(f"{', '.join(late)} were fitted on hours of the test: begin the test after {max(late.values())}")
    first = int(np.searchsorted(panel.open_ms, test_ms))
    if not first:
        raise BadModel("the test needs hours before it: begin it later, or give earlier candles")
    own = _forecast(model, panel, first)
    others = {name: _forecast(one, panel, first) for name, one in baselines.items()}
    return Forecasts(panel, first, own, others, time.perf_counter() - began)


def scored(forecasts: Forecasts, symbol: str) -> tuple[Evaluation, Tested]:
    """The scores of one coin, on hours that all its models have a forecast for.

    `seconds` are those of all coins' forecasts and of this coin's scores. BadModel where there are too few hours.
    """
    began = time.perf_counter()
    if symbol not in forecasts.model.symbols:
        raise BadModel(f"the model has no forecast of {symbol}, only of {', '.join(forecasts.model.symbols)}")
    said = {name: _of_coin(one, symbol) for name, one in forecasts.baselines.items() if symbol in one.symbols}
    own = _of_coin(forecasts.model, symbol)
    actual, now = _hours(forecasts.panel, forecasts.first, symbol)
    usable = np.isfinite(actual) & np.isfinite(now)
    for one in (own, *said.values()):
        usable &= np.isfinite(one.volatility)
    if usable.sum() < HOURS_MIN:
        raise BadModel(
            f"{int(usable.sum())} hours of {symbol} can be scored, {HOURS_MIN} are needed: give more candles"
        )
    actual, now, own = actual[usable], now[usable], _chosen(own, usable)
    said = {name: _chosen(one, usable) for name, one in said.items()}
    parts = ("volatility", "mean", "median", "quantiles", "rising", "fallback", "clamped")
    open_ms = forecasts.panel.open_ms[forecasts.first :][usable]
    tested = Tested(symbol, open_ms, actual, now, *(getattr(own, name) for name in parts))
    scores = {name: score_of(one.volatility, one.mean, one.median, actual, now) for name, one in said.items()}
    evaluation = Evaluation(
        symbol,
        int(open_ms[0]),
        int(open_ms[-1]),
        len(open_ms),
        score_of(own.volatility, own.mean, own.median, actual, now),
        scores,
        _test(own, said, scores, actual),
        _coverage(tested),
        _below(tested),
        _line(tested),
        int(tested.fallback.sum()),
        int(tested.clamped.sum()),
        forecasts.seconds + time.perf_counter() - began,
    )
    return evaluation, tested


def transforms(tested: Tested) -> Floats:
    """How likely the forecasts held a volatility below the actual one to be [H]: evenly spread where they are calibrated.

    The probability integral transform (Dawid 1984), of the Student's t in logs that all quantiles follow from.
    """
    low, location, high = (np.log(tested.quantiles[:, QUANTILES.index(share)]) for share in (0.1, 0.5, 0.9))
    scale = (high - low) / (2.0 * student.quantile(0.9))
    return student.below((np.log(tested.actual) - location) / scale)


def _forecast(model: VolatilityModel, panel: Panel, first: int) -> Spoken:
    """Of the panel's hours from row `first` on: each made at the hour before. Warmed up by what comes earlier."""
    wanted = panel.of(model.symbols)
    begin = max(0, first - 1 - model.warmup)
    return Spoken(model.symbols, model.forecast_panel(wanted.rows(begin, len(wanted) - 1), first - 1 - begin))


def _of_coin(spoken: Spoken, symbol: str) -> VolatilityForecast:
    """The same rows of one coin: arrays [H], quantiles [H, Q]."""
    at, found = spoken.symbols.index(symbol), spoken.found
    return VolatilityForecast(found.open_ms, *(getattr(found, name)[:, at] for name in found.__struct_fields__[1:]))


def _chosen(found: VolatilityForecast, usable: Mask) -> VolatilityForecast:
    return VolatilityForecast(*(getattr(found, name)[usable] for name in found.__struct_fields__))


def _hours(panel: Panel, first: int, symbol: str) -> tuple[Floats, Floats]:
    """The volatilities of hours from row `first` on, and those of the hours before; NaN where there is none."""
    found = volatility(panel.of((symbol,)).rows(first - 1, len(panel)), Estimator.GARMAN_KLASS)[:, 0]
    moved = np.where(found > 0.0, found, np.nan)
    follows = np.diff(panel.open_ms[first - 1 :]) == HOUR_MS
    return moved[1:], np.where(follows, moved[:-1], np.nan)


def score_of(root: Floats, mean: Floats, median: Floats, actual: Floats, now: Floats) -> Score:
    """The scores of forecasts [H] by the roots of their variances, their means and medians; `now` is the hour before."""
    of_mean = errors(mean, actual)
    return Score(
        float(qlike(root, actual).mean()),
        of_mean.mse,
        of_mean.rmse,
        of_mean.mae,
        errors(median, actual).mape,
        of_mean.r2,
        direction_against_now(median, actual, now * (1.0 + ROUNDING)),
        direction_of_differences(median, actual),
    )


def _test(
    own: VolatilityForecast, said: Mapping[str, VolatilityForecast], scores: Mapping[str, Score], actual: Floats
) -> Test:
    best = min(scores, key=lambda name: scores[name].qlike)
    on_qlike = diebold_mariano(qlike(own.volatility, actual), qlike(said[best].volatility, actual))
    on_squares = diebold_mariano((actual - own.mean) ** 2, (actual - said[best].mean) ** 2)
    return Test(best, on_qlike.statistic, on_qlike.p, on_squares.statistic, on_squares.p)


def _coverage(tested: Tested) -> dict[str, float]:
    found = {}
    for name, (low, high) in INTERVALS.items():
        below, above = (tested.quantiles[:, QUANTILES.index(share)] for share in (low, high))
        found[name] = float(np.mean((tested.actual >= below) & (tested.actual <= above)))
    return found


def _line(tested: Tested) -> Calibration:
    if not np.ptp(tested.mean):  # every forecast was bounded: there is no line through one point
        return Calibration(*[math.nan] * 5)
    return mincer_zarnowitz(tested.mean, tested.actual)


def _below(tested: Tested) -> dict[str, float]:
    shares = (tested.actual[:, None] < tested.quantiles).mean(axis=0)
    return {str(share): float(found) for share, found in zip(QUANTILES, shares, strict=True)}
