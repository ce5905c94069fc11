"""What a series of the candle store knows of itself: its months with checksums and gaps, and the ranges fetched.

Ranges    (start_ms, stop_ms), open times from start to before stop, on the grid of the timeframe; sorted, apart.
Fetched   what the source was asked for and has answered. A fetched time without a candle is a gap of the exchange's
          own; a time that was never fetched is missing.
Writing   the months that were being replaced when this was written: after a crash they may be the old or the new
          file, both whole, so their entries are taken from the files again.
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise

import msgspec
import numpy as np

from bot.core.market import Integers

Range = tuple[int, int]


class Month(msgspec.Struct, frozen=True):
    """One month file: its candles lie in [start_ms, stop_ms), `gaps` are the times between them without one."""

    candles: int
    start_ms: int
    stop_ms: int
    gaps: tuple[Range, ...]
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """`months` by name ("2024-01"), in order; `fetched` contains every candle's own time."""

    months: dict[str, Month] = {}
    fetched: tuple[Range, ...] = ()
    writing: tuple[str, ...] = ()

    @property
    def candles(self) -> int:
        return sum(month.candles for month in self.months.values())

    @property
    def span(self) -> Range | None:
        """From the first candle to one step after the last; None without candles."""
        months = list(self.months.values())
        return (months[0].start_ms, months[-1].stop_ms) if months else None

    @property
    def gaps(self) -> list[Range]:
        """The ranges without a candle between the first and the last one."""
        months = list(self.months.values())
        found: list[Range] = [gap for month in months for gap in month.gaps]
        found += [(one.stop_ms, two.start_ms) for one, two in pairwise(months)]
        return union(found)

    @property
    def holes(self) -> list[Range]:
        """The gaps that were never fetched: not the exchange's, ours."""
        return [hole for gap in self.gaps for hole in without(gap, self.fetched)]


def runs(open_ms: Integers, interval_ms: int) -> list[Range]:
    """The unbroken ranges of sorted, unique open times."""
    if not len(open_ms):
        return []
    breaks = np.flatnonzero(np.diff(open_ms) != interval_ms)
    starts = open_ms[np.concatenate(([0], breaks + 1))]
    stops = open_ms[np.concatenate((breaks, [len(open_ms) - 1]))] + interval_ms
    return list(zip(starts.tolist(), stops.tolist(), strict=True))


def gaps_of(open_ms: Integers, interval_ms: int) -> list[Range]:
    """What lies between the runs."""
    found = runs(open_ms, interval_ms)
    return [(one[1], two[0]) for one, two in pairwise(found)]


def union(*several: Iterable[Range]) -> list[Range]:
    """All of them as sorted ranges that neither touch nor overlap; empty ones vanish."""
    found: list[Range] = []
    for start, stop in sorted(one for ranges in several for one in ranges if one[0] < one[1]):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(stop, found[-1][1]))
        else:
            found.append((start, stop))
    return found


def without(whole: Range, taken: Iterable[Range]) -> Iterator[Range]:
    """The parts of `whole` that are in none of the sorted ranges taken."""
    start, stop = whole
    for first, last in taken:
        if first >= stop:
            break
        if last > start:
            if first > start:
                yield start, first
            start = last
    if start < stop:
        yield start, stop


def on_grid(start_ms: int, stop_ms: int, interval_ms: int) -> Range:
    """The grid's opens in [start_ms, stop_ms), as a range of whole steps."""
    return -(-start_ms // interval_ms) * interval_ms, -(-stop_ms // interval_ms) * interval_ms
