"""A small exchange and a client that writes down what it hears."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from bot.core.market import Panel
from bot.simulator.limits import Limits
from bot.simulator.market import Market
from bot.simulator.serve import exchange_of
from bot.simulator.server import SimulatedExchange
from bot.simulator.synthetic import synthetic_panel

MINUTE = 60_000
HISTORY = 60
WAIT_S = 20.0

Frame = dict[str, Any]


@asynccontextmanager
async def trading(
    *faults: str, speed: float = 300.0, panel: Panel | None = None, limits: Limits | None = None, history: int = HISTORY
) -> AsyncIterator[SimulatedExchange]:
    """An exchange of four coins at 300 times the speed: a minute takes 0.2 s."""
    market = Market(panel if panel is not None else synthetic_panel(4, 2_000))
    exchange = exchange_of(market, speed, faults, history, limits)
    await exchange.start()
    try:
        yield exchange
    finally:
        await exchange.stop()


def dial(exchange: SimulatedExchange, path: str) -> connect:
    """A websocket client that does nothing by itself but answer pings."""
    return connect(
        exchange.stream_url + path, proxy=None, ping_interval=None, compression=None, max_size=None, close_timeout=0.2
    )


async def hear(socket: ClientConnection, enough: Callable[[list[Frame]], bool]) -> list[Frame]:
    """Frames until there are enough of them, or the connection ends."""
    heard: list[Frame] = []
    try:
        async with asyncio.timeout(WAIT_S):
            while not enough(heard):
                heard.append(json.loads(await socket.recv()))
    except ConnectionClosed:
        pass
    return heard


async def listen(exchange: SimulatedExchange, streams: Sequence[str], minutes: int) -> list[Frame]:
    """Everything the raw streams send for so many exchange minutes from now on."""
    end_ms = exchange.clock.now_ms() + minutes * MINUTE
    async with dial(exchange, "/ws/" + "/".join(streams)) as socket:
        return await hear(socket, lambda heard: bool(heard) and exchange.clock.now_ms() >= end_ms)


def klines(frames: Sequence[Frame], symbol: str = "", closed: bool | None = None) -> list[Frame]:
    """The candles among frames."""
    found = [frame["k"] for frame in frames if frame.get("e") == "kline"]
    return [k for k in found if (not symbol or k["s"] == symbol) and (closed is None or k["x"] is closed)]


async def ask(exchange: SimulatedExchange, path: str, **params: Any) -> tuple[int, Any, dict[str, str]]:
    """Status, JSON body (text where it is none) and headers of one GET."""
    url = exchange.rest_url + path
    async with aiohttp.ClientSession() as session, session.get(url, params=params) as answer:
        text = await answer.text()
        headers = {name.lower(): value for name, value in answer.headers.items()}
    try:
        return answer.status, json.loads(text), headers
    except ValueError:
        return answer.status, text, headers
