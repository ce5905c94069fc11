"""The 39 features: pieces, causality, absence, flat ranges, and the figures of independent libraries."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.market import FIELDS, Floats, Panel
from models.candles import BLOCK
from models.feature_registry import AT, PRICES
from models.features import FEATURES, REGISTRY, STEP_COINS, Features, anchored, features
from models.model import BadModel
from tests.models.hours import HOUR_MS, absent_at, equal, flat, hours, panel
from tests.models.markets import without

WARM = 49  # slices until every feature is known


def of(found: Floats, name: str) -> Floats:
    return found[:, 0, AT[name]]


def test_there_are_nine_price_features_and_thirty_engineered_ones() -> None:
    """Each has a name of its own, a formula and a source; and an array has a column for each."""
    assert (PRICES, len(FEATURES), len(set(FEATURES))) == (9, 39, 39)
    assert all(feature.formula and feature.source for feature in REGISTRY)
    assert features(hours(5, 2)).shape == (5, 2, 39)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), st.integers(1, STEP_COINS + 2), st.lists(st.integers(1, 119), max_size=9))
def test_pieces_give_the_features_of_the_whole(seed: int, coins: int, cuts: list[int]) -> None:
    """However slices are cut, with candles missing or without trades, every bit is that of the whole."""
    whole = hours(120, coins, seed, absent=0.03 * (seed % 2), quiet=0.03 * (seed % 3))
    stream = Features(whole.symbols, whole.interval_ms)
    edges = [0, *sorted(cuts), 120]
    pieces = [stream.absorb(whole.rows(start, stop)) for start, stop in itertools.pairwise(edges)]
    assert equal(np.concatenate(pieces), features(whole))


@pytest.mark.parametrize("coins", [1, STEP_COINS + 1])
def test_one_slice_at_a_time_gives_the_features_of_the_whole(coins: int) -> None:
    """Single steps, in floats and in arrays, through the time at which sums begin anew: every bit is the same."""
    given = hours(400, coins)
    at_edge = BLOCK * HOUR_MS * (int(given.open_ms[0]) // (BLOCK * HOUR_MS) + 1) - 200 * HOUR_MS
    whole = panel([getattr(given, name) for name in FIELDS], start_ms=at_edge)
    stream = Features(whole.symbols, whole.interval_ms)
    steps = [stream.absorb(whole.rows(row, row + 1)) for row in range(400)]
    found = features(whole)
    assert equal(np.concatenate(steps), found)
    assert np.isfinite(found[WARM:]).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), st.integers(0, 99), st.floats(0.5, 2.0))
def test_the_future_moves_nothing(seed: int, row: int, factor: float) -> None:
    """Whatever comes after a slice, its features and all before are the same to the bit."""
    given = hours(100, 2, seed, absent=0.02)
    fields = [getattr(given, name).copy() for name in FIELDS]
    for field in fields:
        field[row + 1 :] *= factor
    changed = panel(fields, given.present)
    assert equal(features(changed)[: row + 1], features(given)[: row + 1])


def test_each_feature_reads_its_candle() -> None:
    """None but those of time is deaf: a candle that moves otherwise changes every one of them."""
    given = hours(60)
    fields = [getattr(given, name).copy() for name in FIELDS]
    for field, factor in zip(fields, (1.003, 1.03, 0.99, 1.02, 1.7), strict=True):
        field[-1] *= factor
    same = features(given)[-1, 0] == features(panel(fields))[-1, 0]
    assert [name for name, told in zip(FEATURES, same, strict=True) if told] == list(FEATURES[-4:])


def test_coins_do_not_touch_each_other() -> None:
    """A coin's features are those it has alone."""
    given = hours(200, 3, absent=0.05)
    found = features(given)
    for at, symbol in enumerate(given.symbols):
        assert equal(found[:, at], features(given.of((symbol,)))[:, 0])


