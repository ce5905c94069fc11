"""How long the journal takes: what the loop pays for a row, and how long an intent waits for the disk.

Run     python benchmarks/journal.py [--folder DIR] [--json]
Prints  append_us       on the event loop, per row
        sync_us         from `sync()` to its return, one intent in hand, loop otherwise idle
        sync_after_slice_us  the same behind the 111 candles of a slice that were appended just before
        sync_busy_us    the same while another task keeps the loop busy
        rows_per_s      through to the disk, in groups
        bytes_per_slice on disk, of a slice of 111 coins with its forecast
        open_s, open_mib  starting on a journal of that size, every page checked
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np

from bot.config import Storage
from bot.core.commands import Approved, Submit
from bot.core.events import CandleClosed, Forecast, Forecasted, Wake
from bot.core.market import MINUTE_MS, Candle, Side
from bot.edge.database import FILE
from bot.edge.journal import Journal

COINS = tuple(f"C{number}/USDT" for number in range(111))
ROUNDS = 2_000
QUANTILES = {"p50": 50.0, "p99": 99.0, "max": 100.0}


def spread(seconds: list[float]) -> dict[str, float]:
    return {name: round(float(np.percentile(seconds, at)) * 1e6, 1) for name, at in QUANTILES.items()}


def intent(number: int) -> Submit:
    order = Approved(f"lac1-{number}", COINS[0], Side.BUY, Decimal("0.5"), None, MINUTE_MS, 0, "divergence 3.1")
    return Submit(order)


def observe_slice(journal: Journal, number: int) -> None:
    """What one minute of 111 coins writes."""
    for name in COINS:
        candle = Candle(name, number * MINUTE_MS, 101.25, 101.5, 101.0, 101.3, 12.5, 1265.6, 42)
        journal.append(number * MINUTE_MS, CandleClosed(candle), [])
    journal.append(number * MINUTE_MS, Forecasted(Forecast(number * MINUTE_MS, np.full(len(COINS), 0.001)), 0.01), [])


async def time_syncs(journal: Journal, rounds: int, before: Callable[[Journal, int], None]) -> dict[str, float]:
    taken = []
    for number in range(rounds):
        before(journal, number)
        journal.append(number, Wake(), [intent(journal.rows)])
        began = time.perf_counter()
        await journal.sync()
        taken.append(time.perf_counter() - began)
    return spread(taken)


async def keep_busy() -> None:
    """A task that computes most of the time and yields every half millisecond, as a flood of frames would."""
    while True:
        until = time.perf_counter() + 0.0005
        while time.perf_counter() < until:
            pass
        await asyncio.sleep(0)


async def measure(folder: Path) -> dict[str, object]:
    journal = Journal(folder, Storage(reserve_mib=0))
    journal.open_session(0, {}, COINS)
    found: dict[str, object] = {"sync_us": await time_syncs(journal, ROUNDS, lambda *_: None)}
    found["sync_after_slice_us"] = await time_syncs(journal, ROUNDS // 10, observe_slice)
    busy = asyncio.create_task(keep_busy())
    found["sync_busy_us"] = await time_syncs(journal, ROUNDS // 10, lambda *_: None)
    busy.cancel()
    size, rows = (folder / FILE).stat().st_size, journal.rows
    began = time.perf_counter()
    for number in range(500):
        observe_slice(journal, ROUNDS + number)
    appended = time.perf_counter() - began
    await journal.sync()
    written = journal.rows - rows
    found["append_us"] = round(appended / written * 1e6, 2)
    found["rows_per_s"] = round(written / (time.perf_counter() - began))
    await journal.close(0, "done")
    found["bytes_per_slice"] = ((folder / FILE).stat().st_size - size) // 500
    began = time.perf_counter()
    journal = Journal(folder, Storage(reserve_mib=0))
    found["open_s"] = round(time.perf_counter() - began, 4)
    found["open_mib"] = round((folder / FILE).stat().st_size / 2**20, 1)
    await journal.close(0, "done")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="on the disk to measure; default: a temporary folder")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        found = asyncio.run(measure(Path(folder) / "data"))
    if chosen.json:
        json.dump(found, sys.stdout)
        return
    for name, value in found.items():
        print(f"{name:22} {value}")


if __name__ == "__main__":
    main()
