"""An HTTP server that answers as Binance's REST interface does, and a Rest that asks it."""

import contextlib
import json
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

from aiohttp import web

from bot.config import Exchange, Feed
from bot.core.market import MINUTE_MS, compact
from bot.edge.clock import Clock
from bot.edge.rest import Rest
from bot.exchanges.binance import Codec
from tests.making import COINS, START_MS

Answer = Callable[[web.Request], web.Response]


def row(open_ms: int) -> list[Any]:
    """A kline whose values follow from its time."""
    price = str(100 + open_ms // MINUTE_MS % 50)
    return [open_ms, price, price, price, price, "1.5", open_ms + MINUTE_MS - 1, "150", 3, "1", "100", "0"]


def listed(symbol: str) -> dict[str, Any]:
    """One pair of exchangeInfo."""
    base, _, quote = symbol.partition("/")
    filters = [
        {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "100000", "tickSize": "0.01"},
        {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "9000", "stepSize": "0.001"},
        {"filterType": "NOTIONAL", "minNotional": "5"},
    ]
    pair = {"symbol": compact(symbol), "status": "TRADING", "baseAsset": base, "quoteAsset": quote}
    return pair | {"filters": filters}


class Server:
    """`opens` are the candles there are, of every symbol; `weird` gives the ways of its klines.

    `interrupt` may answer instead: it is asked first for every request, with its number from 1.
    """

    def __init__(self, clock: Clock, opens: set[int]) -> None:
        self.clock = clock
        self.opens = opens
        self.weird: random.Random | None = None
        self.interrupt: Callable[[int, web.Request], web.Response | None] = lambda number, request: None
        self.asked: list[tuple[float, str, dict[str, str]]] = []
        self.ahead_ms = 0

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        app = web.Application()
        for path, answer in (
            ("time", self._time),
            ("klines", self._klines),
            ("exchangeInfo", self._info),
            ("ticker/bookTicker", self._touch),
        ):
            app.router.add_get(f"/api/v3/{path}", self._handler(answer))
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    def _handler(self, answer: Answer) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.Response:
            self.asked.append((self.clock.seconds(), request.path.rpartition("/")[2], dict(request.query)))
            return self.interrupt(len(self.asked), request) or answer(request)

        return handle

    def _time(self, request: web.Request) -> web.Response:
        return web.json_response({"serverTime": self.clock.now_ms() + self.ahead_ms})

    def _info(self, request: web.Request) -> web.Response:
        wanted = json.loads(request.query.get("symbols", "null"))
        known = {compact(symbol): listed(symbol) for symbol in COINS}
        if wanted is not None and not set(wanted) <= set(known):
            return web.json_response({"code": -1121, "msg": "Invalid symbol."}, status=400)
        return web.json_response({"symbols": [known[name] for name in wanted or known]})

    def _touch(self, request: web.Request) -> web.Response:
        return web.json_response({"symbol": request.query["symbol"], "bidPrice": "99.0", "askPrice": "101.0"})

    def _klines(self, request: web.Request) -> web.Response:
        """As documented; where `weird`, as faults F16 and F17 have it."""
        start, end, limit = (int(request.query[name]) for name in ("startTime", "endTime", "limit"))
        newest_first = False
        if self.weird:
            start += self.weird.randint(-5, 3) * MINUTE_MS
            end += self.weird.randint(0, 4) * MINUTE_MS
            limit = min(limit, self.weird.choice([20, 50, 1_000]))
            newest_first = self.weird.random() < 0.5
        found = [open_ms for open_ms in sorted(self.opens) if start <= open_ms <= end]
        page = found[-limit:] if newest_first else found[:limit]
        if self.weird:
            page += self.weird.choices(page, k=2) if page else []
            self.weird.shuffle(page)
        return web.json_response([row(open_ms) for open_ms in page], headers={"X-MBX-USED-WEIGHT-1M": "7"})


@contextlib.asynccontextmanager
async def asking(server: Server, share: float = 0.5) -> AsyncIterator[Rest]:
    """A Rest against this server."""
    async with server.serving() as url:
        exchange = Exchange(rest_url=url, stream_url="ws://127.0.0.1:1", speed=server.clock.speed)
        rest = Rest(Codec(COINS, "1m"), exchange, Feed(rest_weight_share=share), server.clock)
        try:
            yield rest
        finally:
            await rest.close()


def minutes(*numbers: int) -> set[int]:
    return {START_MS + MINUTE_MS * number for number in numbers}
