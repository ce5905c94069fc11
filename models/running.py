"""Sums over the last rows and sums that decay, as rows come in pieces: the bits are those of the whole.

Shapes  K series of T rows, oldest first, of N symbols.
Bits    both add row after row, so where a piece was cut changes nothing. At fixed times they begin anew from what
        lasts, so what rounding has cumulated does not grow for ever.
Finite  rows hold finite numbers alone: one NaN would stay.
"""

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from bot.core.market import Floats
from models.candles import shaped
from models.model import Arrays

STRETCH = 2048  # slices over which decays are raised to powers: 0.8^-2048 is far from overflow
_ROOM = 64  # rows that are added before the kept ones are moved


class RunningSums:
    """Sums of K series over their last rows, for each of `spans`; rows before the first count as zero."""

    def __init__(self, series: int, spans: tuple[int, ...], coins: int) -> None:
        self._spans = spans
        self._back = np.array(spans)
        self._longest = max(spans)
        self._added = np.zeros((self._longest + _ROOM, series, coins))  # sums since the block began, row after row
        self._count = self._longest
        self._block = 0

    def absorb(self, rows: Sequence[Floats], block: int) -> "tuple[Window, ...]":
        """The sums over each span after each of the rows: K arrays [T, N], all of one block of time."""
        self._enter(block)
        kept = self._longest
        added = np.empty((len(rows), kept + len(rows[0]), rows[0].shape[1]))
        added[:, :kept] = self._kept().transpose(1, 0, 2)
        for target, row in zip(added, rows, strict=True):
            target[kept:] = row
        np.add.accumulate(added[:, kept - 1 :], axis=1, out=added[:, kept - 1 :])
        self._begin(added[:, -kept:].transpose(1, 0, 2))
        return tuple(Window(added, kept, span) for span in self._spans)

    def absorb_one(self, row: Floats, block: int) -> Floats:
        """The same sums [S, K, N], for S spans, after a single row [K, N]."""
        self._enter(block)
        if self._count == len(self._added):
            self._begin(self._kept())
        at = self._count
        np.add(self._added[at - 1], row, out=self._added[at])
        self._count += 1
        found: Floats = self._added[at] - self._added.take(at - self._back, axis=0)
        return found

    def _enter(self, block: int) -> None:
        if block != self._block:
            self._kept()[:] -= self._added[self._count - 1].copy()
            self._block = block

    def _kept(self) -> Floats:
        return self._added[self._count - self._longest : self._count]

    def _begin(self, kept: Floats) -> None:
        self._added[: self._longest] = kept
        self._count = self._longest

    def state(self) -> Arrays:
        return {"sums": self._kept().copy(), "block": np.array([self._block], dtype=np.int64)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Takes it back. BadModel when it is of another shape."""
        kept, block = shaped(state, "sums", self._kept().shape), shaped(state, "block", (1,))
        self._begin(kept)
        self._block = int(block[0])


class Window(Sequence[Floats]):
    """Sums of K series over one span, each [T, N] and made when it is asked for."""

    def __init__(self, added: Floats, kept: int, span: int) -> None:
        self._after = added[:, kept:]
        self._before = added[:, kept - span : -span]

    def __len__(self) -> int:
        return len(self._after)

    @overload
    def __getitem__(self, series: int) -> Floats: ...
    @overload
    def __getitem__(self, series: slice) -> Sequence[Floats]: ...
    def __getitem__(self, series: int | slice) -> Floats | Sequence[Floats]:
        found: Floats = self._after[series] - self._before[series]
        return found if isinstance(series, int) else list(found)


class DecayedSums:
    """sum_j decay^j x_{t-j} for each of K decays, of one series.

    With G_j = sum of x decay^-j since a stretch of STRETCH slices of absolute time began, it is decay^j G_j: a
    cumulated sum, no recursion. The last terms are the largest, so nothing cancels; no power overflows.
    """

    def __init__(self, decays: tuple[float, ...], coins: int) -> None:
        self._decays = np.array(decays)[:, None, None]
        self._up, self._down = _powers(decays)
        self._total = np.zeros((len(decays), coins))
        self._stretch = 0

    def absorb(self, x: Floats, number: int) -> Floats:
        """The sums [K, T, N] after each row of x [T, N]; row 0 is slice `number`, later than those before."""
        cuts = range(STRETCH - number % STRETCH, len(x), STRETCH)
        edges = (0, *cuts, len(x))
        found = [self._absorb(x[first:stop], number + first) for first, stop in itertools.pairwise(edges)]
        return found[0] if len(found) == 1 else np.concatenate(found, axis=1)

    def absorb_one(self, x: Floats, number: int) -> Floats:
        """The same sums [K, N] after a single row [N]."""
        at = self._enter(number)
        self._total = x * self._up[:, at] + self._total
        found: Floats = self._total * self._down[:, at]
        return found

    def _enter(self, number: int) -> int:
        """Where in its stretch a row stands."""
        stretch, at = divmod(number, STRETCH)
        if stretch != self._stretch:
            self._total = self._total * self._decays[:, 0] ** (STRETCH * (stretch - self._stretch))
            self._stretch = stretch
        return at

    def _absorb(self, x: Floats, number: int) -> Floats:
        """The sums after rows of one stretch."""
        at = self._enter(number)
        rows = slice(at, at + len(x))
        totals: Floats = x * self._up[:, rows]
        totals[:, 0] += self._total
        np.add.accumulate(totals, axis=1, out=totals)
        self._total = totals[:, -1]
        found: Floats = totals * self._down[:, rows]
        return found

    def state(self) -> Arrays:
        return {"total": self._total.copy(), "stretch": np.array([self._stretch], dtype=np.int64)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Takes it back. BadModel when it is of another shape."""
        total, stretch = shaped(state, "total", self._total.shape), shaped(state, "stretch", (1,))
        self._total, self._stretch = total, int(stretch[0])


@functools.cache
def _powers(decays: tuple[float, ...]) -> tuple[Floats, Floats]:
    """What rows of a stretch are multiplied by before they are added, and after [K, STRETCH, 1]."""
    down: Floats = np.array(decays)[:, None, None] ** np.arange(STRETCH)[:, None]
    return 1.0 / down, down
