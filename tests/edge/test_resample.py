"""Longer candles from shorter ones: the rule, and that real minutes add up to the exchange's own hours."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bot.core.market import FIELDS, MINUTE_MS, Panel
from bot.edge.candle_sources import EVER, source_of
from bot.edge.candles import load_panel
from bot.edge.columns import UNCOUNTED
from bot.edge.month_file import FILE_FIELDS, Block
from bot.edge.resample import Resampled, resample
from tests.edge.storing import START_MS, block

DATA = Path("../shared/data")
HOUR_MS = 60 * MINUTE_MS
SERVED_SHORT_MS = (1_619_056_800_000, 1_619_139_600_000, 1_619_143_200_000)  # the README of the data names these hours


def hours(minutes: Block, known: tuple[int, int] = (START_MS, START_MS + 24 * HOUR_MS)) -> Resampled:
    return resample(minutes, MINUTE_MS, HOUR_MS, known)


def test_an_hour_is_its_minutes() -> None:
    """First open, highest high, lowest low, last close, sums; the hour stands at its first minute's time."""
    minutes = block(range(120))
    made = hours(minutes)
    assert made.block.open_ms.tolist() == [START_MS, START_MS + HOUR_MS]
    first = minutes.rows(0, 60)
    hour = made.block.rows(0, 1)
    assert (hour.open[0], hour.high[0]) == (first.open[0], first.high.max())
    assert (hour.low[0], hour.close[0]) == (first.low.min(), first.close[-1])
    assert hour.volume[0] == pytest.approx(first.volume.sum())
    assert hour.quote_volume[0] == pytest.approx(first.quote_volume.sum())
    assert hour.trades[0] == first.trades.sum()
    assert (made.partial, made.left_out) == (0, 0)


def test_absent_minutes_make_a_partial_hour() -> None:
    """What is there counts if one of it traded, and is counted as partial; without a trade the hour is left out."""
    made = hours(block([*range(20, 60), *range(60, 120)]))
    assert (len(made.block), made.partial, made.left_out) == (2, 1, 0)
    silent = hours(block([0, 7, 14]))  # every seventh minute has no trade
    assert (len(silent.block), silent.partial, silent.left_out) == (0, 0, 1)
    assert len(hours(block([7, 8])).block) == 1


def test_a_silent_hour_that_is_complete_stays() -> None:
    """Sixty candles at the last price, none traded, are an hour that did not trade either."""
    minutes = block(range(60))
    made = hours(replace(minutes, trades=minutes.trades * 0))
    assert made.block.trades.tolist() == [0]


def test_hours_at_the_edge_of_what_is_known_are_left_out() -> None:
    """An hour of which a part was never fetched may have other minutes."""
    made = hours(block(range(30, 150)), (START_MS + 30 * MINUTE_MS, START_MS + 150 * MINUTE_MS))
    assert made.block.open_ms.tolist() == [START_MS + HOUR_MS] and made.left_out == 2
    assert len(hours(block(range(30, 150)), (START_MS, START_MS + 3 * HOUR_MS)).block) == 3


def test_what_is_not_known_of_a_part_is_not_known_of_the_whole() -> None:
    """One uncounted minute makes the hour's trades uncounted, one unknown volume in quote the hour's."""
    minutes = block(range(120))
    trades, quote = minutes.trades.copy(), minutes.quote_volume.copy()
    trades[3], quote[3] = UNCOUNTED, np.nan
    made = hours(replace(minutes, trades=trades, quote_volume=quote)).block
    assert made.trades[0] == UNCOUNTED and made.trades[1] > 0
    assert np.isnan(made.quote_volume).tolist() == [True, False]


def test_nothing_makes_nothing() -> None:
    """No candles, no hours."""
    assert len(hours(block([])).block) == 0


@given(st.sets(st.integers(0, 599), min_size=1))
def test_steps_may_be_taken_together_or_one_by_one(minutes: set[int]) -> None:
    """Hours of complete quarters are hours of minutes; prices always, volumes to rounding."""
    chosen = sorted({minute // 15 for minute in minutes})
    whole = block([15 * quarter + minute for quarter in chosen for minute in range(15)])
    known = (START_MS, START_MS + 10 * HOUR_MS)
    quarters = resample(whole, MINUTE_MS, 15 * MINUTE_MS, known).block
    twice = resample(quarters, 15 * MINUTE_MS, HOUR_MS, known)
    once = resample(whole, MINUTE_MS, HOUR_MS, known)
    assert twice.partial == once.partial
    for name in ("open_ms", "open", "high", "low", "close", "trades"):
        assert np.array_equal(getattr(twice.block, name), getattr(once.block, name))
    assert np.allclose(twice.block.volume, once.block.volume)


def test_real_minutes_add_up_to_the_exchanges_hours() -> None:
    """BTC/USDT of April 2021: 787 hours as Binance has them, but for the three in which it served its minutes short."""
    if not (DATA / "binance_spot_1m_2021").is_dir():
        pytest.skip(f"{DATA} is not here")
    minutes = source_of(DATA / "binance_spot_1m_2021", ["BTC/USDT"], None, None)
    made = resample(
        Block.of(minutes.read("BTC/USDT", FILE_FIELDS, *EVER)), MINUTE_MS, HOUR_MS, minutes.extent(*EVER) or (0, 0)
    )
    there = load_panel(DATA / "binance_spot_1h_long", ["BTC/USDT"])
    panel = there.rows(*np.searchsorted(there.open_ms, (made.block.open_ms[0], made.block.open_ms[-1] + 1)).tolist())
    assert different(made.block, panel) == set(SERVED_SHORT_MS)
    assert len(made.block) == int(np.isfinite(panel.close).sum()) == 787 and made.partial == 3


def different(made: Block, panel: Panel) -> set[int]:
    """The times at which a block of one symbol and its panel do not agree to the rounding of a sum."""
    rows = np.searchsorted(panel.open_ms, made.open_ms)
    assert np.array_equal(panel.open_ms[rows], made.open_ms)
    wrong = np.zeros(len(made), dtype=np.bool_)
    for name in FIELDS:
        wrong |= ~np.isclose(getattr(made, name), getattr(panel, name)[rows, 0], rtol=1e-9, atol=0)
    return set(made.open_ms[wrong].tolist())
