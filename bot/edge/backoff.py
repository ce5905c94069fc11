"""When to try again: full jitter between tries, and one budget of attempts for everything at one address."""

import random
from collections import deque

from bot.edge.clock import Clock

DOUBLINGS_MAX = 32


class Backoff:
    """Waits of anywhere between nothing and a limit that doubles from `base_s` up to `most_s`."""

    def __init__(self, base_s: float, most_s: float, rng: random.Random) -> None:
        self._base_s = base_s
        self._most_s = most_s
        self._rng = rng
        self._tries = 0

    def next_s(self) -> float:
        """How long to wait this time."""
        limit_s = min(self._most_s, self._base_s * 2.0 ** min(self._tries, DOUBLINGS_MAX))
        self._tries += 1
        return self._rng.uniform(0.0, limit_s)

    def reset(self) -> None:
        """All is well: the next wait is a short one again."""
        self._tries = 0


class Budget:
    """At most `most` attempts in any `window_s` exchange seconds (invariant I9)."""

    def __init__(self, most: int, window_s: float, clock: Clock) -> None:
        self._most = most
        self._window_s = window_s
        self._clock = clock
        self._spent: deque[float] = deque()

    @property
    def spent(self) -> int:
        """Attempts within the window that ends now."""
        oldest = self._clock.seconds() - self._window_s
        while self._spent and self._spent[0] <= oldest:
            self._spent.popleft()
        return len(self._spent)

    async def spend(self) -> None:
        """Waits until one more attempt is allowed, and makes it."""
        while self.spent >= self._most:
            await self._clock.sleep(self._spent[0] + self._window_s - self._clock.seconds())
        self._spent.append(self._clock.seconds())
