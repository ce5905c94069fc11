"""Fills a candle store from an exchange: whole months and days from its archives, the rest page by page from REST.

Missing   only what the store never fetched is asked for. Each finished part is stored and marked before it counts, so
          a kill at any point loses what was in the air, and a later run goes on from there to the same store.
Running   a candle is taken a minute after its close, when the exchange's database has it (exchange-facts 2.1).
Listing   the first daily candle tells where a long range begins; before it there is nothing to ask for.
Archives  give what they have; the breaks they leave are asked of REST, where REST may be asked.
Errors    FetchFailed (exit 74), TryLater (exit 75): what was fetched stays, the same command goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from functools import partial
from itertools import zip_longest
from typing import Any, TypeVar

import msgspec
import numpy as np

from bot.core.market import TIMEFRAMES, Candle
from bot.edge.archives import FIRST_MS as ARCHIVES_FROM_MS
from bot.edge.archives import Archives, BadArchive, Period, days_of, months_of
from bot.edge.candle_store import CandleStore, Series
from bot.edge.clock import Clock
from bot.edge.manifest import Range
from bot.edge.month_file import Block
from bot.edge.paging import LEAD_CANDLES, block_of, spans, walk
from bot.edge.questions import RestError
from bot.edge.venues import Venue

AT_ONCE = 8
CHUNK_PAGES = 4  # stored together: a month file is written a few times, a kill loses seconds
PROBE_PAGES = 10  # a shorter range is simply asked for
ARCHIVE_PAGES = 5  # a month that lacks fewer is asked of REST
EARLIEST_MS = 1_262_304_000_000  # 2010: no exchange is older
SETTLE_MS = 60_000
PATIENCE, BACKOFF_S, BACKOFF_MAX_S = 6, 2.0, 60.0
LIMITS_MAX, WAIT_MAX_S = 20, 900.0
GO_ON = "what was fetched is kept: the same command goes on from there"

T = TypeVar("T")


class FetchFailed(RuntimeError):
    """The exchange did not give what was asked for."""

    exit_code = 74


class TryLater(RuntimeError):
    """The exchange wants to be left alone for long."""

    exit_code = 75


class Part(msgspec.Struct, frozen=True):
    """Open times from `start_ms` to before `stop_ms` of one series."""

    series: Series
    start_ms: int
    stop_ms: int

    def inside(self, period: Period) -> "Part":
        """What of it lies in a period."""
        return Part(self.series, max(self.start_ms, period.start_ms), min(self.stop_ms, period.stop_ms))


class Fetcher:
    """`venue` and `archives` are where candles may come from; `told` hears of every part that is done, in candles.

    `rejected` are the archives REST had to stand in for, each with what was wrong with it.
    """

    def __init__(
        self,
        store: CandleStore,
        venue: Venue | None,
        archives: Archives | None,
        clock: Clock,
        told: Callable[[int], None],
    ) -> None:
        self.rejected: list[str] = []
        self._store = store
        self._venue = venue
        self._archives = archives
        self._clock = clock
        self._told = told
        self._writing: dict[Series, asyncio.Lock] = {}

    async def run(self, several: Sequence[Series], start_ms: int, stop_ms: int) -> None:
        """Fetches what is missing of these series in [start, stop), which lies before `settled_ms`."""
        self._writing = {series: asyncio.Lock() for series in several}
        if self._venue is not None:
            begin_ms = await _all([self._begin(series, start_ms, stop_ms, self._venue) for series in several])
        else:
            begin_ms = [max(start_ms, ARCHIVES_FROM_MS)] * len(several)
        wanted = [Part(series, begin, stop_ms) for series, begin in zip(several, begin_ms, strict=True)]
        if self._archives is not None:
            await self._work(self._months(wanted), self._month)
        if self._venue is not None:
            await self._work(self._chunks(wanted, self._venue.page), self._chunk)

    # -- where a range begins

    async def _begin(self, series: Series, start_ms: int, stop_ms: int, venue: Venue) -> int:
        """The start, or the first day with candles behind it; what lies before is marked as asked for."""
        missing = self._store.missing(series, start_ms, stop_ms)
        day_ms = TIMEFRAMES["1d"]
        long_ms = PROBE_PAGES * venue.page * series.interval_ms
        if not missing or missing[0][0] > start_ms + series.interval_ms or series.interval_ms >= day_ms:
            return start_ms
        if missing[0][1] - missing[0][0] < long_ms:
            return start_ms
        first_ms = await self._first_day(series, missing[0], venue)
        if first_ms <= start_ms:
            return start_ms
        if venue.proves_absence:
            await self._keep(series, block_of(()), (start_ms, first_ms))
        self._told((first_ms - start_ms) // series.interval_ms)
        return first_ms

    async def _first_day(self, series: Series, missing: Range, venue: Venue) -> int:
        """The first day with a candle; the end of what is missing if there is none."""
        day_ms = TIMEFRAMES["1d"]
        ask = partial(venue.candles, series.symbol, "1d")
        for start_ms, stop_ms in spans(missing[0] // day_ms * day_ms, missing[1], day_ms, venue.page):
            days = await patiently(partial(ask, start_ms, stop_ms), self._clock)
            inside = [day.open_ms for day in days if start_ms <= day.open_ms < stop_ms]
            if inside:
                return min(inside)
        return missing[1]

    # -- archives

    def _months(self, wanted: Sequence[Part]) -> Iterator[tuple[Part, Period]]:
        """Months of which much is missing, series by series in turn, each with what is wanted of it."""
        return _in_turn([list(self._worth(one)) for one in wanted])

    def _worth(self, wanted: Part) -> Iterator[tuple[Part, Period]]:
        step = wanted.series.interval_ms
        for month in months_of(max(wanted.start_ms, ARCHIVES_FROM_MS), wanted.stop_ms):
            part = wanted.inside(month)
            lacks = self._lacks(part)
            if lacks and (self._venue is None or lacks > ARCHIVE_PAGES * self._venue.page or step >= TIMEFRAMES["1h"]):
                yield part, month

    async def _month(self, wanted: tuple[Part, Period]) -> None:
        """The month's archive, or those of its days where there is none."""
        part, month = wanted
        before, now_ms = self._lacks(part), self._clock.now_ms()
        if month.stop_ms > now_ms or not await self._archive(part, month):
            for day in days_of(month):
                inside = part.inside(day)
                if day.stop_ms <= now_ms and inside.start_ms < inside.stop_ms and self._lacks(inside):
                    await self._archive(inside, day)
        self._told(before - self._lacks(part))

    async def _archive(self, part: Part, period: Period) -> bool:
        """Stores what is wanted of an archive; False when there is none, or none to be trusted and REST stands in."""
        assert self._archives is not None
        try:
            block = await self._archives.block(part.series, period)
        except BadArchive as why:
            if self._venue is None:
                raise
            self.rejected.append(str(why))
            return False
        if block is None:
            return False
        start, stop = np.searchsorted(block.open_ms, (part.start_ms, part.stop_ms)).tolist()
        asked = (part.start_ms, part.stop_ms) if self._venue is None else None  # else REST is asked about the breaks
        await self._keep(part.series, block.rows(start, stop), asked)
        return True

    def _lacks(self, part: Part) -> int:
        """The number of candles' times never fetched."""
        missing = self._store.missing(part.series, part.start_ms, part.stop_ms)
        return sum(stop - start for start, stop in missing) // part.series.interval_ms

    # -- REST

    def _chunks(self, wanted: Sequence[Part], page: int) -> Iterator[Part]:
        """What is missing, in parts of a few pages, series by series in turn."""
        lists = []
        for one in wanted:
            step, candles = one.series.interval_ms, CHUNK_PAGES * (page - LEAD_CANDLES)
            missing = self._store.missing(one.series, one.start_ms, one.stop_ms)
            lists.append(
                [Part(one.series, *part) for start, stop in missing for part in spans(start, stop, step, candles)]
            )
        return _in_turn(lists)

    async def _chunk(self, part: Part) -> None:
        assert self._venue is not None
        venue, series = self._venue, part.series

        async def ask(start_ms: int, stop_ms: int) -> list[Candle]:
            return await patiently(
                partial(venue.candles, series.symbol, series.timeframe, start_ms, stop_ms), self._clock
            )

        candles = await walk(ask, part.start_ms, part.stop_ms, series.interval_ms, venue.page)
        asked = (part.start_ms, part.stop_ms)
        if not venue.proves_absence:
            asked = (candles[0].open_ms, candles[-1].open_ms + series.interval_ms) if candles else (0, 0)
        await self._keep(series, block_of(candles), asked)
        self._told((part.stop_ms - part.start_ms) // series.interval_ms)

    # -- the store

    async def _keep(self, series: Series, block: Block, asked: Range | None) -> None:
        """Stores and marks, in a thread; one at a time of a series."""

        def keep() -> None:
            self._store.put(series, block)
            if asked is not None and asked[0] < asked[1]:
                self._store.mark_fetched(series, *asked)

        async with self._writing[series]:
            await asyncio.to_thread(keep)

    async def _work(self, jobs: Iterator[T], do: Callable[[T], Awaitable[None]]) -> None:
        """Does all jobs, AT_ONCE at a time; the first trouble ends the others."""

        async def worker() -> None:
            for job in jobs:
                await do(job)

        await _all([worker() for _ in range(AT_ONCE)])


async def patiently(ask: Callable[[], Awaitable[T]], clock: Clock, failures_max: int = PATIENCE) -> T:
    """Asks until there is an answer, waiting as the exchange says. FetchFailed, TryLater."""
    failures = limits = 0
    while True:
        try:
            return await ask()
        except RestError as why:
            if why.kind in ("refused", "unlisted"):
                raise FetchFailed(f"the exchange refused: {why}; {GO_ON}") from None
            limited = why.kind == "limited"
            failures, limits = failures + (not limited), limits + limited
            if why.retry_after > WAIT_MAX_S or limits > LIMITS_MAX:
                text = f"the exchange wants to be left alone for {max(why.retry_after, 60.0):.0f} s"
                raise TryLater(f"{text}: try again after that; {GO_ON}") from None
            if failures >= failures_max:
                raise FetchFailed(f"the exchange did not answer {failures} times in a row: {why}; {GO_ON}") from None
            wait_s = max(why.retry_after, min(BACKOFF_S * 2.0**failures, BACKOFF_MAX_S))
        await clock.sleep(wait_s)


def settled_ms(clock: Clock, interval_ms: int) -> int:
    """Candles that open before it have closed, and the exchange's database has them."""
    return (clock.now_ms() - SETTLE_MS) // interval_ms * interval_ms


async def _all(several: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """All results in order; of several troubles the first."""
    try:
        async with asyncio.TaskGroup() as tasks:
            made = [tasks.create_task(one) for one in several]
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
    return [one.result() for one in made]


def _in_turn(lists: Sequence[Sequence[T]]) -> Iterator[T]:
    """The first of each, then the second of each, and so on."""
    return (one for row in zip_longest(*lists) for one in row if one is not None)
