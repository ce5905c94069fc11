"""Where a folder's candles come from: a candle store, one file a symbol, or one table of closes (bot/edge/candles.py).

Each source knows its symbols and interval, where the candles of a range begin and end, and one symbol's column.
Errors    BadCandles: what is wrong with the folder, what is there, and what to do.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from bot.core.market import FIELDS, TIMEFRAMES, BadSymbol, Integers, pair
from bot.edge.candle_store import CandleStore
from bot.edge.columns import (
    UNCOUNTED,
    BadCandles,
    CoinsMissing,
    Column,
    check_on_grid,
    check_values,
    columns_of,
    read_closes,
    read_column,
    read_times,
)
from bot.edge.manifest import Range, without
from bot.edge.month_file import MONTH_FILE

EVER = (0, 2**62)


class Source(Protocol):
    """Candles of `symbols`, each at `interval_ms`."""

    symbols: tuple[str, ...]
    interval_ms: int

    def extent(self, start_ms: int, stop_ms: int) -> Range | None:
        """From the first candle of any symbol in [start_ms, stop_ms) to one step after the last; None without any."""
        ...

    def read(self, symbol: str, fields: tuple[str, ...], start_ms: int, stop_ms: int) -> Column:
        """One symbol's candles with start_ms <= open < stop_ms, on the grid. `fields` begin with FIELDS."""
        ...


def source_of(folder: Path, symbols: Sequence[str] | None, exchange: str | None, timeframe: str | None) -> Source:
    """The source in a folder, of these symbols or of all in order of name."""
    wanted = _wanted(symbols)
    files = _files(folder)
    if files and all(MONTH_FILE.fullmatch(path.name) for path in files):
        raise BadCandles(f"{folder} is one series of a candle store: name the store's folder, and the symbol")
    if not files:
        return _in_store(folder, wanted, exchange, timeframe)
    if exchange is not None or timeframe is not None:
        raise BadCandles(f"{folder} holds .parquet files, no candle store: no exchange or timeframe can be chosen")
    table = len(files) == 1 and "close" not in columns_of(files[0])
    return _Table(files[0], wanted) if table else _Files(folder, files, wanted)


def is_files(folder: Path) -> bool:
    """Whether a folder holds .parquet files of its own, and so is no store."""
    return bool(_files(folder))


def timeframe_of(interval_ms: int) -> str:
    """The name of an interval: "1m"."""
    for name, known_ms in TIMEFRAMES.items():
        if known_ms == interval_ms:
            return name
    raise BadCandles(f"candles every {interval_ms} ms are of no timeframe we know: {', '.join(TIMEFRAMES)}")


class _Store:
    """One exchange's series of one timeframe in a store."""

    def __init__(self, store: CandleStore, exchange: str, timeframe: str, wanted: tuple[str, ...] | None) -> None:
        self._store = store
        self._series = {
            series.symbol: series
            for series in store.series()
            if (series.exchange, series.timeframe) == (exchange, timeframe) and store.manifest(series).months
        }
        self.symbols = _chosen(store.folder / exchange / timeframe, tuple(self._series), wanted)
        self.interval_ms = TIMEFRAMES[timeframe]

    def extent(self, start_ms: int, stop_ms: int) -> Range | None:
        found: list[Range] = []
        for symbol in self.symbols:
            manifest = self._store.manifest(self._series[symbol])
            first_ms, after_ms = manifest.span or (0, 0)
            asked = (max(start_ms, first_ms), min(stop_ms, after_ms))
            there = list(without(asked, manifest.gaps)) if asked[0] < asked[1] else []
            found += [(_ceil(start, self.interval_ms), _ceil(stop, self.interval_ms)) for start, stop in there]
        return _hull(one for one in found if one[0] < one[1])

    def read(self, symbol: str, fields: tuple[str, ...], start_ms: int, stop_ms: int) -> Column:
        series = self._series[symbol]
        column = self._store.column(series, fields, start_ms, stop_ms)
        check_on_grid(self._store.path(series), column.open_ms, self.interval_ms)
        return column


class _Files:
    """A folder of one file a symbol."""

    def __init__(self, folder: Path, files: list[Path], wanted: tuple[str, ...] | None) -> None:
        self._paths = {_pair_of(path): path for path in files}
        if len(self._paths) < len(files):
            raise BadCandles(f"{folder}: two files are of the same pair: keep one of them")
        self.symbols = _chosen(folder, tuple(self._paths), wanted)
        times = [read_times(self._paths[symbol]) for symbol in self.symbols]
        self.interval_ms = _interval(folder, times)
        self._extents = {
            symbol: _extent(found, self.interval_ms) for symbol, found in zip(self.symbols, times, strict=True)
        }

    def extent(self, start_ms: int, stop_ms: int) -> Range | None:
        found: list[Range] = []
        for symbol, whole in self._extents.items():
            part = whole
            if whole is not None and not start_ms <= whole[0] < whole[1] <= stop_ms:
                times = read_times(self._paths[symbol])
                part = _extent(times[(times >= start_ms) & (times < stop_ms)], self.interval_ms)
            found += [part] if part else []
        return _hull(found)

    def read(self, symbol: str, fields: tuple[str, ...], start_ms: int, stop_ms: int) -> Column:
        column = read_column(self._paths[symbol], fields)
        check_on_grid(self._paths[symbol], column.open_ms, self.interval_ms)
        return column.between(start_ms, stop_ms)


