"""The candle store: Parquet files by exchange, timeframe, symbol and month, each series with a manifest.

Files     FOLDER/binance/1m/BTCUSDT/2024-01.parquet (zstd) and manifest.json beside it; FOLDER/lock.
          What is in a month file, and what is unknown in it: bot/edge/month_file.py.
Crash     a month is written beside its place, synced and renamed; the manifest names the months before they are
          replaced and settles them after. So a kill at any point loses work, never truth: the next writer removes
          leftovers and takes the unsettled entries from the files. A lost manifest is rebuilt from the files; what is
          lost with it is only which empty ranges the exchange had been asked for.
Writers   one process at a time (flock on FOLDER/lock, from the first write to `close`); in it one thread a series.
          Readers need no lock and see whole files.
Errors    BadCandles (exit 74): what cannot be stored or read, and what to do. StoreBusy (exit 75): another writer.
"""

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from bot.core.market import TIMEFRAMES, BadSymbol, compact, pair
from bot.edge.columns import BadCandles, Column, check_on_grid, check_times, check_values, read_column
from bot.edge.lock import FolderLock
from bot.edge.manifest import Manifest, Range, on_grid, runs, union, without
from bot.edge.month_file import (
    FILE_FIELDS,
    Block,
    by_month,
    encode,
    merged,
    month_files,
    month_of,
    remove_leftovers,
    replace_file,
)
from bot.edge.trouble import AlreadyRunning, FolderUnusable

__all__ = ["Block", "CandleStore", "Series", "StoreBusy"]

MANIFEST = "manifest.json"
EXCHANGE = re.compile(r"[a-z0-9][a-z0-9_-]*")


class StoreBusy(RuntimeError):
    """Another process is writing this store."""

    exit_code = 75


class Series(msgspec.Struct, frozen=True, order=True):
    """One symbol's candles of one timeframe on one exchange: "binance", "1m", "BTC/USDT". BadCandles if not these."""

    exchange: str
    timeframe: str
    symbol: str

    def __post_init__(self) -> None:
        if not EXCHANGE.fullmatch(self.exchange):
            raise BadCandles(f"{self.exchange!r} is no name of an exchange: write it like binance")
        if self.timeframe not in TIMEFRAMES:
            raise BadCandles(f"no timeframe {self.timeframe!r}: there are {', '.join(TIMEFRAMES)}")
        try:
            known = pair(compact(self.symbol)) == self.symbol and not set(self.symbol) & set("\\. \0")
        except BadSymbol:
            known = False
        if not known:
            raise BadCandles(f"{self.symbol!r} is no pair a file can be named after: write it as BTC/USDT")

    @property
    def interval_ms(self) -> int:
        return TIMEFRAMES[self.timeframe]

    def __str__(self) -> str:
        return f"{self.exchange} {self.timeframe} {self.symbol}"


