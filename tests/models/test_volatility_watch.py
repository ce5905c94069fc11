"""The rolling score of a volatility model at work, against the same scores computed from whole arrays."""

import math

import numpy as np
import pytest
from msgspec.structs import replace

from bot.core.market import HOUR_MS, Floats, Panel
from models.shipped_volatility import shipped_simple
from models.volatility import Estimator, volatility
from models.volatility_model import VolatilityForecast
from models.volatility_scores import qlike
from models.volatility_watch import SPAN, VolatilityWatch
from tests.models.hours import absent_at
from tests.models.volatile import volatile

ROWS, COINS = 500, 3
FIRST = 200


@pytest.fixture(scope="module")
def hours() -> Panel:
    """With an hour of one coin that is not there."""
    return absent_at(volatile(ROWS, COINS), 450, 1)


@pytest.fixture(scope="module")
def both(hours: Panel) -> tuple[VolatilityForecast, VolatilityForecast]:
    """What a model that says a fifth more, and does not know the last coin, and the panel HAR say at each close."""
    simple = shipped_simple(hours.symbols).forecast_panel(hours)
    more = simple.volatility * 1.2
    more[:, 2] = np.nan
    clamped = simple.clamped.copy()
    clamped[:, 0] = True
    return replace(simple, volatility=more, quantiles=simple.quantiles * 1.2, clamped=clamped), simple


def watched(hours: Panel, both: tuple[VolatilityForecast, VolatilityForecast], first: int = FIRST) -> VolatilityWatch:
    watch = VolatilityWatch(hours.symbols)
    for row in range(first, len(hours)):
        model, simple = (one.rows(row, row + 1) for one in both)
        watch.observe(hours.rows(row, row + 1), model, simple)
    return watch


def losses(forecast: Floats, actual: Floats) -> Floats:
    known = np.isfinite(forecast) & np.isfinite(actual)
    return qlike(forecast[known], actual[known])


def test_the_rolling_score_is_that_of_the_last_week_at_once(
    hours: Panel, both: tuple[VolatilityForecast, VolatilityForecast]
) -> None:
    """QLIKE of both and coverage over the last 168 hours and the coins that both know, as volatility_scores says."""
    found = watched(hours, both).score
    model, simple = both
    rows = np.arange(ROWS - SPAN, ROWS)
    actual = volatility(hours, Estimator.GARMAN_KLASS)[rows]
    actual[:, 2] = np.nan  # the model does not know it
    assert (found.hours, found.pairs) == (SPAN, 2 * SPAN - 1)
    assert found.qlike == pytest.approx(losses(model.volatility[rows - 1], actual).mean())
    assert found.simple == pytest.approx(losses(simple.volatility[rows - 1], actual).mean())
    low, high = (model.quantiles[rows - 1][..., at] for at in (1, 5))
    assert found.coverage == pytest.approx(((low <= actual) & (actual <= high)).sum() / (2 * SPAN - 1))
    assert 0.5 < found.coverage < 1.0 and found.qlike != found.simple


def test_hours_forecast_and_their_fallbacks_are_counted(
    hours: Panel, both: tuple[VolatilityForecast, VolatilityForecast]
) -> None:
    """Each hour once, each coin that was clamped; what happened last is told."""
    watch = watched(hours, both)
    assert (watch.hours, watch.clamped) == (ROWS - FIRST, int(both[0].clamped[FIRST:].sum()))
    assert watch.fallbacks == int(both[0].fallback[FIRST:].sum())
    assert np.array_equal(watch.realised, volatility(hours, Estimator.GARMAN_KLASS)[-1])


def test_nothing_is_scored_before_a_forecast_has_met_its_hour(
    hours: Panel, both: tuple[VolatilityForecast, VolatilityForecast]
) -> None:
    """NaN, not a score of nothing."""
    watch = watched(hours, both, ROWS - 1)
    assert watch.score.hours == watch.score.pairs == 0
    assert math.isnan(watch.score.qlike) and math.isnan(watch.score.coverage)


def test_an_hour_after_a_gap_or_a_failure_is_not_scored(
    hours: Panel, both: tuple[VolatilityForecast, VolatilityForecast]
) -> None:
    """A forecast is of the next hour alone: not of one two hours later, and none of the hour where a model failed."""
    rows = [300, 302, 303, 304, 305]
    watch = VolatilityWatch(hours.symbols)
    for row in rows:
        model, simple = (one.rows(row, row + 1) for one in both)
        watch.observe(hours.rows(row, row + 1), None if row == 303 else model, simple)
    assert watch.score.hours == 2  # 303, of 302's forecast, and 305
    assert watch.hours == 4


def test_what_is_older_than_the_span_is_forgotten(
    hours: Panel, both: tuple[VolatilityForecast, VolatilityForecast]
) -> None:
    """By time: after a week away nothing is left of the scores before it."""
    watch = watched(hours.rows(0, 400), tuple(one.rows(0, 400) for one in both), 390)  # type: ignore[arg-type]
    assert watch.score.hours == 9
    late = hours.rows(400, 401)
    moved = replace(late, open_ms=late.open_ms + SPAN * HOUR_MS)
    watch.observe(moved, None, None)
    assert watch.score.hours == 0


def test_several_hours_at_once_are_told_of_the_last(
    hours: Panel, both: tuple[VolatilityForecast, VolatilityForecast]
) -> None:
    """The first of them is what the forecast before was of."""
    model, simple = both
    watch = VolatilityWatch(hours.symbols)
    watch.observe(hours.rows(300, 301), model.rows(300, 301), simple.rows(300, 301))
    watch.observe(hours.rows(301, 304), model.rows(303, 304), simple.rows(303, 304))
    assert watch.score.hours == 1
    actual = volatility(hours, Estimator.GARMAN_KLASS)[301, :2]
    assert watch.score.qlike == pytest.approx(qlike(model.volatility[300, :2], actual).mean())
