"""One month of one series as a Parquet file: candles to bytes that depend on nothing else, and safely to disk.

Columns   timestamp (open time, ms UTC), open, high, low, close, volume, quote_volume as doubles, trades as int64.
Errors    BadCandles where the disk does not take or give a file.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bot.core.market import FIELDS, Floats, Integers, Mask
from bot.edge.columns import BadCandles, Column, read_column
from bot.edge.manifest import Month, gaps_of

FILE_FIELDS = (*FIELDS, "quote_volume")
MONTH_FILE = re.compile(r"\d{4}-\d{2}\.parquet")
UNFINISHED = ".tmp"
# split bytes pack prices as small as a dictionary does, and are written and read several times as fast
ENCODING = dict.fromkeys(FILE_FIELDS, "BYTE_STREAM_SPLIT") | dict.fromkeys(
    ("timestamp", "trades"), "DELTA_BINARY_PACKED"
)


class Block(msgspec.Struct, frozen=True, eq=False):
    """Candles of one series, oldest first, each time once; arrays [T]. Volumes in base and in quote.

    Unknown is NaN in `quote_volume`, and -1 in `trades` where the candle traded but nobody counted.
    """

    open_ms: Integers
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    quote_volume: Floats
    trades: Integers

    def __len__(self) -> int:
        return len(self.open_ms)

    @property
    def column(self) -> Column:
        """The same, with all values in one array [6, T] in the order of FILE_FIELDS (a copy)."""
        return Column(self.open_ms, np.stack([getattr(self, name) for name in FILE_FIELDS]), self.trades)

    @classmethod
    def of(cls, column: Column) -> "Block":
        """From a column of FILE_FIELDS, as views."""
        opened, high, low, close, volume, quote_volume = column.values
        return cls(column.open_ms, opened, high, low, close, volume, quote_volume, column.trades)

    def rows(self, start: int, stop: int) -> "Block":
        """Rows start to stop, as views."""
        return Block(*(getattr(self, name)[start:stop] for name in self.__struct_fields__))

    def where(self, chosen: Mask) -> "Block":
        """The chosen rows [T] (a copy)."""
        return Block(*(getattr(self, name)[chosen] for name in self.__struct_fields__))


def month_files(folder: Path) -> list[Path]:
    """The month files of a series' folder, oldest first; [] where there is no folder."""
    return sorted(path for path in folder.glob("*.parquet") if MONTH_FILE.fullmatch(path.name))


def by_month(block: Block) -> Iterator[tuple[str, Block]]:
    """The block's parts with the names of their months (UTC), such as "2024-01"."""
    months = block.open_ms.astype("datetime64[ms]").astype("datetime64[M]")
    names, starts = np.unique(months, return_index=True)
    for name, start, stop in zip(names, starts, [*starts, len(block)][1:], strict=True):
        yield str(name), block.rows(int(start), int(stop))


def merged(path: Path, new: Block) -> Block | None:
    """The file's candles with the new ones in their places, the new where both have a time; None if nothing changes."""
    if not path.exists():
        return new
    old = Block.of(read_column(path, FILE_FIELDS))
    open_ms = np.union1d(old.open_ms, new.open_ms)
    places = [np.searchsorted(open_ms, block.open_ms) for block in (old, new)]
    fields = {}
    for name in (*FILE_FIELDS, "trades"):
        fields[name] = np.empty(len(open_ms), dtype=getattr(new, name).dtype)
        for place, block in zip(places, (old, new), strict=True):
            fields[name][place] = getattr(block, name)
    if len(open_ms) == len(old) and all(
        np.array_equal(fields[name], getattr(old, name), equal_nan=True) for name in fields
    ):
        return None
    return Block(open_ms, **fields)


def encode(block: Block) -> bytes:
    """The file. One row group, zstd, checksums on the pages."""
    names = ("timestamp", *FILE_FIELDS, "trades")
    table = pa.table([getattr(block, name) for name in block.__struct_fields__], names=names)
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        row_group_size=max(len(block), 1),
        use_dictionary=False,
        column_encoding=ENCODING,
        write_page_checksum=True,
        store_schema=False,
    )
    data: bytes = sink.getvalue().to_pybytes()
    return data


def month_of(open_ms: Integers, data: bytes, interval_ms: int) -> Month:
    """The manifest's entry for a file with these times and bytes. At least one candle."""
    gaps = tuple(gaps_of(open_ms, interval_ms))
    digest = hashlib.sha256(data).hexdigest()
    return Month(len(open_ms), int(open_ms[0]), int(open_ms[-1]) + interval_ms, gaps, digest)


def replace_file(path: Path, data: bytes) -> None:
    """Gives the name to these bytes, all or none: written beside it, synced, renamed, the folder synced."""
    unfinished = path.parent / f".{path.name}{UNFINISHED}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as why:
        raise BadCandles(f"{path} cannot be written: {why.strerror}: make room or name another folder") from why


def remove_leftovers(folder: Path) -> None:
    """Removes what a killed writer had not finished."""
    for path in folder.glob(f".*{UNFINISHED}"):
        path.unlink()