class CandleStore:
    """A store folder, made by the first write. Reading takes no lock; the first write takes it, `close` lets it go."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: FolderLock | None = None
        self._claiming = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, why: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def claim(self) -> None:
        """Becomes the one writer, now rather than at the first write, and mends what a killed one left.

        Raises StoreBusy while another process writes, BadCandles where the folder cannot be written.
        """
        with self._claiming:
            if self._lock is not None:
                return
            try:
                self._lock = FolderLock(self.folder)
            except AlreadyRunning as why:
                raise StoreBusy(f"another process is writing {self.folder}: wait for it, or stop it") from why
            except FolderUnusable as why:
                raise BadCandles(f"{self.folder} cannot be written: name a folder you own") from why
            for series in self.series():
                self._mend(series)

    def close(self) -> None:
        """Lets the next writer in."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def series(self) -> list[Series]:
        """All series, sorted; other folders and files are passed over."""
        found = []
        for exchange, timeframe in self.timeframes():
            for folder in self._folders(self.folder / exchange / timeframe):
                if (folder / MANIFEST).exists() or month_files(folder):
                    found.append(Series(exchange, timeframe, _symbol(folder)))
        return sorted(found)

    def timeframes(self) -> list[tuple[str, str]]:
        """The (exchange, timeframe) folders, sorted."""
        return sorted(
            (exchange.name, timeframe.name)
            for exchange in self._folders(self.folder)
            for timeframe in self._folders(exchange)
            if timeframe.name in TIMEFRAMES
        )

    def path(self, series: Series) -> Path:
        """The folder of a series."""
        return self.folder / series.exchange / series.timeframe / compact(series.symbol)

    def put(self, series: Series, block: Block) -> None:
        """Merges candles by open time; a newer value for the same time replaces the old; none is no work.

        Raises BadCandles, and writes nothing, for times out of order or off the grid and for impossible values.
        """
        self._check(series, block)
        if not len(block):
            return
        self.claim()
        folder, manifest = self.path(series), self.manifest(series)
        changed: dict[str, Block] = {}
        for name, part in by_month(block):
            new = merged(folder / f"{name}.parquet", part)
            if new is not None:
                changed[name] = new
        if changed:
            self._write(series, Manifest(manifest.months, manifest.fetched, tuple(changed)))
        months = dict(manifest.months)
        for name, new in changed.items():
            data = encode(new)
            replace_file(folder / f"{name}.parquet", data)
            months[name] = month_of(new.open_ms, data, series.interval_ms)
        fetched = union(manifest.fetched, runs(block.open_ms, series.interval_ms))
        self._write(series, Manifest(dict(sorted(months.items())), tuple(fetched)))

    def mark_fetched(self, series: Series, start_ms: int, stop_ms: int) -> None:
        """The source has answered for all of [start_ms, stop_ms): where it gave no candle there is none.

        Called after the answer's candles were put, so that a crash in between asks again.
        """
        self.claim()
        manifest = self.manifest(series)
        asked = on_grid(start_ms, stop_ms, series.interval_ms)
        self._write(series, Manifest(manifest.months, tuple(union(manifest.fetched, [asked]))))

    def missing(self, series: Series, start_ms: int, stop_ms: int) -> list[Range]:
        """The ranges in [start_ms, stop_ms) never fetched, oldest first; [] when there is nothing to do."""
        whole = on_grid(start_ms, stop_ms, series.interval_ms)
        return list(without(whole, self.manifest(series).fetched))

    def manifest(self, series: Series) -> Manifest:
        """What the series knows of itself, true to the files even after a crash; empty for a series not there."""
        manifest = self._recorded(series)
        if not manifest.writing:
            return manifest
        folder, months, found = self.path(series), dict(manifest.months), list(manifest.fetched)
        for name in manifest.writing:
            path = folder / f"{name}.parquet"
            months.pop(name, None)
            if path.exists():
                column = read_column(path, FILE_FIELDS, check_pages=True)
                months[name] = month_of(column.open_ms, path.read_bytes(), series.interval_ms)
                found += runs(column.open_ms, series.interval_ms)
        return Manifest(dict(sorted(months.items())), tuple(union(found)))

    def read(self, series: Series, start_ms: int | None = None, stop_ms: int | None = None) -> Block:
        """The candles with start_ms <= open < stop_ms, all without bounds; an empty block where there are none."""
        return Block.of(self.column(series, FILE_FIELDS, start_ms, stop_ms))

    def column(
        self, series: Series, fields: tuple[str, ...], start_ms: int | None = None, stop_ms: int | None = None
    ) -> Column:
        """As `read`, of these fields alone."""
        parts = [
            read_column(self.path(series) / f"{name}.parquet", fields)
            for name, month in self.manifest(series).months.items()
            if (stop_ms is None or month.start_ms < stop_ms) and (start_ms is None or month.stop_ms > start_ms)
        ]
        return Column.joined(parts, len(fields)).between(start_ms, stop_ms)

    def _recorded(self, series: Series) -> Manifest:
        """The manifest as written; where it is lost, one that trusts no month."""
        folder = self.path(series)
        try:
            return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
        except (FileNotFoundError, msgspec.DecodeError):
            return Manifest(writing=tuple(path.stem for path in month_files(folder)))
        except OSError as why:
            raise BadCandles(f"{folder / MANIFEST} cannot be read: {why.strerror}") from why

    def _mend(self, series: Series) -> None:
        remove_leftovers(self.path(series))
        if self._recorded(series).writing:
            self._write(series, self.manifest(series))

    def _write(self, series: Series, manifest: Manifest) -> None:
        replace_file(self.path(series) / MANIFEST, msgspec.json.encode(manifest) + b"\n")

    def _check(self, series: Series, block: Block) -> None:
        check_times(series, block.open_ms)
        check_on_grid(series, block.open_ms, series.interval_ms)
        check_values(series, block.column)

    def _folders(self, folder: Path) -> Iterator[Path]:
        try:
            yield from (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        except FileNotFoundError:
            return
        except OSError as why:
            raise BadCandles(f"{folder} cannot be read: {why.strerror}") from why


def _symbol(folder: Path) -> str:
    try:
        return pair(folder.name)
    except BadSymbol as why:
        raise BadCandles(f"{folder} holds candles, but its name is no trading pair: call it like BTCUSDT") from why
