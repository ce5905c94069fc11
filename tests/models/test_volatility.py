"""The five estimators: hand-computed figures, what each is right about, pieces, absence."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.market import FIELDS, Floats, Panel
from bot.edge.candles import load_panel
from models.feature_registry import AT
from models.features import features
from models.model import BadModel
from models.volatility import Estimator, Volatility, volatility
from tests.models.hours import HOUR_MS, absent_at, equal, flat, hours, panel
from tests.models.markets import names

CANDLES = Path("../shared/data/binance_spot_1h_full")
WINDOWED = [(estimator, window) for estimator in Estimator for window in (2, 6, 24)]
SINGLE = [(estimator, 1) for estimator in (Estimator.GARMAN_KLASS, Estimator.PARKINSON, Estimator.ROGERS_SATCHELL)]


def test_single_candles_by_hand() -> None:
    """Open 100, high 110, low 95, close 105: the three formulas, worked out."""
    one = panel([np.array([[price]]) for price in (100.0, 110.0, 95.0, 105.0, 1.0)])
    wide, body = math.log(110 / 95), math.log(105 / 100)
    assert volatility(one, Estimator.GARMAN_KLASS)[0, 0] ** 2 == pytest.approx(
        0.5 * wide**2 - (2 * math.log(2) - 1) * body**2
    )
    assert volatility(one, Estimator.PARKINSON)[0, 0] ** 2 == pytest.approx(wide**2 / (4 * math.log(2)))
    assert volatility(one, Estimator.ROGERS_SATCHELL)[0, 0] ** 2 == pytest.approx(
        math.log(110 / 105) * math.log(110 / 100) + math.log(95 / 105) * math.log(95 / 100)
    )


def test_windows_by_hand() -> None:
    """Three candles: the mean of variances, the sample deviation of returns, and Yang and Zhang's mixture."""
    prices = [[100, 101, 102.5], [104, 105, 103], [99, 100, 101], [102, 103, 101.5], [1, 1, 1]]
    o, h, low, c, _ = columns = [np.array(row, dtype=np.float64) for row in prices]
    given = panel([column[:, None] for column in columns])
    rs = np.log(h / c) * np.log(h / o) + np.log(low / c) * np.log(low / o)
    returns, overnight = np.log(c[1:] / c[:-1]), np.log(o[1:] / c[:-1])
    assert volatility(given, Estimator.REALISED, 2)[2, 0] == pytest.approx(np.std(returns, ddof=1))
    assert volatility(given, Estimator.ROGERS_SATCHELL, 3)[2, 0] ** 2 == pytest.approx(rs.mean())
    k = 0.34 / (1.34 + 3 / 1)
    mixed = np.var(overnight, ddof=1) + k * np.var(np.log(c[1:] / o[1:]), ddof=1) + (1 - k) * rs[1:].mean()
    assert volatility(given, Estimator.YANG_ZHANG, 2)[2, 0] ** 2 == pytest.approx(mixed)


def walks(candles: int, steps: int, drift: float) -> Panel:
    """Candles of a walk in small steps, of variance 1e-4 a candle, with a drift of so many deviations a candle."""
    rng = np.random.default_rng(5)
    log = np.cumsum(rng.normal(drift * 0.01 / steps, 0.01 / math.sqrt(steps), (candles, steps)), axis=1)
    log = np.hstack((np.zeros((candles, 1)), log)) + np.concatenate(([0.0], np.cumsum(log[:-1, -1])))[:, None]
    fields = [log[:, 0], log.max(axis=1), log.min(axis=1), log[:, -1], np.zeros(candles)]
    return panel([np.exp(field)[:, None] for field in fields])


def test_each_is_right_where_its_authors_say() -> None:
    """All find a driftless walk's variance within 4 %; under a strong drift Rogers-Satchell and Yang-Zhang still do.

    Steps are discrete, so ranges come out a little small: the extremes between them are not seen.
    """
    rows = 4_000
    for estimator in Estimator:
        found = volatility(walks(rows, 1_000, 0.0), estimator, rows)[-1, 0] ** 2
        assert found == pytest.approx(1e-4, rel=0.06), estimator
    trended = {each: volatility(walks(rows, 1_000, 1.0), each, rows)[-1, 0] ** 2 for each in Estimator}
    for estimator in (Estimator.ROGERS_SATCHELL, Estimator.YANG_ZHANG, Estimator.REALISED):
        assert trended[estimator] == pytest.approx(1e-4, rel=0.07), estimator
    assert trended[Estimator.PARKINSON] > 1.2e-4