def test_a_hole_in_time_is_so_many_absent_candles() -> None:
    """Slices that are missing altogether and slices without a candle give the rest the same features."""
    whole = hours(150)
    for first, stop in ((100, 103), (60, 140)):
        gone = whole
        for row in range(first, stop):
            gone = absent_at(gone, row)
        kept = np.r_[0:first, stop:150]
        hole = without(whole, slice(first, stop))
        assert np.allclose(features(hole), features(gone)[kept], rtol=1e-9, atol=1e-12, equal_nan=True)
        stream = Features(hole.symbols, hole.interval_ms)
        steps = [stream.absorb(hole.rows(row, row + 1)) for row in range(len(hole))]
        assert equal(np.concatenate(steps), features(hole))


def test_an_absent_candle_counts_for_nothing() -> None:
    """It has no features of its own; means leave it out; the return after it is not real; closes carry on."""
    given = hours(100)
    found = features(absent_at(given, 80))
    own = [name for name, value in zip(FEATURES, found[80, 0], strict=True) if np.isnan(value)]
    assert own == [feature.name for feature in REGISTRY if feature.needs.kind != "time" and feature.needs.span == 1
                   and feature.name != "momentum_1"]  # fmt: skip
    assert of(found, "momentum_1")[80] == 0.0
    assert np.isnan(of(found, "log_return")[81]) and np.isfinite(of(found, "garman_klass_1")[81])
    assert of(found, "momentum_6")[86] == pytest.approx(given.close[86, 0] / given.close[79, 0] - 1)
    single = of(features(given), "garman_klass_1")
    kept = np.delete(single, 80)
    assert of(found, "garman_klass_24")[90] == pytest.approx(np.sqrt(np.mean(kept[67:90] ** 2)), rel=1e-12)


def test_a_window_is_known_while_half_of_it_is_real() -> None:
    """Twelve of 24 candles are enough, eleven are not; a feature of closes waits for the first it reads."""
    found = features(hours(60))
    assert np.isnan(of(found, "garman_klass_24")[:11]).all() and np.isfinite(of(found, "garman_klass_24")[11:]).all()
    assert np.isnan(of(found, "realised_24")[:12]).all() and np.isfinite(of(found, "realised_24")[12:]).all()
    assert np.isnan(of(found, "momentum_48")[:48]).all() and np.isfinite(of(found, "momentum_48")[48:]).all()
    assert np.isfinite(found[48:]).all()


@pytest.mark.parametrize("volume", [0.0, 5.0])
def test_flat_candles_have_features(volume: float) -> None:
    """Nothing moves and nothing is NaN: volatility 0, RSI 50, the middle of the band; no volume is as usual a one."""
    whole = flat(120, volume=volume)
    found = features(whole)[WARM:]
    assert np.isfinite(found).all()
    last = dict(zip(FEATURES, found[-1, 0], strict=True))
    zero = [name for name in FEATURES[5:35] if name not in ("rsi_6", "rsi_14", "bollinger_position", "volume_ratio_24")]
    assert max(abs(last[name]) for name in zero) < 1e-12
    assert last["rsi_6"] == last["rsi_14"] == 50.0
    assert last["bollinger_position"] == 0.5
    assert last["volume_ratio_24"] == pytest.approx(1.0)
    stream = Features(whole.symbols, whole.interval_ms)
    assert equal(np.concatenate([stream.absorb(whole.rows(row, row + 1)) for row in range(120)])[WARM:], found)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.sampled_from(["nan", "inf", "zero", "negative", "absent"]), min_size=1, max_size=20), st.integers(0, 99)
)
def test_bad_numbers_never_reach_the_features(spoils: list[str], seed: int) -> None:
    """A candle with a price that is no price is absent; nothing is infinite, and it is forgotten within 49 slices."""
    rng = np.random.default_rng(seed)
    given = hours(150, 1, seed)
    fields = [getattr(given, name).copy() for name in FIELDS]
    value = {"nan": np.nan, "inf": np.inf, "zero": 0.0, "negative": -1.0, "absent": np.nan}
    for spoil in spoils:
        row = int(rng.integers(0, 100))
        for field in fields if spoil == "absent" else [fields[int(rng.integers(0, 4))]]:
            field[row] = value[spoil]
    found = features(panel(fields, np.ones((150, 1), dtype=np.bool_)))
    assert not np.isinf(found).any()
    assert np.isfinite(found[-1]).all()


