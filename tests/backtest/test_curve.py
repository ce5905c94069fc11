"""What a curve earned: by hand, and as empyrical says it."""

import empyrical
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.curve import below_peak, drawdown, performance, resampled, returns_of, sharpe, sortino, volatility
from backtest.statistics import YEAR_MS
from bot.core.market import DAY_MS, MINUTE_MS, Floats, Integers

CURVES = st.lists(st.floats(0.9, 1.1), min_size=2, max_size=60).map(lambda steps: 100.0 * np.cumprod(np.array(steps)))


def times(count: int, step_ms: int = MINUTE_MS) -> Integers:
    return step_ms * np.arange(count, dtype=np.int64)


def walk(seed: int, count: int = 2_000) -> Floats:
    steps = np.random.default_rng(seed).standard_t(4, count) * 0.01 + 0.0005
    return np.asarray(1_000.0 * np.cumprod(1.0 + np.clip(steps, -0.5, 0.5)), dtype=np.float64)


def test_a_curve_by_hand() -> None:
    """100, 110, 99, 121: 21 % in all, 10 % lost from the second slice to the third and made good at the fourth."""
    made = performance(np.array([100.0, 110.0, 99.0, 121.0]), 100.0, times(4), MINUTE_MS)
    assert made.total_return == pytest.approx(0.21)
    assert made.final_equity == 121.0
    assert made.annual_return is None  # 21 % in three minutes is no rate that a float can hold
    fall = made.drawdown
    assert fall.depth == pytest.approx(0.1)
    assert (fall.peak_ms, fall.trough_ms, fall.recovered_ms) == (120_000, 180_000, 240_000)
    assert (fall.length_ms, fall.longest_ms, fall.underwater) == (120_000, 120_000, 0.25)


def test_the_deepest_fall_is_not_always_the_longest() -> None:
    """A long shallow stretch and a short deep one: depth and length are the deep one's, the longest the other's."""
    made = drawdown(np.array([100.0, 99, 99, 99, 99, 101, 50, 102, 101]), times(9))
    assert made.depth == pytest.approx(51 / 101)
    assert (made.length_ms, made.longest_ms) == (2 * MINUTE_MS, 5 * MINUTE_MS)


def test_a_fall_that_is_not_over_lasts_to_the_end() -> None:
    """Without a recovery there is no time of it, and the length runs to the last slice."""
    made = drawdown(np.array([100.0, 120.0, 90.0, 95.0]), times(4))
    assert made.recovered_ms is None
    assert (made.depth, made.length_ms, made.longest_ms) == (0.25, 2 * MINUTE_MS, 2 * MINUTE_MS)


def test_a_minute_ratio_is_annualised_once() -> None:
    """Spec 8.2: mean over deviation times the root of 525,600, for one-minute candles."""
    equity = walk(1)
    returns = equity[1:] / equity[:-1] - 1.0
    made = performance(equity, equity[0], times(len(equity)), MINUTE_MS)
    assert made.sharpe == pytest.approx(returns.mean() / returns.std(ddof=1) * 525_600**0.5)


@pytest.mark.parametrize("seed", range(5))
def test_ratios_are_those_of_empyrical(seed: int) -> None:
    """Sharpe, Sortino, volatility, drawdown and annual return of daily curves agree with empyrical-reloaded."""
    equity = walk(seed)
    returns = returns_of(equity)
    made = performance(equity, equity[0], times(len(equity), DAY_MS), DAY_MS)
    yearly = empyrical.annual_return(returns, annualization=365)
    deepest = empyrical.max_drawdown(returns)
    assert made.sharpe == pytest.approx(empyrical.sharpe_ratio(returns, annualization=365))
    assert made.sortino == pytest.approx(empyrical.sortino_ratio(returns, annualization=365))
    assert made.volatility == pytest.approx(empyrical.annual_volatility(returns, annualization=365))
    assert made.drawdown.depth == pytest.approx(-deepest)
    assert made.annual_return == pytest.approx(yearly)
    assert made.calmar == pytest.approx(yearly / -deepest)


@given(CURVES, st.floats(0.001, 1e6))
def test_a_larger_account_has_the_same_ratios(equity: Floats, scale: float) -> None:
    """Equity times a constant changes no share, no ratio and no length."""
    one = performance(equity, 100.0, times(len(equity), DAY_MS), DAY_MS)
    other = performance(equity * scale, 100.0 * scale, times(len(equity), DAY_MS), DAY_MS)
    for name in ("total_return", "annual_return", "volatility", "sharpe", "sortino"):
        expected = getattr(one, name)
        if expected is None or abs(expected) > 1e6:  # nearly flat: all rounding
            continue
        assert getattr(other, name) == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert other.drawdown.depth == pytest.approx(one.drawdown.depth, abs=1e-12)


@given(CURVES)
def test_no_value_lies_below_its_drawdown(equity: Floats) -> None:
    """Every slice is at least (1 - depth) of any before it, and one is exactly that."""
    depth = drawdown(equity, times(len(equity))).depth
    worst = min(late / early for at, early in enumerate(equity) for late in equity[at:])
    assert 1.0 - depth == pytest.approx(worst)
    assert below_peak(equity).max() == depth


@pytest.mark.parametrize(
    "equity", [[100.0], [100.0, 100.0, 100.0], [100.0, 101.0], [100.0, 50.0, 0.0, 0.0], [100.0, 0.0]]
)
def test_what_has_no_meaning_is_none(equity: list[float]) -> None:
    """One slice, a flat curve, one return and a ruined account give None or a finite number, never NaN, and no ratio."""
    made = performance(np.array(equity), 100.0, times(len(equity)), MINUTE_MS)
    assert made.sharpe is None
    assert made.sortino is None
    for name in ("total_return", "annual_return", "volatility", "calmar"):
        value = getattr(made, name)
        assert value is None or np.isfinite(value)


def test_an_account_at_zero_has_lost_all() -> None:
    """Total and annual return are -1, the drawdown is 1, the Calmar ratio -1."""
    made = performance(np.array([100.0, 50.0, 0.0]), 100.0, times(3), MINUTE_MS)
    assert (made.total_return, made.annual_return, made.drawdown.depth, made.calmar) == (-1.0, -1.0, 1.0, -1.0)


def test_periods_begin_at_the_first_slice_and_holes_carry_on() -> None:
    """Every hour from the first slice; a hole has the value before it, and the last half hour is left out."""
    open_ms = np.delete(times(150), range(50, 70))
    equity = np.arange(130.0)
    assert resampled(equity, open_ms, 60 * MINUTE_MS).tolist() == [0.0, 49.0, 100.0]


def test_ratios_of_no_returns_are_none() -> None:
    """Nothing to divide by is None."""
    for figure in (sharpe, sortino, volatility):
        assert figure(np.empty(0), YEAR_MS / MINUTE_MS) is None
    assert sortino(np.array([0.1, 0.2]), 1.0) is None
