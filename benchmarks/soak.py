"""A long run of the demo, watched: every slice decided, every mask right, memory flat, nothing leaked.

    python -m benchmarks.soak --candles DIR [--minutes 30] [--speed 60] [--json]

Runs what `lacuna demo` runs, in this process, and samples resident memory, descriptors, tasks and threads. Afterwards the
journal is read: each slice's presence mask beside what the candles hold, its decision, the audit and the replay.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import psutil
from msgspec import Struct

from benchmarks.tables import Row, table
from bot.audit import audit
from bot.config import load
from bot.core.market import Panel
from bot.daemon import Daemon
from bot.demo import Played, play, prepare
from bot.edge.store import Store
from bot.session import engine_of, recover_state, replay_all

WARM_UP_SHARE = 0.2


class Sample(Struct, frozen=True):
    """What the process holds at one moment."""

    rss_mib: float
    descriptors: int
    tasks: int
    threads: int


class Checked(Struct):
    """What the journal says of the slices."""

    slices: int = 0
    decided: int = 0
    wrong_masks: int = 0


async def sample_for_ever(samples: list[Sample], every_s: float) -> None:
    process = psutil.Process()
    while True:
        await asyncio.sleep(every_s)
        rss = process.memory_info().rss / 2**20
        samples.append(Sample(rss, process.num_fds(), len(asyncio.all_tasks()), process.num_threads()))


def check_slices(folder: Path, panel: Panel) -> Checked:
    """Plays the journal through an engine and looks at every slice it closes."""
    checked = Checked()
    with Store(folder) as store:
        for session in store.sessions():
            engine = engine_of(session.settings, session.symbols)
            for row in store.rows(session.id):
                newest_ms, decided_ms = engine.window.newest_ms, engine.decided_ms
                engine.handle(row.event, row.now_ms)
                if type(row.event).__name__ in ("Reconciled", "History"):
                    continue
                checked.decided += engine.decided_ms != decided_ms
                if engine.window.newest_ms != newest_ms:
                    checked.slices += 1
                    at = int(np.searchsorted(panel.open_ms, engine.window.newest_ms))
                    checked.wrong_masks += not np.array_equal(engine.window.present[-1], panel.present[at])
    return checked


def soak(candles: Path, minutes: float, speed: float, folder: Path) -> tuple[Row, bool]:
    """The whole run in an empty folder: what was seen, and whether all of it was right."""
    settings = load(None, {"storage.folder": str(folder), "web.port": 0, "logs.level": "warning"})
    played: Played = prepare(settings, candles, 0, 0, speed, None)
    samples: list[Sample] = []

    async def beside(daemon: Daemon) -> None:
        watching = asyncio.create_task(sample_for_ever(samples, max(1.0, minutes * 60 / 120)))
        await asyncio.sleep(minutes * 60)
        watching.cancel()
        daemon.stop()

    outcome = asyncio.run(play(played, (), beside))
    checked = check_slices(folder, played.panel)
    with Store(folder) as store:
        problems = audit(store, recover_state(store))
        identical = all(found.identical for _, found in replay_all(store))
    warm = samples[int(len(samples) * WARM_UP_SHARE) :]
    half = len(warm) // 2
    early, late = (float(np.median([one.rss_mib for one in part])) for part in (warm[:half], warm[half:]))
    row: Row = {
        "coins": len(played.panel.symbols),
        "slices": checked.slices,
        "decided": checked.decided,
        "late": outcome["slices_late"],
        "wrong masks": checked.wrong_masks,
        "orders": outcome["orders"],
        "fills": outcome["fills"],
        "rss MiB early": round(early, 1),
        "rss MiB late": round(late, 1),
        "descriptors": f"{warm[0].descriptors} to {warm[-1].descriptors}",
        "tasks": f"{warm[0].tasks} to {warm[-1].tasks}",
        "threads": f"{warm[0].threads} to {warm[-1].threads}",
        "replay": "identical" if identical else "DIFFERENT",
        "problems": len(problems),
        "equity": round(outcome["equity"], 2),
        "faults": json.dumps(outcome["faults"]),
    }
    undecided = checked.slices - checked.decided
    return row, not (undecided or checked.wrong_masks or problems) and identical


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candles", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--speed", type=float, default=60.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        row, sound = soak(options.candles, options.minutes, options.speed, Path(folder))
    print(json.dumps(row) if options.json else table([row]))
    sys.exit(0 if sound else 1)


if __name__ == "__main__":
    main()
