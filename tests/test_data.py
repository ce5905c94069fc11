"""`lacuna data` as people and programs meet it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from bot.cli import main
from bot.core.market import FIELDS
from bot.edge.candle_store import CandleStore
from bot.edge.candles import load_panel
from tests.edge.storing import SERIES, START_MS, block
from tests.making import walk
from tests.models.test_research import candle_folder

DATA = Path("../shared/data")


def data(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["data", *map(str, arguments)])


def answer(*arguments: object) -> dict[str, Any]:
    """What a verb that goes well puts on stdout."""
    result = data(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two hours of BTC/USDT with a gap of the exchange's own."""
    with CandleStore(tmp_path / "store") as store:
        store.put(SERIES, block([*range(90), *range(100, 120)]))
        store.mark_fetched(SERIES, START_MS, START_MS + 120 * 60_000)
    return tmp_path / "store"


def test_list_tells_range_candles_and_gaps(store: Path) -> None:
    """One row a series; for people a table."""
    (row,) = answer("list", store)["series"]
    assert row == {
        "exchange": "binance",
        "timeframe": "1m",
        "symbol": "BTC/USDT",
        "start_ms": START_MS,
        "stop_ms": START_MS + 120 * 60_000,
        "candles": 110,
        "gaps": 1,
        "absent": 10,
        "holes": 0,
    }
    text = data("list", store).stderr
    assert "2024-01-31 00:00" in text and "BTC/USDT" in text


def test_verify_is_silent_about_a_sound_store(store: Path) -> None:
    """Exit 0 and no problems; the exchange's own gap is none."""
    assert answer("verify", store) == {"folder": str(store), "series": 1, "problems": []}


def test_verify_fails_with_a_line_each(store: Path) -> None:
    """A hole and a changed file: exit 1, a line each."""
    with CandleStore(store) as other:
        other.put(SERIES, block([130]))
    path = store / "binance" / "1m" / "BTCUSDT" / "2024-01.parquet"
    path.write_bytes(path.read_bytes() + b"!")
    result = data("verify", store)
    assert result.exit_code == 1 and result.stdout == ""
    first, second = result.stderr.splitlines()
    assert "cannot be read as parquet" in first and "10 candles are missing" in second
    assert len(json.loads(data("verify", store, "--json").stdout)["problems"]) == 2


def test_files_go_into_a_store_and_come_out_again(tmp_path: Path) -> None:
    """A folder of files, the store made of it and the files made of that are one panel."""
    origin = candle_folder(tmp_path / "origin", walk(200))
    into = answer("convert", origin, tmp_path / "store", "--exchange", "binance")
    out = answer("convert", tmp_path / "store", tmp_path / "files")
    assert into["candles"] == out["candles"] > 0 and into["series"] == out["series"] == 3
    panels = [load_panel(folder) for folder in (origin, tmp_path / "store", tmp_path / "files")]
    for name in ("open_ms", *FIELDS, "present"):
        for panel in panels[1:]:
            assert np.array_equal(getattr(panel, name), getattr(panels[0], name), equal_nan=name in FIELDS), name


def test_resample_counts_what_it_made(store: Path) -> None:
    """Two hours, one of them with the exchange's gap in it; their holes and gaps are known like any other's."""
    assert answer("resample", store, "1h") == {
        "folder": str(store),
        "timeframe": "1h",
        "series": 1,
        "candles": 2,
        "partial": 1,
        "left_out": 0,
    }
    assert answer("resample", store, "5m")["candles"] == 22
    rows = {row["timeframe"]: row for row in answer("list", store)["series"]}
    assert (rows["5m"]["gaps"], rows["5m"]["holes"], rows["1h"]["candles"]) == (1, 0, 2)
    assert answer("verify", store)["problems"] == []
    assert answer("resample", store, "1d", "--from", "1h")["left_out"] == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("list", "{}/nowhere"), "does not exist"),
        (("list", "{}"), "holds no candles"),
        (("verify", "{}/files"), "no candle store: lacuna data convert"),
        (("convert", "{}/files", "{}/new"), "name it with --exchange"),
        (("convert", "{}/files", "{}/files", "--exchange", "binance"), "holds .parquet files already"),
        (("convert", "{}/files", "{}/new", "--exchange", "../x"), "no name of an exchange"),
        (("convert", "{}/store", "{}/new", "--timeframe", "1h"), "no any/1h"),
        (("convert", "{}/store", "{}/new", "--symbol", "SOL/USDT"), "no candles of SOL/USDT"),
        (("resample", "{}/store", "7m"), "no timeframe '7m'"),
        (("resample", "{}/store", "1m"), "nothing to make 1m from"),
        (("resample", "{}/store", "1h", "--from", "5m"), "it has binance/1m"),
    ],
)
def test_what_cannot_be_done_is_said_before_any_work(
    tmp_path: Path, store: Path, arguments: tuple[str, ...], says: str
) -> None:
    """One sentence, exit 74, and nothing made."""
    candle_folder(tmp_path / "files", walk(20))
    result = data(*(argument.format(tmp_path) for argument in arguments))
    assert result.exit_code == 74 and says in result.stderr
    assert not (tmp_path / "new").exists()


def test_a_store_that_is_being_written_asks_to_wait(store: Path) -> None:
    """Verify would call a month in the middle of its replacement a changed one: exit 75."""
    with CandleStore(store) as writer:
        writer.claim()
        assert data("verify", store).exit_code == 75
        assert data("list", store).exit_code == 0


def test_real_minutes_into_a_store_and_into_hours(tmp_path: Path) -> None:
    """Two coins of the shared minutes: the same panel, and its three outage hours partial."""
    if not (DATA / "binance_spot_1m_2021").is_dir():
        pytest.skip(f"{DATA} is not here")
    symbols = ("--symbol", "BTC/USDT", "--symbol", "DASH/USDT")
    answer("convert", DATA / "binance_spot_1m_2021", tmp_path, "--exchange", "binance", *symbols)
    found, real = load_panel(tmp_path), load_panel(DATA / "binance_spot_1m_2021", ["BTC/USDT", "DASH/USDT"])
    for name in ("open_ms", *FIELDS, "present"):
        assert np.array_equal(getattr(found, name), getattr(real, name), equal_nan=name in FIELDS), name
    assert answer("resample", tmp_path, "1h")["candles"] == 787 + 336


def test_help_imports_nothing_heavy() -> None:
    """`lacuna data --help` answers without pyarrow."""
    code = "import sys, bot.cli as c; c.main(['data', '-h'], standalone_mode=False); print('pyarrow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
