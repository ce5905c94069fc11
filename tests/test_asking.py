"""What the daemon asks of REST for its volatility model: past hours, of every coin that can be had."""

import contextlib
from collections.abc import AsyncIterator

import numpy as np
import structlog
from aiohttp import web

from bot.asking import HOURS, Asking
from bot.config import Settings
from bot.core.market import HOUR_MS
from bot.edge.clock import Clock
from bot.edge.faults import Faults
from bot.session import build_engine
from tests.edge.answering import Server, asking
from tests.making import COINS

NOW_MS = 1_700_000_000_000
LAST_MS = NOW_MS // HOUR_MS * HOUR_MS - HOUR_MS
GONE = {"code": -1121, "msg": "Invalid symbol."}


def server() -> Server:
    opens = {LAST_MS + HOUR_MS - HOUR_MS * hour for hour in range(1_100)}  # the running one among them
    return Server(Clock(600.0, NOW_MS), opens)


@contextlib.asynccontextmanager
async def asked_by(exchange: Server, lines: list[str]) -> AsyncIterator[Asking]:
    """The daemon's questions to this server; `lines` are the warnings."""

    def hear(logger: object, method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
        lines.append(f"{line['event']} {line.get('symbols', '')}")
        raise structlog.DropEvent

    log = structlog.wrap_logger(structlog.PrintLogger(), [hear])
    settings = Settings()
    async with asking(exchange) as rest:
        engine = build_engine(settings, COINS, 0)
        yield Asking(rest, engine, settings, exchange.clock, log, Faults(lambda alert: None), lambda event: None)


async def test_the_last_thousand_hours_of_every_coin() -> None:
    """Closed ones, one request a coin, on the grid."""
    exchange, lines = server(), list[str]()
    async with asked_by(exchange, lines) as daemon:
        hours = await daemon.hours()
    assert len(hours) == HOURS and hours.interval_ms == HOUR_MS and hours.symbols == COINS
    assert int(hours.open_ms[-1]) == LAST_MS and np.isfinite(hours.close).all() and hours.present.all()
    assert len(exchange.asked) == len(COINS) and not lines


async def test_a_coin_that_cannot_be_had_is_left_without_and_told_once() -> None:
    """Not listed: at once; broken for long: after a few rounds. The others have theirs."""
    exchange, lines = server(), list[str]()
    broken = {
        "ETHUSDT": lambda: web.json_response(GONE, status=400),
        "SOLUSDT": lambda: web.Response(text="<html>maintenance</html>", content_type="text/html"),
    }
    exchange.interrupt = lambda number, request: (
        broken[request.query["symbol"]]() if request.query["symbol"] in broken else None
    )
    async with asked_by(exchange, lines) as daemon:
        hours = await daemon.hours()
    assert np.isfinite(hours.close[:, 0]).all() and np.isnan(hours.close[:, 1:]).all()
    assert lines == ["hours.lacking ETH/USDT, SOL/USDT"]
    assert sum(asked["symbol"] == "ETHUSDT" for _, _, asked in exchange.asked) == 1


async def test_an_exchange_that_is_away_is_asked_until_it_is_back() -> None:
    """Nothing is given up while nobody answers; then all of it is there."""
    exchange, lines = server(), list[str]()
    exchange.interrupt = lambda number, request: web.Response(status=502) if number <= 40 else None
    async with asked_by(exchange, lines) as daemon:
        hours = await daemon.hours()
    assert len(hours) == HOURS and np.isfinite(hours.close).all() and not lines


async def test_a_universe_that_is_not_listed_has_no_hours() -> None:
    """No endless asking: an empty panel."""
    exchange, lines = server(), list[str]()
    exchange.interrupt = lambda number, request: web.json_response(GONE, status=400)
    async with asked_by(exchange, lines) as daemon:
        assert len(await daemon.hours()) == 0
    assert len(exchange.asked) == len(COINS) and len(lines) == 1