@pytest.mark.parametrize(("estimator", "window"), WINDOWED + SINGLE)
def test_streaming_and_batch_are_equal(estimator: Estimator, window: int) -> None:
    """Slice by slice and all at once, with absent candles: every bit is the same."""
    whole = hours(120, 3, absent=0.05, quiet=0.05)
    stream = Volatility(whole.symbols, whole.interval_ms, estimator, window)
    steps = [stream.absorb(whole.rows(row, row + 1)) for row in range(120)]
    assert equal(np.concatenate(steps), volatility(whole, estimator, window))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 99), st.sampled_from(WINDOWED), st.lists(st.integers(1, 99), max_size=6))
def test_pieces_are_equal(seed: int, which: tuple[Estimator, int], cuts: list[int]) -> None:
    """However slices are cut."""
    whole = hours(100, 2, seed, absent=0.1)
    stream = Volatility(whole.symbols, whole.interval_ms, *which)
    edges = [0, *sorted(cuts), 100]
    pieces = [stream.absorb(whole.rows(start, stop)) for start, stop in itertools.pairwise(edges)]
    assert equal(np.concatenate(pieces), volatility(whole, *which))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 99), st.integers(0, 98), st.sampled_from(WINDOWED + SINGLE))
def test_the_future_moves_nothing(seed: int, row: int, which: tuple[Estimator, int]) -> None:
    """What comes after a slice changes neither it nor what came before."""
    given = hours(100, 1, seed)
    fields = [getattr(given, name).copy() for name in FIELDS]
    for field in fields:
        field[row + 1 :] *= 1.5
    assert equal(volatility(panel(fields), *which)[: row + 1], volatility(given, *which)[: row + 1])


@pytest.mark.parametrize(("estimator", "window"), WINDOWED + SINGLE)
def test_flat_candles_have_no_volatility(estimator: Estimator, window: int) -> None:
    """It is 0, not NaN."""
    assert (volatility(flat(60), estimator, window)[window:] == 0.0).all()


def test_an_absent_candle_has_none_and_counts_for_nothing() -> None:
    """Its own is NaN, as is one of less than half a window; a mean leaves it out."""
    given = absent_at(hours(40), 30)
    single, mean = (volatility(given, Estimator.PARKINSON, window) for window in (1, 4))
    assert np.isnan(single[30, 0]) and np.isfinite(single[31, 0])
    assert mean[31, 0] == pytest.approx(math.sqrt(np.mean(single[[28, 29, 31], 0] ** 2)))
    assert np.isnan(mean[0, 0]) and np.isfinite(mean[1, 0])


def test_estimators_of_a_spread_need_two_candles() -> None:
    """A window of one, or none, is refused with the least there is."""
    with pytest.raises(ValueError, match="realised needs a window of 2"):
        Volatility(names(1), HOUR_MS, Estimator.REALISED, 1)
    with pytest.raises(ValueError, match="parkinson needs a window of 1"):
        Volatility(names(1), HOUR_MS, Estimator.PARKINSON, 0)


def test_a_restart_goes_on_where_it_stood() -> None:
    """From its state, with the same bits; another window's state is refused."""
    whole = hours(100, 2)
    first, second = (Volatility(whole.symbols, HOUR_MS, Estimator.YANG_ZHANG, 24) for _ in range(2))
    first.absorb(whole.rows(0, 70))
    second.restore(first.state())
    assert equal(second.absorb(whole), volatility(whole, Estimator.YANG_ZHANG, 24)[70:])
    with pytest.raises(BadModel, match="begin from candles"):
        Volatility(whole.symbols, HOUR_MS, Estimator.YANG_ZHANG, 6).restore(first.state())


def test_features_and_estimators_are_the_same_numbers() -> None:
    """The features' volatilities are the estimators', once windows are full."""
    given = hours(100, 2)
    found = features(given)

    def feature(name: str) -> Floats:
        return found[30:, :, AT[name]]

    for estimator, window in ((each, 24) for each in Estimator):
        name = f"{estimator.value}_{window}"
        assert feature(name) == pytest.approx(volatility(given, estimator, window)[30:], rel=1e-12), name
    assert feature("garman_klass_6") == pytest.approx(volatility(given, Estimator.GARMAN_KLASS, 6)[30:], rel=1e-12)


@pytest.mark.skipif(not CANDLES.is_dir(), reason=f"{CANDLES} is not here")
def test_real_hours() -> None:
    """Three years of ten coins: no feature is infinite, BTC's are known throughout, and its volatility is plausible."""
    given = load_panel(CANDLES)
    found = features(given)
    assert not np.isinf(found).any()
    btc = given.symbols.index("BTC/USDT")
    assert np.isfinite(found[60:, btc]).mean() > 0.9995
    mean = float(np.nanmean(found[:, btc, AT["garman_klass_1"]]))
    assert 0.003 < mean < 0.007
