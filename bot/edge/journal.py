"""The journal: every event in the order the pump took it, with the commands it led to, on disk.

Write before you act: `append` what was handled, `await sync()`, and only then send what it asks for.
A session begins with a Reconciled row and a History row; the two again, later, are a checkpoint. The
reading side is `bot.edge.store.Store`. Values are encoded on the writer's thread: nothing handed over may
be changed afterwards, arrays and command lists included.
Queue   at most QUEUE_MAX items wait. Telemetry gives way at half of it, events never: JournalBehind.
Errors  JournalTrouble, each with the catalogue's number and an exit code. JournalFull and JournalLocked pass
        (what waited is not on disk, so it may not be acted on); after any other the process ends.
"""

import asyncio
import json
import sqlite3
import threading
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bot.config import Storage
from bot.core.commands import AnyCommand
from bot.core.events import AnyEvent
from bot.edge.database import FILE, judge, open_database
from bot.edge.lock import FolderLock, Mark
from bot.edge.reserve import Reserve
from bot.edge.trouble import JournalBehind, JournalTrouble, WriterDied
from bot.edge.writer import Close, Entry, Sync, Telemetry, Writer

QUEUE_MAX = 100_000
PATIENCE_S = 0.002
STAND_STILL_S = 0.005

PUT_SESSION = "insert into sessions (started_ms, version, settings, symbols) values (?, ?, ?, ?)"
PUT_EQUITY = """
insert or replace into equity (open_ms, equity, cash, exposure, drawdown, risk) values (?, ?, ?, ?, ?, ?)
"""


class Journal:
    """Holds the data folder from construction to `close`; all methods belong to the event loop's thread.

    Opening reads the whole database once and refuses what cannot be trusted. `dropped` counts telemetry
    rows that gave way.
    """

    def __init__(self, folder: Path, settings: Storage) -> None:
        self.folder = folder
        self.session = 0
        self.rows = 0
        self.dropped = 0
        self._settings = settings
        self._writer: Writer | None = None
        self._lock = FolderLock(folder)
        try:
            self._database = open_database(self._lock, settings.lock_wait_s)
            self._reserve = Reserve(folder, settings.reserve_mib)
            self._reserve.make()
        except BaseException:
            self._lock.release()
            raise

    def open_session(self, started_ms: int, settings: dict[str, Any], symbols: tuple[str, ...]) -> int:
        """Begins a session and the writer's thread; the session's number."""
        values = (started_ms, _version(), json.dumps(settings, sort_keys=True), json.dumps(symbols))
        try:
            number = int(self._database.conn.execute(PUT_SESSION, values).lastrowid)
        except sqlite3.Error as why:
            raise judge(why, self.folder / FILE) from why
        self.session = number
        self._lock.remember(Mark(number))
        path, keep_days = self.folder / FILE, self._settings.keep_days
        self._writer = Writer(self._database, path, self._lock, self._reserve, number, keep_days)
        self._writer.thread.start()
        return number

    def append(self, now_ms: int, event: AnyEvent, commands: list[AnyCommand]) -> None:
        """One handled event and what it led to. Raises JournalBehind, or what ended the writer."""
        writer = self._running()
        if writer.depth >= QUEUE_MAX:
            raise JournalBehind(f"{QUEUE_MAX} rows wait for the disk of {self.folder}")
        self.rows += 1
        writer.queue.put(Entry(now_ms, event, commands))

    def record_equity(
        self, open_ms: int, equity: float, cash: float, exposure: float, drawdown: float, risk: str
    ) -> None:
        """A point of the equity curve, for people; exposure and drawdown as shares of equity."""
        writer = self._running()
        if writer.depth >= QUEUE_MAX // 2:
            self.dropped += 1
            return
        writer.queue.put(Telemetry((PUT_EQUITY, (open_ms, equity, cash, exposure, drawdown, risk))))

    async def sync(self) -> None:
        """Returns when all that was appended is on disk, else raises why it is not."""
        writer = self._running()
        request = _request()
        writer.queue.put(request)
        if writer.ended.is_set():
            raise writer.failure or WriterDied("the journal is closed")
        guard = request.loop.call_later(PATIENCE_S, _give_way, request)
        try:
            await request.answer
        finally:
            guard.cancel()

    async def watch(self) -> None:
        """Waits as long as the writer lives; raises why it died. Returns after `close`."""
        writer = self._running()
        request = _request()
        writer.watchers.append(request)
        if writer.ended.is_set():
            raise writer.failure or WriterDied("the journal is closed")
        await request.answer

    async def close(self, ended_ms: int, exit: str) -> None:
        """Writes what is left, ends the session with this word, gives the folder back."""
        writer = self._writer
        if writer is None:
            self._database.close()
            self._lock.release()
            return
        writer.queue.put(Close(ended_ms, exit))
        await asyncio.to_thread(writer.thread.join)
        self._lock.release()
        self._writer = None
        if writer.failure:
            raise writer.failure

    @property
    def depth(self) -> int:
        """Items that are not on disk yet."""
        return self._writer.depth if self._writer else 0

    @property
    def trouble(self) -> JournalTrouble | None:
        """What keeps rows from the disk just now, or keeps the reserve from being made."""
        return (self._writer.trouble if self._writer else None) or self._reserve.trouble

    def _running(self) -> Writer:
        writer = self._writer
        if writer is None:
            raise WriterDied("the journal has no open session")
        if writer.failure:
            raise writer.failure
        return writer


def _request() -> Sync:
    loop = asyncio.get_running_loop()
    return Sync(loop.create_future(), loop, threading.Event())


def _give_way(request: Sync) -> None:
    """Stands the loop still for a moment so that the writer can run.

    A loop that never rests lets the interpreter's lock go for a microsecond at a time, too short for another
    thread to wake and take it: measured, syncs then wait for seconds, and for ever under a flood of frames.
    """
    if not request.answered.wait(STAND_STILL_S) and not request.answer.done():
        request.loop.call_later(PATIENCE_S, _give_way, request)


def _version() -> str:
    try:
        return version("lacuna-trader")
    except PackageNotFoundError:
        return "unknown"
