"""The only clock: exchange time for names and deadlines, monotonic time for durations.

`now_ms` is the exchange's time: monotonic time since an anchor plus the offset that server-time
samples measured, so a step of the wall clock moves nothing (fault T1). `speed` is above 1 only against a
simulated exchange, whose minutes are that much shorter; every duration in the bot is in exchange
seconds and goes through `sleep`, so nothing else knows the speed.

Monotonic time is Linux's CLOCK_BOOTTIME where there is one: it counts a suspended machine's sleep too, so that
on waking the exchange's time is right and every age is what it is (T4). A sleep in progress does not: it ends
as much later, which is how a stall is seen.
"""

import asyncio
import statistics
import time
from collections.abc import Callable, Sequence

from msgspec import Struct


def uptime() -> float:
    """Seconds on a clock that is never stepped and, on Linux, does not stop with the machine."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Sample(Struct, frozen=True):
    """One reading of the server's time: local monotonic before and after, and what it answered."""

    before: float
    after: float
    server_ms: int


ROUND_TRIP_MAX = 0.5
SAMPLES = 5


class Clock:
    """Exchange time. Starts at the wall clock's opinion (or `start_ms`) until the first `agree`."""

    def __init__(
        self,
        speed: float = 1.0,
        start_ms: int | None = None,
        monotonic: Callable[[], float] = uptime,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.speed = speed
        self._monotonic = monotonic
        self._anchor = monotonic()
        self._anchor_ms = float(start_ms if start_ms is not None else int(wall() * 1000))

    def now_ms(self) -> int:
        return int(self._anchor_ms + (self._monotonic() - self._anchor) * 1000 * self.speed)

    def monotonic(self) -> float:
        """Local seconds, never stepped, not scaled."""
        return self._monotonic()

    def seconds(self) -> float:
        """Exchange seconds since the clock was made, for durations: scaled, never stepped by `agree`."""
        return (self._monotonic() - self._anchor) * self.speed

    async def sleep(self, seconds: float) -> None:
        """Sleeps this many exchange seconds."""
        await asyncio.sleep(max(0.0, seconds) / self.speed)

    async def sleep_until(self, time_ms: int) -> None:
        """Sleeps until exchange time has reached `time_ms`."""
        while (left_ms := time_ms - self.now_ms()) > 0:
            await self.sleep(left_ms / 1000)

    def agree(self, samples: Sequence[Sample]) -> float | None:
        """Moves to the server's time by the median of the trustworthy samples; returns the move in ms.

        A sample counts when its round trip was at most 0.5 s (fault T6). None when none did: the
        clock then stays as it is.
        """
        moves = [
            sample.server_ms - self._at((sample.before + sample.after) / 2)
            for sample in samples
            if 0 <= sample.after - sample.before <= ROUND_TRIP_MAX
        ]
        if not moves:
            return None
        move = statistics.median(moves)
        self._anchor_ms += move
        return move

    def _at(self, monotonic: float) -> float:
        return self._anchor_ms + (monotonic - self._anchor) * 1000 * self.speed
