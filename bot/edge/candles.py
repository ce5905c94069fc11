"""Candles as a Panel, from whatever a folder holds: the candle store, SYMBOL.parquet files, or one table of closes.

Store     EXCHANGE/TIMEFRAME/SYMBOL/MONTH.parquet below the folder; or the folder of one exchange or timeframe in it.
Files     one file a symbol, named like BTCUSDT.parquet; columns as in bot/edge/columns.py.
Table     one file without a column `close`: timestamp and one column of closes a symbol. A candle opens at the close
          before it (its own, when there was none); the volume is not known and is 0.
Grid      from the first to the last candle of all symbols, at the timeframe of the store, or at the interval most
          candles of the files stand at; absent is NaN.
Present   the candle exists and traded: trades are not 0, else volume > 0 where trades are not told, else it exists.
Memory    the panel and, a thread, GROUP columns of it: [T, N] is written GROUP symbols at a time, whole cache lines.
Errors    BadCandles: what is wrong, with the file and the first time it is wrong at, and what to do.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from bot.core.market import FIELDS, Panel
from bot.edge.candle_sources import EVER, Source, source_of, timeframe_of
from bot.edge.candle_store import Block, CandleStore, Series
from bot.edge.columns import MILLISECONDS, UNCOUNTED, BadCandles

__all__ = ["BadCandles", "check_holes", "covered", "load_panel", "store_panel", "utc"]

GROUP = 8  # doubles in a cache line
THREADS = 2
ROWS_MAX = 50_000_000


def load_panel(
    folder: Path,
    symbols: Sequence[str] | None = None,
    start_ms: int | None = None,
    stop_ms: int | None = None,
    *,
    exchange: str | None = None,
    timeframe: str | None = None,
) -> Panel:
    """The folder's candles with start_ms <= open < stop_ms, of these symbols (all, in order of name) on one grid.

    `exchange` and `timeframe` choose in a store that holds several. A bound outside the candles is refused, and so is a
    symbol that is named twice.
    """
    source = source_of(folder, symbols, exchange, timeframe)
    twice = sorted({symbol for symbol in source.symbols if source.symbols.count(symbol) > 1})
    if twice:
        raise BadCandles(f"{folder}: {', '.join(twice)} is asked for twice: name each pair once")
    first_ms, after_ms = _extent(folder, source, start_ms, stop_ms)
    interval_ms, symbols = source.interval_ms, source.symbols
    rows, coins = (after_ms - first_ms) // interval_ms, len(symbols)
    if rows > ROWS_MAX:
        raise BadCandles(f"{folder}: {rows} slices between the first and the last candle: is a time wrong?")
    open_ms = first_ms + interval_ms * np.arange(rows, dtype=np.int64)
    fields = [np.empty((rows, coins)) for _ in FIELDS]
    present = np.empty((rows, coins), dtype=np.bool_)

    def fill(start: int) -> None:
        group = slice(start, min(start + GROUP, coins))
        values = np.full((len(FIELDS), group.stop - start, rows), np.nan)
        traded = np.zeros(values.shape[1:], dtype=np.bool_)
        for at, symbol in enumerate(symbols[group]):
            column = source.read(symbol, FIELDS, first_ms, after_ms)
            row = (column.open_ms - first_ms) // interval_ms
            unbroken = len(row) > 0 and row[-1] - row[0] + 1 == len(row)
            where = slice(int(row[0]), int(row[-1]) + 1) if unbroken else row  # a slice is copied much faster
            values[:, at, where] = column.values
            traded[at, where] = column.traded
        for field, columns in zip(fields, values, strict=True):
            field[:, group] = columns.T
        present[:, group] = traded.T

    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(fill, range(0, coins, GROUP)):
            pass
    opened, high, low, close, volume = fields
    return Panel(symbols, interval_ms, open_ms, opened, high, low, close, volume, present)


def store_panel(panel: Panel, store: CandleStore, exchange: str) -> None:
    """Puts a panel's candles into a store. Volumes in quote and counts of trades are not in a panel: unknown there."""
    store.claim()
    timeframe = timeframe_of(panel.interval_ms)

    def put(at: int) -> None:
        there = np.flatnonzero(np.isfinite(panel.close[:, at]))
        opened, high, low, close, volume = (getattr(panel, name)[there, at] for name in FIELDS)
        trades = np.where(panel.present[there, at], UNCOUNTED, 0)
        unknown = np.full(len(there), np.nan)
        block = Block(panel.open_ms[there], opened, high, low, close, volume, unknown, trades)
        store.put(Series(exchange, timeframe, panel.symbols[at]), block)

    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(put, range(len(panel.symbols))):
            pass


