"""Work of research spread over processes, all of which see one panel.

Memory    the panel and its forecasts lie as arrays in a temporary folder that every process maps: they are there once.
Order     of jobs in, order of results out, however long each takes: nothing that is found depends on timing.
One       with a single worker nothing is started; this process does the work.
Ends      a worker clears up and ends by itself when this process is gone, however it went, and leaves Ctrl-C to it.
Errors    CrewLost when a worker dies (out of memory, most likely).
"""

import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from backtest.forecasts import Forecasts
from bot.core.market import FIELDS, Panel

Job = TypeVar("Job")
Found = TypeVar("Found")

OURS = ("open_ms", *FIELDS, "present")
INFERRED = "inferred"


class CrewLost(Exception):
    """A process of the crew died with its work undone."""

    exit_code = 75


class Seen(Struct, frozen=True, eq=False):
    """What every worker sees."""

    panel: Panel
    forecasts: Forecasts | None = None


class Crew:
    """`workers` processes that see the same; a context manager."""

    def __init__(self, workers: int, seen: Seen) -> None:
        self.workers = workers
        self._seen = seen
        self._pool: ProcessPoolExecutor | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        if self.workers > 1:
            self._folder = tempfile.TemporaryDirectory(prefix="lacuna-")
            folder, panel, forecasts = Path(self._folder.name), self._seen.panel, self._seen.forecasts
            _put(folder, self._seen)
            few = forecasts and replace(forecasts, returns=None)  # gains and hours are small
            inferred = forecasts is not None and forecasts.returns is not None
            self._pool = ProcessPoolExecutor(
                self.workers,
                multiprocessing.get_context("spawn"),
                _begin,
                (folder, panel.symbols, panel.interval_ms, inferred, few),
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, why: BaseException | None, at: TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        if self._folder is not None:
            self._folder.cleanup()

    def each(self, work: Callable[[Seen, Job], Found], jobs: Iterable[Job]) -> Iterator[tuple[Job, Found]]:
        """Every job with what `work`, a module's own function, found for it, in the order of the jobs.

        A job is asked for when there is room: at most `workers` are on their way, and the caller has the one before those.
        """
        waiting: deque[tuple[Job, Future[Found]]] = deque()
        try:
            for job in jobs:
                waiting.append((job, self._submit(work, job)))
                if len(waiting) >= self.workers:
                    yield _next(waiting)
            while waiting:
                yield _next(waiting)
        except BrokenProcessPool as why:
            text = "a worker process died, most likely out of memory: give fewer --workers, or fewer candles"
            raise CrewLost(text) from why

    def _submit(self, work: Callable[[Seen, Job], Found], job: Job) -> Future[Found]:
        if self._pool is not None:
            return self._pool.submit(_do, work, job)
        done: Future[Found] = Future()
        done.set_result(work(self._seen, job))
        return done


def _next(waiting: deque[tuple[Job, Future[Found]]]) -> tuple[Job, Found]:
    job, future = waiting.popleft()
    return job, future.result()


def _put(folder: Path, seen: Seen) -> None:
    for name in OURS:
        np.save(folder / f"{name}.npy", getattr(seen.panel, name))
    if seen.forecasts is not None and seen.forecasts.returns is not None:
        np.save(folder / f"{INFERRED}.npy", seen.forecasts.returns)


_seen: Seen | None = None  # a worker process has one, set as it begins


def _begin(folder: Path, symbols: tuple[str, ...], interval_ms: int, inferred: bool, few: Forecasts | None) -> None:
    """The start of a worker process; `few` are the forecasts without their returns."""
    global _seen
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(folder,), name="end with parent", daemon=True).start()
    arrays = {name: np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in OURS}
    panel = Panel(symbols, interval_ms, **arrays)
    returns = np.asarray(np.load(folder / f"{INFERRED}.npy", mmap_mode="r")) if inferred else None
    _seen = Seen(panel, few and replace(few, returns=returns))


def _end_with_parent(folder: Path) -> None:
    """A killed parent clears nothing away: its folder would stay, and a worker wait for its next job for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def _do(work: Callable[[Seen, Job], Found], job: Job) -> Found:
    assert _seen is not None
    return work(_seen, job)
