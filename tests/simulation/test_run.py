"""What runs beside the daemon (faults Q6, P22) and how long a stop may take whatever holds it up (fault P1)."""

import asyncio
import signal
import sqlite3
import time
from pathlib import Path

import pytest
import structlog
from aiohttp import ClientSession

from bot.daemon import Daemon
from bot.edge import web
from bot.edge.database import FILE
from bot.run import serve
from tests.simulation.lives import Lives, audited
from tests.simulation.world import PATIENCE_WALL_S

STOP_WITHIN_S = 8.0  # fault P1
SERVING = {"web": {"port": 0}}


async def test_a_neighbour_that_dies_ends_the_run_and_is_told(tmp_path: Path) -> None:
    """An error beside the daemon is seen at once, and the journal is closed behind what was handled."""
    async with Lives(tmp_path) as world:
        daemon = Daemon(world.settings(), world.panel.symbols, world._model, world.clock, structlog.get_logger(), 1)

        async def beside() -> None:
            await daemon.ready.wait()
            raise ZeroDivisionError("the table is broken")

        async with asyncio.timeout(PATIENCE_WALL_S):
            with pytest.raises(BaseExceptionGroup) as caught:
                await serve(daemon, structlog.get_logger(), beside)
        assert caught.group_contains(ZeroDivisionError, match="the table is broken", depth=1)
        assert daemon.journal.depth == 0
    assert audited(tmp_path) == []


async def test_a_web_server_that_dies_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault Q6: one alert, a new server within seconds, trading goes on."""
    servers: list[web.Web] = []
    start = web.Web.start

    async def seen(self: web.Web) -> None:
        servers.append(self)
        await start(self)

    monkeypatch.setattr(web.Web, "start", seen)
    monkeypatch.setattr("bot.run.WEB_AGAIN_S", 0.1)
    async with Lives(tmp_path, settings=SERVING) as world:
        world.daemon = Daemon(
            world.settings(), world.panel.symbols, world._model, world.clock, structlog.get_logger(), 1
        )
        running = asyncio.create_task(serve(world.daemon, structlog.get_logger()))
        async with asyncio.timeout(PATIENCE_WALL_S):
            await world.daemon.ready.wait()
            listening = servers[0]._server
            assert listening is not None
            listening.close()  # as a machine without descriptors or memory does
            while len(servers) < 2 or servers[-1]._server in (None, listening):
                await asyncio.sleep(0.05)
            async with ClientSession() as client, client.get(f"http://127.0.0.1:{servers[-1].port}/healthz") as said:
                assert said.status == 200
            while world.daemon.faults.open:
                await asyncio.sleep(0.05)
            assert world.daemon.faults.counts == {"Q6": 1}
            world.daemon.stop()
            await running
    assert audited(tmp_path) == []


async def test_a_stop_keeps_its_time_whatever_the_disk_does(tmp_path: Path) -> None:
    """Faults P1, P11: with the database held by another for good, SIGTERM ends it in 8 s with 74; a start recovers."""
    settings = {"storage": {"lock_wait_s": 30.0}}
    async with Lives(tmp_path / "data", settings=settings) as world:
        process = await world.command_line("--json")
        async with asyncio.timeout(PATIENCE_WALL_S):
            while not world.ordered():
                assert process.returncode is None, (await process.communicate())[1].decode()
                await asyncio.sleep(0.05)
        other = sqlite3.connect(world.folder / FILE, isolation_level=None)
        other.execute("begin immediate")
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE_WALL_S):
            _, errors = await process.communicate()
        assert time.monotonic() - began < STOP_WITHIN_S
        other.execute("rollback")
        other.close()
        assert process.returncode == 74, errors.decode()
        assert "what is not on disk is recovered at the next start" in errors.decode()
        await world.begins()
        await world.stop()
    assert audited(world.folder) == []
