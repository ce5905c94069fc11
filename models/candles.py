"""Candles as they come, in pieces, made safe to compute with: what volatilities and features are made of.

Shapes  T slices, oldest first; N symbols.
Real    the candle traded and its numbers are finite, prices above 0, volume not below 0.
Absent  every other candle. It stands as a flat one at the last price (at 1 before the first), without volume: it
        moves nothing, and who averages does not count it. A hole in time is that many absent candles.
Linked  real, right after a candle with a price: its move was made in one interval.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from bot.core.market import FIELDS, Floats, Integers, Mask, Panel
from models.model import Arrays, BadModel

BLOCK = 65_536  # slices of absolute time that are summed up before sums begin anew
PIECE = 32_768  # candles that are worked on at once: they stay near the processor

_LEAST = np.array([0.0, 0.0, 0.0, 0.0, np.nextafter(0.0, -1.0)])[:, None]  # numbers are above; a volume of 0 is fine


class Candles(Struct, frozen=True, eq=False):
    """T slices, those of holes among them, all within one block of time.

    `number`: that of row 0, its open over the interval; `block`: that of the kept rows over BLOCK.
    `before` [T, N]: the last close before each; `prices` [4, T, N]: open, high, low, close; `volume` [T, N].
    `closes` [back + T, N]: the last known closes, `back` slices longer, NaN before a coin's first price.
    `kept`: the rows that were in the panel. `unsteady`: from this row on, each candle and those of the `back` slices
    before it are linked.
    """

    open_ms: Integers
    number: int
    block: int
    before: Floats
    prices: Floats
    volume: Floats
    closes: Floats
    real: Mask
    linked: Mask
    kept: slice | Integers
    unsteady: int

    def __len__(self) -> int:
        return len(self.real)


class CandleTape:
    """Turns slices that come in pieces into the candles that the whole would give.

    `back` slices are looked back at; a hole that is longer stands as so many. Slices not newer than `newest_ms` are
    skipped. Pieces are cut at multiples of BLOCK slices of absolute time: who sums can begin anew there and finds the
    same numbers however the slices were cut before.
    """

    def __init__(self, symbols: tuple[str, ...], interval_ms: int, back: int) -> None:
        self.symbols = symbols
        self.interval_ms = interval_ms
        self.back = back
        self.newest_ms = 0
        self._closes = np.full((back, len(symbols)), np.nan)
        self._priced = np.zeros(len(symbols), dtype=np.bool_)
        self._run = 0  # how many slices, up to the newest, had linked candles only

    def take(self, panel: Panel) -> list[Candles]:
        """The candles of the slices that are new. ValueError when the panel is of another universe or interval."""
        if panel.symbols != self.symbols:
            raise ValueError("the panel's symbols are not those asked for, in their order: use panel.of(symbols)")
        if panel.interval_ms != self.interval_ms:
            raise ValueError(f"the panel's interval is {panel.interval_ms} ms, it should be {self.interval_ms} ms")
        if len(panel) and int(panel.open_ms[0]) <= self.newest_ms:
            panel = panel.rows(int(np.searchsorted(panel.open_ms, self.newest_ms, side="right")), len(panel))
        pieces = []
        first = 0
        while first < len(panel):
            pieces.append(self._piece(panel.rows(first, len(panel)) if first else panel))
            first += _count(pieces[-1].kept)
        return pieces

    def take_one(self, panel: Panel) -> tuple[Floats, Floats] | None:
        """The fields [5, N] of a single slice and the last closes [back + 1, N], where `take` would find it steady.

        None, and nothing taken, where it would not: then take it.
        """
        if len(panel) != 1 or self._run < self.back or int(panel.open_ms[0]) != self.newest_ms + self.interval_ms:
            return None
        if panel.symbols != self.symbols or panel.interval_ms != self.interval_ms:
            return None
        fields = np.concatenate((panel.open, panel.high, panel.low, panel.close, panel.volume))
        priced = np.count_nonzero((fields > _LEAST) & (fields < np.inf))
        if priced < fields.size or np.count_nonzero(panel.present) < len(self.symbols):
            return None
        closes = np.concatenate((self._closes, fields[3:4]))
        self._closes = closes[1:]
        self._run += 1
        self.newest_ms += self.interval_ms
        return fields, closes

    def _piece(self, panel: Panel) -> Candles:
        """The candles of the panel's first slices, up to the end of their block."""
        number = int(panel.open_ms[0]) // self.interval_ms
        block = number // BLOCK
        end = min((block + 1) * BLOCK, number + max(1, PIECE // len(self.symbols)))
        end_ms = end * self.interval_ms
        if int(panel.open_ms[-1]) >= end_ms:
            panel = panel.rows(0, int(np.searchsorted(panel.open_ms, end_ms)))
        skipped = min(number - self.newest_ms // self.interval_ms - 1, self.back) if self.newest_ms else 0
        self.newest_ms = int(panel.open_ms[-1])
        rows = skipped + self.newest_ms // self.interval_ms - number + 1
        kept: slice | Integers = slice(skipped, rows)
        if rows - skipped > len(panel):
            kept = skipped + panel.open_ms // self.interval_ms - number
        fields = np.empty((len(FIELDS), rows, len(self.symbols)))
        open_ms, present = panel.open_ms, panel.present
        if rows > len(panel):
            open_ms = self.interval_ms * np.arange(number - skipped, number - skipped + rows)
            fields.fill(np.nan)
            present = np.zeros((rows, len(self.symbols)), dtype=np.bool_)
            present[kept] = panel.present
        for at, field in enumerate((panel.open, panel.high, panel.low, panel.close, panel.volume)):
            fields[at, kept] = field
        return self._made(open_ms, block, fields, present, kept)

    def _made(self, open_ms: Integers, block: int, fields: Floats, present: Mask, kept: slice | Integers) -> Candles:
        priced: Mask = np.logical_and.reduce((fields > _LEAST[:, None]) & (fields < np.inf), axis=0)
        real = priced & present
        closes = np.empty((self.back + len(real), len(self.symbols)))
        closes[: self.back] = self._closes
        closes[self.back :] = fields[3]
        before, linked, unsteady = closes[self.back - 1 : -1], real, self.back - self._run
        whole = np.count_nonzero(real) == real.size
        if not whole:
            _carry(closes[self.back - 1 :], priced)
            _flatten(fields, real, closes[self.back :])
        if self._run and whole:
            self._run += len(real)
        else:
            linked = real & np.concatenate((self._priced[None], priced[:-1]))
            before = np.where(np.isnan(before), fields[3], before)
            self._run = _run(linked)
            unsteady = len(real) - self._run + self.back
        self._closes = closes[-self.back :].copy()
        self._priced = priced[-1]
        number = int(open_ms[0]) // self.interval_ms
        return Candles(
            open_ms,
            number,
            block,
            before,
            fields[:4],
            fields[4],
            closes,
            real,
            linked,
            kept,
            max(0, min(unsteady, len(real))),
        )

    def state(self) -> Arrays:
        """The running state, to go on from after a restart."""
        return {
            "newest_ms": np.array([self.newest_ms, self._run], dtype=np.int64),
            "closes": self._closes.copy(),
            "priced": self._priced.astype(np.uint8),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Takes it back. BadModel when it is of another shape."""
        coins = len(self.symbols)
        newest = shaped(state, "newest_ms", (2,))
        closes, priced = shaped(state, "closes", (self.back, coins)), shaped(state, "priced", (coins,))
        self.newest_ms, self._run = int(newest[0]), int(newest[1])
        self._closes, self._priced = closes.astype(np.float64), priced.astype(np.bool_)


def shaped(arrays: Mapping[str, NDArray[Any]], name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """A copy of one array of a running state, NaN allowed. BadModel when it is missing or of another shape."""
    found = arrays.get(name)
    if found is None or found.shape != shape:
        was = "missing" if found is None else str(list(found.shape))
        raise BadModel(f"the state's array {name} is {was}, it should be {list(shape)}: begin from candles again")
    return found.copy()


def _count(kept: slice | Integers) -> int:
    return kept.stop - kept.start if isinstance(kept, slice) else len(kept)


def _carry(closes: Floats, priced: Mask) -> None:
    """Puts the last known close where there is none, row 0 being the one before; before the first it stays NaN."""
    closes[1:][~priced] = np.nan
    row = np.where(np.isnan(closes), 0, np.arange(len(closes))[:, None])
    closes[:] = np.take_along_axis(closes, np.maximum.accumulate(row, axis=0), axis=0)


def _flatten(fields: Floats, real: Mask, closes: Floats) -> None:
    """Makes absent candles flat at the last close."""
    fields[:4] = np.where(real, fields[:4], np.where(np.isnan(closes), 1.0, closes))
    fields[4] = np.where(real, fields[4], 0.0)


def _run(linked: Mask) -> int:
    """How many rows at the end are True throughout."""
    backwards = linked.ravel()[::-1]
    broken = int(backwards.argmin())
    return len(linked) if backwards[broken] else broken // linked.shape[1]
