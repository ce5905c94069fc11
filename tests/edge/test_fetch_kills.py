"""`lacuna fetch` under SIGKILL. benchmarks/fetch.py does the same with twenty kills."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bot.simulator.server import SimulatedExchange
from bot.simulator.synthetic import synthetic_panel
from tests.edge.fetching import exchange, files

KILLS = 3
COINS, DAYS = 3, 31


async def started(running: SimulatedExchange, out: Path, *options: str) -> asyncio.subprocess.Process:
    words = ["--exchange", "binance", "--symbols", ",".join(running.market.symbols), "--timerange", "20240101-20240201"]
    words += ["--out", str(out), "--url", running.rest_url, "--json", *options]
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(sys.executable, "-m", "bot.cli", "fetch", *words, stdout=pipe)


async def finished(running: SimulatedExchange, out: Path, *options: str) -> dict[str, Any]:
    process = await started(running, out, *options)
    stdout, _ = await process.communicate()
    assert process.returncode == 0
    found: dict[str, Any] = json.loads(stdout)
    return found


async def killed(running: SimulatedExchange, out: Path, *options: str) -> None:
    """Killed as soon as one more month file was written."""
    before = written(out)
    process = await started(running, out, *options)
    while process.returncode is None and written(out) == before:
        await asyncio.sleep(0.005)
    process.kill()
    assert await process.wait() == -9


def written(out: Path) -> list[int]:
    return sorted(path.stat().st_mtime_ns for path in out.rglob("2*.parquet"))


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--source", "rest"), ("--source", "auto", "--archive-url", "")])
async def test_a_killed_fetch_goes_on_to_the_same_store(options: tuple[str, ...], tmp_path: Path) -> None:
    """Killed again and again in the middle of writing, then left alone: byte for byte what one fetch gives; complete."""
    panel = synthetic_panel(COINS, (2 * DAYS + 2) * 1_440)
    async with exchange(panel=panel, days=DAYS, speed=1.0) as running:
        options = tuple(word or running.rest_url for word in options)
        whole = await finished(running, tmp_path / "whole", *options)
        for _ in range(KILLS):
            await killed(running, tmp_path / "broken", *options)
        last = await finished(running, tmp_path / "broken", *options)
    names = ("symbols", "candles", "gaps", "missing")
    assert [last[name] for name in names] == [whole[name] for name in names] == [COINS, COINS * DAYS * 1_440, 0, 0]
    assert last["pages"] + last["archives"] < whole["pages"] + whole["archives"]
    assert files(tmp_path / "broken") == files(tmp_path / "whole")
