"""The estimate of edge: pooled, by group, and how much of each is believed."""

import numpy as np
import pytest

from bot.core.market import Floats
from models.gain import GROUPS, clusters_of, fit_gain, groups_of, shrunken_slopes
from tests.models.markets import START_MS, panel_of

DAY_MS = 86_400_000


def sums(truth: Floats, noise: float, seed: int = 2, clusters: int = 100, rows: int = 30) -> tuple[Floats, Floats]:
    """Products and squares [C, G] of groups with these slopes between divergence and next return."""
    rng = np.random.default_rng(seed)
    before = rng.normal(size=(clusters, rows, len(truth)))
    after = truth * before + noise * rng.normal(size=before.shape)
    return (before * after).sum(axis=1), (before * before).sum(axis=1)


def test_two_clusters_by_hand() -> None:
    """Pooled slope and its error over clusters, each group's slope and error, and both shrinkages, as on paper."""
    products, squares = np.array([[0.5, 0.0], [0.3, 0.2]]), np.ones((2, 2))
    # pooled (0.5 + 0 + 0.3 + 0.2) / 4 = 0.25; a cluster's residuals sum to 0 and 0: no error, all of it is kept
    # groups 0.4 and 0.1, apart from the pooled one by +- 0.15; their residuals +- 0.1, over squares of 2: +- 0.05,
    # variance 2 / 1 x (0.05^2 + 0.05^2) = 0.01; spread 0.15^2 - 0.01 = 0.0125; believed 0.0125 / 0.0225
    share = 0.0125 / 0.0225
    assert shrunken_slopes(products, squares) == pytest.approx([0.25 + share * 0.15, 0.25 - share * 0.15])


def test_the_pooled_slope_shrinks_by_its_error() -> None:
    """One group: slope 0.4, cluster scores +- 0.1 / 2, variance 2 x 2 x 0.05^2 = 0.01, so 1 - 0.01 / 0.16 is kept."""
    assert shrunken_slopes(np.array([[0.5], [0.3]]), np.ones((2, 1))) == pytest.approx([0.4 * (1 - 0.01 / 0.16)])


def test_a_group_without_evidence_has_the_pooled_gain() -> None:
    """One that was never seen, beside two that differ from each other."""
    products, squares = sums(np.array([0.3, 0.1, 0.0]), 0.2)
    products[:, 2] = squares[:, 2] = 0.0
    one, two, unseen = shrunken_slopes(products, squares)
    assert unseen == pytest.approx(products.sum() / squares.sum(), rel=0.01)
    assert one == pytest.approx(0.3, abs=0.01) and two == pytest.approx(0.1, abs=0.01)


def test_groups_that_do_not_differ_share_one_gain() -> None:
    """What sets their estimates apart is error: most of it is taken away."""
    products, squares = sums(np.full(20, 0.1), 1.0)
    found = shrunken_slopes(products, squares)
    assert np.std(found) < 0.4 * np.std(products.sum(axis=0) / squares.sum(axis=0))
    assert found.mean() == pytest.approx(0.1, abs=0.01)


def test_shrinking_comes_closer_to_the_truth() -> None:
    """Over groups that do differ, the shrunken slopes miss the true ones by less than their own, or the pooled."""
    truth = np.linspace(0.0, 0.1, 20)
    products, squares = sums(truth, 1.0, seed=4, rows=15)
    raw = products.sum(axis=0) / squares.sum(axis=0)

    def missed(slopes: Floats) -> float:
        return float(((slopes - truth) ** 2).sum())

    assert missed(shrunken_slopes(products, squares)) < min(missed(raw), missed(np.full(20, raw.mean())))


def test_nothing_known_is_no_gain() -> None:
    """No slice, no divergence, or no second cluster to tell the error from."""
    products, squares = sums(np.array([0.3, 0.1]), 0.2)
    for one, two in ((products[:0], squares[:0]), (products * 0, squares * 0), (products[:1], squares[:1])):
        assert np.array_equal(shrunken_slopes(one, two), np.zeros(2))


def test_groups_are_thirds_by_deviation() -> None:
    """The calmest first; coins that never moved are apart from all."""
    deviation = np.array([5.0, 0.0, 1.0, 4.0, 2.0, 6.0, 3.0])
    assert groups_of(deviation).tolist() == [2, GROUPS, 0, 1, 0, 2, 1]


def test_wild_coins_that_catch_up_more_have_a_larger_gain() -> None:
    """Coins of three sizes, of which only the wild third makes up for its lag; a coin never seen has the pooled gain."""
    rng = np.random.default_rng(7)
    size = np.repeat([0.0005, 0.001, 0.002], 3)
    catching_up = np.repeat([0.0, 0.0, 0.3], 3)
    own = size * rng.normal(size=(20_000, 9))
    factor = 0.001 * rng.normal(size=(20_000, 1))
    returns = factor + own
    returns[1:] -= catching_up * own[:-1]
    present = np.ones((20_000, 10), dtype=np.bool_)
    present[:, 9] = False
    panel = panel_of(np.hstack((returns, np.zeros((20_000, 1)))), present)
    gain = fit_gain(np.broadcast_to(factor, present.shape).copy(), panel)
    assert np.ptp(gain[:3]) == np.ptp(gain[6:9]) == 0.0
    assert np.abs(gain[:6]).max() < 0.05
    assert gain[6] == pytest.approx(0.3 / (1 + 0.3**2), abs=0.03)  # the divergence holds old lags too
    assert gain[0] < gain[9] < gain[6]


def test_clusters_are_days_where_there_are_enough() -> None:
    """Ten days are ten clusters; a day is its hours."""
    minutes = START_MS // DAY_MS * DAY_MS + 60_000 * np.arange(10 * 1_440)
    assert np.array_equal(clusters_of(minutes), np.arange(10 * 1_440) // 1_440)
    assert np.array_equal(clusters_of(minutes[:1_440]), np.arange(1_440) // 60)
