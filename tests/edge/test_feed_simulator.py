"""Feed and REST against the simulated exchange: whatever goes wrong, the candles in the end are the exchange's."""

import asyncio
import random
from collections import Counter

import pytest

from bot.config import Exchange
from bot.config import Feed as Settings
from bot.core.market import MINUTE_MS, Candle, LastPrice, Quote
from bot.edge.clock import Clock
from bot.edge.faults import Alert, Faults
from bot.edge.feed import Feed
from bot.edge.rest import Rest
from bot.exchanges.binance import Codec
from bot.simulator.faults import parse_fault
from bot.simulator.server import SimulatedExchange
from tests.simulator.talking import trading

SPEED = 200.0
MINUTES = 6


class Follower:
    """The least a daemon does: keeps candles, fills holes from REST."""

    def __init__(self, exchange: SimulatedExchange) -> None:
        self.symbols = exchange.market.symbols
        self._exchange = exchange
        self.clock = Clock(SPEED)
        self.streamed: dict[tuple[str, int], Candle] = {}
        self.filled: dict[tuple[str, int], Candle] = {}
        self.times: Counter[tuple[str, int]] = Counter()
        self.prices = self.quotes = self.holes = 0
        self.alerts: list[Alert] = []
        settings = Settings(backoff_max_s=5.0)
        place = Exchange(rest_url=exchange.rest_url, stream_url=exchange.stream_url, speed=SPEED)
        codec = Codec(self.symbols, "1m")
        self.rest = Rest(codec, place, settings, self.clock)
        self.feed = Feed(codec, settings, place, self.clock, self, Faults(self.alerts.append), random.Random(1))
        self._tasks: asyncio.TaskGroup

    def candle(self, candle: Candle, source: str) -> None:
        self.times[candle.symbol, candle.open_ms] += 1
        self.streamed[candle.symbol, candle.open_ms] = candle

    def refused(self, symbol: str, reason: str) -> None: ...

    def quote(self, quote: Quote) -> None:
        self.quotes += 1

    def last_price(self, last: LastPrice) -> None:
        self.prices += 1

    def hole(self, start_ms: int) -> None:
        self.holes += 1
        self._tasks.create_task(self._fill(start_ms))

    async def _fill(self, start_ms: int) -> None:
        await self.clock.sleep(5)
        found = await self.rest.candles(self.symbols, start_ms - 2 * MINUTE_MS, self.clock.now_ms())
        self.filled |= {(one.symbol, one.open_ms): one for one in found}

    async def follow(self, minutes: int, fault: str) -> dict[tuple[str, int], Candle]:
        """Follows the exchange for so long, the fault counted from when data flows; REST's word on the whole time."""
        await self.rest.sync_clock()
        async with asyncio.TaskGroup() as self._tasks:
            feeding = self._tasks.create_task(self.feed.run())
            while not self.feed.connected:
                await asyncio.sleep(0.002)
            start_ms = self.clock.now_ms() // MINUTE_MS * MINUTE_MS
            if fault:
                self._exchange.inject(parse_fault(fault, self._exchange.clock.now_ms()))
            await self.clock.sleep_until(start_ms + minutes * MINUTE_MS + 20_000)
            feeding.cancel()
        found = await self.rest.candles(self.symbols, start_ms, start_ms + (minutes - 1) * MINUTE_MS)
        await self.rest.close()
        return {(one.symbol, one.open_ms): one for one in found}


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        ("", ""),
        ("F1@+100s/300s", "F1"),
        ("F2@+100s/300s", "F1"),
        ("F3@+130s/1s", "F5"),
        ("F4@+130s/30s", "F4"),
        ("F5@+100s/90s", "F5"),
        ("F8@+30s/300s", ""),
        ("F18@+60s/60s", "F18"),
        ("F21@+60s/60s,kind=json", "F18"),
        ("F21@+100s/30s,kind=huge", "F21"),
        ("F22@+60s/240s,value=20", ""),
        ("F23@+60s/30s", "F18"),
    ],
)
async def test_after_any_fault_the_candles_are_the_exchanges(fault: str, seen: str) -> None:
    """Stream and REST together hold every candle, equal to what the exchange says of it, each exactly (I16, I17)."""
    async with trading(speed=SPEED) as exchange:
        follower = Follower(exchange)
        truth = await follower.follow(MINUTES, fault)
    assert len(truth) == MINUTES * len(follower.symbols)
    known = follower.filled | follower.streamed
    assert {key: known.get(key) for key in truth} == truth
    assert {alert.fault for alert in follower.alerts} == ({seen} if seen else set())
    assert bool(follower.holes) == (seen not in ("", "F4"))
    assert follower.prices > 0
    assert follower.quotes > 0
    if fault.startswith("F8"):
        assert max(follower.times.values()) == 2
