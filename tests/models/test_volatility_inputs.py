"""The summary vector: pieces, causality, absence, restarts, and some inputs by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.market import FIELDS, Panel
from models.model import BadModel
from models.seasonality import Seasonality
from models.time_features import HOURS
from models.volatility import Estimator, volatility
from models.volatility_columns import INPUTS, LEVEL
from models.volatility_inputs import LOOK_BACK, Rows, VolatilityInputs
from tests.models.hours import absent_at, equal, hours, panel
from tests.models.markets import without

ROWS = 1_000


def season(symbols: tuple[str, ...]) -> Seasonality:
    return Seasonality(symbols, *np.random.default_rng(0).normal(0, 0.2, (2, len(symbols), HOURS)))


def rows_of(given: Panel) -> Rows:
    return VolatilityInputs(given.symbols, season(given.symbols)).absorb(given)


def same(a: Rows, b: Rows) -> bool:
    return all(equal(getattr(a, name), getattr(b, name)) for name in Rows.__struct_fields__)


def joined(pieces: list[Rows]) -> Rows:
    return Rows(*(np.concatenate([getattr(one, name) for one in pieces]) for name in Rows.__struct_fields__))


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 999), st.integers(1, 3), st.lists(st.integers(1, ROWS - 1), max_size=5))
def test_pieces_give_the_rows_of_the_whole(seed: int, coins: int, cuts: list[int]) -> None:
    """However hours are cut, with candles missing, every bit is that of the whole."""
    whole = hours(ROWS, coins, seed, absent=0.02 * (seed % 2), quiet=0.02 * (seed % 3))
    stream = VolatilityInputs(whole.symbols, season(whole.symbols))
    edges = [0, *sorted({*cuts}), ROWS]
    pieces = [stream.absorb(whole.rows(start, stop)) for start, stop in itertools.pairwise(edges)]
    assert same(joined(pieces), rows_of(whole))


def test_one_hour_at_a_time_and_after_a_restart() -> None:
    """Single steps, the last of them in a stream that took the state of the first: every bit is the same."""
    whole = hours(ROWS, 2, absent=0.01)
    first = VolatilityInputs(whole.symbols, season(whole.symbols))
    pieces = [first.absorb(whole.rows(0, 900))]
    second = VolatilityInputs(whole.symbols, season(whole.symbols))
    second.restore(first.state())
    pieces += [second.absorb(whole.rows(row, row + 1)) for row in range(900, ROWS)]
    assert same(joined(pieces), rows_of(whole))
    with pytest.raises(BadModel):
        VolatilityInputs(("A/USDT",), season(("A/USDT",))).restore(first.state())


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 99), st.integers(700, ROWS - 2), st.floats(1.1, 2.0))
def test_the_future_moves_nothing(seed: int, row: int, factor: float) -> None:
    """Whatever comes after an hour, its inputs and all before are the same to the bit."""
    given = hours(ROWS, 2, seed, absent=0.01)
    fields = [getattr(given, name).copy() for name in FIELDS]
    for field in fields:
        field[row + 1 :] *= factor
    changed = rows_of(panel(fields, given.present))
    found = rows_of(given)
    assert equal(changed.values[: row + 1], found.values[: row + 1])
    assert not equal(changed.values[row + 1], found.values[row + 1])


def test_inputs_are_known_after_the_longest_look_back_at_the_latest() -> None:
    """All are finite from there on; before half of 720 hours nothing is called known."""
    found = rows_of(hours(ROWS, 2))
    assert found.values.shape == (ROWS, 2, len(INPUTS)) and len({*INPUTS}) == len(INPUTS)
    assert not found.known[:359].any() and found.known[LOOK_BACK:].all()
    assert np.isfinite(found.values[LOOK_BACK:]).all()


def test_what_lies_further_back_is_forgotten() -> None:
    """888 hours, and the decayed means' far tail, are all that an hour depends on: one page of candles warms it up."""
    whole = hours(2 * ROWS, 1)
    late = rows_of(whole.rows(ROWS, 2 * ROWS))
    assert np.allclose(late.values[LOOK_BACK:], rows_of(whole).values[ROWS + LOOK_BACK :], rtol=1e-6, atol=1e-6)


def test_some_inputs_by_hand() -> None:
    """The log volatility an hour and a day before the coming one, the mean of a day, the usual of seven days."""
    given = hours(ROWS, 1, seed=5)
    found, curves = rows_of(given), season(given.symbols)
    own = np.log(volatility(given, Estimator.GARMAN_KLASS)) - curves.at(given.open_ms) - LEVEL
    row = ROWS - 1

    def of(name: str) -> float:
        return float(found.values[row, 0, INPUTS.index(name)])

    assert of("log_back_0") == pytest.approx(own[row, 0])
    assert of("log_back_23") == pytest.approx(own[row - 23, 0])
    assert of("log_mean_24") == pytest.approx(own[row - 23 : row + 1, 0].mean())
    assert of("log_same_hour") == pytest.approx(np.mean([own[row - 23 - 24 * day, 0] for day in range(7)]))
    assert of("season_coming") == pytest.approx(curves.at(given.open_ms[-1:] + 3_600_000)[0, 0])
    assert of("momentum_24") * of("momentum_size_24") != 0.0


def test_a_missing_hour_is_bridged_and_a_missing_month_is_not() -> None:
    """One hole leaves the rest known; without half of the last 720 hours inputs are not known."""
    whole = hours(ROWS + 800, 1)
    found = rows_of(absent_at(whole, ROWS))
    assert np.isnan(found.logs[ROWS, 0]) and found.known[LOOK_BACK:].all()
    cut = without(whole, slice(900, 1_500))
    after = rows_of(cut)
    at = int(np.searchsorted(cut.open_ms, whole.open_ms[1_500]))
    assert not after.known[at : at + 24].any()
    assert after.known[-1].all() == (ROWS + 800 - 1_500 >= 360)


def test_an_hour_that_does_not_move_is_no_answer() -> None:
    """Its log volatility is NaN, its inputs are finite all the same."""
    whole = hours(ROWS, 1)
    fields = [getattr(whole, name).copy() for name in FIELDS]
    for field in fields[:4]:
        field[950] = fields[3][949]
    found = rows_of(panel(fields))
    assert np.isnan(found.logs[950, 0]) and np.isfinite(found.values[950:]).all() and found.known[950:].all()
