"""Candle folders: SYMBOL.parquet files, or one wide table of closes, as a Panel.

Columns   timestamp (open time, ms UTC), open, high, low, close, volume, optionally trades; decimals or floats.
          A folder with one file that has no `close` column is a table: timestamp and one column of closes a symbol.
Table     a candle opens at the close before it (its own, when there was none); the volume is not known and is 0.
Grid      from the first to the last candle of all files, at the interval most candles stand at; absent is NaN.
Present   the candle exists and traded: trades > 0, else volume > 0 where there is no such column, else it exists.
Decimals  become the nearest double, so that the double's shortest text is the decimal again.
Errors    BadCandles: what is wrong, with the file and the first time it is wrong at, and what to do.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct
from numpy.typing import NDArray

from bot.core.market import FIELDS, BadSymbol, Floats, Integers, Mask, Panel, pair

EXACT = 2**53  # integers up to here are doubles, and so is their nearest quotient by a power of ten up to 10^22
ROWS_MAX = 50_000_000
MILLISECONDS = (946_684_800_000, 4_102_444_800_000)  # from 2000 to 2100


class BadCandles(ValueError):
    """A candle folder that cannot be used; the text says which file, what is wrong and what to do."""

    exit_code = 74


class Column(Struct, frozen=True, eq=False):
    """One symbol's candles: `open_ms` [T], `values` [5, T] in the order of FIELDS, `traded` [T]."""

    open_ms: Integers
    values: Floats
    traded: Mask


def load_panel(
    folder: Path,
    symbols: Sequence[str] | None = None,
    start_ms: int | None = None,
    stop_ms: int | None = None,
) -> Panel:
    """The folder's candles with start_ms <= open < stop_ms, of these symbols (all, in order of name) on one grid."""
    files = _files(folder)
    tables = len(files) == 1 and "close" not in _columns(files[0])
    wanted = _wanted(symbols)
    source = _Table(files[0], wanted) if tables else _Files(folder, files, wanted)
    interval_ms, first_ms, last_ms = _grid(folder, source, start_ms, stop_ms)
    rows, coins = (last_ms - first_ms) // interval_ms + 1, len(source.symbols)
    if rows > ROWS_MAX:
        raise BadCandles(f"{folder}: {rows} slices between the first and the last candle: is a time wrong?")
    fields = [np.full((rows, coins), np.nan) for _ in FIELDS]
    present = np.zeros((rows, coins), dtype=np.bool_)
    for at, symbol in enumerate(source.symbols):
        column = source.read(symbol)
        _check_on_grid(source.path(symbol), column.open_ms, interval_ms)
        start, stop = np.searchsorted(column.open_ms, (first_ms, last_ms + 1))
        row = (column.open_ms[start:stop] - first_ms) // interval_ms
        for field, values in zip(fields, column.values, strict=True):
            field[row, at] = values[start:stop]
        present[row, at] = column.traded[start:stop]
    open_ms = first_ms + interval_ms * np.arange(rows, dtype=np.int64)
    opened, high, low, close, volume = fields
    return Panel(source.symbols, interval_ms, open_ms, opened, high, low, close, volume, present)


def covered(panel: Panel, share: float) -> tuple[str, ...]:
    """The symbols that have a candle in at least this share of the slices, in the panel's order."""
    shares = np.isfinite(panel.close).mean(axis=0) if len(panel) else np.zeros(len(panel.symbols))
    return tuple(symbol for symbol, found in zip(panel.symbols, shares, strict=True) if found >= share)


class _Files:
    """A folder of one file a symbol."""

    def __init__(self, folder: Path, files: list[Path], wanted: tuple[str, ...] | None) -> None:
        self._paths = {_pair_of(path): path for path in files}
        if len(self._paths) < len(files):
            raise BadCandles(f"{folder}: two files are of the same pair: keep one of them")
        self.symbols = _chosen(folder, tuple(self._paths), wanted)

    def path(self, symbol: str) -> Path:
        return self._paths[symbol]

    def times(self) -> Iterator[Integers]:
        for symbol in self.symbols:
            path = self._paths[symbol]
            _columns(path)  # a file without timestamp is readable, and must not be called otherwise
            yield _times(path, _read(path, ["timestamp"]))

    def read(self, symbol: str) -> Column:
        path = self._paths[symbol]
        names = _columns(path)
        missing = [name for name in FIELDS if name not in names]
        if missing:
            raise BadCandles(f"{path}: no column {', '.join(missing)}; it has {', '.join(names)}")
        counted = "trades" in names
        table = _read(path, ["timestamp", *FIELDS, *(["trades"] if counted else [])])
        open_ms = _times(path, table)
        values = np.stack([_floats(path, table, name) for name in FIELDS])
        _check_sane(path, open_ms, values)
        traded = (_floats(path, table, "trades") if counted else values[4]) > 0
        return Column(open_ms, values, traded)


