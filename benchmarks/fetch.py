"""What `lacuna fetch` takes: pages a minute within the exchange's weight, and what 20 SIGKILLs leave of a store.

Run  python -m benchmarks.fetch [--kills 20] [--json]
The simulated exchange is another process, in real time and with Binance's own limits; every fetch is the command
itself, in a process of its own. A kill comes up to a second after the store has begun to grow in that life.
"""

import argparse
import asyncio
import hashlib
import json
import multiprocessing
import random
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.tables import Row, table
from bot.simulator.serve import exchange_of, market_of
from bot.simulator.synthetic import START_MS, synthetic_panel

COINS, DAYS = 20, 100
KILL_COINS, KILL_DAYS = 10, 100
KILL_WITHIN_S = 1.0
LOOK_S = 0.05
SEED = 7


def exchange(coins: int, days: int, told: Connection) -> None:
    """Serves until asked, then says what it saw."""
    asyncio.run(_serve(coins, days, told))


async def _serve(coins: int, days: int, told: Connection) -> None:
    market = market_of(synthetic_panel(coins, (2 * days + 1) * 1_440), coins, SEED)
    running = exchange_of(market, history=(days + 1) * 1_440)
    await running.start()
    told.send((running.rest_url, market.symbols))
    most = 0
    while not told.poll():
        most = max(most, running.used_weight())
        await asyncio.sleep(LOOK_S)
    pages = running.seen.requests["/api/v3/klines"]
    told.send({"pages": pages, "weight": most, "refused": running.seen.statuses[429] + running.seen.statuses[418]})
    await running.stop()


class Served:
    """An exchange in its own process, for a `with`."""

    def __init__(self, coins: int, days: int) -> None:
        self._ours, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(target=exchange, args=(coins, days, theirs))
        self._process.start()
        self.url, self.symbols = self._ours.recv()
        stop = datetime.fromtimestamp(START_MS / 1000, UTC) + timedelta(days=days)
        self.range = f"20240101-{stop:%Y%m%d}"
        self.minutes = coins * days * 1_440

    def command(self, out: Path) -> list[str]:
        options = {
            "exchange": "binance",
            "symbols": ",".join(self.symbols),
            "timerange": self.range,
            "out": str(out),
            "url": self.url,
            "source": "rest",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        return [sys.executable, "-m", "bot.cli", "fetch", *words, "--json"]

    def end(self) -> dict[str, Any]:
        self._ours.send(None)
        seen: dict[str, Any] = self._ours.recv()
        self._process.join()
        return seen


def pages() -> Row:
    """One fetch, uninterrupted."""
    served = Served(COINS, DAYS)
    with tempfile.TemporaryDirectory() as folder:
        result = json.loads(subprocess.run(served.command(Path(folder)), check=True, capture_output=True).stdout)
    seen = served.end()
    return {
        "symbols": COINS,
        "candles": result["candles"],
        "pages": result["pages"],
        "seconds": round(result["seconds"], 1),
        "pages/min": round(result["pages"] / result["seconds"] * 60),
        "most weight in a minute": seen["weight"],
        "of": 6_000,
        "429 and 418": seen["refused"],
    }


def kills(count: int) -> Row:
    """One store filled in one life, another with `count` kills; equal byte for byte or not."""
    served, rng = Served(KILL_COINS, KILL_DAYS), random.Random(SEED)
    with tempfile.TemporaryDirectory() as folder:
        whole, broken = Path(folder) / "whole", Path(folder) / "broken"
        result = json.loads(subprocess.run(served.command(whole), check=True, capture_output=True).stdout)
        at_once = result["pages"]
        done = 0
        for _ in range(count):
            done += _killed(served.command(broken), broken, rng.uniform(0.0, KILL_WITHIN_S))
        last = json.loads(subprocess.run(served.command(broken), check=True, capture_output=True).stdout)
        equal = digest(whole) == digest(broken)
    asked = served.end()["pages"] - at_once
    return {
        "kills": done,
        "candles": last["candles"],
        "complete": str(last["candles"] == result["candles"] == served.minutes and not last["missing"]),
        "equal bytes": str(equal),
        "pages at once": at_once,
        "pages with kills": asked,
        "in the last life": last["pages"],
    }


def _killed(command: list[str], store: Path, after_s: float) -> bool:
    """Whether the process was killed in the middle of its work."""
    before = _state(store)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and _state(store) == before:
        time.sleep(0.02)
    time.sleep(after_s)
    process.kill()
    return process.wait() < 0


def _state(store: Path) -> list[tuple[str, int]]:
    """What the files of candles are, to see that work has begun."""
    return [(str(path), path.stat().st_mtime_ns) for path in sorted(store.rglob("2*.parquet"))]


def digest(store: Path) -> str:
    """Of every file of a store, its lock aside."""
    found = hashlib.sha256()
    for path in sorted(path for path in store.rglob("*") if path.is_file() and path.name != "lock"):
        found.update(str(path.relative_to(store)).encode() + path.read_bytes())
    return found.hexdigest()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--kills", type=int, default=20)
    options.add_argument("--json", action="store_true")
    asked = options.parse_args()
    rows = [pages(), kills(asked.kills)]
    if asked.json:
        print(json.dumps({"pages": rows[0], "kills": rows[1]}))
    else:
        print("\n\n".join(table([row]) for row in rows))


if __name__ == "__main__":
    main()
