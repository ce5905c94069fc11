"""How good a volatility model is on hours it never saw, beside every baseline fitted on the same split.

Scored   hours of the test range that moved, right after one that did, of one coin; forecast by every model.
Three    numbers of each forecast, each by the measure it is for (models/volatility_scores.py).
Against  the baseline with the least QLIKE in the same test: the hardest one there is.
"""

import time
from collections.abc import Mapping

import numpy as np
from msgspec import Struct

from bot.core.market import Floats, Integers, Mask, Panel
from models.model import BadModel
from models.time_features import HOUR_MS
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
    """One coin. `coverage`: the share of hours within the predicted intervals; `mincer_zarnowitz` of the means.

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
    mincer_zarnowitz: Calibration
    fallbacks: int
    clamped: int
    seconds: float


class Tested(Struct, frozen=True, eq=False):
    """The test's hours, for tables and figures: opens [H] of the hours forecast, actual volatilities, the hour before.

    `forecast`: the model's rows, one for each hour.
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


def evaluate_volatility(
    model: VolatilityModel,
    baselines: Mapping[str, VolatilityModel],
    panel: Panel,
    test_ms: int,
    symbol: str,
) -> tuple[Evaluation, Tested]:
    """The models on the hours of one coin from `test_ms` on; earlier hours of the panel warm them up.

    `baselines` are those of volatility_baselines.fit_baseline. BadModel where a model was fitted on the test, or there
    is too little of it.
    """
    began = time.perf_counter()
    late = {name: one.fitted_ms for name, one in (("the model", model), *baselines.items()) if one.fitted_ms >= test_ms}
    if late:
        raise BadModel(f"{', '.join(late)} were fitted on hours of the test: begin the test after {max(late.values())}")
    first = int(np.searchsorted(panel.open_ms, test_ms))
    if not first or symbol not in panel.symbols:
        raise BadModel(f"the test needs hours before it, and {symbol} among {', '.join(panel.symbols)}")
    every = {
        "": _forecast(model, panel, first),
        **{name: _forecast(one, panel, first) for name, one in baselines.items()},
    }
    coins = {"": model.symbols.index(symbol), **{name: one.symbols.index(symbol) for name, one in baselines.items()}}
    actual, now = _hours(panel, first, symbol)
    usable = np.isfinite(actual) & np.isfinite(now)
    for name, found in every.items():
        usable &= np.isfinite(found.volatility[:, coins[name]])
    if usable.sum() < HOURS_MIN:
        raise BadModel(
            f"{int(usable.sum())} hours of {symbol} can be scored, {HOURS_MIN} are needed: give more candles"
        )
    scores = {name: _score(found, coins[name], usable, actual, now) for name, found in every.items()}
    own, at = every[""], coins[""]
    tested = Tested(
        symbol,
        panel.open_ms[first:][usable],
        actual[usable],
        now[usable],
        *(getattr(own, name)[usable, at] for name in ("volatility", "mean", "median", "quantiles", "rising")),
    )
    evaluation = Evaluation(
        symbol,
        int(tested.open_ms[0]),
        int(tested.open_ms[-1]),
        int(usable.sum()),
        scores.pop(""),
        scores,
        _test(every, coins, scores, usable, actual),
        _coverage(tested),
        mincer_zarnowitz(tested.mean, tested.actual),
        int(own.fallback[usable, at].sum()),
        int(own.clamped[usable, at].sum()),
        time.perf_counter() - began,
    )
    return evaluation, tested


def _forecast(model: VolatilityModel, panel: Panel, first: int) -> VolatilityForecast:
    """Of the panel's hours from row `first` on: each made at the hour before. Warmed up by what comes earlier."""
    wanted = panel.of(model.symbols)
    begin = max(0, first - 1 - model.warmup)
    return model.forecast_panel(wanted.rows(begin, len(wanted) - 1), first - 1 - begin)


def _hours(panel: Panel, first: int, symbol: str) -> tuple[Floats, Floats]:
    """The volatilities of hours from row `first` on, and those of the hours before; NaN where there is none."""
    found = volatility(panel.of((symbol,)).rows(first - 1, len(panel)), Estimator.GARMAN_KLASS)[:, 0]
    moved = np.where(found > 0.0, found, np.nan)
    follows = np.diff(panel.open_ms[first - 1 :]) == HOUR_MS
    return moved[1:], np.where(follows, moved[:-1], np.nan)


def _score(found: VolatilityForecast, coin: int, usable: Mask, actual: Floats, now: Floats) -> Score:
    actual, now = actual[usable], now[usable]
    root, mean, median = (part[usable, coin] for part in (found.volatility, found.mean, found.median))
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
    every: Mapping[str, VolatilityForecast],
    coins: Mapping[str, int],
    scores: Mapping[str, Score],
    usable: Mask,
    actual: Floats,
) -> Test:
    best = min(scores, key=lambda name: scores[name].qlike)

    def losses(name: str) -> tuple[Floats, Floats]:
        root, mean = (part[usable, coins[name]] for part in (every[name].volatility, every[name].mean))
        return qlike(root, actual[usable]), (actual[usable] - mean) ** 2

    on_qlike, on_squares = (diebold_mariano(own, other) for own, other in zip(losses(""), losses(best), strict=True))
    return Test(best, on_qlike.statistic, on_qlike.p, on_squares.statistic, on_squares.p)


def _coverage(tested: Tested) -> dict[str, float]:
    found = {}
    for name, (low, high) in INTERVALS.items():
        below, above = (tested.quantiles[:, QUANTILES.index(share)] for share in (low, high))
        found[name] = float(np.mean((tested.actual >= below) & (tested.actual <= above)))
    return found
