"""A store filled from a simulated exchange, and what is in it."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import numpy as np

from bot.core.market import Panel
from bot.edge.archives import Archives
from bot.edge.candle_store import Block, CandleStore, Series
from bot.edge.clock import Clock
from bot.edge.fetch import Fetcher, patiently
from bot.edge.venues import Venue, venue_of
from bot.simulator.limits import Limits
from bot.simulator.server import SimulatedExchange
from bot.simulator.synthetic import START_MS, synthetic_panel
from tests.simulator.talking import trading

DAY_MS = 86_400_000
DAYS = 4
STOP_MS = START_MS + DAYS * DAY_MS
SPEED = 60.0


def market(coins: int = 2, days: int = DAYS) -> Panel:
    """As many days again lie behind the exchange's start, for its clock to run into."""
    return synthetic_panel(coins, (2 * days + 2) * 1_440)


@contextlib.asynccontextmanager
async def exchange(
    *faults: str, panel: Panel | None = None, days: int = DAYS, limits: Limits | None = None, speed: float = SPEED
) -> AsyncIterator[SimulatedExchange]:
    """Its clock starts an hour behind the days that are to be fetched."""
    played = panel if panel is not None else market()
    async with trading(*faults, speed=speed, panel=played, limits=limits, history=days * 1_440 + 60) as running:
        yield running


class Fetched(msgspec.Struct, frozen=True):
    """What a fetch took: pages of REST, archives and those refused, candles told of, what REST stood in for."""

    pages: int
    archives: int
    refused: int
    told: int
    rejected: list[str]


async def fetch(
    running: SimulatedExchange,
    folder: Path,
    name: str = "binance",
    source: str = "rest",
    start_ms: int = START_MS,
    stop_ms: int = STOP_MS,
    timeframe: str = "1m",
) -> Fetched:
    """Fetches all pairs of the exchange into a store at `folder`."""
    clock = Clock(running.clock.speed, running.clock.now_ms())
    venue: Venue | None = venue_of(name, running.rest_url, clock) if source != "archive" else None
    archives = Archives(running.rest_url, clock) if source != "rest" else None
    told: list[int] = []
    several = [Series(name, timeframe, symbol) for symbol in running.market.symbols]
    try:
        if venue is not None:
            await patiently(venue.open, clock)
        with CandleStore(folder) as store:
            fetcher = Fetcher(store, venue, archives, clock, told.append)
            await fetcher.run(several, start_ms, stop_ms)
    finally:
        for one in (venue, archives):
            if one is not None:
                await one.close()
    pages = venue.pages if venue else 0
    taken, refused = (archives.downloads, archives.refused) if archives else (0, 0)
    return Fetched(pages, taken, refused, sum(told), fetcher.rejected)


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a store, its lock aside."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != "lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def stored(folder: Path, series: Series) -> Block:
    return CandleStore(folder).read(series)


def same_as_panel(block: Block, panel: Panel, at: int, rows: slice) -> bool:
    """Whether times, prices and volumes are the panel's rows of symbol number `at`."""
    pairs = [(block.open_ms, panel.open_ms)]
    for name in ("open", "high", "low", "close", "volume"):
        pairs.append((getattr(block, name), getattr(panel, name)[:, at]))
    return all(np.array_equal(ours, theirs[rows]) for ours, theirs in pairs)