class _Table:
    """One wide table of closes."""

    def __init__(self, path: Path, wanted: tuple[str, ...] | None) -> None:
        self._path = path
        names = [name for name in _columns(path) if name != "timestamp"]
        self._names: dict[str, str] = {}
        for name in names:
            try:
                self._names[pair(name)] = name
            except BadSymbol as why:
                raise BadCandles(
                    f"{path}: the column {name!r} is no trading pair, and there is no column close: give SYMBOL.parquet"
                    f" files with timestamp, {', '.join(FIELDS)}, or one table with a column of closes a pair"
                ) from why
        self.symbols = _chosen(path, tuple(self._names), wanted)
        self._open_ms = _times(path, _read(path, ["timestamp"]))

    def path(self, symbol: str) -> Path:
        return self._path

    def times(self) -> Iterator[Integers]:
        yield self._open_ms

    def read(self, symbol: str) -> Column:
        name = self._names[symbol]
        close = _floats(self._path, _read(self._path, [name]), name)
        known = ~np.isnan(close)  # null is a missing candle here
        close, open_ms = close[known], self._open_ms[known]
        opened = np.concatenate((close[:1], close[:-1]))
        values = np.stack((opened, np.fmax(opened, close), np.fmin(opened, close), close, np.zeros_like(close)))
        _check_sane(self._path, open_ms, values, f" of {name}")
        return Column(open_ms, values, np.ones(len(close), dtype=np.bool_))


_Source = _Files | _Table


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise BadCandles(f"{folder} {what}: name a folder of SYMBOL.parquet files")
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix == ".parquet" and path.is_file())
        empty = not files and not any(folder.iterdir())
    except OSError as why:
        raise BadCandles(f"{folder} cannot be read: {why.strerror}") from why
    if not files:
        raise BadCandles(
            f"{folder} {'is empty' if empty else 'holds no .parquet file'}: name a folder of SYMBOL.parquet files"
        )
    return files


def _wanted(symbols: Sequence[str] | None) -> tuple[str, ...] | None:
    try:
        return None if symbols is None else tuple(pair(symbol) for symbol in symbols)
    except BadSymbol as why:
        raise BadCandles(str(why)) from why


def _chosen(where: Path, there: tuple[str, ...], wanted: tuple[str, ...] | None) -> tuple[str, ...]:
    missing = [symbol for symbol in wanted or () if symbol not in there]
    if missing:
        raise BadCandles(f"{where} has no candles of {', '.join(missing)}: it has {len(there)} other pairs")
    return there if wanted is None else wanted


def _pair_of(path: Path) -> str:
    try:
        return pair(path.stem)
    except BadSymbol as why:
        raise BadCandles(f"{path}: the file's name is no trading pair: call it like BTCUSDT.parquet") from why


def _columns(path: Path) -> list[str]:
    try:
        names: list[str] = pq.read_schema(path).names
    except (pa.ArrowException, OSError) as why:
        raise _unreadable(path, why) from why
    if "timestamp" not in names:
        raise BadCandles(f"{path}: no column timestamp; it has {', '.join(names)}")
    return names


def _read(path: Path, names: list[str]) -> Any:
    try:
        return pq.read_table(path, columns=names, partitioning=None)
    except (pa.ArrowException, OSError) as why:
        raise _unreadable(path, why) from why


def _unreadable(path: Path, why: Exception) -> BadCandles:
    return BadCandles(f"{path} cannot be read as parquet: {str(why).splitlines()[0]}: fetch or copy it again")


