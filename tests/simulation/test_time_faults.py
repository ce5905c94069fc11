"""Clocks that jump and time zones that differ (faults T1, T5): the exchange's time and monotonic time alone decide."""

import asyncio
import hashlib
import json
import os
import sys
import time
from pathlib import Path

import pytest

from bot.core.commands import Infer
from bot.core.market import MINUTE_MS
from bot.edge.encoding import encode_commands
from bot.edge.store import Store
from bot.session import engine_of
from tests.simulation.lives import audited
from tests.simulation.world import World

HOUR_S = 3_600.0
ZONES = {"UTC": 0, "Asia/Kathmandu": 20_700, "America/St_Johns": -12_600}  # seconds east of UTC, no daylight saving


@pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S])
async def test_a_step_of_the_wall_clock_moves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step_s: float
) -> None:
    """Fault T1: an hour forward or back, and back again: every slice once, in order, REST answers, no age is odd."""
    real = time.time
    async with World(tmp_path, settings={"feed": {"resync_every_s": 30.0}}) as world:
        await world.slices(2)
        for step in (step_s, 0.0):
            monkeypatch.setattr(time, "time", lambda step=step: real() + step)
            before_ms, count = world.clock.now_ms(), world.slice_count
            async with asyncio.timeout(20):  # ccxt's own throttler would stand still for the hour
                await world.daemon.rest.sync_clock()
                assert await world.daemon.rest.candles(world.panel.symbols[:1], world.start_ms, world.start_ms)
            await world.slices(count + 3)
            assert 0 < world.clock.now_ms() - before_ms < HOUR_S * 1000
        assert world.daemon.rest._client.enableRateLimit is False
        await world.stop()
    assert not {"T2", "T6", "F1", "F13"} & set(world.faults)
    asked = [command.open_ms for row in world.rows() for command in row.commands if isinstance(command, Infer)]
    assert asked == list(range(asked[0], asked[-1] + 1, MINUTE_MS))
    assert len(asked) >= 8
    times = [row.now_ms for row in world.rows()]
    assert max(times) - min(times) < HOUR_S * 1000
    assert audited(tmp_path) == []


async def test_a_run_gives_the_same_commands_in_every_time_zone(tmp_path: Path) -> None:
    """Fault T5, invariant I27: what a real run was told leads to the same digest of commands in three zones."""
    async with World(tmp_path) as world:
        await world.decisions(5)
        await world.until(lambda: world.daemon.pump.counts.orders > 0)
        outcome = await world.stop()
    for zone, offset_s in ZONES.items():
        assert await _digest_in(zone, tmp_path) == {"digest": outcome.digest, "offset_s": offset_s}


async def _digest_in(zone: str, folder: Path) -> dict[str, object]:
    line = f"from tests.simulation import test_time_faults as test; test.tell_digest({str(folder)!r})"
    variables = os.environ | {"TZ": zone}
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", line, env=variables, stdout=-1)
    said, _ = await process.communicate()
    found = json.loads(said)
    assert isinstance(found, dict)
    return found


def tell_digest(folder: str) -> None:
    """Prints the hash of every command that the folder's events lead to, as the pump counts it, and the zone."""
    digest = hashlib.blake2b(digest_size=16)
    with Store(Path(folder)) as store:
        for session in store.sessions():
            engine = engine_of(session.settings, session.symbols)
            for row in store.rows(session.id):
                commands = engine.handle(row.event, row.now_ms)
                if commands:
                    digest.update(encode_commands(commands))
    print(json.dumps({"digest": digest.hexdigest(), "offset_s": -time.timezone}))
