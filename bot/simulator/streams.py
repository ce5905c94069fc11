"""The pump of the streams: at every tick it sends each connection what has come due, in one write.

Klines   every 2 s for each symbol, at its own phase; the first of a minute carries the open price as its close,
         however late it is. The closing frame comes 3 ms after the close, and no minute's is left out.
Quotes   when they changed, at most once a second for each symbol.
Ticks    a quarter of an exchange second, in accelerated time at least 5 ms of wall time: faster than that, partial
         frames become fewer, closing frames never do.
One task for everything; a frame is built once and only when somebody reads it.
"""

import heapq
from collections import Counter
from itertools import count

import numpy as np

from bot.core.market import Integers, Mask
from bot.edge.clock import Clock
from bot.simulator.faults import KINDS, Fault, Schedule
from bot.simulator.keeper import Keeper
from bot.simulator.limits import Limits
from bot.simulator.market import Candles, Market
from bot.simulator.session import TEXT, Session, framed
from bot.simulator.tamper import Delivery, foreign, oddity
from bot.simulator.wire import INTERVALS, Kline, Writer

TICK_MS = 250
TICK_WALL_MS = 5
ODD_EVERY_MS = 1_000


class Phases:
    """Something that every symbol does once in `every_ms`, each at its own time."""

    def __init__(self, many: int, every_ms: int, now_ms: int) -> None:
        self._every_ms = every_ms
        self._offset_ms = np.arange(many) * every_ms // max(many, 1)
        self._slot = (now_ms - self._offset_ms) // every_ms

    def due(self, now_ms: int) -> Mask:
        """Whose time [N] has come since the last call."""
        slot = (now_ms - self._offset_ms) // self._every_ms
        due: Mask = slot != self._slot
        self._slot = slot
        return due


