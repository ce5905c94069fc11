"""One Parquet file of candles, read and checked: columns of any numeric kind to arrays of doubles.

Columns   timestamp (open time, ms UTC), open, high, low, close, volume; optionally quote_volume and trades.
Decimals  become the nearest double, so that the double's shortest text is the decimal again.
Trades    0: none in this candle; -1: traded, but nobody counted (no such column, and a volume above zero).
Errors    BadCandles: what is wrong, with the file and the first time it is wrong at, and what to do.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct
from numpy.typing import NDArray

from bot.core.market import FIELDS, Floats, Integers, Mask

EXACT = 2**53  # integers up to here are doubles, and so is their nearest quotient by a power of ten up to 10^22
MILLISECONDS = (946_684_800_000, 4_102_444_800_000)  # from 2000 to 2100
UNCOUNTED = -1
OPTIONAL = ("quote_volume", "trades")


class BadCandles(ValueError):
    """Candles that cannot be used or kept; the text says which file, what is wrong and what to do."""

    exit_code = 74


class CoinsMissing(BadCandles):
    """Candles without some of the coins that are wanted."""


class Column(Struct, frozen=True, eq=False):
    """One symbol's candles: `open_ms` [T], `values` [K, T] of K fields, `trades` [T]."""

    open_ms: Integers
    values: Floats
    trades: Integers

    @property
    def traded(self) -> Mask:
        found: Mask = self.trades != 0
        return found

    def between(self, start_ms: int | None, stop_ms: int | None) -> "Column":
        """The candles with start_ms <= open < stop_ms, as views; None is no bound."""
        start = 0 if start_ms is None else int(np.searchsorted(self.open_ms, start_ms))
        stop = len(self.open_ms) if stop_ms is None else int(np.searchsorted(self.open_ms, stop_ms))
        return Column(self.open_ms[start:stop], self.values[:, start:stop], self.trades[start:stop])

    @classmethod
    def joined(cls, parts: "list[Column]", fields: int) -> "Column":
        """Parts of one symbol that follow each other, of this many fields each."""
        none = cls(np.zeros(0, dtype=np.int64), np.zeros((fields, 0)), np.zeros(0, dtype=np.int64))
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([none.open_ms, *(part.open_ms for part in parts)]),
            np.concatenate([none.values, *(part.values for part in parts)], axis=1),
            np.concatenate([none.trades, *(part.trades for part in parts)]),
        )


def read_column(path: Path, fields: tuple[str, ...], check_pages: bool = False) -> Column:
    """The candles of a file of one symbol. `fields` begin with FIELDS; quote_volume is NaN where the file has none.

    With `check_pages` the checksums that a store's files carry on their pages are compared too.
    """
    column = read_unchecked(path, fields, check_pages)
    check_times(path, column.open_ms)
    check_values(path, column)
    return column


def read_unchecked(path: Path, fields: tuple[str, ...], check_pages: bool = False) -> Column:
    """As `read_column`, whatever the times and values are."""
    table = _read(path, ("timestamp", *fields, "trades"), check_pages)
    names = table.column_names
    missing = [name for name in fields if name not in names and name not in OPTIONAL]
    if missing:
        raise BadCandles(f"{path}: no column {', '.join(missing)}; it has {', '.join(columns_of(path))}")
    open_ms = _times(path, table)
    values = np.full((len(fields), len(open_ms)), np.nan)
    for row, name in zip(values, fields, strict=True):
        if name in names:
            row[:] = _floats(path, table, name)
    if "trades" not in names:
        return Column(open_ms, values, np.where(values[FIELDS.index("volume")] > 0, UNCOUNTED, 0))
    return Column(open_ms, values, np.nan_to_num(_floats(path, table, "trades"), nan=UNCOUNTED - 1).astype(np.int64))


def columns_of(path: Path) -> list[str]:
    """The names of a file's columns, `timestamp` among them."""
    try:
        names: list[str] = pq.read_schema(path).names
    except (pa.ArrowException, OSError) as why:
        raise _unreadable(path, why) from why
    if "timestamp" not in names:
        raise BadCandles(f"{path}: no column timestamp; it has {', '.join(names)}")
    return names


