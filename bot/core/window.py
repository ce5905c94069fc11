"""The last slices of the whole universe, oldest first, in one contiguous block.

Two kinds with one reading interface: `Window` is a ring that slices are copied into, with room for twice its capacity,
so that every reading is a view of consecutive rows and once per `capacity` slices the kept rows move back to the
front; `PanelWindow` shows the rows of a panel up to the newest, and copies nothing. Rows stand on the interval's grid:
a slice that never came is a row of absent candles, so the last 60 rows are the last 60 intervals.

A strategy is handed neither but a `Sight`: a replay's window lies on rows that have not happened yet.

`inferred` [rows, N] are the model's inferred returns of the same slices, NaN where there was none.
"""

from abc import ABC, abstractmethod
from typing import Self

import numpy as np

from bot.core.market import FIELDS, Floats, Integers, Mask, Panel, Slice, returns_of

CHUNK = 4_096


class OutOfOrder(ValueError):
    """A slice that is not the next in the window."""


class Past(ABC):
    """What can be read of the last slices. `_values` holds the five fields, each [R, N]."""

    def __init__(
        self,
        symbols: tuple[str, ...],
        interval_ms: int,
        capacity: int,
        values: tuple[Floats, ...],
        present: Mask,
        inferred: Floats,
    ) -> None:
        self.symbols = symbols
        self.interval_ms = interval_ms
        self.capacity = capacity
        self._values = values
        self._present = present
        self._inferred = inferred
        self._start = self._end = 0
        self.newest_ms = 0

    def __len__(self) -> int:
        return self._end - self._start

    @abstractmethod
    def push(self, latest: Slice) -> None:
        """Makes this the newest slice. OutOfOrder when it is not newer than the newest."""

    @abstractmethod
    def fill(self, panel: Panel) -> None:
        """Fills history in. A candle that is there is never changed."""

    @abstractmethod
    def steady(self, jump_max: float) -> bool:
        """Whether every coin has a candle in the newest two slices, and none moved by more than this factor."""

    @abstractmethod
    def emptied(self) -> Self:
        """One of the same kind that has seen nothing."""

    def infer(self, returns: Floats) -> None:
        """Stores the inferred returns [N] of the newest slice."""
        self._inferred[self._end - 1] = returns

    def adopt(self, open_ms: Integers, inferred: Floats) -> None:
        """Puts remembered inferred returns [K, N] back to the slices they belong to."""
        for at_ms, returns in zip(open_ms, inferred, strict=True):
            row = self._end - 1 - (self.newest_ms - int(at_ms)) // self.interval_ms
            if self._start <= row < self._end:
                self._inferred[row] = returns

    @property
    def oldest_ms(self) -> int:
        return self.newest_ms - (len(self) - 1) * self.interval_ms

    @property
    def open_ms(self) -> Integers:
        return self.oldest_ms + self.interval_ms * np.arange(len(self), dtype=np.int64)

    @property
    def close(self) -> Floats:
        return self._values[3][self._start : self._end]

    @property
    def present(self) -> Mask:
        return self._present[self._start : self._end]

    @property
    def inferred(self) -> Floats:
        return self._inferred[self._start : self._end]

    def returns(self, rows: int, coins: Integers | None = None) -> tuple[Floats, Mask]:
        """The last `rows` returns [rows, N] and where they are real; fewer when the window is shorter.

        `coins` picks columns: all of them unless said otherwise.
        """
        close, present = self.close[-rows - 1 :], self.present[-rows - 1 :]
        if coins is not None:
            close, present = close[:, coins], present[:, coins]
        returns, real = returns_of(close, present)
        return returns[-rows:], real[-rows:]

    def divergences(self, rows: int, coins: Integers | None = None) -> Floats:
        """Inferred minus actual return [rows, N], the newest slice last; NaN where either is unknown."""
        returns, real = self.returns(rows, coins)
        inferred = self.inferred[-rows:] if coins is None else self.inferred[-rows:, coins]
        found: Floats = np.where(real, inferred - returns, np.nan)
        return found

    def panel(self, after_ms: int = 0) -> Panel:
        """A copy of the rows opened after `after_ms`, for a reader on another thread."""
        first = self._start
        if after_ms >= self.oldest_ms:
            first = self._end - max(0, (self.newest_ms - after_ms) // self.interval_ms)
        values = [field[first : self._end].copy() for field in self._values]
        open_ms = self.newest_ms - self.interval_ms * np.arange(self._end - first - 1, -1, -1, dtype=np.int64)
        present = self._present[first : self._end].copy()
        return Panel(
            self.symbols, self.interval_ms, open_ms, values[0], values[1], values[2], values[3], values[4], present
        )


def _steady(close: Floats, jump_max: float) -> Mask:
    """For each row [T - 1] of closes [T, N] but the first: nothing absent there or before, no jump between."""
    found = np.empty(max(0, len(close) - 1), dtype=np.bool_)
    for first in range(0, len(found), CHUNK):
        ratio = close[first + 1 : first + 1 + CHUNK] / close[first : min(first + CHUNK, len(found))]
        # a missing candle makes the extremes NaN, which no comparison lets through
        found[first : first + CHUNK] = (ratio.max(axis=1) <= jump_max) & (ratio.min(axis=1) * jump_max >= 1)
    return found


class Window(Past):
    """The ring the daemon fills, slice by slice."""

    def __init__(self, symbols: tuple[str, ...], interval_ms: int, capacity: int) -> None:
        rows, coins = 2 * capacity, len(symbols)
        values = np.full((len(FIELDS), rows, coins), np.nan)
        present = np.zeros((rows, coins), dtype=np.bool_)
        super().__init__(symbols, interval_ms, capacity, tuple(values), present, np.full((rows, coins), np.nan))

    def steady(self, jump_max: float) -> bool:
        return len(self) > 1 and bool(_steady(self.close[-2:], jump_max)[0])

    def emptied(self) -> "Window":
        return Window(self.symbols, self.interval_ms, self.capacity)

    def push(self, latest: Slice) -> None:
        """Adds the newest slice; the grid's slices that never came before it become absent rows."""
        if len(self):
            skipped = (latest.open_ms - self.newest_ms) // self.interval_ms - 1
            if skipped < 0:
                raise OutOfOrder(f"slice {latest.open_ms} after {self.newest_ms}")
            for _ in range(min(skipped, self.capacity)):
                self._clear(self._next_row())
        row = self._next_row()
        for field, values in zip(self._values, latest.fields, strict=True):
            field[row] = values
        self._present[row] = latest.present
        self._inferred[row] = np.nan
        self.newest_ms = latest.open_ms

    def fill(self, panel: Panel) -> None:
        """Fills history in: rows before the first, after the newest, and candles that are missing."""
        if len(self) and len(panel) and int(panel.open_ms[0]) < self.oldest_ms:
            kept = self.panel()
            inferred = self.inferred.copy()
            self._start = self._end = 0
            self._append(panel.rows(0, int(np.searchsorted(panel.open_ms, kept.open_ms[0]))))
            self._append(kept)
            self._inferred[self._end - len(inferred) : self._end] = inferred
        for row in range(len(panel)):
            self._fill_row(panel.slice(row))

    def _append(self, panel: Panel) -> None:
        for row in range(max(0, len(panel) - self.capacity), len(panel)):
            self.push(panel.slice(row))

    def _fill_row(self, past: Slice) -> None:
        if not len(self) or past.open_ms > self.newest_ms:
            self.push(past)
            return
        row = self._end - 1 - (self.newest_ms - past.open_ms) // self.interval_ms
        if row < self._start:
            return
        missing = ~np.isfinite(self._values[3][row]) & np.isfinite(past.close)
        for field, values in zip(self._values, past.fields, strict=True):
            field[row, missing] = values[missing]
        self._present[row, missing] = past.present[missing]

    def _next_row(self) -> int:
        if self._end == 2 * self.capacity:
            self._rewind()
        row = self._end
        self._end += 1
        if self._end - self._start > self.capacity:
            self._start += 1
        return row

    def _clear(self, row: int) -> None:
        for field in self._values:
            field[row] = np.nan
        self._present[row] = False
        self._inferred[row] = np.nan

    def _rewind(self) -> None:
        kept = self._end - self._start
        for block in (*self._values, self._present, self._inferred):
            block[:kept] = block[self._start : self._end]
        self._start, self._end = 0, kept


class PanelWindow(Past):
    """A panel's rows up to the newest slice, for replays: nothing is copied. The panel must have no hole in time.

    Where `keeps_inferred` is False nothing is ever inferred, and no room is kept for it.
    """

    def __init__(self, panel: Panel, capacity: int, keeps_inferred: bool) -> None:
        shape = panel.close.shape
        inferred = np.full(shape, np.nan) if keeps_inferred else np.broadcast_to(np.float64(np.nan), shape)
        fields = (panel.open, panel.high, panel.low, panel.close, panel.volume)
        super().__init__(panel.symbols, panel.interval_ms, capacity, fields, panel.present, inferred)
        self._panel = panel
        self._keeps_inferred = keeps_inferred
        self._steady: list[bool] = []
        self._jump_max = 0.0

    def emptied(self) -> "PanelWindow":
        return PanelWindow(self._panel, self.capacity, self._keeps_inferred)

    def steady(self, jump_max: float) -> bool:
        return self.steady_rows(jump_max)[self._end - 1]

    def push(self, latest: Slice) -> None:
        if latest.open_ms != self.newest_ms + self.interval_ms:
            raise OutOfOrder(f"slice {latest.open_ms} after {self.newest_ms}: a replay takes each row of its panel")
        self.newest_ms = latest.open_ms
        self._end = end = self._end + 1
        if end > self.capacity:
            self._start = end - self.capacity

    def ahead(self, rows: int) -> Floats:
        """The closes [S, N] of the rows to come, for whoever passes over them at once."""
        return self._panel.close[self._end : self._end + rows]

    def steady_rows(self, jump_max: float) -> list[bool]:
        """`steady` for every row [T] of the panel."""
        if jump_max != self._jump_max:
            self._jump_max = jump_max
            self._steady = [False, *_steady(self._panel.close, jump_max).tolist()]
        return self._steady

    def advance(self, rows: int, inferred: Floats | None) -> None:
        """Makes the row `rows` further on the newest; `inferred` are theirs [rows, N]."""
        if inferred is not None:
            self._inferred[self._end : self._end + rows] = inferred
        self._end += rows
        self._start = max(0, self._end - self.capacity)
        self.newest_ms += rows * self.interval_ms

    def fill(self, panel: Panel) -> None:
        """The history is the panel's own first rows."""
        if len(self) or panel.open_ms[0] != self._panel.open_ms[0]:
            raise OutOfOrder("a replay's history is the beginning of its panel")
        self.newest_ms = int(panel.open_ms[-1])
        self._end = len(panel)
        self._start = max(0, self._end - self.capacity)


class Sight:
    """What a strategy may read of a window: nothing here moves it on, writes into it, or knows a slice after the newest.

    Private names and numpy's `base` lead past it, as they lead anywhere: who takes them is caught by the proof against
    looking ahead (backtest/lookahead.py).
    """

    __slots__ = ("_past",)

    def __init__(self, past: Past) -> None:
        self._past = past

    def __len__(self) -> int:
        return len(self._past)

    @property
    def symbols(self) -> tuple[str, ...]:
        return self._past.symbols

    @property
    def interval_ms(self) -> int:
        return self._past.interval_ms

    @property
    def newest_ms(self) -> int:
        return self._past.newest_ms

    @property
    def open_ms(self) -> Integers:
        return self._past.open_ms

    @property
    def close(self) -> Floats:
        return self._past.close

    @property
    def present(self) -> Mask:
        return self._past.present

    @property
    def inferred(self) -> Floats:
        return self._past.inferred

    def returns(self, rows: int, coins: Integers | None = None) -> tuple[Floats, Mask]:
        """The window's `returns`."""
        return self._past.returns(rows, coins)

    def divergences(self, rows: int, coins: Integers | None = None) -> Floats:
        """The window's `divergences`."""
        return self._past.divergences(rows, coins)
