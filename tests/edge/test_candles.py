"""Candle folders as panels: what is read, what counts as present, and what is refused with a sentence."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bot.core.market import MINUTE_MS
from bot.edge.candles import BadCandles, covered, load_panel
from tests.making import START_MS

FOLDER = Path("../shared/data/binance_spot_1m_2021")


def columns(rows: int = 4, price: float = 100.0, **changed: Any) -> dict[str, Any]:
    """Minutes from START_MS at one price, volume 1."""
    times = [START_MS + row * MINUTE_MS for row in range(rows)]
    prices = {name: [price] * rows for name in ("open", "high", "low", "close")}
    return {"timestamp": times, **prices, "volume": [1.0] * rows} | changed


def write(folder: Path, name: str, table: dict[str, Any]) -> None:
    pq.write_table(pa.table(table), folder / f"{name}.parquet")


def refusal(folder: Path, **asked: Any) -> str:
    with pytest.raises(BadCandles) as refused:
        load_panel(folder, **asked)
    return str(refused.value)


def test_a_folder_becomes_a_panel(tmp_path: Path) -> None:
    """Files become columns in order of name, each field in its place, prices as written."""
    write(tmp_path, "ETHUSDT", columns(open=[1.0, 2.0, 3.0, 4.0], low=[0.5] * 4, close=[5.0] * 4, high=[9.0] * 4))
    write(tmp_path, "BTCUSDT", columns(volume=[1.0, 2.0, 3.0, 4.0]))
    panel = load_panel(tmp_path)
    assert panel.symbols == ("BTC/USDT", "ETH/USDT")
    assert panel.interval_ms == MINUTE_MS
    assert panel.open_ms.tolist() == [START_MS + row * MINUTE_MS for row in range(4)]
    eth = [field[:, 1].tolist() for field in (panel.open, panel.high, panel.low, panel.close)]
    assert eth == [[1.0, 2.0, 3.0, 4.0], [9.0] * 4, [0.5] * 4, [5.0] * 4]
    assert panel.volume[:, 0].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert panel.present.all()


@pytest.mark.parametrize("trades", [True, False])
def test_a_candle_without_trades_is_there_but_not_present(tmp_path: Path, trades: bool) -> None:
    """`trades` says so where the column exists, the volume where it does not."""
    table = columns(trades=[3, 0, 1, 2]) if trades else columns(volume=[3.0, 0.0, 1.0, 2.0])
    write(tmp_path, "BTCUSDT", table)
    panel = load_panel(tmp_path)
    assert panel.present[:, 0].tolist() == [True, False, True, True]
    assert (panel.close == 100.0).all()


def test_a_missing_candle_is_nan(tmp_path: Path) -> None:
    """A coin listed later, or with a hole, has NaN in every field there; the grid spans all files."""
    write(tmp_path, "BTCUSDT", columns(5))
    late = columns(3, timestamp=[START_MS + row * MINUTE_MS for row in (1, 2, 4)])
    write(tmp_path, "ETHUSDT", late)
    panel = load_panel(tmp_path)
    assert panel.present[:, 1].tolist() == [False, True, True, False, True]
    for field in (panel.open, panel.high, panel.low, panel.close, panel.volume):
        assert np.isnan(field[:, 1]).tolist() == [True, False, False, True, False]


def test_decimals_become_the_nearest_double(tmp_path: Path) -> None:
    """0.1 as a decimal is 0.1 as a float, however many digits it has."""
    texts = ["0.1", "0.3", "90071992547409.93", "1234567890123456.7891"]
    prices = pa.array([Decimal(text) for text in texts], pa.decimal128(38, 4))
    write(tmp_path, "BTCUSDT", columns(open=prices, high=prices, low=prices, close=prices))
    assert load_panel(tmp_path).close[:, 0].tolist() == [float(text) for text in texts]


def test_one_wide_table_of_closes(tmp_path: Path) -> None:
    """A column a pair, null where absent: closes as given, the open is the close before it."""
    times = [START_MS + row * MINUTE_MS for row in range(3)]
    write(tmp_path, "closes", {"timestamp": times, "BTCUSDT": [1.0, 2.0, 3.0], "ETHUSDT": [5.0, None, 4.0]})
    panel = load_panel(tmp_path)
    assert panel.symbols == ("BTC/USDT", "ETH/USDT")
    np.testing.assert_array_equal(panel.close, [[1.0, 5.0], [2.0, np.nan], [3.0, 4.0]])
    np.testing.assert_array_equal(panel.open, [[1.0, 5.0], [1.0, np.nan], [2.0, 5.0]])
    np.testing.assert_array_equal(panel.present, [[True, True], [True, False], [True, True]])


def test_symbols_and_times_choose(tmp_path: Path) -> None:
    """Symbols in the order asked; from start_ms on, before stop_ms."""
    for name in ("ADAUSDT", "BTCUSDT", "ETHUSDT"):
        write(tmp_path, name, columns(6))
    first, stop = START_MS + MINUTE_MS, START_MS + 4 * MINUTE_MS
    panel = load_panel(tmp_path, ["ETHUSDT", "ada/usdt"], first, stop)
    assert panel.symbols == ("ETH/USDT", "ADA/USDT")
    assert panel.open_ms.tolist() == [first, first + MINUTE_MS, first + 2 * MINUTE_MS]
    assert "SOL/USDT" in refusal(tmp_path, symbols=["SOL/USDT"])
    assert "another range" in refusal(tmp_path, start_ms=START_MS + 60 * MINUTE_MS)


def test_covered_counts_slices_with_a_candle(tmp_path: Path) -> None:
    """A coin in 3 of 5 slices is covered at .6 and not at .7."""
    write(tmp_path, "BTCUSDT", columns(5))
    write(tmp_path, "ETHUSDT", columns(3))
    panel = load_panel(tmp_path)
    assert covered(panel, 0.6) == ("BTC/USDT", "ETH/USDT")
    assert covered(panel, 0.7) == ("BTC/USDT",)


def test_folders_that_are_none(tmp_path: Path) -> None:
    """No folder, a file, an empty folder and one without parquet each say which they are."""
    assert "does not exist" in refusal(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "is empty" in refusal(tmp_path / "empty")
    (tmp_path / "notes.txt").write_text("hello")
    assert "no .parquet" in refusal(tmp_path)
    assert "not a folder" in refusal(tmp_path / "notes.txt")


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    """A cut file is refused by name, whichever of the files it is."""
    write(tmp_path, "BTCUSDT", columns())
    write(tmp_path, "ETHUSDT", columns())
    whole = (tmp_path / "ETHUSDT.parquet").read_bytes()
    (tmp_path / "ETHUSDT.parquet").write_bytes(whole[: len(whole) // 2])
    assert "ETHUSDT.parquet" in refusal(tmp_path)


def test_a_file_named_for_no_pair_is_refused(tmp_path: Path) -> None:
    """The name is the symbol, so a summary beside the candles is no candle file."""
    write(tmp_path, "summary", columns())
    assert "summary.parquet" in refusal(tmp_path)


BAD = {
    "no column volume": {"volume": None},
    "no column timestamp": {"timestamp": None},
    "whole milliseconds": {"timestamp": [1.0, 2.0, 3.0, 4.0]},
    "comes twice": {"timestamp": [START_MS + row * MINUTE_MS for row in (0, 1, 1, 2)]},
    "after a later one": {"timestamp": [START_MS + row * MINUTE_MS for row in (0, 2, 1, 3)]},
    "off the grid": {"timestamp": [START_MS + step for step in (0, MINUTE_MS, 2 * MINUTE_MS + 1, 3 * MINUTE_MS + 1)]},
    "no milliseconds": {"timestamp": [START_MS // 1000 + 60 * row for row in range(4)]},
    "must hold numbers": {"close": ["a", "b", "c", "d"]},
    "close is no price": {"close": [100.0, float("nan"), 100.0, 100.0]},
    "open is no price": {"open": [100.0, 100.0, None, 100.0]},
    "low is no price": {"low": [100.0, 0.0, 100.0, 100.0]},
    "high is no price": {"high": [100.0, 100.0, float("inf"), 100.0]},
    "volume is no number": {"volume": [1.0, -1.0, 1.0, 1.0]},
    "high is below low": {"high": [100.0, 99.0, 100.0, 100.0]},
    "outside low and high": {"close": [100.0, 100.0, 100.0, 101.0]},
}


@pytest.mark.parametrize("said", BAD)
def test_what_no_exchange_sends_is_refused(tmp_path: Path, said: str) -> None:
    """One wrong column in one file: the sentence names the file and the fault."""
    write(tmp_path, "BTCUSDT", columns())
    table = {name: values for name, values in (columns() | BAD[said]).items() if values is not None}
    write(tmp_path, "ETHUSDT", table)
    sentence = refusal(tmp_path)
    assert said in sentence
    assert "ETHUSDT.parquet" in sentence


def test_an_interval_needs_two_candles(tmp_path: Path) -> None:
    """One candle stands on every grid: refused, not guessed."""
    assert BadCandles.exit_code == 74
    write(tmp_path, "BTCUSDT", columns(1))
    assert "interval cannot be told" in refusal(tmp_path)


@pytest.mark.skipif(not FOLDER.is_dir(), reason="the recorded candles are not here")
def test_a_real_folder_is_read_to_the_digit() -> None:
    """Decimals of recorded minutes, on one grid; a close's shortest text is the decimal in the file."""
    panel = load_panel(FOLDER, ["1INCHUSDT", "BTCUSDT"])
    assert panel.interval_ms == MINUTE_MS
    raw = pq.read_table(FOLDER / "1INCHUSDT.parquet", columns=["timestamp", "close"]).slice(0, 500).to_pydict()
    rows = (np.array(raw["timestamp"]) - panel.open_ms[0]) // MINUTE_MS
    assert [Decimal(str(close)) for close in panel.close[rows, 0]] == raw["close"]
