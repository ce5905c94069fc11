"""The window: rows on the grid, views of them, and history that fills holes without touching what is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.market import MINUTE_MS, returns_of
from bot.core.window import OutOfOrder, Window
from tests.making import COINS, START_MS, panel, walk


@given(st.integers(2, 9), st.lists(st.integers(1, 4), min_size=1, max_size=40))
def test_the_window_holds_the_last_rows_of_the_grid(capacity: int, steps: list[int]) -> None:
    """Whatever is skipped, the window is the last `capacity` rows of the grid, skipped ones absent."""
    window = Window(COINS, MINUTE_MS, capacity)
    grid = np.full((sum(steps) + 1, 3), np.nan)
    at = 0
    for step in [0, *steps]:
        at += step
        grid[at] = at + 1.0
        window.push(panel(grid[at : at + 1], START_MS + at * MINUTE_MS).slice(0))
    expected = grid[-capacity:]
    assert np.array_equal(window.close, expected, equal_nan=True)
    assert np.array_equal(window.open_ms, START_MS + MINUTE_MS * np.arange(len(grid))[-capacity:])
    assert np.array_equal(window.present, np.isfinite(expected))


def test_a_slice_that_is_not_newer_is_refused() -> None:
    """Slices come in order; the same one twice is a bug and says so."""
    window = Window(COINS, MINUTE_MS, 5)
    history = walk(3)
    window.fill(history)
    with pytest.raises(OutOfOrder):
        window.push(history.slice(2))


def test_history_fills_holes_and_changes_nothing_that_is_known() -> None:
    """Fault F13: a hole is filled from REST; a candle that was known keeps its values."""
    full = walk(8)
    window = Window(COINS, MINUTE_MS, 8)
    for row in (0, 1, 6):
        window.push(full.slice(row))
    other = panel(full.close * 2, START_MS)
    window.fill(other)
    expected = full.close * 2
    expected[[0, 1, 6]] = full.close[[0, 1, 6]]
    assert np.array_equal(window.close, expected)


def test_history_before_the_first_row_goes_in_front() -> None:
    """Older candles than the window's first are put before it, inferred returns keep their slices."""
    full = walk(8)
    window = Window(COINS, MINUTE_MS, 8)
    window.fill(full.rows(5, 8))
    window.infer(np.array([1.0, 2.0, 3.0]))
    window.fill(full)
    assert np.array_equal(window.close, full.close)
    assert list(window.inferred[-1]) == [1.0, 2.0, 3.0]


def test_divergence_is_inferred_minus_actual_of_the_same_slice() -> None:
    """Known by hand: 1 % inferred, 2 % happened, divergence -1 %; a coin without trade has none."""
    window = Window(COINS, MINUTE_MS, 4)
    window.fill(panel(np.array([[100.0, 100.0, 100.0], [102.0, np.nan, 100.0]])))
    window.infer(np.array([0.01, 0.01, np.nan]))
    found = window.divergences(1)[-1]
    assert found[0] == pytest.approx(-0.01)
    assert np.isnan(found[1:]).all()


def test_the_panel_after_a_time_is_a_copy_of_the_newer_rows() -> None:
    """What the forecaster gets is its own: later slices do not move it."""
    full = walk(6)
    window = Window(COINS, MINUTE_MS, 6)
    window.fill(full)
    newer = window.panel(int(full.open_ms[3]))
    assert list(newer.open_ms) == list(full.open_ms[4:])
    window.push(walk(7).slice(6))
    assert np.array_equal(newer.close, full.close[4:])
    assert len(window.panel(window.newest_ms)) == 0


def test_returns_know_a_minute_without_trades_from_one_without_change() -> None:
    """A zero-trade candle has return 0 and is absent; the next return is real again; after a gap it is not."""
    close = np.array([[100.0], [100.0], [101.0], [np.nan], [103.0], [103.0]])
    present = np.array([[True], [False], [True], [False], [True], [True]])
    returns, real = returns_of(close, present)
    assert returns[:, 0] == pytest.approx([0, 0, 0.01, 0, 0, 0])
    assert list(real[:, 0]) == [False, False, True, False, False, True]
