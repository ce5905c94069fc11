"""Coins the exchange does not list any more (fault M2), at the start and while the daemon runs."""

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from aiohttp import ClientSession, web

from bot.config import BadConfiguration, Settings
from bot.core.market import MINUTE_MS, compact
from bot.edge.store import Store
from bot.session import recover_state
from bot.simulator.faults import parse_fault
from tests.simulation.lives import Lives, audited

COIN = 2


class Front:
    """REST in front of the exchange's own, which answers as Binance does for pairs in `unlisted`."""

    def __init__(self, behind: str) -> None:
        self.unlisted: set[str] = set()
        self._behind = behind

    async def __aenter__(self) -> Self:
        self._client = ClientSession()
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, why: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()
        await self._client.close()

    async def _answer(self, request: web.Request) -> web.Response:
        gone = {compact(symbol) for symbol in self.unlisted}
        named = {request.query.get("symbol", ""), *json.loads(request.query.get("symbols", "[]"))}
        if gone & named:
            return web.json_response({"code": -1121, "msg": "Invalid symbol."}, status=400)
        async with self._client.get(self._behind + request.path_qs) as answer:
            said: Any = await answer.json()
            if "symbols" in said:
                said["symbols"] = [one for one in said["symbols"] if one["symbol"] not in gone]
            return web.json_response(said, status=answer.status)


class Listed(Lives):
    """A world whose bot asks `front`, once there is one."""

    front: Front

    def settings(self) -> Settings:
        settings = super().settings()
        exchange = settings.exchange.model_copy(update={"rest_url": self.front.url})
        return settings.model_copy(update={"exchange": exchange})


async def test_a_coin_delisted_while_running_is_told_once_and_the_others_trade_on(tmp_path: Path) -> None:
    """Fault M2: its stream is silent and REST knows it not: one alert, slices go on, and a hole is filled all the same."""
    async with Listed(tmp_path) as world, Front(world.exchange.rest_url) as world.front:
        await world.begins()
        await world.decisions(1)
        coin = world.panel.symbols[COIN]
        world.front.unlisted = {coin}
        now_ms = world.clock.now_ms()
        world.exchange.inject(parse_fault(f"F7@{now_ms}/1h,symbol={coin}", now_ms))
        await world.until(lambda: world.faults.get("M2", 0) == 1)
        count = world.daemon.feed.connections
        world.exchange.inject(parse_fault(f"F13@{world.clock.now_ms()}/90s,kind=rest", now_ms))
        await world.until(lambda: world.daemon.feed.connections > count and world.daemon.feed.connected)
        await world.until(lambda: "F11" not in {one.fault for one in world.daemon.faults.open})
        decided = world.daemon.pump.counts.decisions
        await world.decisions(decided + 2)
        assert {one.symbol for one in world.daemon.faults.open if one.fault == "M2"} == {coin}
        assert world.faults["M2"] == 1
        engine = world.daemon.engine
        there = [at for at in range(len(world.panel.symbols)) if at != COIN]
        real = world.panel.close[:, there]
        assert set(engine.window.close[-12:, there].ravel()) <= set(real.ravel())  # no hole is left for the others
        await world.stop()
    assert audited(tmp_path) == []


async def test_a_coin_that_is_not_listed_stops_the_start_with_a_sentence(tmp_path: Path) -> None:
    """Fault M2, P17: not held: exit 78 with what to change, and no session begins."""
    async with Listed(tmp_path) as world, Front(world.exchange.rest_url) as world.front:
        world.front.unlisted = {world.panel.symbols[COIN]}
        with pytest.raises(BaseExceptionGroup) as caught:
            await world.begins()
    (why,) = caught.value.exceptions
    assert isinstance(why, BadConfiguration)
    assert str(why).startswith(f"market.symbols: the exchange does not list {world.panel.symbols[COIN]}: leave it out")


async def test_a_coin_that_is_held_and_not_listed_any_more_is_kept(tmp_path: Path) -> None:
    """Fault M2: nothing is sold at 0, nothing forgotten: the bot starts, says so once, and trades the others."""
    holding: dict[str, dict[str, Any]] = {"strategy": {"name": "hold"}}
    async with Listed(tmp_path, settings=holding) as world, Front(world.exchange.rest_url) as world.front:
        await world.begins()
        await world.until(lambda: len(world.daemon.engine.ledger.holdings) == len(world.panel.symbols))
        await world.stop()
        with Store(tmp_path) as store:
            before = recover_state(store)
        assert before is not None
        coin = world.panel.symbols[COIN]
        world.front.unlisted = {coin}
        now_ms = world.clock.now_ms()
        world.exchange.inject(parse_fault(f"F7@{now_ms}/1h,symbol={coin}", now_ms))
        await world.begins()
        assert world.faults == {"M2": 1}
        first_ms = world.daemon.engine.window.newest_ms
        await world.until(lambda: world.daemon.engine.window.newest_ms >= first_ms + 4 * MINUTE_MS)
        kept = {held.symbol: held for held in world.daemon.engine.ledger.positions()}
        assert kept[coin].quantity == next(held.quantity for held in before.holdings if held.symbol == coin)
        assert world.daemon.engine.instruments[COIN].status == "BREAK"
        assert world.daemon.engine.ledger.mark[COIN] > 0
        assert world.faults["M2"] == 1
        await world.stop()
    assert audited(tmp_path) == []
