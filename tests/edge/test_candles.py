"""Candle folders: what is in them comes out, whatever is wrong with them is said."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.market import FIELDS, MINUTE_MS, Panel
from bot.edge.candle_store import CandleStore
from bot.edge.candles import BadCandles, check_holes, covered, load_panel, store_panel
from bot.simulator.synthetic import synthetic_panel

START_MS = 1_700_000_040_000
DATA = Path("../shared/data")
Columns = dict[str, Any]


def opens(*minutes: int) -> list[int]:
    return [START_MS + minute * MINUTE_MS for minute in minutes]


def candles(minutes: list[int], closes: list[float], **other: Any) -> Columns:
    """Columns of sane candles around these closes."""
    return {
        "timestamp": opens(*minutes),
        "open": closes,
        "high": [close * 1.01 for close in closes],
        "low": [close * 0.99 for close in closes],
        "close": closes,
        "volume": [1.0] * len(closes),
    } | other


def write(path: Path, columns: Columns) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """BTC in minutes 0 to 3, ETH in 1, 2 and 4."""
    write(tmp_path / "BTCUSDT.parquet", candles([0, 1, 2, 3], [10.0, 11.0, 12.0, 13.0]))
    write(tmp_path / "ETHUSDT.parquet", candles([1, 2, 4], [1.0, 2.0, 3.0], volume=[5.0, 0.0, 7.0]))
    return tmp_path


def test_files_are_aligned_on_one_grid(folder: Path) -> None:
    """From the first to the last candle of any file; NaN where there is none; present where it traded."""
    panel = load_panel(folder)
    assert panel.symbols == ("BTC/USDT", "ETH/USDT") and panel.interval_ms == MINUTE_MS
    assert panel.open_ms.tolist() == opens(0, 1, 2, 3, 4)
    assert panel.close[:, 0].tolist()[:4] == [10.0, 11.0, 12.0, 13.0]
    assert np.array_equal(panel.close[:, 1], [np.nan, 1.0, 2.0, np.nan, 3.0], equal_nan=True)
    assert panel.present[:, 0].tolist() == [True, True, True, True, False]
    assert panel.present[:, 1].tolist() == [False, True, False, False, True]  # minute 2 has no volume
    for name in FIELDS:
        assert np.array_equal(np.isnan(getattr(panel, name)), np.isnan(panel.close))


def test_symbols_and_times_are_chosen(folder: Path) -> None:
    """The asked order, either way of writing a pair, from start to before stop."""
    panel = load_panel(folder, ["ETHUSDT", "BTC/USDT"], START_MS + MINUTE_MS, START_MS + 3 * MINUTE_MS)
    assert panel.symbols == ("ETH/USDT", "BTC/USDT")
    assert panel.open_ms.tolist() == opens(1, 2)
    assert panel.close.tolist() == [[1.0, 11.0], [2.0, 12.0]]


def test_a_count_of_trades_says_more_than_volume(tmp_path: Path) -> None:
    """With a column of trades, that decides whether a candle traded."""
    write(tmp_path / "BTCUSDT.parquet", candles([0, 1], [1.0, 2.0], trades=[0, 3]))
    assert load_panel(tmp_path).present[:, 0].tolist() == [False, True]


def test_a_table_of_closes(tmp_path: Path) -> None:
    """A candle opens at the close before it, is present where it exists, and holds nothing where it is null."""
    write(
        tmp_path / "close.parquet",
        {"timestamp": opens(0, 1, 2), "BTCUSDT": [10.0, 12.0, 9.0], "ETHUSDT": [None, 1.0, 2.0]},
    )
    panel = load_panel(tmp_path)
    assert panel.open[:, 0].tolist() == [10.0, 10.0, 12.0]
    assert panel.high[:, 0].tolist() == [10.0, 12.0, 12.0] and panel.low[:, 0].tolist() == [10.0, 10.0, 9.0]
    assert panel.present[:, 1].tolist() == [False, True, True] and np.isnan(panel.open[0, 1])
    assert load_panel(tmp_path, ["ETH/USDT"]).symbols == ("ETH/USDT",)


@given(st.lists(st.decimals("0.00000001", "9999999999", places=8), min_size=2, max_size=20))
def test_decimals_become_the_nearest_double(tmp_path_factory: pytest.TempPathFactory, prices: list[Decimal]) -> None:
    """A decimal column gives exactly float(Decimal), so a price's shortest text is what the exchange sent."""
    folder = tmp_path_factory.mktemp("decimals")
    column = pa.array(prices, pa.decimal128(18, 8))
    plain = pa.array([1.0] * len(prices))
    table = {"timestamp": opens(*range(len(prices))), "volume": plain}
    write(folder / "BTCUSDT.parquet", table | {name: column for name in FIELDS[:4]})
    assert load_panel(folder).close[:, 0].tolist() == [float(price) for price in prices]