def _times(path: Path, table: Any) -> Integers:
    """The timestamps, strictly increasing."""
    column = table["timestamp"]
    if not pa.types.is_integer(column.type) or column.null_count:
        raise BadCandles(f"{path}: timestamp must be whole milliseconds without gaps, not {column.type}")
    found: Integers = column.to_numpy().astype(np.int64, copy=False)
    steps = np.diff(found)
    if (steps <= 0).any():
        at = int(np.flatnonzero(steps <= 0)[0]) + 1
        kind = "comes twice" if found[at] == found[at - 1] else "comes after a later one: sort the file by time"
        raise BadCandles(f"{path}: the candle at {found[at]} {kind}")
    if len(found) and not MILLISECONDS[0] <= found[0] <= found[-1] < MILLISECONDS[1]:
        raise BadCandles(f"{path}: times from {found[0]} to {found[-1]} are no milliseconds UTC of this century")
    return found


def _floats(path: Path, table: Any, name: str) -> Floats:
    """One column as doubles, null as NaN; decimals become the nearest double."""
    column = table[name]
    kind = column.type
    if not pa.types.is_decimal(kind):
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
            raise BadCandles(f"{path}: the column {name} must hold numbers, not {kind}")
        plain: Floats = column.cast(pa.float64()).to_numpy()
        return plain
    if kind.bit_width != 128 or not 0 <= kind.scale <= 22:
        return _slowly(column)
    words = [_unscaled(chunk) for chunk in column.chunks]
    units = np.concatenate([low for low, _ in words]) if words else np.zeros(0, dtype=np.int64)
    high = np.concatenate([high for _, high in words]) if words else units
    found: Floats = units / 10.0**kind.scale
    large = np.flatnonzero((units >> 63 != high) | (units > EXACT) | (units < -EXACT))
    if len(large):
        found[large] = _slowly(column.take(large))
    if column.null_count:
        found[column.is_null().to_numpy()] = np.nan
    return found


def _slowly(column: Any) -> Floats:
    """Decimals one by one, null as NaN."""
    return np.array([np.nan if value is None else float(value) for value in column.to_pylist()])


def _unscaled(chunk: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The low and high halves of 128-bit decimals, as integers; nulls are 0."""
    words = np.frombuffer(chunk.buffers()[1], dtype="<i8")[2 * chunk.offset : 2 * (chunk.offset + len(chunk))]
    low, high = words[0::2], words[1::2]
    if chunk.null_count:
        null = chunk.is_null().to_numpy(zero_copy_only=False)
        return np.where(null, 0, low), np.where(null, 0, high)
    return low, high


def _check_sane(path: Path, open_ms: Integers, values: Floats, of: str = "") -> None:
    """Refuses what no exchange sends (F19)."""
    opened, high, low, close, volume = values
    for name, field in zip(FIELDS[:4], values, strict=False):
        _refuse(path, open_ms, ~(np.isfinite(field) & (field > 0)), f"{name}{of} is no price above zero")
    _refuse(path, open_ms, ~(np.isfinite(volume) & (volume >= 0)), f"volume{of} is no number of zero or more")
    _refuse(path, open_ms, high < low, f"high{of} is below low")
    outside = (np.maximum(opened, close) > high) | (np.minimum(opened, close) < low)
    _refuse(path, open_ms, outside, f"open or close{of} is outside low and high")


def _refuse(path: Path, open_ms: Integers, wrong: Mask, what: str) -> None:
    if wrong.any():
        raise BadCandles(
            f"{path}: {what} in {int(wrong.sum())} candles, first at {open_ms[np.argmax(wrong)]}: fix or drop them"
        )


def _grid(folder: Path, source: _Source, start_ms: int | None, stop_ms: int | None) -> tuple[int, int, int]:
    """The interval, the smallest of the files' median steps, and the first and last open from start to before stop."""
    steps: list[int] = []
    ends: list[int] = []
    for times in source.times():
        if len(times) > 1:
            steps.append(int(np.median(np.diff(times))))
        after = 0 if start_ms is None else int(np.searchsorted(times, start_ms))
        before = len(times) if stop_ms is None else int(np.searchsorted(times, stop_ms))
        ends += times[after:before][[0, -1]].tolist() if after < before else []
    if not steps:
        raise BadCandles(f"{folder}: no file has two candles, so their interval cannot be told")
    if not ends:
        raise BadCandles(f"{folder} has no candles from {start_ms} to before {stop_ms}: ask for another range")
    return min(steps), min(ends), max(ends)


def _check_on_grid(path: Path, open_ms: Integers, interval_ms: int) -> None:
    off = open_ms % interval_ms != 0
    if off.any():
        raise BadCandles(
            f"{path}: the candle at {open_ms[np.argmax(off)]} is off the grid of {interval_ms} ms:"
            " are all files of one interval, and times in milliseconds?"
        )
