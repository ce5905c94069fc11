"""The walk over pages: the set in the end is that of one perfect answer."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.market import MINUTE_MS, Candle
from bot.edge.paging import LEAD_CANDLES, block_of, spans, walk
from tests.making import START_MS, candle

PAGE = 50


def at(minute: int) -> int:
    return START_MS + minute * MINUTE_MS


class Pages:
    """An exchange's own paging, as the documents have it, or spoilt: late, early, short, doubled, shuffled."""

    def __init__(self, minutes: set[int], newest_first: bool, rng: random.Random | None = None) -> None:
        self.opens = sorted(at(minute) for minute in minutes)
        self.newest_first, self.rng = newest_first, rng
        self.asked = 0

    async def __call__(self, start_ms: int, stop_ms: int) -> list[Candle]:
        self.asked += 1
        assert stop_ms - start_ms <= PAGE * MINUTE_MS
        limit = PAGE
        if self.rng:
            start_ms += self.rng.randint(-5, 3) * MINUTE_MS * (not self.newest_first)
            stop_ms += self.rng.randint(0, 4) * MINUTE_MS
            limit = self.rng.choice([LEAD_CANDLES + 5, 30, PAGE])
        found = [open_ms for open_ms in self.opens if start_ms <= open_ms < stop_ms]
        page = found[-limit:] if self.newest_first else found[:limit]
        if self.rng:
            page = page + self.rng.choices(page, k=2) if page else page
            self.rng.shuffle(page)
        elif self.newest_first:
            page = page[::-1]
        return [candle("BTC/USDT", open_ms) for open_ms in page]


@settings(max_examples=60, deadline=None)
@given(
    minutes=st.sets(st.integers(-20, 320)),
    holes=st.lists(st.tuples(st.integers(0, 300), st.integers(1, 150)), max_size=2),
    newest_first=st.booleans(),
    seed=st.none() | st.integers(0, 1_000),
)
async def test_every_candle_is_found_once(
    minutes: set[int], holes: list[tuple[int, int]], newest_first: bool, seed: int | None
) -> None:
    """Late, early, short, overlapping, newest first, in any order, with holes of several pages: none is missed."""
    there = set(range(300)) | minutes
    for first, length in holes:
        there -= set(range(first, first + length))
    pages = Pages(there, newest_first, random.Random(seed) if seed is not None else None)
    found = await walk(pages, at(0), at(300), MINUTE_MS, PAGE)
    assert [one.open_ms for one in found] == [at(minute) for minute in sorted(there) if 0 <= minute < 300]


async def test_a_sane_exchange_is_asked_once_a_page() -> None:
    """Breaks inside a page cost nothing; one at the edge of a page, of which there are three here, two questions."""
    pages = Pages({minute for minute in range(400) if minute % 7}, newest_first=False)
    assert len(await walk(pages, at(1), at(400), MINUTE_MS, PAGE)) == 342
    assert pages.asked == 10 + 3 * 2


async def test_an_empty_page_ends_nothing() -> None:
    """Two years before the listing, then candles."""
    pages = Pages(set(range(1_000, 1_010)), newest_first=True)
    assert len(await walk(pages, at(0), at(2_000), MINUTE_MS, PAGE)) == 10


def test_spans_are_the_whole() -> None:
    """Parts follow each other; the last may be short; nothing is nothing."""
    assert spans(0, 25, 1, 10) == [(0, 10), (10, 20), (20, 25)]
    assert spans(5, 5, 1, 10) == []


def test_no_candles_are_an_empty_block() -> None:
    """Of the right kinds."""
    block = block_of([])
    assert len(block) == 0 and block.open_ms.dtype.kind == "i" and block.column.values.shape == (6, 0)