def test_null_decimals_are_not_zero(tmp_path: Path) -> None:
    """A null price in a candle is refused like any other NaN; in a table of closes it is a missing candle."""
    closes = pa.array([Decimal("1.5"), None, Decimal("2.5")], pa.decimal128(18, 2))
    write(tmp_path / "close.parquet", {"timestamp": opens(0, 1, 2), "BTCUSDT": closes})
    assert np.array_equal(load_panel(tmp_path).close[:, 0], [1.5, np.nan, 2.5], equal_nan=True)


def test_coverage_counts_candles(folder: Path) -> None:
    """BTC has 4 of 5 candles, ETH 3 of 5, traded or not."""
    panel = load_panel(folder)
    assert covered(panel, 0.8) == ("BTC/USDT",)
    assert covered(panel, 0.6) == ("BTC/USDT", "ETH/USDT")
    assert covered(panel.rows(0, 0), 0.1) == ()


def spoiled(**columns: Any) -> Callable[[Path], object]:
    return lambda folder: write(folder / "ETHUSDT.parquet", candles([0, 1, 2], [1.0, 2.0, 3.0]) | columns)


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def only_text(folder: Path) -> None:
    empty(folder)
    (folder / "BTCUSDT.csv").write_text("1")


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (empty, "is empty"),
    "no parquet": (only_text, "no .parquet file"),
    "no parquet inside": (lambda f: (f / "ETHUSDT.parquet").write_bytes(b"PAR1 not"), "ETHUSDT.parquet cannot be read"),
    "no pair": (lambda f: (f / "ETHUSDT.parquet").rename(f / "README.parquet"), "README.parquet: the file's name"),
    "twice a pair": (lambda f: write(f / "ethusdt.parquet", candles([0, 1], [1.0, 2.0])), "two files are of the same"),
    "no column": (lambda f: write(f / "ETHUSDT.parquet", {"timestamp": opens(0), "close": [1.0]}), "no column open"),
    "no timestamp": (lambda f: write(f / "ETHUSDT.parquet", {"close": [1.0]}), "no column timestamp"),
    "text": (spoiled(close=["1", "2", "3"]), "close must hold numbers"),
    "twice a time": (spoiled(timestamp=opens(0, 1, 1)), "comes twice"),
    "unsorted": (spoiled(timestamp=opens(0, 2, 1)), "after a later one"),
    "off the grid": (spoiled(timestamp=[START_MS, START_MS + 60_000, START_MS + 120_001]), "off the grid of 60000"),
    "null time": (spoiled(timestamp=[*opens(0, 1), None]), "whole milliseconds"),
    "seconds": (spoiled(timestamp=[1_700_000_040, 1_700_000_100, 1_700_000_160]), "no milliseconds UTC"),
    "microseconds": (spoiled(timestamp=[time * 1000 for time in opens(0, 1, 2)]), "no milliseconds UTC"),
    "NaN": (spoiled(open=[1.0, float("nan"), 3.0]), "open is no price above zero in 1 candles"),
    "zero": (spoiled(low=[0.0, 1.9, 2.9]), "low is no price above zero"),
    "negative": (spoiled(close=[1.0, -2.0, 3.0]), "close is no price"),
    "infinite": (spoiled(high=[float("inf"), 3.0, 4.0]), "high is no price"),
    "null": (spoiled(close=[1.0, None, 3.0]), "close is no price"),
    "high below low": (spoiled(high=[0.5, 2.1, 3.1]), "high is below low"),
    "outside": (spoiled(open=[2.0, 2.0, 3.0]), "outside low and high"),
    "volume": (spoiled(volume=[1.0, -1.0, 1.0]), "volume is no number"),
}


