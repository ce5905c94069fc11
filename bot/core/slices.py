"""Candles become slices: all symbols at one close, in order, each exactly once.

A slice is complete when every symbol that is waited for has sent its candle. At the soft limit the
stragglers are named so that REST can be asked; at the hard limit the slice closes without them. A
symbol that the stream missed two slices running is no longer waited for, so that it delays nobody (fault
F7), even if REST could fill it in; its next streamed candle puts it back. When nobody would be waited for, a full
slice or the hard limit closes.

Limits  milliseconds after the slice's close.
"""

from enum import Enum, auto

import numpy as np

from bot.core.market import Candle, Mask, Slice
from bot.core.snapshot import Assembly

STREAM = "stream"
MISSES_MAX = 2
SLICES_AHEAD = 3
CLOSED_KEPT = 5


class Kept(Enum):
    """What became of a candle."""

    NEW = auto()
    DUPLICATE = auto()
    REVISED = auto()
    LATE = auto()
    FOREIGN = auto()


class Forming:
    """A slice that is still waiting for candles."""

    def __init__(self, coins: int) -> None:
        self.values = np.full((5, coins), np.nan)
        self.present = np.zeros(coins, dtype=np.bool_)
        self.arrived = np.zeros(coins, dtype=np.bool_)
        self.streamed = np.zeros(coins, dtype=np.bool_)
        self.awaited: Mask | None = None
        self.waiting = 0
        self.asked_ms = 0

    def await_those(self, awaited: Mask) -> None:
        """From its close on the slice waits for these symbols and no others, whatever comes later."""
        self.awaited = awaited if awaited.any() else np.ones_like(awaited)
        self.waiting = int(np.count_nonzero(self.awaited & ~self.arrived))

    def take(self, at: int, candle: Candle) -> None:
        self.values[:, at] = (candle.open, candle.high, candle.low, candle.close, candle.volume)
        self.present[at] = candle.trades > 0
        self.arrived[at] = True
        if self.awaited is not None and self.awaited[at]:
            self.waiting -= 1

    @property
    def complete(self) -> bool:
        return self.awaited is not None and not self.waiting