def test_a_restart_goes_on_where_it_stood() -> None:
    """From its state, a fresh stream gives the same bits as one that never stopped; another shape is refused."""
    whole = hours(200, 2, absent=0.02)
    first = Features(whole.symbols, whole.interval_ms)
    first.absorb(whole.rows(0, 130))
    second = Features(whole.symbols, whole.interval_ms)
    second.restore(first.state())
    assert equal(second.absorb(whole.rows(100, 200)), features(whole)[130:])
    with pytest.raises(BadModel, match="begin from candles"):
        Features(("C0/USDT",), whole.interval_ms).restore(first.state())


def test_another_universe_is_refused() -> None:
    """Slices of other symbols or another interval are a bug of the caller."""
    given = hours(5, 2)
    with pytest.raises(ValueError, match="symbols"):
        Features(given.symbols[::-1], HOUR_MS).absorb(given)
    with pytest.raises(ValueError, match="interval"):
        Features(given.symbols, 60_000).absorb(given)


def test_prices_against_the_last_close_of_a_window() -> None:
    """Anchored, a window's last log close is 0, its first is what was made since, and the rest is as it was."""
    found = features(hours(80))[20:70]
    window = anchored(found)
    close = of(found, "log_close")
    assert of(window, "log_close") == pytest.approx(close - close[-1], abs=1e-14)
    assert equal(window[..., 4:], found[..., 4:])


def test_hours_and_weekdays() -> None:
    """A Tuesday at 22:00 UTC stands 22 / 24 around the day and 1 / 7 around the week."""
    found = features(hours(1))[0, 0]
    day, week = 2 * np.pi * 22 / 24, 2 * np.pi / 7
    assert found[-4:] == pytest.approx([np.sin(day), np.cos(day), np.sin(week), np.cos(week)])


def frame(given: Panel) -> dict[str, Any]:
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    return {name: pd.Series(getattr(given, name)[:, 0]) for name in FIELDS}


def test_the_definitions_by_pandas() -> None:
    """Every formula of the table, as someone with pandas would write it from the table alone."""
    given = hours(400)
    c = frame(given)
    o, h, low, close, v = (c[name] for name in FIELDS)
    gk = 0.5 * np.log(h / low) ** 2 - (2 * np.log(2) - 1) * np.log(close / o) ** 2
    rs = np.log(h / close) * np.log(h / o) + np.log(low / close) * np.log(low / o)
    moved, r, tp = close.diff(), np.log(close).diff(), (h + low + close) / 3
    tr = np.maximum(h, close.shift()) - np.minimum(low, close.shift())
    k = 0.34 / (1.34 + 25 / 23)
    yz = (
        np.log(o / close.shift()).rolling(24).var()
        + k * np.log(close / o).rolling(24).var()
        + (1 - k) * rs.rolling(24).mean()
    )
    macd = close.ewm(span=12, adjust=False).mean() - close.ewm(span=26, adjust=False).mean()
    middle, deviation = close.rolling(20).mean(), close.rolling(20).std(ddof=0)

    def rsi(n: int) -> Any:
        gain, loss = moved.clip(lower=0).rolling(n).mean(), (-moved).clip(lower=0).rolling(n).mean()
        return 100 - 100 / (1 + gain / loss)

    expected = {
        "log_open": np.log(o), "log_volume": np.log1p(v), "log_return": r, "log_return_size": r.abs(),
        "range": (h - low) / close, "body": (close - o).abs() / o,
        "garman_klass_1": gk**0.5, "garman_klass_6": gk.rolling(6).mean() ** 0.5,
        "garman_klass_24": gk.rolling(24).mean() ** 0.5,
        "parkinson_1": np.log(h / low) / np.sqrt(4 * np.log(2)),
        "parkinson_24": (np.log(h / low) ** 2).rolling(24).mean().div(4 * np.log(2)) ** 0.5,
        "rogers_satchell_1": rs**0.5, "rogers_satchell_24": rs.rolling(24).mean() ** 0.5, "yang_zhang_24": yz**0.5,
        "realised_24": r.rolling(24).std(), "garman_klass_spread_24": (gk**0.5).rolling(24).std(),
        **{f"momentum_{n}": close.pct_change(n) for n in (1, 6, 12, 24, 48)},
        "rsi_6": rsi(6), "rsi_14": rsi(14), "bollinger_width": 4 * deviation / middle,
        "bollinger_position": (close - middle + 2 * deviation) / (4 * deviation),
        "atr_14": tr.rolling(14).mean() / close, "atr_24": tr.rolling(24).mean() / close,
        "macd": (macd - macd.ewm(span=9, adjust=False).mean()) / close,
        "volume_ratio_24": v / v.rolling(24).mean(), "volume_change": v.pct_change(),
        "obv_momentum_24": (np.sign(moved.fillna(0)) * v).cumsum().diff(24) / v.rolling(24).sum(),
        "vwap_deviation_24": close / ((tp * v).rolling(24).sum() / v.rolling(24).sum()) - 1,
    }  # fmt: skip
    found = features(given)
    for name, series in expected.items():
        assert of(found, name)[WARM:] == pytest.approx(series.to_numpy()[WARM:], rel=1e-8, abs=1e-11), name
    assert set(FEATURES[:35]) - set(expected) == {"log_high", "log_low", "log_close"}


