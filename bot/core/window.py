"""The last slices of the whole universe, oldest first, in one contiguous block.

A ring with room for twice its capacity: every reading is a view of consecutive rows, and once per
`capacity` slices the kept rows move back to the front. Rows stand on the interval's grid: a slice that
never came is a row of absent candles, so the last 60 rows are the last 60 intervals.

`inferred` [rows, N] are the model's inferred returns of the same slices, NaN where there was none.
"""

import numpy as np

from bot.core.market import FIELDS, Floats, Integers, Mask, Panel, Slice, returns_of


class OutOfOrder(ValueError):
    """A slice that is not newer than the newest in the window."""


class Window:
    def __init__(self, symbols: tuple[str, ...], interval_ms: int, capacity: int) -> None:
        self.symbols = symbols
        self.interval_ms = interval_ms
        self.capacity = capacity
        rows, coins = 2 * capacity, len(symbols)
        self._values = np.full((len(FIELDS), rows, coins), np.nan)
        self._present = np.zeros((rows, coins), dtype=np.bool_)
        self._inferred = np.full((rows, coins), np.nan)
        self._start = self._end = 0
        self.newest_ms = 0

    def __len__(self) -> int:
        return self._end - self._start

    def push(self, latest: Slice) -> None:
        """Adds the newest slice; the grid's slices that never came before it become absent rows."""
        if len(self):
            skipped = (latest.open_ms - self.newest_ms) // self.interval_ms - 1
            if skipped < 0:
                raise OutOfOrder(f"slice {latest.open_ms} after {self.newest_ms}")
            for _ in range(min(skipped, self.capacity)):
                self._clear(self._next_row())
        row = self._next_row()
        values = self._values
        values[0, row] = latest.open
        values[1, row] = latest.high
        values[2, row] = latest.low
        values[3, row] = latest.close
        values[4, row] = latest.volume
        self._present[row] = latest.present
        self._inferred[row] = np.nan
        self.newest_ms = latest.open_ms

    def infer(self, returns: Floats) -> None:
        """Stores the inferred returns [N] of the newest slice."""
        self._inferred[self._end - 1] = returns

    def adopt(self, open_ms: Integers, inferred: Floats) -> None:
        """Puts remembered inferred returns [K, N] back to the slices they belong to."""
        for at_ms, returns in zip(open_ms, inferred, strict=True):
            row = self._end - 1 - (self.newest_ms - int(at_ms)) // self.interval_ms
            if self._start <= row < self._end:
                self._inferred[row] = returns

    def fill(self, panel: Panel) -> int:
        """Fills history in: rows before the first, after the newest, and candles that are missing.

        A candle that is there is never changed. Returns how many candles were new.
        """
        fresh = 0
        if len(self) and len(panel) and int(panel.open_ms[0]) < self.oldest_ms:
            kept = self.panel()
            inferred = self.inferred.copy()
            self._start = self._end = 0
            self._append(panel.rows(0, int(np.searchsorted(panel.open_ms, kept.open_ms[0]))))
            fresh += int(np.isfinite(self.close).sum())
            self._append(kept)
            self._inferred[self._end - len(inferred) : self._end] = inferred
        for row in range(len(panel)):
            fresh += self._fill_row(panel.slice(row))
        return fresh

    def _append(self, panel: Panel) -> None:
        for row in range(max(0, len(panel) - self.capacity), len(panel)):
            self.push(panel.slice(row))

    def _fill_row(self, past: Slice) -> int:
        if not len(self) or past.open_ms > self.newest_ms:
            self.push(past)
            return int(np.isfinite(past.close).sum())
        row = self._end - 1 - (self.newest_ms - past.open_ms) // self.interval_ms
        if row < self._start:
            return 0
        missing = ~np.isfinite(self._values[3, row]) & np.isfinite(past.close)
        for field, name in enumerate(FIELDS):
            self._values[field, row, missing] = getattr(past, name)[missing]
        self._present[row, missing] = past.present[missing]
        return int(missing.sum())

    def _next_row(self) -> int:
        if self._end == 2 * self.capacity:
            self._rewind()
        row = self._end
        self._end += 1
        if self._end - self._start > self.capacity:
            self._start += 1
        return row

    def _clear(self, row: int) -> None:
        self._values[:, row] = np.nan
        self._present[row] = False
        self._inferred[row] = np.nan

    def _rewind(self) -> None:
        kept = self._end - self._start
        for block in (self._present, self._inferred):
            block[:kept] = block[self._start : self._end]
        self._values[:, :kept] = self._values[:, self._start : self._end]
        self._start, self._end = 0, kept

    @property
    def oldest_ms(self) -> int:
        return self.newest_ms - (len(self) - 1) * self.interval_ms

    @property
    def open_ms(self) -> Integers:
        return self.oldest_ms + self.interval_ms * np.arange(len(self), dtype=np.int64)

    @property
    def close(self) -> Floats:
        return self._values[3, self._start : self._end]

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
        values = self._values[:, first : self._end].copy()
        open_ms = self.newest_ms - self.interval_ms * np.arange(self._end - first - 1, -1, -1, dtype=np.int64)
        present = self._present[first : self._end].copy()
        return Panel(
            self.symbols, self.interval_ms, open_ms, values[0], values[1], values[2], values[3], values[4], present
        )
