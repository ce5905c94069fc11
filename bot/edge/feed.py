"""The feed: websockets for all symbols, kept alive for ever; candles, quotes, prices and holes out.

One connection carries every stream; a universe of more than the exchange's 1,024 streams is split over several
lines, and what one of them loses costs only its own symbols (fault F24). All of them share the budget of attempts.
Durations  exchange seconds.
"""

import asyncio
import random
from collections import Counter
from functools import partial

from bot.config import Exchange
from bot.config import Feed as Settings
from bot.edge.backoff import Budget
from bot.edge.clock import Clock
from bot.edge.connection import Connection
from bot.edge.faults import Faults
from bot.edge.intake import Intake, Sink
from bot.edge.line import Line
from bot.exchanges.binance import STREAMS_MAX, Codec


class Feed:
    """`run` never returns. A bug in the sink ends it; the world's troubles do not."""

    def __init__(
        self,
        codec: Codec,
        settings: Settings,
        exchange: Exchange,
        clock: Clock,
        sink: Sink,
        faults: Faults,
        rng: random.Random,
    ) -> None:
        self._codec = codec
        self._settings = settings
        self._url = exchange.stream_url.rstrip("/") + "/stream"
        self._clock = clock
        self._intake = Intake(sink, clock)
        self._budget = Budget(settings.attempts_max, settings.attempts_window_s, clock)
        streams = codec.streams(book_ticker=settings.book_ticker)
        parts = [streams[at : at + STREAMS_MAX] for at in range(0, len(streams), STREAMS_MAX)]
        self._lines = [
            Line(
                partial(self._connection, part),
                settings,
                clock,
                faults,
                sink.hole,
                self._budget,
                rng,
                f"line {number}" if len(parts) > 1 else "",
            )
            for number, part in enumerate(parts, start=1)
        ]

    def _connection(self, streams: list[str], life_s: float) -> Connection:
        return Connection(self._url, streams, self._codec, self._settings, self._clock, self._intake, life_s)

    async def run(self) -> None:
        """Keeps every line alive for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._intake.run(), name="feed.intake")
            for line in self._lines:
                tasks.create_task(line.run(), name="feed.line")

    @property
    def connected(self) -> bool:
        """Whether every line delivers."""
        return all(line.delivering for line in self._lines)

    @property
    def connections(self) -> int:
        """Connections tried since the start."""
        return sum(line.connections for line in self._lines)

    @property
    def attempts(self) -> int:
        """Connections tried within the budget's window."""
        return self._budget.spent

    @property
    def last_data_ms(self) -> int:
        """When market data last came; 0 before any did."""
        return self._intake.last_data_ms

    @property
    def frames(self) -> Counter[str]:
        """Frames by kind, refused ones as "bad: reason"."""
        return self._intake.frames

    @property
    def overwritten(self) -> int:
        """Quotes and last prices a newer one replaced before they were handed on."""
        return self._intake.overwritten