def test_agreement_with_talib() -> None:
    """Bollinger's bands, true range, momentum and, once its start is forgotten, MACD are TA-Lib's."""
    talib = pytest.importorskip("talib", reason="TA-Lib is not installed")
    given = hours(700)
    _, high, low, close, _ = (np.ascontiguousarray(getattr(given, name)[:, 0]) for name in FIELDS)
    found = features(given)
    upper, middle, lower = talib.BBANDS(close, 20, 2, 2)
    assert of(found, "bollinger_width")[WARM:] == pytest.approx(((upper - lower) / middle)[WARM:], rel=1e-6)
    assert of(found, "bollinger_position")[WARM:] == pytest.approx(((close - lower) / (upper - lower))[WARM:], rel=1e-5)
    assert of(found, "momentum_12")[WARM:] == pytest.approx(talib.ROCP(close, 12)[WARM:], rel=1e-9, abs=1e-12)
    ranges = talib.SMA(talib.TRANGE(high, low, close), 14) / close
    assert of(found, "atr_14")[WARM:] == pytest.approx(ranges[WARM:], rel=1e-9)
    assert of(found, "macd")[500:] == pytest.approx(
        (talib.MACD(close, 12, 26, 9)[2] / close)[500:], rel=1e-6, abs=1e-12
    )


def test_agreement_with_ta() -> None:
    """MACD, once the start of its signal is forgotten, and Bollinger's bands are those of the package ta."""
    trend = pytest.importorskip("ta.trend", reason="ta is not installed")
    bands = pytest.importorskip("ta.volatility").BollingerBands
    given = hours(300)
    close = frame(given)["close"]
    found = features(given)
    macd = trend.MACD(close).macd_diff() / close
    assert of(found, "macd")[200:] == pytest.approx(macd.to_numpy()[200:], rel=1e-8, abs=1e-12)
    position = bands(close).bollinger_pband().to_numpy()
    assert of(found, "bollinger_position")[WARM:] == pytest.approx(position[WARM:], rel=1e-8)


def test_long_sums_stay_exact() -> None:
    """After 60,000 candles, some a thousand times as wild, a quiet window's volatility is still right to nine digits."""
    rng = np.random.default_rng(3)
    size = np.where(np.arange(60_000) < 30_000, 0.05, 5e-5)[:, None]
    close = 100.0 * np.exp(
        np.cumsum(size * rng.normal(0, 1, (60_000, 1)) * rng.choice([-1, 1], (60_000, 1)), axis=0) % 3.0
    )
    given = panel([close, close * (1 + size), close * (1 - size), close, np.ones((60_000, 1))])
    tail = given.rows(59_000, 60_000)
    for name in ("parkinson_24", "garman_klass_24", "atr_24"):
        assert of(features(given), name)[-500:] == pytest.approx(of(features(tail), name)[-500:], rel=1e-9), name
