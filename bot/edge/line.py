"""One set of streams, kept alive for ever by one connection after the other.

Lost      the next attempt comes after full jitter, 1 s doubling to 60 s, short again after 60 s of data, within the
          budget of attempts; it never gives up (faults F1, F2, F5, F26). When data flows again the sink is told of
          the hole.
Due       before the exchange's 24-hour cut, and within a second of serverShutdown, a successor is opened beside the old
          connection, which is closed when both have delivered for a kline's update period (F3, F4). Candles that come
          twice are dropped in the core (F8).
Faults    an episode begins with the loss and ends once data has flowed for as long as a silence would take to show,
          so a connection that flaps is one episode (I29).
"""

import asyncio
import random
from collections.abc import Callable

from bot.config import Feed as Settings
from bot.edge.backoff import Backoff, Budget
from bot.edge.clock import Clock
from bot.edge.connection import Connection
from bot.edge.faults import Faults

STEADY_S = 60.0
OVERLAP_S = 2.0  # klines are updated every two seconds: each stream had its turn on both


class Line:
    """`make(life_s)` makes an unopened connection; `where` tells several lines apart in faults, "" for a single one."""

    def __init__(
        self,
        make: Callable[[float], Connection],
        settings: Settings,
        clock: Clock,
        faults: Faults,
        hole: Callable[[int], None],
        budget: Budget,
        rng: random.Random,
        where: str,
    ) -> None:
        self.connections = 0
        self._make = make
        self._settings = settings
        self._clock = clock
        self._faults = faults
        self._hole = hole
        self._budget = budget
        self._rng = rng
        self._where = where
        self._backoff = Backoff(settings.backoff_s, settings.backoff_max_s, rng)
        self._current: Connection | None = None
        self._begun: set[str] = set()
        self._tasks: asyncio.TaskGroup

    @property
    def delivering(self) -> bool:
        return self._current is not None and self._current.delivering

    async def run(self) -> None:
        """Keeps it alive for ever."""
        async with asyncio.TaskGroup() as self._tasks:
            away_ms = self._clock.now_ms()
            current = await self._connect()
            if self.connections > 1:
                self._hole(away_ms)
            while True:
                self._current = current
                self._tasks.create_task(self._settle(current), name="feed.settle")
                await current.over.wait()
                current = await (self._succeed(current) if current.lost is None else self._reconnect(current))

    async def _reconnect(self, lost: Connection) -> Connection:
        """Another connection after one was lost."""
        self._begin(lost)
        if lost.delivered_s >= STEADY_S:
            self._backoff.reset()
        away_ms = lost.heard_ms
        await self._clock.sleep(self._backoff.next_s())
        fresh = await self._connect()
        self._hole(away_ms)
        return fresh

    async def _succeed(self, old: Connection) -> Connection:
        """Another connection beside one that is due; the old one goes when both deliver."""
        fault = "F4" if old.shutting_down else "F3"
        self._begun.add(fault)
        self._faults.begin(fault, "a second connection before the server cuts the first", self._where)
        while True:
            fresh = await self._connect()
            if old.lost is not None:
                self._hole(old.heard_ms)
                return fresh
            await self._clock.sleep(OVERLAP_S)
            if fresh.lost is None or old.lost is not None:
                self._tasks.create_task(old.close(), name="feed.close")
                return fresh
            await self._clock.sleep(self._backoff.next_s())

    async def _connect(self) -> Connection:
        """Tries until a connection delivers."""
        while True:
            await self._budget.spend()
            self.connections += 1
            spread_s = self._settings.rotate_spread_s
            connection = self._make(self._settings.rotate_after_s + self._rng.uniform(-spread_s, spread_s))
            self._tasks.create_task(connection.run(), name="feed.connection")
            await connection.ready.wait()
            if connection.lost is None:
                return connection
            self._begin(connection)
            await self._clock.sleep(self._backoff.next_s())

    def _begin(self, lost: Connection) -> None:
        assert lost.lost is not None
        self._begun.add(lost.lost.fault)
        self._faults.begin(lost.lost.fault, lost.lost.text, self._where)

    async def _settle(self, connection: Connection) -> None:
        """Ends the episodes once this connection has delivered for a while."""
        await self._clock.sleep(self._settings.silence_s)
        if connection.lost is None and connection is self._current:
            for fault in sorted(self._begun):
                self._faults.end(fault, self._where)
            self._begun.clear()
