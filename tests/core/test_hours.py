"""Hours from slices: the same whole or in pieces, whatever is missing, and pandas's where nothing is."""

import itertools
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bot.core.hours import Hours, hours_of
from bot.core.market import FIELDS, HOUR_MS, MINUTE_MS, Panel
from tests.models.hours import equal

RNG = np.random.default_rng(5)
ROWS, COINS = 400, 3
START_MS = 1_700_000_040_000  # 14 minutes past an hour


def panel(rows: int = ROWS, absent: float = 0.02, quiet: float = 0.3) -> Panel:
    """Minutes with candles of their own range, some of them not there, some without a trade."""
    close = 100.0 * np.exp(np.cumsum(RNG.normal(0, 1e-3, (rows, COINS)), axis=0))
    open_ = np.vstack((close[:1], close[:-1]))
    traded = RNG.random(close.shape) >= quiet
    close = np.where(traded, close, open_)
    wick = np.where(traded, 0.1 * RNG.random(close.shape), 0.0)
    high, low = np.maximum(open_, close) + wick, np.minimum(open_, close) - wick
    volume = np.where(traded, RNG.random(close.shape), 0.0)
    gone = RNG.random(close.shape) < absent
    fields = [np.where(gone, np.nan, field) for field in (open_, high, low, close, volume)]
    symbols = tuple(f"C{at}/USDT" for at in range(COINS))
    open_ms, (first, highest, lowest, last, sums) = START_MS + MINUTE_MS * np.arange(rows), fields
    return Panel(symbols, MINUTE_MS, open_ms, first, highest, lowest, last, sums, traded & ~gone)


def picked(given: Panel, rows: Any) -> Panel:
    arrays = (getattr(given, name)[rows] for name in ("open_ms", *FIELDS, "present"))
    return Panel(given.symbols, given.interval_ms, *arrays)


def absent(given: Panel, rows: slice, coin: int) -> Panel:
    """The panel with a coin's candles not there."""
    changed = {name: getattr(given, name).copy() for name in (*FIELDS, "present")}
    for name in FIELDS:
        changed[name][rows, coin] = np.nan
    changed["present"][rows, coin] = False
    return Panel(given.symbols, given.interval_ms, given.open_ms, *changed.values())


def same(a: Panel, b: Panel) -> bool:
    return all(equal(getattr(a, name), getattr(b, name)) for name in ("open_ms", *FIELDS, "present"))


MINUTES = panel()


@given(st.lists(st.integers(1, ROWS - 1), max_size=12), st.sets(st.integers(0, ROWS - 1), max_size=4))
def test_hours_are_the_same_however_slices_come(cuts: list[int], holes: set[int]) -> None:
    """In pieces, again, or at once, with holes in time: the same hours, each once, and only those that are whole."""
    given = picked(MINUTES, [row for row in range(ROWS) if row not in holes])
    whole, made = hours_of(given), Hours(given.symbols, MINUTE_MS)
    edges = sorted({0, len(given), *(cut for cut in cuts if cut < len(given))})
    pieces = [made.absorb(given.rows(0 if at % 3 else a, b)) for at, (a, b) in enumerate(itertools.pairwise(edges), 1)]
    for name in ("open_ms", *FIELDS, "present"):
        assert equal(np.concatenate([getattr(piece, name) for piece in pieces]), getattr(whole, name))
    there = set((given.open_ms // MINUTE_MS).tolist())
    hours = range(START_MS // HOUR_MS, int(given.open_ms[-1]) // HOUR_MS + 1)
    assert (whole.open_ms // HOUR_MS).tolist() == [
        hour for hour in hours if there.issuperset(range(hour * 60, hour * 60 + 60))
    ]


def test_slice_by_slice_an_hour_is_there_when_its_last_slice_is() -> None:
    """Not a minute before, not one after."""
    made = Hours(MINUTES.symbols, MINUTE_MS)
    given = [len(made.absorb(MINUTES.rows(row, row + 1))) for row in range(ROWS)]
    ends = [row for row in range(ROWS) if (int(MINUTES.open_ms[row]) + MINUTE_MS) % HOUR_MS == 0]
    assert [row for row in range(ROWS) if given[row]] == ends[1:]  # the tape begins in the first one


def test_the_values_are_those_that_pandas_finds() -> None:
    """Open, high, low, close and volume, coin by coin, where every candle is there."""
    given = panel(absent=0.0)
    found = hours_of(given)
    for coin in range(COINS):
        times = pd.to_datetime(given.open_ms, unit="ms")
        frame = pd.DataFrame({name: getattr(given, name)[:, coin] for name in FIELDS}, index=times)
        rules = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
        wanted = frame.resample("1h").agg(rules).loc[pd.to_datetime(found.open_ms, unit="ms")]
        for name in FIELDS:
            assert getattr(found, name)[:, coin] == pytest.approx(wanted[name].to_numpy(), rel=1e-12)


def test_a_coin_of_which_too_much_is_not_known_is_absent_alone() -> None:
    """Six minutes of an hour may be missing, seven not; an hour without a trade is absent too."""
    given = panel(rows=120 + 46, absent=0.0, quiet=0.0)
    begins = 46  # the first minute of the first whole hour
    six, seven = (hours_of(absent(given, slice(begins + 3, begins + 3 + count), 1)) for count in (6, 7))
    assert six.present.all()
    assert seven.present.tolist() == [[True, False, True], [True, True, True]]
    assert np.isnan(seven.close[0, 1])
    still = replace(given, present=given.present & (np.arange(COINS) != 2))
    assert hours_of(still).present.tolist() == [[True, True, False]] * 2


def test_hours_stay_hours_and_odd_lengths_are_refused() -> None:
    """Slices of an hour pass through; seven minutes make none."""
    hours = hours_of(MINUTES)
    assert same(hours_of(hours), hours)
    with pytest.raises(ValueError, match="420000 ms make no hours"):
        Hours(("A/USDT",), 420_000)