def covered(panel: Panel, share: float) -> tuple[str, ...]:
    """The symbols that have a candle in at least this share of the slices, in the panel's order."""
    shares = np.isfinite(panel.close).mean(axis=0) if len(panel) else np.zeros(len(panel.symbols))
    return tuple(symbol for symbol, found in zip(panel.symbols, shares, strict=True) if found >= share)


def lifeless(panel: Panel) -> tuple[str, ...]:
    """Remarks on coins that say nothing here: those without a candle, and those whose close never moved."""
    known = np.isfinite(panel.close)
    there = known.any(axis=0)
    low = np.where(known, panel.close, np.inf).min(axis=0, initial=np.inf)
    high = np.where(known, panel.close, -np.inf).max(axis=0, initial=-np.inf)
    found = {"no candle in this range": ~there, "not one close differs from the others": there & (low == high)}
    names = {what: [panel.symbols[at] for at in np.flatnonzero(coins)] for what, coins in found.items()}
    return tuple(f"{what}: {', '.join(symbols)}" for what, symbols in names.items() if symbols)


def check_holes(panel: Panel, hole_max_ms: int) -> None:
    """Raises BadCandles where a coin's candles break off for longer than this and go on.

    Before its first and after its last candle a coin is not listed; that is no hole.
    """
    for at, symbol in enumerate(panel.symbols):
        open_ms = panel.open_ms[np.isfinite(panel.close[:, at])]
        holes = np.diff(open_ms) - panel.interval_ms
        if len(holes) and holes.max() > hole_max_ms:
            worst = int(np.argmax(holes))
            raise BadCandles(
                f"{symbol} has no candles from {utc(int(open_ms[worst]) + panel.interval_ms)} to before"
                f" {utc(int(open_ms[worst + 1]))}, {_length(int(holes[worst]))}, where {_length(hole_max_ms)} are"
                " allowed: fetch them, leave the coin out, ask for a range beside the hole, or allow longer ones"
            )


def utc(time_ms: int) -> str:
    """A time for people: 2021-04-20 02:00."""
    if not MILLISECONDS[0] <= time_ms < MILLISECONDS[1]:
        return f"{time_ms} ms"
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def _length(span_ms: int) -> str:
    return f"{span_ms / 60_000:g} minutes"


def _extent(folder: Path, source: Source, start_ms: int | None, stop_ms: int | None) -> tuple[int, int]:
    """From the first candle to one step after the last one from start_ms to before stop_ms."""
    whole = source.extent(*EVER)
    if whole is None:
        raise BadCandles(f"{folder} has no candles at all: fetch some")
    start_ms = whole[0] if start_ms is None else start_ms
    stop_ms = whole[1] if stop_ms is None else stop_ms
    found = source.extent(start_ms, stop_ms) if whole[0] <= start_ms and stop_ms <= whole[1] else None
    if found is None:
        raise BadCandles(
            f"{folder} has no candles from {utc(start_ms)} to before {utc(stop_ms)} UTC, only from {utc(whole[0])}"
            f" to before {utc(whole[1])}: ask for a range inside"
        )
    return found
