"""`lacuna fetch`: candles of an exchange into a store. What is asked for is checked before any work starts."""

import asyncio
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bot.core.market import TIMEFRAMES, BadSymbol, pair
from bot.edge.archives import Archives
from bot.edge.candle_store import CandleStore, Series
from bot.edge.clock import Clock
from bot.edge.fetch import EARLIEST_MS, Fetcher, patiently, settled_ms
from bot.edge.manifest import Range, without
from bot.edge.venues import Unknown, Venue, venue_of
from bot.timerange import BadRange, TimeRange, parse

ARCHIVE_URL = "https://data.binance.vision"
URL = re.compile(r"https?://[^/\s@]+(/\S*)?")

OPENING_TRIES = 1  # of three questions each: a wrong address should not take minutes to be told

Source = Literal["auto", "rest", "archive"]


class BadAddress(ValueError):
    """No address to fetch from."""

    exit_code = 2


def fetch(
    exchange: str,
    symbols: str,
    timeframe: str,
    timerange: str,
    out: Path,
    source: Source,
    url: str | None,
    archive_url: str | None,
) -> dict[str, Any]:
    """Fetches, with a bar on stderr where somebody watches; what is in the store then, of what was asked for."""
    for address in (url, archive_url):
        if address is not None and not URL.fullmatch(address):
            raise BadAddress(f"{address!r} is no address to fetch from: write it as http://host or https://host")
    asked = parse(timerange)
    wanted = _symbols(symbols)
    if timeframe not in TIMEFRAMES:
        raise Unknown(f"no timeframe {timeframe!r}: there are {', '.join(TIMEFRAMES)}")
    clock = Clock()
    venue = None if source == "archive" else venue_of(exchange, url, clock)
    archives = _archives(exchange, source, url, archive_url, clock)
    began = time.monotonic()
    with CandleStore(out) as store:
        found = asyncio.run(_fetch(store, venue, archives, clock, asked, exchange, wanted, timeframe))
    return found | {"seconds": round(time.monotonic() - began, 3)}


async def _fetch(
    store: CandleStore,
    venue: Venue | None,
    archives: Archives | None,
    clock: Clock,
    asked: TimeRange,
    exchange: str,
    symbols: Sequence[str],
    timeframe: str,
) -> dict[str, Any]:
    several = [Series(exchange, timeframe, symbol) for symbol in symbols]
    try:
        if venue is not None:
            await patiently(venue.open, clock, OPENING_TRIES)
            venue.check(symbols, timeframe)
        start_ms, stop_ms = limits(asked, clock, TIMEFRAMES[timeframe])
        store.claim()
        with _bar() as bar:
            missing = sum(stop - start for one in several for start, stop in store.missing(one, start_ms, stop_ms))
            task = bar.add_task(f"{exchange} {timeframe}", total=missing // TIMEFRAMES[timeframe])
            fetcher = Fetcher(store, venue, archives, clock, lambda candles: bar.advance(task, candles))
            await fetcher.run(several, start_ms, stop_ms)
    finally:
        for one in (venue, archives):
            if one is not None:
                await one.close()
    if venue is None and (none := [one.symbol for one in several if not store.manifest(one).months]):
        raise Unknown(f"the archives have nothing of {', '.join(none)} in the range {asked}")
    for text in fetcher.rejected:
        Console(stderr=True).print(f"asked REST instead: {text}", markup=False, highlight=False)
    return {
        **summary(store, several, (start_ms, stop_ms)),
        "pages": venue.pages if venue else 0,
        "archives": archives.downloads if archives else 0,
        "archives_refused": archives.refused if archives else 0,
        "rows_refused": dict(venue.refused) if venue else {},
    }


def limits(asked: TimeRange, clock: Clock, interval_ms: int) -> Range:
    """The range that can be had of what was asked for. BadRange for one in the future."""
    now_ms = clock.now_ms()
    start_ms = EARLIEST_MS if asked.start_ms is None else asked.start_ms
    if start_ms >= now_ms:
        raise BadRange(f"the range {asked} begins in the future: the exchange has no candles of it yet")
    if asked.stop_ms is not None and asked.stop_ms > now_ms + TIMEFRAMES["1d"]:
        raise BadRange(f"the range {asked} ends in the future: leave its end open to fetch up to now")
    newest_ms = settled_ms(clock, interval_ms)
    return start_ms, max(start_ms, newest_ms if asked.stop_ms is None else min(asked.stop_ms, newest_ms))


def summary(store: CandleStore, several: Sequence[Series], asked: Range) -> dict[str, int]:
    """Symbols, their candles in the range, the gaps between them, and the candles' times never fetched."""
    candles = gaps = missing = 0
    for series in several:
        manifest = store.manifest(series)
        missing += sum(stop - start for start, stop in store.missing(series, *asked)) // series.interval_ms
        if manifest.span is not None:
            inside = (max(asked[0], manifest.span[0]), min(asked[1], manifest.span[1]))
            there = list(without(inside, manifest.gaps)) if inside[0] < inside[1] else []
            candles += sum(stop - start for start, stop in there) // series.interval_ms
            gaps += max(len(there) - 1, 0)
    return {"symbols": len(several), "candles": candles, "gaps": gaps, "missing": missing}


def _symbols(names: str) -> tuple[str, ...]:
    try:
        wanted = tuple(dict.fromkeys(pair(name) for name in names.split(",") if name.strip()))
    except BadSymbol as why:
        raise Unknown(f"--symbols: {why}") from why
    if not wanted:
        raise Unknown("--symbols names no pair: write them as BTC/USDT,ETH/USDT")
    return wanted


def _archives(exchange: str, source: Source, url: str | None, archive_url: str | None, clock: Clock) -> Archives | None:
    """Binance's, where they may be asked: an exchange of one's own (`url`) has only those that are named."""
    if source == "rest":
        return None
    if exchange != "binance":
        if source == "archive" or archive_url:
            raise Unknown(f"there are archives of binance alone, not of {exchange}: fetch with --source rest")
        return None
    if source == "auto" and url and not archive_url:
        return None
    return Archives(archive_url or ARCHIVE_URL, clock)


def _bar() -> Progress:
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(elapsed_when_finished=False),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
