"""The closed form against the textbook one: the conditional mean by blocks of a covariance, written out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.market import Floats, Mask
from models.conditional import Moments, infer_each, is_positive, precision_of


def by_blocks(covariance: Floats, x: Floats, known: Mask, coin: int) -> float:
    """E[x_coin | the known others] = S_ho S_oo^-1 x_o."""
    others = [at for at in np.flatnonzero(known) if at != coin]
    if not others:
        return 0.0
    answer = covariance[coin, others] @ np.linalg.solve(covariance[np.ix_(others, others)], x[others])
    return float(answer)


def test_two_coins_by_hand() -> None:
    """Correlation 0.5 and penalty 0.25: the other coin counts 0.5 / 1.25 = 0.4."""
    precision = precision_of(np.array([[1.0, 0.5], [0.5, 1.0]]), 0.25)
    inferred = infer_each(precision, np.array([[1.0, -3.0]]), np.ones((1, 2), dtype=np.bool_), 2)
    assert inferred == pytest.approx(np.array([[-1.2, 0.4]]), abs=1e-15)


@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(0, 1))
def test_every_pattern_of_absence_is_the_textbook_conditional(seed: int, coins: int, lags: int) -> None:
    """Whatever is absent, each present coin gets the mean given the present others; absent coins get NaN."""
    rng = np.random.default_rng(seed)
    entries = coins * (1 + lags)
    sample = rng.normal(size=(50, entries)) @ rng.normal(size=(entries, entries))
    correlation: Floats = np.asarray(np.corrcoef(sample.T))
    known = rng.random((4, entries)) > 0.3
    x = np.where(known, rng.normal(size=(4, entries)), 0.0)
    inferred = infer_each(precision_of(correlation, 0.2), x, known, coins)
    covariance = correlation + 0.2 * np.eye(entries)
    for row in range(4):
        for coin in range(coins):
            if known[row, coin]:
                assert inferred[row, coin] == pytest.approx(by_blocks(covariance, x[row], known[row], coin), abs=1e-11)
            else:
                assert np.isnan(inferred[row, coin])


def test_a_row_without_anyone_infers_nobody() -> None:
    """A minute in which every coin is absent gives NaN for every coin, and no warning."""
    inferred = infer_each(np.eye(3), np.zeros((1, 3)), np.zeros((1, 3), dtype=np.bool_), 3)
    assert np.isnan(inferred).all()


def test_moments_age_by_the_row() -> None:
    """Two batches weigh as one: each row by decay to the power of the rows after it."""
    rng = np.random.default_rng(3)
    x, known = rng.normal(size=(5, 2)), np.ones((5, 2), dtype=np.bool_)
    moments = Moments(2, 0.5)
    moments.absorb(x[:2], known[:2])
    moments.absorb(x[2:], known[2:])
    weights = 0.5 ** np.arange(4, -1, -1)
    assert moments.products == pytest.approx((x * weights[:, None]).T @ x)
    assert moments.weights == pytest.approx(np.full((2, 2), weights.sum()))


def test_a_coin_that_was_away_keeps_its_correlation() -> None:
    """Pairs count where both were there: days of absence do not weaken what is known of a coin."""
    rng = np.random.default_rng(4)
    common = rng.normal(size=(4_000, 1))
    x = common + 0.5 * rng.normal(size=(4_000, 3))
    known = np.ones((4_000, 3), dtype=np.bool_)
    known[1_000:, 2] = False
    moments = Moments(3, 0.999)
    moments.absorb(np.where(known, x, 0.0), known)
    correlation = moments.correlation(-0.1, 0.0)
    assert correlation[0, 2] == pytest.approx(0.8, abs=0.05)
    assert correlation[0, 1] == pytest.approx(0.8, abs=0.05)


def test_pairs_that_contradict_each_other_still_make_a_covariance() -> None:
    """Pairs seen in different rows can make a matrix that is none; the correlation given out is one all the same."""
    moments = Moments(3, 1.0)
    for pair, sign in (((0, 1), 1.0), ((1, 2), 1.0), ((0, 2), -1.0)):
        x, known = np.zeros((100, 3)), np.zeros((100, 3), dtype=np.bool_)
        known[:, pair] = True
        x[:, pair[0]], x[:, pair[1]] = 1.0, sign
        moments.absorb(x, known)
    pairwise = moments.products / moments.weights
    assert not is_positive(pairwise, -0.1)
    assert is_positive(moments.correlation(-0.1, 0.0), -0.1)
