"""A websocket server that speaks as Binance's market streams do, and a feed that listens to it.

Each connection is led by a script, a coroutine that gets the Peer; when it returns, the server closes the
connection. Times in tests are exchange seconds of the feed's clock.
"""

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from bot.config import Exchange
from bot.config import Feed as Settings
from bot.core.market import MINUTE_MS, Candle, LastPrice, Quote, compact
from bot.edge.clock import Clock
from bot.edge.faults import Alert, Faults, Stage
from bot.edge.feed import Feed
from bot.exchanges.binance import Codec
from tests.making import COINS, START_MS

WALL_S = 60.0  # patience costs nothing where the fact comes
SPEED = 60.0


class Peer:
    """The server's side of one connection; `number` counts from 1."""

    def __init__(self, socket: ServerConnection, number: int, at: float) -> None:
        self.socket = socket
        self.number = number
        self.opened_at = at
        self.asked: list[dict[str, Any]] = []
        self._subscribed = asyncio.Event()

    async def listen(self) -> None:
        """Takes what the client sends; acknowledges."""
        with contextlib.suppress(ConnectionClosed):
            async for text in self.socket:
                message = json.loads(text)
                self.asked.append(message)
                await self.socket.send(json.dumps({"result": None, "id": message["id"]}))
                self._subscribed.set()

    @property
    def open(self) -> bool:
        return self.socket.state is State.OPEN

    @property
    def streams(self) -> list[str]:
        return [name for message in self.asked for name in message["params"]]

    async def subscribed(self) -> None:
        await self._subscribed.wait()

    async def raw(self, frame: str | bytes) -> None:
        await self.socket.send(frame)

    async def event(self, name: str, data: dict[str, Any]) -> None:
        await self.raw(json.dumps({"stream": name, "data": data}))

    async def kline(self, symbol: str = COINS[0], minute: int = 0, **changes: Any) -> None:
        """A closing frame of this minute; `changes` of the inner fields, x=False for a forming one."""
        await self.event("kline", kline(symbol, minute, **changes))

    async def quote(self, symbol: str = COINS[0], bid: float = 99.0) -> None:
        await self.event("bookTicker", quote(symbol, bid))

    async def chatter(self, seconds: float = 1e9, wall_s: float = 0.01, symbols: tuple[str, ...] = COINS) -> None:
        """Forming klines of these symbols, over and over."""
        until = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < until:
            for symbol in symbols:
                await self.kline(symbol, x=False)
            await asyncio.sleep(wall_s)


def kline(symbol: str, minute: int, **changes: Any) -> dict[str, Any]:
    name, open_ms = compact(symbol), START_MS + MINUTE_MS * minute
    price = {"o": "100", "h": "101", "l": "99", "c": "100.5", "v": "10", "q": "1000", "n": 5}
    inner = price | {"t": open_ms, "T": open_ms + MINUTE_MS - 1, "s": name, "i": "1m", "x": True} | changes
    return {"e": "kline", "E": open_ms + MINUTE_MS + 2, "s": name, "k": inner}


def quote(symbol: str, bid: float) -> dict[str, Any]:
    return {"u": 1, "s": compact(symbol), "b": str(bid), "B": "1", "a": str(bid + 1), "A": "2"}


async def forever() -> None:
    """Until the test is over."""
    await asyncio.Event().wait()


Script = Callable[[Peer], Awaitable[None]]


async def steady(peer: Peer) -> None:
    """A connection with nothing wrong."""
    await peer.subscribed()
    await peer.chatter()


class Scene:
    """Everything a test looks at: the feed, what it handed on, the alerts with their times, the connections."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.feed: Feed
        self.peers: list[Peer] = []
        self.candles: list[Candle] = []
        self.prices: list[LastPrice] = []
        self.quotes: list[Quote] = []
        self.refusals: list[tuple[str, str]] = []
        self.holes: list[int] = []
        self.alerts: list[tuple[float, Alert]] = []
        self.on_candle: Callable[[Candle], None] = lambda candle: None

    def candle(self, candle: Candle, source: str) -> None:
        assert source == "stream"
        self.candles.append(candle)
        self.on_candle(candle)

    def refused(self, symbol: str, reason: str) -> None:
        self.refusals.append((symbol, reason))

    def quote(self, quote: Quote) -> None:
        self.quotes.append(quote)

    def last_price(self, last: LastPrice) -> None:
        self.prices.append(last)

    def hole(self, start_ms: int) -> None:
        self.holes.append(start_ms)

    def alert(self, alert: Alert) -> None:
        self.alerts.append((self.clock.seconds(), alert))

    def began(self, fault: str) -> list[float]:
        """When episodes of this fault began."""
        return [at for at, one in self.alerts if one.fault == fault and one.stage is Stage.BEGAN]

    def ended(self, fault: str) -> list[float]:
        return [at for at, one in self.alerts if one.fault == fault and one.stage is Stage.ENDED]

    async def until(self, what: Callable[[], Any]) -> None:
        """Waits until this holds."""
        async with asyncio.timeout(WALL_S):
            while not what():
                await asyncio.sleep(0.002)


def settings(**changes: Any) -> Settings:
    return Settings.model_validate(changes)


@contextlib.asynccontextmanager
async def serving(script: Script, scene: Scene, port: int = 0, **options: Any) -> AsyncIterator[Server]:
    """A server whose every connection follows the script; those that still run are cancelled in the end."""
    handlers: set[asyncio.Task[None]] = set()

    async def handle(socket: ServerConnection) -> None:
        running = asyncio.current_task()
        assert running is not None
        handlers.add(running)
        peer = Peer(socket, len(scene.peers) + 1, scene.clock.seconds())
        scene.peers.append(peer)
        listening = asyncio.create_task(peer.listen())
        try:
            with contextlib.suppress(ConnectionClosed):
                await script(peer)
        finally:
            await socket.close()
            listening.cancel()
            handlers.discard(running)

    async with serve(handle, "127.0.0.1", port, ping_interval=None, close_timeout=0.1, **options) as server:
        try:
            yield server
        finally:
            for handler in handlers:
                handler.cancel()


@contextlib.asynccontextmanager
async def listening(
    url: str, scene: Scene, symbols: tuple[str, ...] = COINS, seed: int = 1, **changes: Any
) -> AsyncIterator[Feed]:
    """A feed that runs against this address."""
    exchange = Exchange(rest_url="http://127.0.0.1:1", stream_url=url, speed=scene.clock.speed)
    faults = Faults(scene.alert)
    codec = Codec(symbols, "1m")
    scene.feed = Feed(codec, settings(**changes), exchange, scene.clock, scene, faults, random.Random(seed))
    running = asyncio.create_task(scene.feed.run())
    try:
        yield scene.feed
        if running.done():
            running.result()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@contextlib.asynccontextmanager
async def feeding(script: Script, speed: float = SPEED, **changes: Any) -> AsyncIterator[Scene]:
    """A feed and the server it listens to."""
    scene = Scene(Clock(speed))
    async with serving(script, scene) as server:
        port = server.sockets[0].getsockname()[1]
        async with listening(f"ws://127.0.0.1:{port}", scene, **changes):
            yield scene