class Streams:
    """`shown` is the market as candles tell it, faults included; `quoted` the one behind the quotes."""

    def __init__(
        self,
        shown: Market,
        quoted: Market,
        writer: Writer,
        clock: Clock,
        schedule: Schedule,
        limits: Limits,
        ticks: dict[str, float],
    ) -> None:
        self._shown, self._quoted, self._writer = shown, quoted, writer
        self._clock, self._schedule, self._limits = clock, schedule, limits
        self._names = [name.lower() for name in writer.names]
        self._delivery = Delivery(schedule, ticks)
        self._keeper = Keeper(clock, schedule, limits)
        self.sessions: dict[Session, None] = {}
        self.sent: Counter[str] = Counter()
        self._readers: dict[str, list[Session]] = {}
        self._intervals: list[tuple[str, int]] = []
        many = len(self._names)
        now_ms = clock.now_ms()
        self._open_ms = shown.open_of(now_ms)
        self._begun: Mask = np.ones(many, dtype=np.bool_)
        self._partials = Phases(many, round(limits.partial_every_s * 1000), now_ms)
        self._quotes = Phases(many, round(limits.quote_every_s * 1000), now_ms)
        self._quoted_last = [""] * many
        self._updates = count(now_ms)
        self._late: list[tuple[int, int, str, Kline]] = []
        self._order = count()
        self._odd_ms = self._ticked_ms = now_ms
        self._odd_turn = count()

    def subscribed(self) -> None:
        """Somebody's subscriptions changed."""
        self._readers = {}
        for session in self.sessions:
            for name in session.streams:
                self._readers.setdefault(name, []).append(session)
        read = {name.partition("@kline_")[2] for name in self._readers}
        native = self._shown.interval_ms
        self._intervals = [(name, ms) for name, ms in INTERVALS.items() if name in read and ms % native == 0]

    async def run(self) -> None:
        tick_ms = max(TICK_MS, round(TICK_WALL_MS * self._clock.speed))
        while True:
            now_ms = self._clock.now_ms()
            self.tick(now_ms)
            close_ms = self._open_ms + self._shown.interval_ms + self._limits.close_after_ms
            await self._clock.sleep_until(min(max(close_ms, now_ms + 1), now_ms + tick_ms))

    def tick(self, now_ms: int) -> None:
        """Everything that is due by now."""
        self._keeper.tick(self.sessions, now_ms)
        while self._open_ms + self._shown.interval_ms + self._limits.close_after_ms <= now_ms:
            self._close(self._open_ms, now_ms)
            self._open_ms += self._shown.interval_ms
            self._begun[:] = False
        while self._late and self._late[0][0] <= now_ms:
            _, _, stream, kline = heapq.heappop(self._late)
            self._send(stream, kline.event(now_ms, closed=True), must=True)
        if self._readers:
            self._send_partials(now_ms)
            self._send_quotes(now_ms)
            self._send_oddities(now_ms)
        for session in self.sessions:
            if self._keeper.silent(session, self.sessions, now_ms):
                session.forget()
            self.sent["bytes"] += session.flush()
        self._ticked_ms = now_ms

    def _send(self, stream: str, event: str, *, must: bool = False, times: int = 1, opcode: int = TEXT) -> None:
        self._send_bytes(stream, event.encode(), must=must, times=times, opcode=opcode)

    def _send_bytes(self, stream: str, event: bytes, *, must: bool, times: int, opcode: int) -> None:
        """Queues one frame for the readers of a stream, raw or wrapped as each of them wants it."""
        raw = wrapped = b""
        for session in self._readers.get(stream, ()):
            if session.combined:
                wrapped = wrapped or framed(opcode, b'{"stream":"' + stream.encode() + b'","data":' + event + b"}")
            else:
                raw = raw or framed(opcode, event)
            frame = wrapped if session.combined else raw
            (session.must if must else session.out).append(frame * times)
            self.sent["frames"] += times

    def _close(self, open_ms: int, now_ms: int) -> None:
        """The closing frames of every interval that ends with this minute."""
        end_ms = open_ms + self._shown.interval_ms
        if self._shown.minute(open_ms) is None:
            return
        for interval, interval_ms in self._intervals:
            if end_ms % interval_ms:
                continue
            candles = self._shown.closed(end_ms - interval_ms, interval_ms)
            if candles is None:
                continue
            chosen = self._chosen(candles, interval, np.ones(len(self._names), dtype=np.bool_), end_ms)
            touched = self._delivery.touched(end_ms)
            for at, kline in self._writer.klines(candles, chosen, interval, end_ms - interval_ms, interval_ms):
                stream = f"{self._names[at]}@kline_{interval}"
                for late_ms, found in self._delivery.of(kline) if touched else [(0, kline)]:
                    if late_ms:
                        heapq.heappush(self._late, (end_ms + late_ms, next(self._order), stream, found))
                    else:
                        self._send(stream, found.event(now_ms, closed=True), must=True)

    def _chosen(self, candles: Candles, interval: str, due: Mask, now_ms: int) -> Integers:
        """The symbols due that have a candle, a reader, and no fault that silences them (F7)."""
        silent = [fault for fault in self._schedule.all("F7") if fault.covers(now_ms)]
        suffix = f"@kline_{interval}"
        wanted = [
            at
            for at in np.flatnonzero(due & np.isfinite(candles.close)).tolist()
            if self._names[at] + suffix in self._readers
            and not any(fault.concerns(self._writer.names[at]) for fault in silent)
        ]
        return np.array(wanted, dtype=np.int64)

    def _send_partials(self, now_ms: int) -> None:
        minute = self._shown.minute(self._open_ms)
        flood = self._schedule.now("F22", now_ms)
        due = self._partials.due(now_ms)
        if flood:
            due = np.ones_like(due)
        if minute is None or now_ms < self._open_ms or not due.any():
            return
        begun = self._begun.copy()
        self._begun |= due
        usual = (now_ms - self._ticked_ms) / (self._limits.partial_every_s * 1000)
        times = max(1, round(flood.amount * usual)) if flood else 1
        for interval, interval_ms in self._intervals:
            open_ms = self._shown.open_of(self._open_ms, interval_ms)
            candles = self._shown.forming(open_ms, interval_ms, min(now_ms, self._last_ms()), begun)
            if candles is None:
                continue
            chosen = self._chosen(candles, interval, due & ~minute.absent, now_ms)
            for at, kline in self._writer.klines(candles, chosen, interval, open_ms, interval_ms):
                self._send(f"{self._names[at]}@kline_{interval}", kline.event(now_ms, closed=False), times=times)

    def _last_ms(self) -> int:
        """The last millisecond of the running candle."""
        return self._open_ms + self._shown.interval_ms - 1

    def _send_quotes(self, now_ms: int) -> None:
        due = self._quotes.due(now_ms)
        minute = self._shown.minute(self._open_ms)
        if minute is None or not due.any() or not any(name.endswith("@bookTicker") for name in self._readers):
            return
        quotes = self._quoted.quotes(min(now_ms, self._last_ms()))
        if quotes is None:
            return
        silent = [fault for fault in self._schedule.all("F7") if fault.covers(now_ms)]
        ready = due & ~minute.absent & np.isfinite(quotes.bid)
        for at, fields in self._writer.touches(quotes, np.flatnonzero(ready)):
            stream = f"{self._names[at]}@bookTicker"
            if fields == self._quoted_last[at] or stream not in self._readers:
                continue
            if any(fault.concerns(self._writer.names[at]) for fault in silent):
                continue
            self._quoted_last[at] = fields
            self._send(stream, f'{{"u":{next(self._updates)},{fields}')

    def _send_oddities(self, now_ms: int) -> None:
        """Frames nobody asked for, once a second (F21, F23), on the streams of their symbol."""
        if now_ms < self._odd_ms + ODD_EVERY_MS:
            return
        self._odd_ms = now_ms
        for fault in self._schedule.all("F21", "F23"):
            if not fault.covers(now_ms):
                continue
            found = self._sample(fault, now_ms)
            if found is None:
                continue
            stream, kline = found
            if fault.number == "F23":
                self._send(stream, foreign(kline, fault.kind).event(now_ms, closed=True))
                continue
            kind = fault.kind or KINDS["F21"][next(self._odd_turn) % 4]
            opcode, payload = oddity(kind, now_ms, kline)
            if opcode == TEXT:
                self._send_bytes(stream, payload, must=False, times=1, opcode=opcode)
            else:
                for session in self._readers.get(stream, ()):
                    session.out.append(framed(opcode, payload))

    def _sample(self, fault: Fault, now_ms: int) -> tuple[str, Kline] | None:
        """A stream somebody reads, and its running candle."""
        for interval, interval_ms in self._intervals:
            open_ms = self._shown.open_of(self._open_ms, interval_ms)
            candles = self._shown.forming(open_ms, interval_ms, min(now_ms, self._last_ms()))
            if candles is None:
                continue
            for at in self._chosen(candles, interval, np.ones(len(self._names), dtype=np.bool_), now_ms).tolist():
                if fault.concerns(self._writer.names[at]):
                    chosen = np.array([at])
                    _, kline = next(self._writer.klines(candles, chosen, interval, open_ms, interval_ms))
                    return f"{self._names[at]}@kline_{interval}", kline
        return None
