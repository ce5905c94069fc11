"""One websocket connection: opened, subscribed, watched. It never reconnects; it ends and says why.

Dead sockets  no data for `silence_s` (fault F1), or our own ping unanswered and no data either (F2).
Our own stalls  look like silence too. Time in which our loop stood still does not count, and before a socket is blamed
              the reader gets a moment to take what has arrived. A stall as long as the exchange's own patience (a
              suspended machine) is the opposite: the other side has given us up, whatever the socket says (T4).
Bad frames    three within a minute that question the connection itself (times, framing, foreign streams) end it
              (F18); insane values are the market's trouble and do not.
"""

import asyncio
import socket
import ssl
from collections import deque

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from bot.config import Feed as Settings
from bot.core.market import Candle, LastPrice, Quote
from bot.edge.clock import Clock
from bot.edge.intake import Intake
from bot.exchanges.binance import BadFrame, Codec, Refusal, Shutdown, subscribe

DRAIN_WALL_S = 0.05
STALL_WALL_S = 0.05
WAIT_WALL_MIN_S = 0.25  # what a network wait may not be shorter than, at any speed
OPEN_WALL_MIN_S = 2.0  # nor an opening, which takes several turns of both sides
GIVEN_UP_S, GIVEN_UP_WALL_MIN_S = 60.0, 5.0  # Binance drops who owes a pong for a minute
CLOSE_WALL_S = 1.0
BAD_FRAMES_MAX, BAD_FRAMES_S = 3, 60.0
DOUBTFUL = ("F18", "F21", "F23")
QUEUE_FRAMES = 1_024
POLICY, TOO_BIG = 1008, 1009


class Lost(Exception):
    """Why a connection ended, with the catalogue's number."""

    def __init__(self, fault: str, text: str) -> None:
        super().__init__(text)
        self.fault = fault
        self.text = text