def read_times(path: Path) -> Integers:
    """A file's open times alone."""
    open_ms = _times(path, _read(path, ("timestamp",)))
    check_times(path, open_ms)
    return open_ms


def read_closes(path: Path, name: str) -> Floats:
    """One column of a table of closes, null as NaN."""
    return _floats(path, _read(path, ("timestamp", name)), name)


def _read(path: Path, wanted: tuple[str, ...], check_pages: bool = False) -> Any:
    """The wanted columns, those of them that are there."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=check_pages) as file:
            names = file.schema_arrow.names
            if "timestamp" not in names:
                raise BadCandles(f"{path}: no column timestamp; it has {', '.join(names)}")
            return file.read([name for name in wanted if name in names], use_threads=False)
    except (pa.ArrowException, OSError) as why:
        raise _unreadable(path, why) from why


def _unreadable(path: Path, why: Exception) -> BadCandles:
    return BadCandles(f"{path} cannot be read as parquet: {str(why).splitlines()[0]}: fetch or copy it again")


def check_times(where: object, open_ms: Integers) -> None:
    """Refuses times that do not strictly increase, and those outside the century: seconds, microseconds."""
    _refuse(where, time_troubles(open_ms))


def check_on_grid(where: object, open_ms: Integers, interval_ms: int) -> None:
    """Refuses times that are no multiple of the interval."""
    _refuse(where, grid_troubles(open_ms, interval_ms))


def check_values(where: object, column: Column, of: str = "") -> None:
    """Refuses what no exchange sends (F19). `of` names the column where a file has several symbols."""
    _refuse(where, value_troubles(column, of))


def time_troubles(open_ms: Integers) -> Iterator[str]:
    """What is wrong with the order of the times."""
    wrong = np.flatnonzero(np.diff(open_ms) <= 0) + 1
    if len(wrong):
        at = int(wrong[0])
        twice = open_ms[at] == open_ms[at - 1]
        yield f"the candle at {open_ms[at]} comes {'twice' if twice else 'after a later one: sort the file by time'}"
    elif len(open_ms) and not MILLISECONDS[0] <= open_ms[0] <= open_ms[-1] < MILLISECONDS[1]:
        yield f"times from {open_ms[0]} to {open_ms[-1]} are no milliseconds UTC of this century"


def grid_troubles(open_ms: Integers, interval_ms: int) -> Iterator[str]:
    """What is wrong with the times against the grid."""
    off = open_ms % interval_ms != 0
    if off.any():
        yield (
            f"the candle at {open_ms[np.argmax(off)]} is off the grid of {interval_ms} ms:"
            " are all files of one interval, and times in milliseconds?"
        )


def value_troubles(column: Column, of: str = "") -> Iterator[str]:
    """What is impossible in the values, each kind with its number of candles and the first of them."""
    opened, high, low, close, volume = column.values[: len(FIELDS)]
    for name, field in zip(FIELDS[:4], column.values, strict=False):
        yield from _trouble(column, ~(np.isfinite(field) & (field > 0)), f"{name}{of} is no price above zero")
    yield from _trouble(column, ~(np.isfinite(volume) & (volume >= 0)), f"volume{of} is no number of zero or more")
    yield from _trouble(column, high < low, f"high{of} is below low")
    outside = (np.maximum(opened, close) > high) | (np.minimum(opened, close) < low)
    yield from _trouble(column, outside, f"open or close{of} is outside low and high")
    yield from _trouble(column, column.trades < UNCOUNTED, f"trades{of} is no count")


def _trouble(column: Column, wrong: Mask, what: str) -> Iterator[str]:
    if wrong.any():
        first = column.open_ms[np.argmax(wrong)]
        yield f"{what} in {int(wrong.sum())} candles, first at {first}: fix or drop them"


def _refuse(where: object, troubles: Iterator[str]) -> None:
    for trouble in troubles:
        raise BadCandles(f"{where}: {trouble}")


def _times(path: Path, table: Any) -> Integers:
    column = table["timestamp"]
    if not pa.types.is_integer(column.type) or column.null_count:
        raise BadCandles(f"{path}: timestamp must be whole milliseconds without gaps, not {column.type}")
    found: Integers = column.to_numpy().astype(np.int64, copy=False)
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
