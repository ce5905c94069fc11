"""What follows a divergence: forward returns, their correlations and the event study, all by hand."""

import numpy as np
import pytest

from bot.core.market import MINUTE_MS, Floats
from models.edge import average, event_study, forwards, horizons
from tests.models.markets import market, panel_of, with_close, without

PANEL = market(600, 4, seed=3)
DAY_ROWS = 1_440


def test_forward_returns_compound_the_closes() -> None:
    """Raw from close to close; relative less the equal-weight mean; nothing beyond the end."""
    one, five = forwards(PANEL, (1, 5))
    expected = PANEL.close[15] / PANEL.close[10] - 1
    assert five.raw[10] == pytest.approx(expected)
    assert five.relative[10] == pytest.approx(expected - expected.mean())
    assert np.isnan(five.raw[-5:]).all() and np.isfinite(five.raw[:-5]).all()
    assert one.raw[10] == pytest.approx(PANEL.close[11] / PANEL.close[10] - 1)


def test_absent_coins_have_no_forward_return() -> None:
    """Nor do they count in the market's mean."""
    panel = with_close(PANEL, 15, 2, np.nan)
    (five,) = forwards(panel, (5,))
    assert np.isnan(five.raw[10, 2])
    others = [0, 1, 3]
    assert five.relative[10, others] == pytest.approx(five.raw[10, others] - five.raw[10, others].mean())


def test_no_return_reaches_over_a_hole() -> None:
    """The rows before a hole in time have none whose steps would cross it."""
    (five,) = forwards(without(PANEL, slice(100, 103)), (5,))
    assert np.isnan(five.raw[95:100]).all()
    assert np.isfinite(five.raw[94]).all() and np.isfinite(five.raw[100]).all()


def test_a_horizon_is_the_mean_correlation_over_coins() -> None:
    """As numpy computes it, coin by coin; the error is that of daily means."""
    panel = market(3 * DAY_ROWS, 3, seed=8)
    divergence = np.random.default_rng(1).normal(size=panel.close.shape)
    (one,) = horizons(divergence, forwards(panel, (1,)), panel.open_ms)
    after = panel.close[1:] / panel.close[:-1] - 1
    by_coin = [np.corrcoef(divergence[:-1, coin], after[:, coin])[0, 1] for coin in range(3)]
    assert one.raw.mean == pytest.approx(np.mean(by_coin))
    days = panel.open_ms[:-1] // 86_400_000
    daily = [
        np.mean([np.corrcoef(divergence[:-1][days == day, coin], after[days == day, coin])[0, 1] for coin in range(3)])
        for day in np.unique(days)
    ]
    assert one.raw_error == pytest.approx(np.std(daily, ddof=1) / np.sqrt(len(daily)))


def test_events_are_counted_by_side() -> None:
    """Above the threshold lags, below minus it leads; what is followed by nothing known is no event."""
    returns: Floats = np.zeros((5, 2))
    returns[2] = (0.02, 0.0)
    returns[3] = (0.0, -0.04)
    panel = panel_of(returns, start_ms=DAY_ROWS * MINUTE_MS)
    divergence = np.full((5, 2), np.nan)
    divergence[1, 0], divergence[2, 1], divergence[4, 0] = 0.009, -0.01, 0.05
    lagging, leading = event_study(divergence, forwards(panel, (1,)), panel.open_ms, (0.008,))
    assert (lagging.side, lagging.count, lagging.days) == ("lagging", 1, 1)
    assert lagging.raw is not None and lagging.raw.mean == pytest.approx(0.02) and lagging.raw.error is None
    assert lagging.relative is not None and lagging.relative.mean == pytest.approx(0.01)
    assert leading.count == 1
    assert leading.raw is not None and leading.raw.mean == pytest.approx(-0.04)
    nothing, _ = event_study(divergence, forwards(panel, (1,)), panel.open_ms, (0.02,))
    assert (nothing.count, nothing.raw) == (0, None)


def test_errors_are_by_day() -> None:
    """Two days of means 1 and 3: the error is 1 however often the same is seen in a day."""
    few = average(np.array([1.0, 3.0]), np.array([0, 1]))
    many = average(np.repeat([1.0, 3.0], 50), np.repeat([0, 1], 50))
    assert (few.mean, few.error, few.t) == pytest.approx((2.0, 1.0, 2.0))
    assert many.error == pytest.approx(1.0)
    spread = average(np.array([1.0, 3.0, 1.0, 3.0]), np.array([0, 1, 2, 3]))
    assert spread.error == pytest.approx(np.std([1, 3, 1, 3], ddof=1) / 2)
