"""Returns as slices come, splits by time, deviations."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.market import returns_of
from models.dataset import MeanSquare, Tape, deviation_of, returns_in, split, standardised
from tests.models.markets import market, panel_of, without


def test_the_parts_follow_each_other() -> None:
    """70, 15 and 15 % in order of time, every slice once."""
    parts = split(market(200, 3))
    assert [len(part) for part in (parts.train, parts.validation, parts.test)] == [140, 30, 30]
    opens = np.concatenate([part.open_ms for part in (parts.train, parts.validation, parts.test)])
    assert np.array_equal(opens, market(200, 3).open_ms)


@given(st.integers(0, 99), st.lists(st.integers(1, 59), max_size=5))
def test_pieces_give_the_returns_of_the_whole(seed: int, cuts: list[int]) -> None:
    """However the slices are cut into pieces, the returns are those of returns_of on the whole."""
    panel = market(60, 4, seed, absent=0.2)
    tape = Tape(panel.symbols, panel.interval_ms)
    edges = [0, *sorted(cuts), 60]
    pieces = [tape.take(panel.rows(start, stop)) for start, stop in itertools.pairwise(edges)]
    values, real = returns_of(panel.close, panel.present)
    assert np.array_equal(np.vstack([piece.values for piece in pieces]), values)
    assert np.array_equal(np.vstack([piece.real for piece in pieces]), real)


def test_slices_seen_before_are_skipped() -> None:
    """A panel that overlaps what was taken gives its new rows alone, one that is all old gives none."""
    panel = market(30, 3)
    tape = Tape(panel.symbols, panel.interval_ms)
    tape.take(panel.rows(0, 20))
    assert np.array_equal(tape.take(panel.rows(5, 25)).open_ms, panel.open_ms[20:25])
    assert len(tape.take(panel)) == 5
    assert len(tape.take(panel)) == 0


def test_no_return_reaches_across_a_hole() -> None:
    """The first slice after missing ones has no return: its move was not made in one interval."""
    returns = returns_in(without(market(30, 3), slice(10, 13)))
    assert not returns.real[10].any() and not returns.follows[10]
    assert returns.real[11].all() and returns.follows[11]


def test_another_universe_is_refused() -> None:
    """Slices of other symbols, another order or another interval are a bug of the caller."""
    panel = market(5, 3)
    with pytest.raises(ValueError, match="symbols"):
        Tape(panel.symbols[::-1], panel.interval_ms).take(panel)
    with pytest.raises(ValueError, match="interval"):
        Tape(panel.symbols, 300_000).take(panel)


def test_mean_squares_by_hand() -> None:
    """Mean age 2: each older return counts half; an absent one changes nothing; a prior counts as its strength."""
    square = MeanSquare(2, 2.0)
    square.absorb(np.array([2.0, 1.0]), np.array([True, True]))
    square.absorb(np.array([4.0, 9.0]), np.array([True, False]))
    assert square.value() == pytest.approx([(0.5 * 4 + 16) / 1.5, 1.0])
    assert square.value(np.array([1.0, 3.0]), 1.0) == pytest.approx([(0.5 * 4 + 16 + 1) / 2.5, (1 + 3) / 2])


def test_a_coin_without_returns_has_no_deviation() -> None:
    """It is 0, not NaN, and standardising by it under a mask divides nothing by zero."""
    returns = returns_in(panel_of(np.zeros((5, 2)), np.array([[True, False]] * 5)))
    deviation = deviation_of(returns)
    assert np.array_equal(deviation, [0.0, 0.0])
    assert not standardised(returns.values, deviation, returns.real & (deviation > 0), 8.0).any()
