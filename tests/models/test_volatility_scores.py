"""Scores of volatility forecasts: by hand, and against scipy and statsmodels."""

import importlib
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.volatility_scores import (
    diebold_mariano,
    direction_against_now,
    direction_of_differences,
    errors,
    mincer_zarnowitz,
    qlike,
    student_two_sided,
)

FORECAST = np.array([1.0, 2.0, 2.0, 4.0])
ACTUAL = np.array([2.0, 2.0, 1.0, 3.0])


def test_errors_by_hand() -> None:
    """Missed by 1, 0, 1, 1; the actual values' squares about their mean of 2 are 0, 0, 1, 1."""
    found = errors(FORECAST, ACTUAL)
    assert (found.mse, found.mae) == (0.75, 0.75)
    assert found.rmse == pytest.approx(math.sqrt(0.75))
    assert found.mape == pytest.approx((0.5 + 0 + 1 + 1 / 3) / 4)
    assert found.r2 == pytest.approx(1 - 0.75 / 0.5)


def test_qlike_by_hand() -> None:
    """Half the volatility is a quarter of the variance: 4 - ln 4 - 1; a perfect one costs nothing."""
    assert qlike(FORECAST, ACTUAL)[:2] == pytest.approx([3 - math.log(4), 0.0])


@given(st.floats(0.01, 100.0), st.floats(0.01, 100.0))
def test_qlike_is_least_at_the_truth(actual: float, factor: float) -> None:
    """Never below 0, and too low a forecast costs more than one as much too high."""
    low, high = (qlike(np.array([actual * each]), np.array([actual]))[0] for each in (1 / factor, factor))
    assert min(low, high) >= -1e-12
    if factor > 1:
        assert low >= high - 1e-12


def test_directions_by_hand() -> None:
    """Against the present hour, and of one step to the next."""
    now = np.array([1.5, 1.0, 1.5, 3.5])  # forecasts: below, above, above, above; actual: above, above, below, below
    assert direction_against_now(FORECAST, ACTUAL, now) == 0.25
    assert direction_of_differences(FORECAST, ACTUAL) == pytest.approx(2 / 3)  # up, level, up; level, down, up


def test_directions_of_level_steps() -> None:
    """A level step is no rise: it agrees with level and with falling ones."""
    assert direction_of_differences(np.array([1.0, 1.0, 2.0]), np.array([2.0, 1.0, 3.0])) == 1.0


def test_diebold_mariano_by_hand() -> None:
    """Differences 1, 2, 3, 2: mean 2, variance 0.5, and one step ahead the correction is (T - 1) / T."""
    found = diebold_mariano(np.array([2.0, 3.0, 4.0, 3.0]), np.ones(4))
    assert found.statistic == pytest.approx(2 / math.sqrt(0.5 / 4) * math.sqrt(3 / 4))
    ahead = diebold_mariano(np.array([2.0, 4.0, 5.0, 3.0, 1.0]), np.ones(5), 2)  # centred -1, 1, 2, 0, -2
    assert ahead.statistic == pytest.approx(2 / math.sqrt((2 + 2 * 1 / 5) / 5) * math.sqrt((5 + 1 - 4 + 2 / 5) / 5))
    assert diebold_mariano(np.ones(5), np.ones(5)).p == 1.0


def test_diebold_mariano_is_a_t_test_one_step_ahead() -> None:
    """With one step ahead, statistic and p are those of scipy's one-sample t test."""
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    rng = np.random.default_rng(1)
    for count in (8, 40, 4_000):
        first, second = rng.gamma(2.0, 1.0, (2, count))
        found, expected = diebold_mariano(first, second), stats.ttest_1samp(first - second, 0.0)
        assert found.statistic == pytest.approx(expected.statistic, rel=1e-10)
        assert found.p == pytest.approx(expected.pvalue, rel=1e-9)


@given(st.floats(-40.0, 40.0), st.integers(1, 5_000))
def test_students_distribution(statistic: float, degrees: int) -> None:
    """The tails are scipy's, far out too."""
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    expected = 2.0 * float(stats.t.sf(abs(statistic), degrees))
    assert student_two_sided(statistic, degrees) == pytest.approx(expected, rel=1e-8, abs=1e-290)


def test_mincer_zarnowitz_is_statsmodels() -> None:
    """Coefficients, White's errors and R2 are those of OLS there."""
    pytest.importorskip("statsmodels", reason="statsmodels is not installed")
    api = importlib.import_module("statsmodels.api")
    rng = np.random.default_rng(2)
    forecast = rng.gamma(4.0, 0.001, 500)
    actual = (0.0005 + 0.9 * forecast) * rng.lognormal(0.0, 0.4, 500)
    found = mincer_zarnowitz(forecast, actual)
    fitted = api.OLS(actual, api.add_constant(forecast)).fit(cov_type="HC0")
    assert [found.intercept, found.slope] == pytest.approx(list(fitted.params), rel=1e-8)
    assert [found.intercept_error, found.slope_error] == pytest.approx(list(fitted.bse), rel=1e-8)
    assert found.r2 == pytest.approx(fitted.rsquared, rel=1e-9)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_what_is_no_volatility_is_refused(bad: float) -> None:
    """Zero, negative and unknown ones, on either side; and hours that do not fit together."""
    spoiled = np.array([1.0, bad, 2.0, 3.0])
    with pytest.raises(ValueError, match="forecasts are not all"):
        qlike(spoiled, ACTUAL)
    with pytest.raises(ValueError, match="actual values are not all"):
        errors(FORECAST, spoiled)
    with pytest.raises(ValueError, match="same hours"):
        errors(FORECAST, ACTUAL[:3])
