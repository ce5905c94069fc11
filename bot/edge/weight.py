"""The exchange's request weight: how much we may ask, and when not at all.

Binance counts weight per address in fixed minutes. Here it is bounded in every window of 60 s of exchange time, which
holds for any minute, wherever it begins, and needs no agreement about the time of day (fault T1). Others count
requests in windows of their own.
"""

from collections import deque

from bot.edge.clock import Clock

WINDOW_S = 60.0


class Banned(Exception):
    """Nothing may be sent for another `left_s` seconds (faults A1, A2)."""

    def __init__(self, left_s: float) -> None:
        super().__init__(f"nothing may be sent for another {left_s:.0f} s")
        self.left_s = left_s


class Weight:
    """At most `most` in any window. Others at our address may use the same allowance: see `heard`."""

    def __init__(self, most: int, clock: Clock, window_s: float = WINDOW_S) -> None:
        self._most = most
        self._clock = clock
        self._window_s = window_s
        self._spent: deque[tuple[float, int]] = deque()
        self._used = 0
        self._quiet_until = 0.0
        self._banned_until = 0.0

    async def spend(self, weight: int) -> None:
        """Waits until this much may be asked. Raises Banned."""
        while True:
            if self.banned_s:
                raise Banned(self.banned_s)
            now = self._clock.seconds()
            while self._spent and self._spent[0][0] <= now - self._window_s:
                self._used -= self._spent.popleft()[1]
            if now < self._quiet_until:
                await self._clock.sleep(self._quiet_until - now)
            elif self._used and self._used + weight > self._most:
                await self._clock.sleep(self._spent[0][0] + self._window_s - now)
            else:
                self._spent.append((now, weight))
                self._used += weight
                return

    @property
    def banned_s(self) -> float:
        """Seconds until something may be sent again."""
        return max(0.0, self._banned_until - self._clock.seconds())

    def heard(self, used: str) -> None:
        """The exchange counts this much for our address in its minute: above our share we wait for the next."""
        if used.isdecimal() and int(used) > self._most:
            self._quiet_until = self._clock.seconds() + WINDOW_S - self._clock.now_ms() / 1000 % WINDOW_S

    def ban(self, seconds: float) -> None:
        """The exchange said when to come back."""
        self._banned_until = max(self._banned_until, self._clock.seconds() + seconds)
