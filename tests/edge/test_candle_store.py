"""The candle store: what was put comes out, what is missing is known, and no kill makes it lie."""

import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.market import MINUTE_MS
from bot.edge.candle_store import Block, CandleStore, Series, StoreBusy
from bot.edge.columns import BadCandles
from bot.edge.manifest import Manifest
from bot.edge.month_file import encode, replace_file
from bot.edge.verify import verify
from tests.edge.storing import MINUTES, SERIES, START_MS, block, fill

KILLS = 10
NAMES = Block.__struct_fields__


def at(minute: int) -> int:
    return START_MS + minute * MINUTE_MS


def same(one: Block, two: Block) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(two, name), equal_nan=True) for name in NAMES)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a store but its lock."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def store(tmp_path: Path) -> CandleStore:
    return CandleStore(tmp_path / "store")


def test_candles_lie_by_exchange_timeframe_symbol_and_month(store: CandleStore) -> None:
    """A month is one Parquet file that any engine reads; the manifest stands beside it."""
    store.put(SERIES, block(range(1430, 1450)))
    assert set(contents(store.folder)) == {
        f"binance/1m/BTCUSDT/{name}" for name in ("2024-01.parquet", "2024-02.parquet", "manifest.json")
    }
    table = pq.read_table(store.path(SERIES) / "2024-02.parquet", partitioning=None)
    assert table.num_rows == 10 and table["timestamp"][0].as_py() == at(1440)
    assert store.series() == [SERIES]


def test_what_was_put_is_read(store: CandleStore) -> None:
    """All of it, or from start to before stop; nothing of a series that is not there."""
    store.put(SERIES, block(range(1430, 1450)))
    assert same(store.read(SERIES), block(range(1430, 1450)))
    assert same(store.read(SERIES, at(1435), at(1442)), block(range(1435, 1442)))
    assert len(store.read(SERIES, at(2000))) == 0
    assert len(store.read(Series("binance", "1m", "ETH/USDT"))) == 0


def test_an_answer_without_candles_is_a_gap_and_not_missing(store: CandleStore) -> None:
    """Missing is what was never asked for; a gap is what the exchange has not got; a hole is both."""
    store.put(SERIES, block([*range(10), *range(20, 30)]))
    assert store.missing(SERIES, at(0), at(40)) == [(at(10), at(20)), (at(30), at(40))]
    assert store.manifest(SERIES).gaps == store.manifest(SERIES).holes == [(at(10), at(20))]
    store.mark_fetched(SERIES, at(8), at(18))
    assert store.missing(SERIES, at(0), at(40)) == [(at(18), at(20)), (at(30), at(40))]
    store.mark_fetched(SERIES, at(18), at(40))
    assert store.missing(SERIES, at(0), at(40)) == store.manifest(SERIES).holes == []
    assert store.manifest(SERIES).gaps == [(at(10), at(20))]


def test_no_candles_are_no_work(store: CandleStore) -> None:
    """An empty answer puts nothing, and makes no series of its own."""
    store.put(SERIES, block([]))
    assert store.series() == [] and not store.folder.exists()


def test_bounds_off_the_grid_are_of_the_opens_between(store: CandleStore) -> None:
    """Half a minute past 0 asks for the candles from minute 1 on."""
    store.mark_fetched(SERIES, at(0) + 30_000, at(2) + 30_000)
    assert store.missing(SERIES, at(0), at(5)) == [(at(0), at(1)), (at(3), at(5))]


Step = tuple[bool, int, int, int]
STEPS = st.lists(st.tuples(st.booleans(), st.integers(1400, 1480), st.integers(1, 30), st.integers(1, 3)), max_size=6)


@given(STEPS)
def test_the_store_is_a_dictionary_by_time(tmp_path_factory: pytest.TempPathFactory, steps: list[Step]) -> None:
    """Whatever is put and marked in whatever order: the newest value of each time, and exactly what is missing."""
    values: dict[int, float] = {}
    fetched: set[int] = set()
    with CandleStore(tmp_path_factory.mktemp("any")) as store:
        for salt, (puts, start, length, stride) in enumerate(steps):
            minutes = range(start, start + length, stride)
            if puts:
                store.put(SERIES, block(minutes, salt))
                values |= dict(zip(minutes, block(minutes, salt).close.tolist(), strict=True))
                fetched |= set(minutes)
            else:
                store.mark_fetched(SERIES, at(start), at(start + length))
                fetched |= set(range(start, start + length))
        found = store.read(SERIES)
        assert dict(zip(found.open_ms.tolist(), found.close.tolist(), strict=True)) == {
            at(minute): value for minute, value in values.items()
        }
        assert found.open_ms.tolist() == sorted(found.open_ms.tolist())
        missing = {
            time for start, stop in store.missing(SERIES, at(1390), at(1520)) for time in range(start, stop, 60_000)
        }
        assert missing == {at(minute) for minute in range(1390, 1520) if minute not in fetched}
        gaps = {time for start, stop in store.manifest(SERIES).gaps for time in range(start, stop, 60_000)}
        between = range(min(values, default=0), max(values, default=0) + 1)
        assert gaps == {at(minute) for minute in between if minute not in values and values}
        (store.path(SERIES) / "manifest.json").unlink(missing_ok=True)
        rebuilt = store.manifest(SERIES)
        assert (rebuilt.candles, rebuilt.span is None) == (len(values), not values)