class Connection:
    """`ready` is set by the first data or by its end; `over` when it is lost or due to be replaced."""

    def __init__(
        self,
        url: str,
        streams: list[str],
        codec: Codec,
        settings: Settings,
        clock: Clock,
        intake: Intake,
        life_s: float,
    ) -> None:
        self.ready = asyncio.Event()
        self.over = asyncio.Event()
        self.lost: Lost | None = None
        self.shutting_down = False
        self._url = url
        self._streams = streams
        self._codec = codec
        self._settings = settings
        self._clock = clock
        self._intake = intake
        self._life_s = life_s
        self._socket: ClientConnection
        self._opened_at = self._heard_at = clock.seconds()
        self._first_at: float | None = None
        self._stalled_s = 0.0
        self._bad: deque[float] = deque(maxlen=BAD_FRAMES_MAX)

    @property
    def delivering(self) -> bool:
        return self._first_at is not None and self.lost is None

    @property
    def delivered_s(self) -> float:
        """Exchange seconds from its first to its last data."""
        return 0.0 if self._first_at is None else self._heard_at - self._first_at

    @property
    def heard_ms(self) -> int:
        """When it last delivered, or was made."""
        return self._clock.now_ms() - int((self._clock.seconds() - self._heard_at) * 1000)

    async def run(self) -> None:
        """Opens it, subscribes to everything in one message, and hands on what comes until `lost` says why it ended."""
        try:
            await self._open()
            try:
                await self._follow()
            finally:
                self._socket.transport.abort()
        except Lost as lost:
            self.lost = lost
        finally:
            self.ready.set()
            self.over.set()

    async def close(self) -> None:
        """Says goodbye; what the other side has sent before its answer is still handed on."""
        if self.lost is None:
            await self._socket.close()

    async def _open(self) -> None:
        within = max(self._settings.open_within_s / self._clock.speed, OPEN_WALL_MIN_S)
        try:
            async with asyncio.timeout(within):
                self._socket = await connect(
                    self._url,
                    ping_interval=None,
                    compression=None,
                    proxy=None,
                    open_timeout=None,
                    close_timeout=CLOSE_WALL_S,
                    max_size=self._settings.frame_bytes_max,
                    max_queue=QUEUE_FRAMES,
                )
                await self._socket.send(subscribe(self._streams, 1))
        except (ssl.SSLError, socket.gaierror) as why:
            raise Lost("F26", f"{type(why).__name__}: {why.strerror or why}") from None
        except TimeoutError:
            raise Lost("F5", f"not open within {self._settings.open_within_s:g} s") from None
        except InvalidStatus as why:
            raise Lost("F5", f"refused with HTTP status {why.response.status_code}") from None
        except (OSError, EOFError, WebSocketException) as why:
            raise Lost("F5", f"could not be opened: {type(why).__name__}") from None
        self._opened_at = self._heard_at = self._clock.seconds()

    async def _follow(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read(), name="feed.read")
                tasks.create_task(self._ping(), name="feed.ping")
                tasks.create_task(self._watch(), name="feed.watch")
        except BaseExceptionGroup as group:
            lost, bugs = group.split(Lost)
            if bugs or not lost:
                raise
            raise lost.exceptions[0] from None

    async def _read(self) -> None:
        while True:
            try:
                frame = await self._socket.recv(decode=False)
            except ConnectionClosed as why:
                raise _closed(why) from None
            self._take(frame)

    def _take(self, frame: bytes) -> None:
        try:
            message = self._codec.decode(frame)
        except BadFrame as bad:
            self._intake.refuse(bad)
            self._doubt(bad)
            return
        if isinstance(message, Candle | LastPrice | Quote):
            self._heard_at = self._clock.seconds()
            self._stalled_s = 0.0
            if self._first_at is None:
                self._first_at = self._heard_at
                self.ready.set()
            self._intake.take(message)
            return
        self._intake.count(message)
        if isinstance(message, Shutdown):
            self.shutting_down = True
            self.over.set()
        elif isinstance(message, Refusal):
            raise Lost("F6", f"SUBSCRIBE was refused: {message.text}")

    def _doubt(self, bad: BadFrame) -> None:
        if bad.fault not in DOUBTFUL:
            return
        now = self._clock.seconds()
        self._bad.append(now)
        if len(self._bad) == BAD_FRAMES_MAX and now - self._bad[0] <= BAD_FRAMES_S:
            raise Lost("F18", f"{BAD_FRAMES_MAX} frames within a minute could not be used, the last: {bad.reason}")

    async def _ping(self) -> None:
        """Our own ping: a half-open socket takes what we send and gives nothing back (fault F2)."""
        while True:
            await self._clock.sleep(self._settings.ping_every_s)
            sent_at = self._clock.seconds()
            try:
                pong = asyncio.ensure_future(await self._socket.ping())
            except ConnectionClosed:
                return  # the reader says why
            while not await self._answered(pong, sent_at):
                pass

    async def _answered(self, pong: asyncio.Future[float], sent_at: float) -> bool:
        """Whether there was an answer; False when our own loop stood still meanwhile. Raises Lost."""
        due = self._clock.monotonic() + max(self._settings.pong_within_s / self._clock.speed, WAIT_WALL_MIN_S)
        await asyncio.wait((pong,), timeout=due - self._clock.monotonic())
        if pong.done() or self._heard_at > sent_at:
            return True
        if self._clock.monotonic() - due > STALL_WALL_S:
            return False
        raise Lost("F2", f"no pong within {self._settings.pong_within_s:g} s")

    async def _watch(self) -> None:
        """Ends it after too long a silence; says when it is time for a successor."""
        drain_s = DRAIN_WALL_S * self._clock.speed
        patience_s = max(self._settings.silence_s, WAIT_WALL_MIN_S * self._clock.speed) - drain_s
        while True:
            now = self._clock.seconds()
            if now - self._opened_at >= self._life_s:
                self.over.set()
            left = self._heard_at + self._stalled_s + patience_s - now
            if left > 0:
                await self._nap(min(left, patience_s / 10))
                continue
            heard_at = self._heard_at
            await self._clock.sleep(drain_s)
            if self._heard_at == heard_at:
                raise Lost("F1", f"no data for {self._settings.silence_s:g} s")

    async def _nap(self, seconds: float) -> None:
        """Sleeps, and takes account of time in which our own loop stood still."""
        due = self._clock.seconds() + seconds
        await self._clock.sleep(seconds)
        late_s = self._clock.seconds() - due
        late_wall_s = late_s / self._clock.speed
        if late_wall_s > max(GIVEN_UP_S / self._clock.speed, GIVEN_UP_WALL_MIN_S):
            raise Lost("T4", f"this process stood still for {late_wall_s:.0f} s")
        if late_wall_s > STALL_WALL_S and self._heard_at < due:
            self._stalled_s += late_s


def _closed(why: ConnectionClosed) -> Lost:
    """What the way it was closed says."""
    code = why.rcvd.code if why.rcvd else why.sent.code if why.sent else 1006
    reason = f" {why.rcvd.reason}" if why.rcvd and why.rcvd.reason else ""
    fault = {TOO_BIG: "F21", POLICY: "F6"}.get(code, "F5")
    return Lost(fault, f"closed with {code}{reason}")
