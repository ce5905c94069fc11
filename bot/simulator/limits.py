"""What the exchange allows, and what happens to who takes more. Times are exchange time.

Source  exchange-facts 1.3 and 2.7: weights count per address in fixed minutes, 429 with Retry-After in seconds, 418
        with growing bans for who goes on; 5 messages a second, 300 connections in 5 minutes.
"""

from collections import Counter

import msgspec

MINUTE_MS = 60_000
TOO_MUCH = (
    "Too much request weight used; current limit is {limit} request weight per 1 MINUTE. "
    "Please use WebSocket Streams for live updates to avoid polling the API."
)
BANNED = (
    "Way too much request weight used; IP banned until {until_ms}. "
    "Please use WebSocket Streams for live updates to avoid bans."
)
HEARTBEATS_A_SECOND = 0.2  # what both sides' pings make, generously
STALL_WALL_S = 0.25


class Limits(msgspec.Struct, frozen=True):
    """The exchange's own numbers, as documented; a test may tighten them. Seconds are exchange seconds."""

    weight_a_minute: int = 6_000
    ignored_429_max: int = 10
    ban_s: float = 120.0
    ban_max_s: float = 259_200.0
    bybit_requests: int = 600
    bybit_window_s: float = 5.0
    messages_a_second: float = 5.0
    streams_a_connection: int = 1_024
    connections: int = 300
    connections_window_s: float = 300.0
    ping_every_s: float = 20.0
    pong_within_s: float = 60.0
    lifetime_s: float = 86_400.0
    partial_every_s: float = 2.0
    quote_every_s: float = 1.0
    close_after_ms: int = 3


class Refusal(msgspec.Struct, frozen=True):
    """A request that is not answered: 429 or 418."""

    status: int
    retry_after_s: int
    message: str


class _Address:
    def __init__(self) -> None:
        self.minute = -1
        self.used = 0
        self.ignored = 0
        self.bans = 0
        self.banned_until_ms = 0


class Weights:
    """Request weight of every address."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._addresses: dict[str, _Address] = {}

    def used(self, address: str, now_ms: int) -> int:
        """The weight used in the present minute."""
        found = self._addresses.get(address)
        return found.used if found and found.minute == now_ms // MINUTE_MS else 0

    def charge(self, address: str, weight: int, now_ms: int) -> Refusal | None:
        """Counts a request; a Refusal when it is one too many, or when the address is banned."""
        state = self._addresses.setdefault(address, _Address())
        if now_ms < state.banned_until_ms:
            return _ban(state, now_ms)
        minute = now_ms // MINUTE_MS
        if minute != state.minute:
            state.minute, state.used, state.ignored = minute, 0, 0
        state.used += weight
        if state.used <= self._limits.weight_a_minute:
            return None
        state.ignored += 1
        if state.ignored > self._limits.ignored_429_max:
            seconds = min(self._limits.ban_s * 2**state.bans, self._limits.ban_max_s)
            state.bans += 1
            state.banned_until_ms = now_ms + round(seconds * 1000)
            return _ban(state, now_ms)
        left_ms = (minute + 1) * MINUTE_MS - now_ms
        return Refusal(429, -(-left_ms // 1000), TOO_MUCH.format(limit=self._limits.weight_a_minute))


def _ban(state: _Address, now_ms: int) -> Refusal:
    left_ms = state.banned_until_ms - now_ms
    return Refusal(418, -(-left_ms // 1000), BANNED.format(until_ms=state.banned_until_ms))


class Attempts:
    """Connection attempts of every address in fixed windows."""

    def __init__(self, limits: Limits) -> None:
        self._most = limits.connections
        self._window_ms = round(limits.connections_window_s * 1000)
        self._window = -1
        self._made: Counter[str] = Counter()

    def allow(self, address: str, now_ms: int) -> bool:
        """Counts an attempt; False when it is one too many."""
        if now_ms // self._window_ms != self._window:
            self._window = now_ms // self._window_ms
            self._made.clear()
        self._made[address] += 1
        return self._made[address] <= self._most


class Bucket:
    """Messages of one connection: `rate` a second, as many at once.

    In accelerated time a short stall of either process bunches the heartbeats of many exchange seconds; the bucket is
    deeper by what a quarter of a second of wall time can bunch, which at speed 1 is nothing.
    """

    def __init__(self, rate: float, speed: float, now_s: float) -> None:
        self._rate = rate
        self._depth = max(rate, 1.0) + int(STALL_WALL_S * speed * HEARTBEATS_A_SECOND)
        self._left = self._depth
        self._at_s = now_s

    def take(self, now_s: float, rate: float | None = None) -> bool:
        """Counts a message; False when it is one too many. `rate` is a lower one that holds for the moment."""
        if rate is not None and rate < self._rate:
            self._rate, self._depth = rate, max(rate, 1.0)
        self._left = min(self._depth, self._left + (now_s - self._at_s) * self._rate) - 1.0
        self._at_s = now_s
        return self._left >= 0.0
