"""The probability of backtest overfitting: as purgedcv has it, and where the answer is known."""

import numpy as np
import purgedcv
import pytest

from backtest.overfitting import cscv
from bot.core.market import Floats


def trials(seed: int, rows: int = 160, count: int = 7) -> Floats:
    return np.random.default_rng(seed).normal(0.0, 0.01, (rows, count))


@pytest.mark.parametrize("seed", range(3))
def test_cscv_is_that_of_purgedcv(seed: int) -> None:
    """Every logit, the slope and, where no rank is exactly the median, the probability (count 6: it cannot be)."""
    returns = trials(seed, count=6)
    oracle = purgedcv.probability_of_backtest_overfitting(returns.T, 8)
    found = cscv(returns, 8)
    assert found
    assert found.choices == oracle.n_combos == 70
    np.testing.assert_allclose(np.sort(found.logits), np.sort(oracle.logits))
    assert found.probability == pytest.approx(oracle.pbo)
    assert found.slope == pytest.approx(oracle.slope)
    assert found.loss == pytest.approx(np.mean(_means_outside(returns, 8) < 0.0))


def _means_outside(returns: Floats, blocks: int) -> Floats:
    """The winners' mean returns out of sample, the plain way."""
    from itertools import combinations

    rows = np.arange(len(returns)).reshape(blocks, -1)
    found = []
    for chosen in combinations(range(blocks), blocks // 2):
        inside = returns[rows[list(chosen)].ravel()]
        outside = returns[np.delete(rows, chosen, axis=0).ravel()]
        winner = np.argmax(inside.mean(axis=0) / inside.std(axis=0, ddof=1))
        found.append(outside[:, winner].mean())
    return np.array(found)


def test_worthless_trials_are_overfitted_about_every_second_time() -> None:
    """Where nothing has skill, the winner in sample is as often below the median out of sample as above it."""
    found = [cscv(trials(seed, 320, 20)) for seed in range(40)]
    assert np.mean([one.probability for one in found if one]) == pytest.approx(0.5, abs=0.1)


def test_one_trial_with_skill_is_no_overfitting() -> None:
    """A trial that is better everywhere wins in sample and out of it."""
    returns = trials(1, 320, 20)
    returns[:, 3] += 0.02
    found = cscv(returns)
    assert found
    assert (found.probability, found.loss, found.choices, found.blocks) == (0.0, 0.0, 12_870, 16)


def test_trials_that_are_right_only_once_are_overfitted() -> None:
    """Each trial shines in its own block and loses elsewhere: who wins in sample loses out of it, always."""
    returns = trials(2, 160, 16) * 0.1 - 0.001
    for block in range(16):
        returns[block * 10 : block * 10 + 10, block] += 0.05
    found = cscv(returns)
    assert found
    assert found.probability == 1.0
    assert found.loss == 1.0


def test_equal_trials_share_their_ranks() -> None:
    """Two equal trials are both the median of themselves: that counts as overfitted, since nothing was gained."""
    returns = np.repeat(trials(1, count=1), 2, axis=1)
    found = cscv(returns)
    assert found
    assert np.all(found.logits == 0.0)
    assert found.probability == 1.0


def test_what_cannot_be_cut_is_none_and_odd_blocks_are_refused() -> None:
    """One trial or too few rows say nothing; trials that never moved have a ratio of 0."""
    assert cscv(trials(1, count=1)) is None
    assert cscv(trials(1, rows=31)) is None
    flat = cscv(np.zeros((64, 3)))
    assert flat
    assert flat.slope is None
    with pytest.raises(ValueError, match="even"):
        cscv(trials(1), 5)


def test_the_oldest_rows_too_many_are_left_out() -> None:
    """163 rows in 16 blocks are the last 160."""
    returns = trials(4, 163)
    one, other = cscv(returns), cscv(returns[3:])
    assert one
    assert other
    np.testing.assert_array_equal(one.logits, other.logits)
