"""What a result stands beside: hold by hand and by a plain loop, random entries on prices that tell where they were."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.baselines import BLOCK, hold, known_closes, random_entries
from backtest.statistics import Trip
from bot.core.market import MINUTE_MS, Panel
from tests.backtest.accounts import coin
from tests.making import COINS, START_MS, panel, walk

RNG = 9


def trip(entered: int, exited: int, symbol: str = "BTC/USDT", stake: float = 100.0, closed: bool = True) -> Trip:
    """A trip between two rows; only its place, stake and state matter here."""
    first, last = START_MS + entered * MINUTE_MS, START_MS + exited * MINUTE_MS
    return Trip(symbol, first, last, closed, 1.0, stake, stake, stake, 0.0, 0.0, 0.0, "", "")


def test_hold_by_hand() -> None:
    """1,000 in two coins less 1 %: one doubles, one is delisted at 90 and counts at that, the third is not there yet."""
    nan = np.nan
    closes = np.array([[100.0, 100.0, nan], [150.0, 90.0, 50.0], [200.0, nan, 500.0]])
    made = hold(panel(closes), 1_000.0, 0.01)
    assert made
    each = 1_000.0 / 1.01 / 2
    assert made.coins == 2
    assert made.equity.tolist() == pytest.approx([2 * each, 2.4 * each, 2.9 * each])
    assert made.performance.total_return == pytest.approx(2.9 * each / 1_000.0 - 1.0)


def test_without_a_price_at_the_first_slice_there_is_no_hold() -> None:
    """Nothing can be bought."""
    assert hold(panel(np.array([[np.nan] * 3, [1.0, 1.0, 1.0]])), 1_000.0, 0.0) is None


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1_000))
def test_hold_is_what_a_plain_loop_says(seed: int) -> None:
    """With gaps anywhere, and over the borders of blocks, the curve is each last known close times what was bought."""
    rng = np.random.default_rng(seed)
    rows = 2 * BLOCK + 7
    closes = 100.0 * np.exp(np.cumsum(rng.normal(0, 0.01, (rows, 3)), axis=0))
    closes[1:][rng.random((rows - 1, 3)) < rng.choice([0.0, 1e-4, 0.3])] = np.nan
    closes[BLOCK - 3 : BLOCK + 3, 1] = np.nan
    made = hold(panel(closes), 1_000.0, 0.0)
    assert made
    known = closes.copy()
    for row in range(1, rows):
        absent = np.isnan(known[row])
        known[row, absent] = known[row - 1, absent]
    np.testing.assert_allclose(made.equity, known @ (1_000.0 / 3 / closes[0]), rtol=1e-12)


def test_known_closes_skip_what_is_absent() -> None:
    """The first and last real closes of each coin; NaN for a coin without any."""
    nan = np.nan
    firsts, lasts = known_closes(panel(np.array([[nan, 1.0, nan], [2.0, nan, nan], [3.0, 5.0, nan]])))
    np.testing.assert_equal((firsts, lasts), ([2.0, 1.0, nan], [3.0, 5.0, nan]))


def test_on_a_flat_price_random_entries_pay_the_costs() -> None:
    """Two trips of 100 at 1 % a side lose 4 in every draw, an open one no selling side: 5 in all."""
    flat = coin(*[100.0] * 50)
    made = random_entries(flat, (trip(1, 5), trip(7, 20), trip(30, 49, closed=False)), 1_000.0, 0.01, 0.0, _rng())
    assert made
    assert (made.mean, made.low, made.high) == pytest.approx((-0.005,) * 3)
    assert made.better == 0.0


def test_on_a_steady_price_only_the_holding_times_matter() -> None:
    """Where the price grows by 1 % a slice, a stay of 10 slices earns 1.01^10 wherever it is."""
    growing = coin(*(1.01 ** np.arange(100)).tolist())
    made = random_entries(growing, (trip(3, 13), trip(40, 60)), 1_000.0, 0.002, 0.0, _rng())
    assert made
    expected = sum(100 * (1.01**lasted * 0.998 - 1.002) for lasted in (10, 20)) / 1_000
    assert (made.low, made.high) == pytest.approx((expected, expected))
    assert made.better == 1.0


def test_every_place_is_equally_likely_and_no_trip_lies_over_another() -> None:
    """A jump to the double in the middle of 400 slices: a stay of 40 catches it in 40 of 360 places.

    Of two stays of 190 with 19 slices to spare one catches it in half of the cases, and never do both.
    """
    jump = coin(*[100.0] * 200, *[200.0] * 200)
    one = random_entries(jump, (trip(0, 40),), 100.0, 0.0, 0.0, _rng())
    assert one
    assert one.draws == 1_000
    assert one.better == pytest.approx(40 / 360, abs=4 * (0.11 * 0.89 / 1_000) ** 0.5)
    two = random_entries(jump, (trip(0, 190), trip(200, 390)), 100.0, 0.0, 1.0, _rng())
    assert two
    assert two.better == 0.0  # no draw earned more than one doubling
    assert two.mean == pytest.approx(0.5, abs=4 * 0.5 / 1_000**0.5)


def test_a_coin_is_held_in_its_own_life_alone() -> None:
    """A coin listed late and delisted early: every stay lies between, gaps are its last price, nothing is NaN."""
    nan = np.nan
    closes = [nan] * 20 + [100.0, nan, 101.0, nan, nan, 102.0] + [nan] * 20
    made = random_entries(coin(*closes), (trip(21, 24),), 100.0, 0.0, 0.0, _rng())
    assert made
    assert 0.0 <= made.low <= made.high <= 0.02


def test_a_clairvoyant_beats_random_entries_and_a_coin_flip_does_not() -> None:
    """Trips that are themselves at random places rank anywhere: of 200 about 10 % are in the best 10 %."""
    history = walk(500, COINS[:1])
    ranks = []
    for seed in range(200):
        entered = int(np.random.default_rng(seed).integers(0, 470))
        earned = history.close[entered + 29, 0] / history.close[entered, 0] - 1.0
        found = random_entries(history, (trip(entered, entered + 29, stake=1.0),), 1.0, 0.0, earned, _rng(seed + 1_000))
        assert found
        ranks.append(found.better)
    assert np.mean(np.array(ranks) < 0.1) == pytest.approx(0.1, abs=0.07)
    assert np.mean(ranks) == pytest.approx(0.5, abs=0.08)


def test_the_same_seed_draws_the_same() -> None:
    """Random entries are a function of the trips and the generator's seed; nothing without a trip."""
    history: Panel = walk(300)
    trips = (trip(3, 50), trip(10, 20, COINS[1]), trip(60, 90))
    one, again = (random_entries(history, trips, 1_000.0, 0.001, 0.0, _rng()) for _ in range(2))
    assert one == again
    assert one != random_entries(history, trips, 1_000.0, 0.001, 0.0, _rng(1))
    assert random_entries(history, (), 1_000.0, 0.001, 0.0, _rng()) is None


def _rng(seed: int = RNG) -> np.random.Generator:
    return np.random.default_rng(seed)