@settings(max_examples=20)
@given(st.permutations(range(6)))
def test_the_bytes_depend_on_the_candles_alone(tmp_path_factory: pytest.TempPathFactory, order: list[int]) -> None:
    """Six pages put in any order make the same files, and the same manifest."""
    folder = tmp_path_factory.mktemp("order")
    with CandleStore(folder / "one") as one, CandleStore(folder / "two") as two:
        one.put(SERIES, block(range(1380, 1500)))
        for page in order:
            two.put(SERIES, block(range(1380 + 20 * page, 1400 + 20 * page), salt=1))  # revised a moment later
            two.put(SERIES, block(range(1380 + 20 * page, 1400 + 20 * page)))
    assert contents(folder / "one") == contents(folder / "two")


def test_a_kill_at_any_rename_costs_work_and_no_truth(tmp_path: Path) -> None:
    """Killed again and again in the middle of puts and resumed, the store ends equal to one filled in one go."""
    fill(tmp_path / "calm")
    dice = random.Random(7)
    for _ in range(KILLS):
        rename = str(dice.randint(1, 6))
        died = subprocess.run([sys.executable, "-m", "tests.edge.storing", tmp_path / "killed", rename], check=False)
        assert died.returncode == -signal.SIGKILL
        for series in CandleStore(tmp_path / "killed").series():  # a reader meanwhile
            assert CandleStore(tmp_path / "killed").manifest(series).candles == len(
                CandleStore(tmp_path / "killed").read(series)
            )
    fill(tmp_path / "killed")
    assert len(CandleStore(tmp_path / "killed").read(SERIES)) == MINUTES - MINUTES // 50 - (MINUTES % 50 > 0)
    assert contents(tmp_path / "killed") == contents(tmp_path / "calm")
    assert verify(CandleStore(tmp_path / "killed"), SERIES) == []


def test_a_month_replaced_before_its_manifest_is_taken_from_the_file(store: CandleStore) -> None:
    """A reader after a kill between the two writes sees the file's candles, and the next writer settles it."""
    store.put(SERIES, block(range(10)))
    before = store.manifest(SERIES)
    store.put(SERIES, block(range(5, 30)))
    after = store.manifest(SERIES)
    announced = Manifest(before.months, before.fetched, ("2024-01",))
    replace_file(store.path(SERIES) / "manifest.json", msgspec.json.encode(announced))
    store.close()
    (store.path(SERIES) / ".2024-01.parquet.tmp").write_bytes(b"half a file")
    assert CandleStore(store.folder).manifest(SERIES) == after
    with CandleStore(store.folder) as next_one:
        next_one.claim()
    assert not [name for name in contents(store.folder) if name.endswith(".tmp")]
    assert msgspec.json.decode((store.path(SERIES) / "manifest.json").read_bytes(), type=Manifest) == after


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"{")])
def test_a_lost_manifest_is_rebuilt_from_the_files(store: CandleStore, spoil: Callable[[Path], object]) -> None:
    """Lost or broken, all that is lost with it is which empty ranges were asked for."""
    store.put(SERIES, block([*range(10), *range(20, 1500)]))
    before = store.manifest(SERIES)
    store.mark_fetched(SERIES, at(10), at(20))
    spoil(store.path(SERIES) / "manifest.json")
    assert store.manifest(SERIES) == before and store.series() == [SERIES]


