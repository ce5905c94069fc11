"""Longer candles from shorter ones.

Values    the first open, the highest high, the lowest low, the last close, the sums of volumes and trades. An unknown
          volume in quote makes the sum unknown (NaN), an uncounted trade the count (-1).
Rule      a candle of which all parts are there is complete. Where parts are absent the candle is made of those there
          are if at least one of them traded, and counted as partial; else it is left out.
Edges     a candle that begins before or ends after what is known is left out: its other parts may exist.
Trap      an exchange's own longer candle opens at its first trade, and so may differ in `open` from the sum of shorter
          ones, of which the first had no trade and stands at the price before.
"""

import msgspec
import numpy as np

from bot.core.market import Integers
from bot.edge.columns import UNCOUNTED
from bot.edge.manifest import Range
from bot.edge.month_file import Block


class Resampled(msgspec.Struct, frozen=True, eq=False):
    """The longer candles; how many of them are partial, and how many times were left out though some part was there."""

    block: Block
    partial: int
    left_out: int


def resample(block: Block, interval_ms: int, longer_ms: int, known: Range) -> Resampled:
    """Candles of `longer_ms`, a multiple of the block's interval, in the range of times that is known."""
    slots = block.open_ms // longer_ms * longer_ms
    starts = np.flatnonzero(np.diff(slots, prepend=-1))
    if not len(starts):
        return Resampled(block, 0, 0)
    open_ms = slots[starts]
    inside = (open_ms >= known[0]) & (open_ms + longer_ms <= known[1])
    stops = np.append(starts[1:], len(block))
    complete = stops - starts == longer_ms // interval_ms
    traded = np.logical_or.reduceat(block.trades != 0, starts)
    kept = inside & (complete | traded)
    longer = Block(
        open_ms,
        block.open[starts],
        np.maximum.reduceat(block.high, starts),
        np.minimum.reduceat(block.low, starts),
        block.close[stops - 1],
        np.add.reduceat(block.volume, starts),
        np.add.reduceat(block.quote_volume, starts),
        _counts(block.trades, starts),
    )
    return Resampled(longer.where(kept), int((kept & ~complete).sum()), int((~kept).sum()))


def _counts(trades: Integers, starts: Integers) -> Integers:
    uncounted = np.logical_or.reduceat(trades == UNCOUNTED, starts)
    counts: Integers = np.where(uncounted, UNCOUNTED, np.add.reduceat(trades, starts))
    return counts