@pytest.mark.parametrize("wrong", list(WRONG))
def test_a_wrong_folder_says_what_is_wrong(wrong: str, folder: Path) -> None:
    """Every fault ends in BadCandles that names it, and the file where there is one."""
    spoil, says = WRONG[wrong]
    spoil(folder)
    with pytest.raises(BadCandles, match=says) as why:
        load_panel(folder)
    assert str(folder) in str(why.value)


def test_what_is_asked_for_must_be_there(folder: Path) -> None:
    """A missing folder, a file for a folder, an unknown pair, no pair at all, an empty range."""
    for where, symbols, start_ms, says in (
        (folder / "nowhere", None, None, "does not exist"),
        (folder / "BTCUSDT.parquet", None, None, "is a file"),
        (folder, ["SOL/USDT"], None, "no candles of SOL/USDT"),
        (folder, ["SOL"], None, "is no pair"),
        (folder, None, START_MS + 10 * MINUTE_MS, "no candles from"),
    ):
        with pytest.raises(BadCandles, match=says):
            load_panel(where, symbols, start_ms)


def test_a_symbol_is_asked_for_once(folder: Path) -> None:
    """Named twice, in whatever form, it would be two columns of the same coin: it is named, and refused."""
    with pytest.raises(BadCandles, match="BTC/USDT is asked for twice"):
        load_panel(folder, ["BTC/USDT", "ETH/USDT", "BTCUSDT"])


def test_one_candle_has_no_interval(tmp_path: Path) -> None:
    """The interval cannot be told from single candles."""
    write(tmp_path / "BTCUSDT.parquet", candles([0], [1.0]))
    with pytest.raises(BadCandles, match="interval"):
        load_panel(tmp_path)


def test_a_range_outside_says_what_is_there(folder: Path) -> None:
    """A bound before the first or after the last candle is refused, with the range there is: nothing is cut in silence."""
    for start_ms, stop_ms in (
        (START_MS - MINUTE_MS, None),
        (None, START_MS + 6 * MINUTE_MS),
        (opens(3)[0], opens(3)[0]),
    ):
        with pytest.raises(BadCandles, match="only from 2023-11-14 22:14 to before 2023-11-14 22:19"):
            load_panel(folder, None, start_ms, stop_ms)
    with pytest.raises(BadCandles, match="before 1700000040000000 ms"):
        load_panel(folder, None, None, START_MS * 1000)


@pytest.fixture
def store(tmp_path: Path, folder: Path) -> Path:
    """The folder's candles as binance/1m of a store."""
    with CandleStore(tmp_path / "store") as store:
        store_panel(load_panel(folder), store, "binance")
    return tmp_path / "store"


def test_a_panel_comes_back_from_the_store(folder: Path, store: Path) -> None:
    """All of it: prices, volumes, what is absent and what did not trade; of the store, its exchange or timeframe."""
    for where in (store, store / "binance", store / "binance" / "1m"):
        assert_same(load_panel(where), load_panel(folder))
    assert_same(load_panel(store, ["ETH/USDT"], *opens(1, 3)), load_panel(folder, ["ETH/USDT"], *opens(1, 3)))