def test_one_process_writes_and_others_read(store: CandleStore) -> None:
    """A second writer is refused at once; a reader is not; after close the next one may."""
    store.put(SERIES, block(range(3)))
    second = CandleStore(store.folder)
    with pytest.raises(StoreBusy, match="another process is writing") as why:
        second.put(SERIES, block(range(3, 6)))
    assert why.value.exit_code == 75
    assert len(second.read(SERIES)) == 3
    store.close()
    with second:
        second.put(SERIES, block(range(3, 6)))
    assert len(store.read(SERIES)) == 6


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"open_ms": [at(1), at(0)]}, "after a later one"),
        ({"open_ms": [at(0), at(0)]}, "comes twice"),
        ({"open_ms": [at(0), at(1) + 1]}, "off the grid of 60000"),
        ({"open_ms": [0, 60_000]}, "no milliseconds"),
        ({"low": [0.0, 1.0]}, "low is no price"),
        ({"close": [np.nan, 1.0]}, "close is no price"),
        ({"high": [1.0, 1.0]}, "high is below low"),
        ({"volume": [-1.0, 1.0]}, "volume is no number"),
        ({"trades": [-2, 1]}, "trades is no count"),
    ],
)
def test_nothing_impossible_is_stored(store: CandleStore, change: dict[str, list[float]], says: str) -> None:
    """A block that no exchange sends is refused whole, by the first thing wrong with it."""
    good = block(range(2))
    arrays = {name: np.array(values, dtype=getattr(good, name).dtype) for name, values in change.items()}
    with pytest.raises(BadCandles, match=says):
        store.put(SERIES, msgspec.structs.replace(good, **arrays))
    assert not store.folder.exists()


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("Bin ance", "1m", "BTC/USDT"), "no name of an exchange"),
        (("..", "1m", "BTC/USDT"), "no name of an exchange"),
        (("binance", "7m", "BTC/USDT"), "no timeframe '7m': there are 1m"),
        (("binance", "1m", "BTCUSDT"), "no pair a file"),
        (("binance", "1m", "../X/USDT"), "no pair a file"),
        (("binance", "1m", "BTC/XYZ"), "no pair a file"),
    ],
)
def test_a_series_is_named_so_that_it_is_found_again(names: tuple[str, str, str], says: str) -> None:
    """Names that could leave the folder, or not be read back from it, are refused."""
    with pytest.raises(BadCandles, match=says):
        Series(*names)


def spoiled(change: Callable[[Block], Block]) -> Callable[[Path], object]:
    """The first month's file with other candles in it, behind the manifest's back."""
    return lambda folder: (folder / "2024-01.parquet").write_bytes(encode(change(block(range(10)))))


def twisted(name: str, value: float) -> Callable[[Block], Block]:
    def change(good: Block) -> Block:
        array = getattr(good, name).copy()
        array[3] = value
        return msgspec.structs.replace(good, **{name: array})

    return change


def bit_flipped(folder: Path) -> None:
    path = folder / "2024-01.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)


SPOILED: dict[str, tuple[Callable[[Path], object], str]] = {
    "bit rot": (bit_flipped, "2024-01.parquet cannot be read|is not the file that was written"),
    "replaced": (spoiled(lambda good: good.rows(0, 9)), "not the file that was written"),
    "gone": (lambda folder: (folder / "2024-01.parquet").unlink(), "cannot be read: No such file"),
    "foreign": (
        lambda folder: shutil.copy(folder / "2024-01.parquet", folder / "2023-12.parquet"),
        "2023-12.parquet is not in the manifest.*\n.*2023-12.parquet: the candle at .* is of another month",
    ),
    "twice": (spoiled(twisted("open_ms", at(2))), "comes twice"),
    "off the grid": (spoiled(twisted("open_ms", at(3) + 1)), "off the grid"),
    "NaN": (spoiled(twisted("close", np.nan)), "close is no price above zero in 1 candles"),
    "zero": (spoiled(twisted("low", 0.0)), "low is no price"),
    "high below low": (spoiled(twisted("high", 1.0)), "high is below low"),
    "volume": (spoiled(twisted("volume", -1.0)), "volume is no number"),
    "text": (lambda folder: (folder / "2024-01.parquet").write_text("no parquet"), "cannot be read as parquet"),
}


@pytest.mark.parametrize("wrong", list(SPOILED))
def test_what_is_wrong_with_a_series_is_said(wrong: str, store: CandleStore) -> None:
    """Every kind of damage is named, with the file; a store as it was written has none."""
    store.put(SERIES, block(range(10)))
    assert verify(store, SERIES) == []
    spoil, says = SPOILED[wrong]
    spoil(store.path(SERIES))
    problems = verify(store, SERIES)
    assert problems and re.search(says, "\n".join(problems)), problems


def test_a_hole_is_a_problem_until_the_exchange_was_asked(store: CandleStore) -> None:
    """Missing candles in the middle are told; as the exchange's own gap they are no problem."""
    store.put(SERIES, block([0, 1, 5, 6]))
    (problem,) = verify(store, SERIES)
    assert "3 candles are missing in 1 holes, the longest from 2024-01-31 00:02 to before" in problem
    store.mark_fetched(SERIES, at(2), at(5))
    assert verify(store, SERIES) == []


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """A file where the store should be ends in one sentence."""
    (tmp_path / "file").write_text("")
    with pytest.raises(BadCandles, match="cannot be written"):
        CandleStore(tmp_path / "file").put(SERIES, block(range(3)))
