"""The simulated exchange: Binance spot's public REST, streams and archives, and Bybit's klines, on one local port.

Time      the clock's, which starts inside the market; every duration is exchange time, so at 60 times the speed a
          minute takes a second and the limits come 60 times as fast.
End       a market that ends falls silent: REST still answers, the streams send pings alone.
Faults    injected by schedule (`faults.py`), at the start or while it runs.
"""

import asyncio
import ssl
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec
from aiohttp import WSMsgType, web

from bot.edge.clock import Clock
from bot.simulator.archive import ROOT, ArchiveHost
from bot.simulator.bybit import Bybit
from bot.simulator.faults import BadFault, Fault, Schedule
from bot.simulator.limits import Attempts, Bucket, Limits, Refusal, Weights
from bot.simulator.market import Market
from bot.simulator.rest import Rest, RestError
from bot.simulator.session import GOING_AWAY, POLICY, PONG, TEXT, BadRequest, Session
from bot.simulator.streams import Streams
from bot.simulator.tamper import Pages, TamperedSource
from bot.simulator.wire import Writer

MESSAGE_BYTES_MAX = 262_144
GOODBYE_WALL_S = 0.2
HTML = "<html>\r\n<head><title>{0}</title></head>\r\n<body>\r\n<center><h1>{0}</h1></center>\r\n</body>\r\n</html>\r\n"
NOT_FOUND, BAD_GATEWAY = "404 Not Found", "502 Bad Gateway"


class Seen(msgspec.Struct):
    """What clients did, counted."""

    connections: int = 0
    refused_connections: int = 0
    messages: Counter[str] = msgspec.field(default_factory=Counter)
    requests: Counter[str] = msgspec.field(default_factory=Counter)
    statuses: Counter[int] = msgspec.field(default_factory=Counter)
    limit_closes: int = 0