@given(st.sets(st.integers(0, 40), max_size=12), st.integers(0, 40), st.integers(0, 40))
def test_a_range_begins_and_ends_at_candles(
    tmp_path_factory: pytest.TempPathFactory, absent: set[int], start: int, stop: int
) -> None:
    """Whatever is absent, a panel goes from the first to the last candle in the range, from store and from files alike."""
    folder = tmp_path_factory.mktemp("range")
    there = sorted(({*range(41)} - absent) | {0, 40})
    write(folder / "BTCUSDT.parquet", candles(there, [float(minute + 1) for minute in there]))
    write(folder / "ETHUSDT.parquet", candles([10, 11], [1.0, 2.0]))
    with CandleStore(folder / "store") as store:
        store_panel(load_panel(folder, ["BTCUSDT"]), store, "binance")
    inside = [minute for minute in there if start <= minute < stop]
    for where in (folder, folder / "store"):
        if not inside:
            with pytest.raises(BadCandles, match="no candles from"):
                load_panel(where, ["BTCUSDT"], *opens(start, stop))
            continue
        panel = load_panel(where, ["BTCUSDT"], *opens(start, stop))
        found = panel.open_ms[np.isfinite(panel.close[:, 0])].tolist()
        assert found == opens(*inside) and panel.open_ms[[0, -1]].tolist() == [found[0], found[-1]]


def test_a_store_of_several_asks_which(folder: Path, store: Path) -> None:
    """Exchange and timeframe choose, by name or by sub-folder; without them the choice is listed."""
    with CandleStore(store) as other:
        store_panel(load_panel(folder), other, "bybit")
    for (exchange, timeframe), says in (
        ((None, None), "several series of candles: choose exchange and timeframe from binance/1m, bybit/1m"),
        (("kraken", None), "no kraken/any"),
        (("binance", "1h"), "no binance/1h"),
    ):
        with pytest.raises(BadCandles, match=says):
            load_panel(store, exchange=exchange, timeframe=timeframe)
    assert_same(load_panel(store, exchange="bybit"), load_panel(store / "bybit"))
    with pytest.raises(BadCandles, match="no candle store"):
        load_panel(folder, exchange="binance")
    with pytest.raises(BadCandles, match="one series of a candle store"):
        load_panel(store / "binance" / "1m" / "BTCUSDT")
    with pytest.raises(BadCandles, match="no candles of SOL/USDT"):
        load_panel(store, ["SOL/USDT"], exchange="bybit")


def test_many_symbols_in_two_threads(tmp_path: Path) -> None:
    """More symbols than are written at a time, with candles of their own: each in its column."""
    made = synthetic_panel(19, 60)
    with CandleStore(tmp_path) as store:
        store_panel(made, store, "synthetic")
    found = load_panel(tmp_path)
    assert found.symbols == tuple(sorted(made.symbols)) and found.close.flags.c_contiguous
    assert_same(found, made.of(found.symbols))


def assert_same(one: Panel, two: Panel) -> None:
    assert (one.symbols, one.interval_ms) == (two.symbols, two.interval_ms)
    for name in ("open_ms", *FIELDS, "present"):
        assert np.array_equal(getattr(one, name), getattr(two, name), equal_nan=name in FIELDS), name


def test_a_long_hole_is_refused_by_name(folder: Path) -> None:
    """The coin, where it breaks off and goes on, and how long; not what lies before its first and after its last."""
    panel = load_panel(folder)
    check_holes(panel, MINUTE_MS)
    with pytest.raises(BadCandles, match="ETH/USDT has no candles from 2023-11-14 22:17 to before 2023-11-14 22:18"):
        check_holes(panel, MINUTE_MS - 1)
    check_holes(panel.of(("BTC/USDT",)), 0)


@pytest.mark.parametrize(
    ("name", "interval_ms", "shape", "coins"),
    [
        ("binance_spot_1m_2021", 60_000, (47_520, 85), 80),
        ("binance_spot_1h_full", 3_600_000, (29_184, 10), 10),
        ("binance_spot_5m_close_2025", 300_000, (34_560, 289), 257),
    ],
)
def test_real_folders(name: str, interval_ms: int, shape: tuple[int, int], coins: int) -> None:
    """The shared data sets are read as their README describes them."""
    if not (DATA / name).is_dir():
        pytest.skip(f"{DATA / name} is not here")
    panel = load_panel(DATA / name)
    assert (panel.interval_ms, panel.close.shape, len(covered(panel, 0.9))) == (interval_ms, shape, coins)
