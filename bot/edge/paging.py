"""One perfect answer out of pages: whatever order, overlap and number they come in.

An answer is taken for a run of what there is, so a break between two of its candles is the exchange's own. What lies
before its first or behind its last candle is asked for again; only an answer with nothing new is a hole, and a hole
never ends the walk. Every question begins a little early, so an answer that begins a little late costs nothing
(fault F17).
"""

from collections.abc import Awaitable, Callable, Iterable

import numpy as np

from bot.core.market import Candle
from bot.edge.columns import Column
from bot.edge.month_file import FILE_FIELDS, Block

LEAD_CANDLES = 10

Ask = Callable[[int, int], Awaitable[list[Candle]]]


def spans(start_ms: int, stop_ms: int, step_ms: int, candles: int) -> list[tuple[int, int]]:
    """[start, stop) in parts of so many candles."""
    width = candles * step_ms
    return [(at, min(at + width, stop_ms)) for at in range(start_ms, stop_ms, width)]


async def walk(ask: Ask, start_ms: int, stop_ms: int, step_ms: int, page: int) -> list[Candle]:
    """Every candle with start_ms <= open < stop_ms, oldest first; `ask` gives some of [start, stop), `page` at most."""
    fresh = page - LEAD_CANDLES
    known: dict[int, Candle] = {}
    todo = spans(start_ms, stop_ms, step_ms, fresh)[::-1]
    while todo:
        first_ms, after_ms = todo.pop()
        inside = await _answered(ask, first_ms, after_ms, step_ms)
        if not inside.keys() - known.keys():
            continue
        known |= inside
        oldest_ms, newest_ms = min(inside), max(inside)
        if newest_ms + step_ms < after_ms:
            todo.append((newest_ms + step_ms, after_ms))
        if oldest_ms > first_ms:
            todo.append((first_ms, oldest_ms))
    return [known[open_ms] for open_ms in sorted(known)]


async def _answered(ask: Ask, start_ms: int, stop_ms: int, step_ms: int) -> dict[int, Candle]:
    """What an answer has of [start, stop). One that ends before it is asked for once more, with half the lead.

    Without any lead, an answer that begins a little late would look like a hole.
    """
    for lead in (LEAD_CANDLES, LEAD_CANDLES // 2):
        answer = await ask(start_ms - lead * step_ms, stop_ms)
        inside = {one.open_ms: one for one in answer if start_ms <= one.open_ms < stop_ms}
        if inside or not answer:
            return inside
    return {}


def block_of(candles: Iterable[Candle]) -> Block:
    """Candles of one series, oldest first, as arrays."""
    several = list(candles)
    values = np.array([(c.open, c.high, c.low, c.close, c.volume, c.quote_volume) for c in several], dtype=np.float64)
    return Block.of(
        Column(
            np.array([c.open_ms for c in several], dtype=np.int64),
            np.ascontiguousarray(values.reshape(-1, len(FILE_FIELDS)).T),
            np.array([c.trades for c in several], dtype=np.int64),
        )
    )