class SimulatedExchange:
    """`start`, then point clients at `rest_url` and `stream_url`."""

    def __init__(
        self, market: Market, clock: Clock, faults: Iterable[Fault] = (), limits: Limits | None = None
    ) -> None:
        self.market = market
        self.clock = clock
        self.seen = Seen()
        self._limits = limits or Limits()
        self._schedule = Schedule()
        self._shown = Market(TamperedSource(market.source, self._schedule), market.spread_bps, market.path)
        writer = Writer(market.source)
        self._names = set(market.symbols)
        ticks = dict(zip(writer.names, (10.0**-market.source.price_decimals).tolist(), strict=True))
        pages = Pages(self._schedule, ticks)
        self._rest = Rest(self._shown, market, writer, pages, self._limits)
        self._bybit = Bybit(self._shown, writer, pages, self._limits)
        self._archives = ArchiveHost(self._shown, writer, self._schedule)
        self._streams = Streams(self._shown, market, writer, clock, self._schedule, self._limits, ticks)
        self._weights = Weights(self._limits)
        self._attempts = Attempts(self._limits)
        self._runner: web.AppRunner | None = None
        self._pump: asyncio.Task[None] | None = None
        self._address = ""
        self._secure = ""
        self.inject(*faults)

    @property
    def rest_url(self) -> str:
        return f"http{self._secure}://{self._address}"

    @property
    def stream_url(self) -> str:
        return f"ws{self._secure}://{self._address}"

    @property
    def open_connections(self) -> int:
        return len(self._streams.sessions)

    @property
    def frames_sent(self) -> int:
        return self._streams.sent["frames"]

    def used_weight(self, address: str = "127.0.0.1") -> int:
        """The request weight this address has used in the present minute."""
        return self._weights.used(address, self.clock.now_ms())

    def inject(self, *faults: Fault) -> None:
        """Adds faults to the schedule, also while running. BadFault for a symbol that is not traded here."""
        for fault in faults:
            if fault.symbol and fault.symbol not in self._names:
                raise BadFault(f"{fault.number}: {fault.symbol} is not traded on this exchange")
        self._schedule.add(*faults)
        self._shown.forget()

    async def start(self, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        """Listens; port 0 takes a free one. OSError when the port is in use."""
        app = web.Application(client_max_size=MESSAGE_BYTES_MAX)
        app.router.add_get("/ws", self._connect)
        app.router.add_get("/ws/{streams:.*}", self._connect)
        app.router.add_get("/stream", self._connect)
        app.router.add_route("*", "/{path:.*}", self._request)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=GOODBYE_WALL_S, handle_signals=False)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, ssl_context=tls)
        try:
            await site.start()
        except OSError:
            await self._runner.cleanup()
            raise
        bound = self._runner.addresses[0]
        self._address = f"{bound[0]}:{bound[1]}"
        self._secure = "s" if tls else ""
        self._pump = asyncio.create_task(self._streams.run(), name="exchange-streams")

    async def run(self) -> None:
        """Returns never; raises what ended the streams, if anything did."""
        assert self._pump is not None
        await asyncio.shield(self._pump)

    async def stop(self) -> None:
        """Cuts every connection and listens no more. Raises what ended the streams, if anything did."""
        ended: Sequence[BaseException | None] = ()
        if self._pump:
            self._pump.cancel()
            ended = await asyncio.gather(self._pump, return_exceptions=True)
        for session in self._streams.sessions:
            session.cut()
        if self._runner:
            await self._runner.cleanup()
        if ended and isinstance(ended[0], Exception):
            raise ended[0]

    async def _request(self, request: web.Request) -> web.StreamResponse:
        """One REST request: faults, limits, answer."""
        now_ms = self.clock.now_ms()
        self.seen.requests[request.path] += 1
        away = self._schedule.now("F25", now_ms) or self._schedule.now("F13", now_ms)
        if away and (away.number == "F25" or away.kind == "rest"):
            return _vanish(request)
        response = await self._faulty(request, now_ms)
        if response is None and request.path.startswith(ROOT):
            response = await self._download(request, now_ms)
        response = response or self._answer(request, now_ms)
        self.seen.statuses[response.status] += 1
        return response

    def _answer(self, request: web.Request, now_ms: int) -> web.Response:
        address = request.remote or ""
        if request.path in self._bybit.paths and request.method == "GET":
            status, text = self._bybit.answer(request.path, request.query, address, now_ms)
            return web.Response(status=status, body=text, content_type="application/json")
        if request.path not in self._rest.paths or request.method != "GET":
            return web.Response(status=404, text=HTML.format(NOT_FOUND), content_type="text/html")
        refusal = self._weights.charge(address, self._rest.weight(request.path, request.query), now_ms)
        headers = {"X-MBX-USED-WEIGHT": str(self._weights.used(address, now_ms))}
        headers["X-MBX-USED-WEIGHT-1M"] = headers["X-MBX-USED-WEIGHT"]
        if refusal:
            return _refused(refusal, headers)
        try:
            body = self._rest.answer(request.path, request.query, now_ms + self._time_error_ms(request.path, now_ms))
        except RestError as why:
            return _error(400, why.code, str(why), headers)
        return web.Response(text=body, content_type="application/json", headers=headers)

    async def _download(self, request: web.Request, now_ms: int) -> web.StreamResponse | None:
        """A file of the archives, cut where a fault cuts it; None when there is none."""
        found = self._archives.download(request.path, now_ms)
        if found is None:
            return None
        response = web.StreamResponse(headers={"Content-Length": str(len(found.body))})
        await response.prepare(request)
        await response.write(found.body[: found.sent])
        return response if found.sent == len(found.body) else _vanish(request, response)

    def _time_error_ms(self, path: str, now_ms: int) -> int:
        fault = self._schedule.now("T6", now_ms)
        wrong = fault is not None and path == "/api/v3/time" and fault.kind != "late"
        return round(fault.amount * 1000) if fault and wrong else 0

    async def _faulty(self, request: web.Request, now_ms: int) -> web.StreamResponse | None:
        """What a fault of REST answers instead; None when there is none."""
        late = self._schedule.now("T6", now_ms)
        if late and late.kind == "late" and request.path == "/api/v3/time":
            answer = self._answer(request, now_ms)
            await self.clock.sleep(late.amount)
            return answer
        for number, status in (("A1", 429), ("A2", 418)):
            if fault := self._schedule.now(number, now_ms):
                seconds = -(-(fault.end_ms - now_ms) // 1000)
                message = f"Way too much request weight used; IP banned until {fault.end_ms}."
                text = message if status == 418 else "Too many requests."
                return _refused(Refusal(status, seconds, text), {})
        if self._schedule.now("M6", now_ms):
            return _error(503, -1016, "This service is no longer available.", {})
        if fault := self._schedule.now("O4", now_ms):
            return await self._garbage(request, fault.kind or "html")
        return None

    async def _garbage(self, request: web.Request, kind: str) -> web.StreamResponse:
        if kind == "html":
            return web.Response(text=HTML.format(BAD_GATEWAY), content_type="text/html")
        if kind == "empty":
            return web.Response(text="", content_type="application/json")
        if kind == "broken":
            return web.Response(text='{"serverTime":17', content_type="application/json")
        if kind == "error":
            return _error(500, -1001, "Internal error; unable to process your request. Please try again.", {})
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "4096"})
        await response.prepare(request)
        await response.write(b'{"timezone":"UTC","serverTime"')
        return _vanish(request, response)

    async def _connect(self, request: web.Request) -> web.StreamResponse:
        """One websocket connection, from its upgrade to its end."""
        now_ms = self.clock.now_ms()
        if self._schedule.now("F13", now_ms) or self._schedule.now("F25", now_ms):
            self.seen.refused_connections += 1
            return _vanish(request)
        if not self._attempts.allow(request.remote or "", now_ms):
            self.seen.refused_connections += 1
            return web.Response(status=429, text="Too many connection attempts")
        socket = web.WebSocketResponse(
            autoping=False, autoclose=False, compress=False, timeout=GOODBYE_WALL_S, max_msg_size=MESSAGE_BYTES_MAX
        )
        await socket.prepare(request)
        self.seen.connections += 1
        session = self._session(request, now_ms)
        if session is None or self._schedule.now("F5", now_ms):
            await socket.close(code=GOING_AWAY)
            return socket
        try:
            session.subscribe(_streams_of(request))
        except BadRequest as bad:
            await socket.close(code=POLICY, message=str(bad).encode())
            return socket
        self._streams.sessions[session] = None
        self._streams.subscribed()
        try:
            async for message in socket:
                self._hear(session, message.type, message.data)
        finally:
            del self._streams.sessions[session]
            self._streams.subscribed()
        return socket

    def _session(self, request: web.Request, now_ms: int) -> Session | None:
        transport = request.transport
        if not isinstance(transport, asyncio.Transport):
            return None
        now_s = self.clock.seconds()
        bucket = Bucket(self._limits.messages_a_second, self.clock.speed, now_s)
        combined = request.path == "/stream"
        return Session(transport, combined, now_ms, now_s, bucket, self._limits.streams_a_connection)

    def _hear(self, session: Session, kind: WSMsgType, data: str | bytes) -> None:
        """One message from a client: counted, limited, obeyed."""
        if (
            session.mute
            or session.closing
            or kind not in (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.PING, WSMsgType.PONG)
        ):
            return
        strict = self._schedule.now("F6", self.clock.now_ms())
        if not session.bucket.take(self.clock.seconds(), strict.amount if strict else None):
            self.seen.limit_closes += 1
            session.close(POLICY, "Too many requests")
            return
        if kind is WSMsgType.PING:
            self.seen.messages["ping"] += 1
            session.write(PONG, bytes(data))  # type: ignore[arg-type]
        elif kind is WSMsgType.PONG:
            answered = session.heard_pong(bytes(data))  # type: ignore[arg-type]
            self.seen.messages["pong" if answered else "unsolicited pong"] += 1
        else:
            method, reply = session.answer(data)
            self.seen.messages[method] += 1
            session.write(TEXT, reply.encode())
            if method in ("SUBSCRIBE", "UNSUBSCRIBE"):
                self._streams.subscribed()


def _streams_of(request: web.Request) -> list[str]:
    """The streams an address names: /ws/<a>/<b> or /stream?streams=<a>/<b>."""
    named = request.query.get("streams", "") if request.path == "/stream" else request.match_info.get("streams", "")
    return [name for name in named.split("/") if name]


def _error(status: int, code: int, message: str, headers: dict[str, str]) -> web.Response:
    body = msgspec.json.encode({"code": code, "msg": message})
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


def _refused(refusal: Refusal, headers: dict[str, str]) -> web.Response:
    return _error(refusal.status, -1003, refusal.message, headers | {"Retry-After": str(refusal.retry_after_s)})


def _vanish(request: web.Request, response: web.StreamResponse | None = None) -> web.StreamResponse:
    """Cuts the connection without a word: no answer ever came."""
    if request.transport:
        request.transport.abort()
    return response or web.Response(status=503)