class Slices:
    def __init__(self, symbols: tuple[str, ...], interval_ms: int, soft_limit_ms: int, hard_limit_ms: int) -> None:
        self.symbols = symbols
        self.interval_ms = interval_ms
        self.soft_limit_ms = soft_limit_ms
        self.hard_limit_ms = hard_limit_ms
        self._index = {symbol: at for at, symbol in enumerate(symbols)}
        self._forming: dict[int, Forming] = {}
        self._closed: dict[int, Forming] = {}
        self._misses = np.zeros(len(symbols), dtype=np.int64)
        self.next_ms = 0

    def start(self, newest_ms: int) -> None:
        """History reaches to the slice opened at `newest_ms`; the next one is waited for."""
        self.next_ms = newest_ms + self.interval_ms
        self._forming = {open_ms: forming for open_ms, forming in self._forming.items() if open_ms >= self.next_ms}

    def add(self, candle: Candle, source: str = STREAM) -> Kept:
        """Takes one closed candle; only the stream's own say that a symbol is alive."""
        at = self._index.get(candle.symbol)
        open_ms = candle.open_ms
        if at is None or open_ms % self.interval_ms:
            return Kept.FOREIGN
        forming = self._forming.get(open_ms)
        if forming is None:
            if self.next_ms and open_ms < self.next_ms:
                return self._after_close(self._closed.get(open_ms), at, candle, source)
            if self.next_ms and open_ms > self.next_ms + SLICES_AHEAD * self.interval_ms:
                return Kept.FOREIGN
            forming = self._forming[open_ms] = Forming(len(self.symbols))
        if forming.arrived[at]:
            return _again(forming, at, candle)
        forming.take(at, candle)
        forming.streamed[at] = source == STREAM
        return Kept.NEW

    def _after_close(self, closed: Forming | None, at: int, candle: Candle, source: str) -> Kept:
        if closed is None:
            return Kept.DUPLICATE  # older than what is kept: history already holds or has missed it
        if closed.arrived[at]:
            return _again(closed, at, candle)
        closed.take(at, candle)
        if source == STREAM:
            self._misses[at] = 0  # it speaks again: wait for its next candle
        return Kept.LATE

    def close_of(self, candle: Candle) -> float:
        """The close first known for this candle, NaN when it is no longer kept."""
        known = self._forming.get(candle.open_ms) or self._closed.get(candle.open_ms)
        return float(known.values[3, self._index[candle.symbol]]) if known else float("nan")

    def take(self, now_ms: int) -> Slice | None:
        """The next slice, when it is complete or its hard limit has come; None while it is waited for."""
        open_ms = self.next_ms
        if not open_ms or now_ms < open_ms + self.interval_ms:
            return None
        forming = self._forming.get(open_ms)
        if forming is None:
            forming = self._forming[open_ms] = Forming(len(self.symbols))
        if forming.awaited is None:
            forming.await_those(self._misses < MISSES_MAX)
        if not forming.complete and now_ms < open_ms + self.interval_ms + self.hard_limit_ms:
            return None
        del self._forming[open_ms]
        self._closed[open_ms] = forming
        self._closed.pop(open_ms - CLOSED_KEPT * self.interval_ms, None)
        self._misses = np.where(forming.streamed, 0, self._misses + 1)
        self.next_ms = open_ms + self.interval_ms
        kept = forming.values.copy()  # a late candle may still be written into what is kept
        return Slice(open_ms, kept[0], kept[1], kept[2], kept[3], kept[4], forming.present.copy())

    def stragglers(self, now_ms: int) -> tuple[str, ...]:
        """At the soft limit, and again after each such time, the symbols to ask REST for; else nobody."""
        open_ms = self.next_ms
        close_ms = open_ms + self.interval_ms
        forming = self._forming.get(open_ms)
        if not open_ms or forming is None or now_ms < max(close_ms, forming.asked_ms) + self.soft_limit_ms:
            return ()
        forming.asked_ms = now_ms
        return tuple(self.symbols[at] for at in np.nonzero(~forming.arrived)[0])

    def remember(self) -> Assembly:
        """What waits and what closed last, for a checkpoint."""
        kept = sorted([*self._closed.items(), *self._forming.items()])
        forming = [one for _, one in kept]
        shape = (len(kept), len(self.symbols))
        return Assembly(
            np.array([open_ms for open_ms, _ in kept], dtype=np.int64),
            np.array([one.values for one in forming]).reshape(shape[0], 5, shape[1]),
            np.array([one.arrived for one in forming], dtype=np.bool_).reshape(shape),
            np.array([one.streamed for one in forming], dtype=np.bool_).reshape(shape),
            np.array([one.present for one in forming], dtype=np.bool_).reshape(shape),
            np.array([one.asked_ms for one in forming], dtype=np.int64),
            self._misses.copy(),
        )

    def restore(self, memory: Assembly, next_ms: int) -> None:
        """Goes on where a checkpoint was taken; `next_ms` is the slice that is waited for."""
        self.next_ms = next_ms
        self._misses = memory.misses.copy()
        for at, open_ms in enumerate(memory.open_ms.tolist()):
            one = Forming(len(self.symbols))
            one.values[:], one.arrived[:], one.streamed[:] = memory.values[at], memory.arrived[at], memory.streamed[at]
            one.present[:], one.asked_ms = memory.present[at], int(memory.asked_ms[at])
            (self._closed if open_ms < next_ms else self._forming)[open_ms] = one

    def silent(self) -> Mask:
        """The symbols [N] that are no longer waited for."""
        gone: Mask = self._misses >= MISSES_MAX
        return gone

    def wake_ms(self, now_ms: int) -> int:
        """When to look again if no candle comes: the close, the soft limits, the hard limit. 0: never."""
        if not self.next_ms:
            return 0
        close_ms = self.next_ms + self.interval_ms
        if now_ms < close_ms:
            return close_ms + self.soft_limit_ms
        forming = self._forming.get(self.next_ms)
        asked_ms = max(close_ms, forming.asked_ms if forming else 0)
        return min(asked_ms + self.soft_limit_ms, close_ms + self.hard_limit_ms)


def _again(known: Forming, at: int, candle: Candle) -> Kept:
    first = known.values[:, at]
    same = (first == (candle.open, candle.high, candle.low, candle.close, candle.volume)).all()
    return Kept.DUPLICATE if same else Kept.REVISED
