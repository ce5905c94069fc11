"""The bot's window for machines and people: /metrics, /healthz, /readyz, /status and a page. It serves no control.

    /metrics  Prometheus's text      /status  the bot's state as JSON
    /healthz  200 while the loop turns      /readyz  200, or 503 with why not, as text
    /         a page that reads /status every two seconds; nothing of it comes from elsewhere

Bounded (fault Q7): no bodies, short headers, at most CONNECTIONS_MAX connections of at most LIFE_S each, one answer a
connection, and texts made at most once a second however often they are asked for.
On a loopback address only requests that name it are answered, so that no web page can read it under another name.
"""

import asyncio
import contextlib
import errno
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from bot.config import Web as Settings
from bot.edge.clock import Clock
from bot.edge.page import PAGE

CONNECTIONS_MAX = 32
LIFE_S = 10.0
STOP_WITHIN_S = 1.0  # for answers under way; a stop of the bot may take 8 s in all (fault P1)
REAP_EVERY_S = 1.0
CACHE_S = 1.0
HEADER_BYTES_MAX = 4096
OFF = -1
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; frame-ancestors 'none'",
}


class PortTaken(Exception):
    """The port cannot be had. In paper mode a warning, live a refusal (fault Q6)."""

    fault = "Q6"
    exit_code = 78


class WebDied(OSError):
    """The server does not listen any more."""


class Web:
    """Serves between `start` and `stop`. `ready` answers "" or why not; `status` whatever the page shows."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        metrics: Callable[[], bytes],
        ready: Callable[[], str],
        status: Callable[[], Mapping[str, Any]],
    ) -> None:
        self.port = settings.port
        self._settings = settings
        self._clock = clock
        self._ready = ready
        self._metrics = Cached(clock, metrics)
        self._status = Cached(clock, lambda: msgspec.json.encode(status()))
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None
        self._reaper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begins to listen; `port` is then the real one. Raises PortTaken. Port -1 serves nothing."""
        if self._settings.port == OFF:
            return
        listening = self._bind()
        app = web.Application(client_max_size=HEADER_BYTES_MAX, middlewares=[self._guard])
        app.router.add_get("/", self._page)
        app.router.add_get("/metrics", self._serve_metrics)
        app.router.add_get("/healthz", self._serve_health)
        app.router.add_get("/readyz", self._serve_ready)
        app.router.add_get("/status", self._serve_status)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
            shutdown_timeout=STOP_WITHIN_S,
        )
        await self._runner.setup()
        self._server = await asyncio.get_running_loop().create_server(self._accept, sock=listening)
        self._reaper = asyncio.create_task(self._reap(), name="web")

    async def watch(self) -> None:
        """Waits as long as it serves; raises WebDied, or what was wrong with it."""
        assert self._reaper is not None
        await asyncio.shield(self._reaper)

    async def stop(self) -> None:
        """Closes the port and every connection."""
        if self._server is None or self._runner is None or self._reaper is None:
            return
        self._reaper.cancel()
        await asyncio.wait([self._reaper])
        self._server.close()
        await self._runner.cleanup()
        self._server = self._runner = self._reaper = None

    def _bind(self) -> socket.socket:
        host, port = self._settings.host, self._settings.port
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
        except OSError as why:
            listening.close()
            what = "is taken" if why.errno == errno.EADDRINUSE else f"cannot be opened: {why.strerror}"
            text = f"port {port} on {host} {what}: set web.port to another, to 0 for any free one, or to -1 for none"
            raise PortTaken(text) from why
        self.port = listening.getsockname()[1]
        return listening

    # -- bounds

    def _accept(self) -> asyncio.BaseProtocol:
        assert self._runner is not None
        server = self._runner.server
        assert server is not None
        if len(server.connections) >= CONNECTIONS_MAX:
            return TurnedAway()
        return server()

    async def _reap(self) -> None:
        """Cuts connections that outlive their time: whoever sends or reads that slowly gets nothing."""
        assert self._runner is not None and self._server is not None
        server, listening = self._runner.server, self._server
        assert server is not None
        ages: dict[Any, float] = {}
        while True:
            await asyncio.sleep(REAP_EVERY_S)
            if not listening.is_serving():
                raise WebDied(f"nobody listens on port {self.port} any more")
            now = self._clock.monotonic()
            ages = {handler: ages.get(handler, now) for handler in server.connections}
            for handler, since in ages.items():
                if now - since > LIFE_S and handler.transport is not None:
                    handler.transport.abort()

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if _is_loopback(self._settings.host) and not _is_loopback(_named(request)):
            response: web.StreamResponse = web.Response(status=403, text="ask for 127.0.0.1 or localhost\n")
        elif request.body_exists:
            response = web.Response(status=413, text="no bodies here\n")
        else:
            response = await handler(request)
        response.headers.update(HEADERS)
        response.force_close()
        return response

    # -- answers

    async def _page(self, request: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    async def _serve_metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.text(), headers={"Content-Type": METRICS_TYPE})

    async def _serve_health(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _serve_ready(self, request: web.Request) -> web.Response:
        why_not = self._ready()
        return web.Response(status=503 if why_not else 200, text=f"{why_not or 'ready'}\n")

    async def _serve_status(self, request: web.Request) -> web.Response:
        return web.Response(body=self._status.text(), content_type="application/json")


class Cached:
    """A text that is made at most once a second."""

    def __init__(self, clock: Clock, make: Callable[[], bytes]) -> None:
        self._clock = clock
        self._make = make
        self._made = float("-inf")
        self._text = b""

    def text(self) -> bytes:
        now = self._clock.monotonic()
        if now - self._made >= CACHE_S:
            self._text, self._made = self._make(), now
        return self._text


class TurnedAway(asyncio.Protocol):
    """One connection too many: closed at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


def _named(request: web.Request) -> str:
    """The host a request asks for; not aiohttp's own, which looks names up when the header is missing."""
    with contextlib.suppress(ValueError):
        return urlsplit(f"//{request.headers.get('Host', '')}").hostname or ""
    return ""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