class _Table:
    """One wide table of closes."""

    def __init__(self, path: Path, wanted: tuple[str, ...] | None) -> None:
        self._path = path
        self._names: dict[str, str] = {}
        for name in columns_of(path):
            try:
                self._names |= {pair(name): name} if name != "timestamp" else {}
            except BadSymbol as why:
                raise BadCandles(
                    f"{path}: the column {name!r} is no trading pair, and there is no column close: give SYMBOL.parquet"
                    f" files with timestamp, {', '.join(FIELDS)}, or one table with a column of closes a pair"
                ) from why
        self.symbols = _chosen(path, tuple(self._names), wanted)
        self._open_ms = read_times(path)
        self.interval_ms = _interval(path.parent, [self._open_ms])
        check_on_grid(path, self._open_ms, self.interval_ms)

    def extent(self, start_ms: int, stop_ms: int) -> Range | None:
        inside = (self._open_ms >= start_ms) & (self._open_ms < stop_ms)
        return _extent(self._open_ms[inside], self.interval_ms)

    def read(self, symbol: str, fields: tuple[str, ...], start_ms: int, stop_ms: int) -> Column:
        name = self._names[symbol]
        close = read_closes(self._path, name)
        known = ~np.isnan(close)  # null is a missing candle here
        close, open_ms = close[known], self._open_ms[known]
        opened = np.concatenate((close[:1], close[:-1]))
        values = np.full((len(fields), len(close)), np.nan)
        values[: len(FIELDS)] = opened, np.fmax(opened, close), np.fmin(opened, close), close, np.zeros_like(close)
        column = Column(open_ms, values, np.full(len(close), UNCOUNTED, dtype=np.int64))
        check_values(self._path, column, f" of {name}")
        return column.between(start_ms, stop_ms)


def store_at(folder: Path) -> tuple[CandleStore, list[tuple[str, str]]]:
    """The store that a folder is, or is an exchange or a timeframe of; and its (exchange, timeframe) in the folder."""
    whole = folder.resolve()
    if whole.name in TIMEFRAMES:
        store, names = CandleStore(whole.parent.parent), (whole.parent.name, whole.name)
        return store, [one for one in store.timeframes() if one == names]
    store = CandleStore(whole.parent)
    below = [one for one in store.timeframes() if one[0] == whole.name]
    return (store, below) if below else (CandleStore(folder), CandleStore(folder).timeframes())


def _in_store(folder: Path, wanted: tuple[str, ...] | None, exchange: str | None, timeframe: str | None) -> _Store:
    store, there = store_at(folder)
    if not there:
        empty = not any(folder.iterdir())
        raise BadCandles(
            f"{folder} {'is empty' if empty else 'holds no .parquet file'}: name a candle store"
            " or a folder of SYMBOL.parquet files"
        )
    fits = [one for one in there if exchange in (None, one[0]) and timeframe in (None, one[1])]
    if len(fits) != 1:
        has = ", ".join(f"{one}/{two}" for one, two in there)
        asked = "/".join((exchange or "any", timeframe or "any"))
        problem = f"no {asked}" if not fits else "several series of candles"
        raise BadCandles(f"{folder} holds {problem}: choose exchange and timeframe from {has}")
    return _Store(store, *fits[0], wanted)


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise BadCandles(f"{folder} {what}: name a candle store or a folder of SYMBOL.parquet files")
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".parquet" and path.is_file())
    except OSError as why:
        raise BadCandles(f"{folder} cannot be read: {why.strerror}") from why


def _wanted(symbols: Sequence[str] | None) -> tuple[str, ...] | None:
    try:
        return None if symbols is None else tuple(pair(symbol) for symbol in symbols)
    except BadSymbol as why:
        raise BadCandles(str(why)) from why


def _chosen(where: Path, there: tuple[str, ...], wanted: tuple[str, ...] | None) -> tuple[str, ...]:
    missing = [symbol for symbol in wanted or () if symbol not in there]
    if missing:
        raise CoinsMissing(f"{where} has no candles of {', '.join(missing)}: it has {len(there)} other pairs")
    return there if wanted is None else wanted


def _pair_of(path: Path) -> str:
    try:
        return pair(path.stem)
    except BadSymbol as why:
        raise BadCandles(f"{path}: the file's name is no trading pair: call it like BTCUSDT.parquet") from why


def _interval(folder: Path, several: list[Integers]) -> int:
    """The step that most candles follow each other at; of several the smallest."""
    steps: Counter[int] = Counter()
    for times in several:
        found, counts = np.unique(np.diff(times), return_counts=True)
        steps.update(dict(zip(found.tolist(), counts.tolist(), strict=True)))
    if not steps:
        raise BadCandles(f"{folder}: no file has two candles, so their interval cannot be told")
    return min(steps, key=lambda step: (-steps[step], step))


def _extent(open_ms: Integers, interval_ms: int) -> Range | None:
    return (int(open_ms[0]), int(open_ms[-1]) + interval_ms) if len(open_ms) else None


def _hull(ranges: Iterable[Range]) -> Range | None:
    several = list(ranges)
    return (min(start for start, _ in several), max(stop for _, stop in several)) if several else None


def _ceil(time_ms: int, interval_ms: int) -> int:
    return -(-time_ms // interval_ms) * interval_ms
