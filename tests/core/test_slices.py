"""Slices from candles: complete ones at once, stragglers named, each slice exactly once and in order."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bot.core.market import MINUTE_MS
from bot.core.slices import Kept, Slices
from tests.making import COINS, START_MS, candle

SOFT, HARD = 5_000, 20_000


def slices() -> Slices:
    made = Slices(COINS, MINUTE_MS, SOFT, HARD)
    made.start(START_MS - MINUTE_MS)
    return made


@given(st.permutations([(symbol, row) for row in range(3) for symbol in COINS]), st.sets(st.integers(0, 8)))
def test_every_slice_closes_once_in_order_whatever_comes(arrivals: list[tuple[str, int]], lost: set[int]) -> None:
    """Any order of arrival, any loss: three slices, in order, each mask equal to what came in time."""
    made, closed = slices(), []
    came = np.zeros((3, 3), dtype=bool)
    for number, (symbol, row) in enumerate(arrivals):
        if number in lost:
            continue
        kept = made.add(candle(symbol, START_MS + row * MINUTE_MS))
        came[row, COINS.index(symbol)] = kept is Kept.NEW
    for row in range(3):
        now_ms = START_MS + (row + 1) * MINUTE_MS + HARD
        while (found := made.take(now_ms)) is not None:
            closed.append(found)
    assert [one.open_ms for one in closed] == [START_MS + row * MINUTE_MS for row in range(3)]
    assert np.array_equal(np.array([one.present for one in closed]), came)
    assert np.array_equal(np.isfinite([one.close for one in closed]), came)


def test_nothing_closes_before_its_time() -> None:
    """Candles ahead of the clock wait for the minute to be over."""
    made = slices()
    for symbol in COINS:
        made.add(candle(symbol, START_MS))
    assert made.take(START_MS + MINUTE_MS - 1) is None
    assert made.take(START_MS + MINUTE_MS) is not None


def test_stragglers_are_named_at_the_soft_limit_and_again() -> None:
    """Close + 5 s, then every 5 s: whoever has not come is named, until the hard limit."""
    made = slices()
    close_ms = START_MS + MINUTE_MS
    made.add(candle(COINS[0], START_MS))
    assert made.take(close_ms) is None
    assert made.stragglers(close_ms + SOFT - 1) == ()
    assert made.stragglers(close_ms + SOFT) == COINS[1:]
    assert made.stragglers(close_ms + SOFT + 1) == ()
    assert made.stragglers(close_ms + 2 * SOFT) == COINS[1:]
    assert made.wake_ms(close_ms + 3 * SOFT) == close_ms + 3 * SOFT
    assert made.wake_ms(close_ms + 3 * SOFT + 1) <= close_ms + HARD


def test_a_zero_trade_candle_is_a_candle_and_is_absent() -> None:
    """Fault F15: the price is known, the mask is off."""
    made = slices()
    for symbol in COINS:
        made.add(candle(symbol, START_MS, trades=0 if symbol == COINS[1] else 2))
    closed = made.take(START_MS + MINUTE_MS)
    assert closed is not None
    assert list(closed.present) == [True, False, True]
    assert np.isfinite(closed.close).all()


def test_foreign_and_off_grid_candles_are_named_so() -> None:
    """Faults F18, F23: what is not of this universe or grid joins nothing."""
    made = slices()
    assert made.add(candle("XXX/USDT", START_MS)) is Kept.FOREIGN
    assert made.add(candle(COINS[0], START_MS + 1)) is Kept.FOREIGN
    assert made.add(candle(COINS[0], START_MS + 50 * MINUTE_MS)) is Kept.FOREIGN


def test_after_an_outage_of_all_the_first_full_slice_closes_at_once() -> None:
    """When nobody was waited for any more, a slice in which everybody came needs no hard limit."""
    made = slices()
    for row in range(3):
        assert made.take(START_MS + (row + 1) * MINUTE_MS + HARD) is not None
    open_ms = START_MS + 3 * MINUTE_MS
    for symbol in COINS:
        made.add(candle(symbol, open_ms))
    closed = made.take(open_ms + MINUTE_MS)
    assert closed is not None
    assert closed.present.all()


def test_rest_fills_a_silent_symbol_in_but_does_not_make_it_waited_for() -> None:
    """Fault F7: a symbol that only REST knows delays two slices, then nobody."""
    made = slices()
    for row in range(3):
        open_ms = START_MS + row * MINUTE_MS
        for symbol in COINS[:2]:
            made.add(candle(symbol, open_ms))
        at_once = made.take(open_ms + MINUTE_MS)
        if row < 2:
            assert at_once is None
            made.add(candle(COINS[2], open_ms), "rest")
            at_once = made.take(open_ms + MINUTE_MS + SOFT)
            assert at_once is not None
            assert at_once.present.all()
    assert at_once is not None
    assert list(at_once.present) == [True, True, False]
    assert list(made.silent()) == [False, False, True]


def test_a_silent_coin_that_speaks_again_shortens_no_wait() -> None:
    """A slice waits for those it began to wait for: another coin's late candle lets none of them be left out."""
    made = slices()
    for row in range(2):
        for symbol in COINS[:2]:
            made.add(candle(symbol, START_MS + row * MINUTE_MS))
        assert made.take(START_MS + (row + 1) * MINUTE_MS + HARD) is not None
    open_ms = START_MS + 2 * MINUTE_MS
    assert list(made.silent()) == [False, False, True]
    made.add(candle(COINS[0], open_ms))
    assert made.take(open_ms + MINUTE_MS) is None, "the second coin is awaited"
    made.add(candle(COINS[2], open_ms - MINUTE_MS))  # late: it is alive again
    made.add(candle(COINS[2], open_ms))
    assert made.take(open_ms + MINUTE_MS + 1) is None, "still"
    made.add(candle(COINS[1], open_ms))
    assert made.take(open_ms + MINUTE_MS + 2) is not None
