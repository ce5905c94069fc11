"""The journal's writer: one thread, one connection, rows in groups, a sync at once.

Group   what came within 50 ms or 256 rows is one transaction, the projections of its rows in the same one.
        Someone who waits for a sync ends the group at once.
Kept    a group that could not be written stays and is tried again with the next, or after a second: no
        event is lost while the process lives. Who waited is told, so that nothing unwritten is acted on.
Full    the reserve file is deleted at the first write without room, so that exits can still be journaled (P9).
Pruned  behind a checkpoint, what is older than `keep_days`: the journal's rows before the oldest checkpoint that is
        kept, notes and forecasts. Orders, fills and equity are the account's history: nothing deletes them.
Broken  any other error of the disk ends the thread; a failed fsync is never tried again (P10).
"""

import asyncio
import contextlib
import queue
import sqlite3
import sys
import threading
import time
from pathlib import Path

from msgspec import Struct
from sqlite_utils import Database

from bot.core.commands import AnyCommand
from bot.core.events import AnyEvent, History, Reconciled
from bot.core.market import DAY_MS
from bot.edge.database import SQLITE_ERRORS, judge
from bot.edge.encoding import encode_commands, encode_event
from bot.edge.lock import FolderLock, Mark
from bot.edge.reserve import Reserve
from bot.edge.store import Projection, Statement, checksum
from bot.edge.trouble import JournalBroken, JournalFull, JournalLocked, JournalTrouble, WriterDied

GROUP_S = 0.002  # short: a slice is on disk before the model has answered, and an intent waits for itself alone
GROUP_ROWS = 256
RETRY_S = 1.0
PRUNE_ROWS = 500
RESERVE_S = 60.0

PUT_ROW = (
    "insert into journal (session, seq, now_ms, event, commands, checksum, checkpoint) values (?, ?, ?, ?, ?, ?, ?)"
)
PRUNE = """
delete from journal where (session, seq) in
    (select session, seq from journal where (session, seq) < (?, ?) order by session, seq limit ?)
"""
PRUNE_NOTES = "delete from notes where id in (select id from notes where now_ms < ? order by now_ms limit ?)"
PRUNE_FORECASTS = """
delete from forecasts where open_ms in (select open_ms from forecasts where open_ms < ? order by open_ms limit ?)
"""
OLDEST_KEPT = """
select session, checkpoint from journal where checkpoint is not null and now_ms <= ?
order by session desc, seq desc limit 1
"""


class Entry(Struct, frozen=True, eq=False):
    """One handled event and what it led to."""

    now_ms: int
    event: AnyEvent
    commands: list[AnyCommand]


class Telemetry(Struct, frozen=True, eq=False):
    """A row for people alone; it gives way when the queue is long."""

    statement: Statement


class Sync(Struct, frozen=True, eq=False):
    """Someone waits until all before this is on disk."""

    answer: asyncio.Future[None]
    loop: asyncio.AbstractEventLoop
    answered: threading.Event


class Close(Struct, frozen=True, eq=False):
    ended_ms: int
    exit: str


Item = Entry | Telemetry | Sync | Close


class Writer:
    """Owns the connection from `start` on. `failure` is why the thread ended, `trouble` what holds it up."""

    def __init__(
        self, database: Database, path: Path, lock: FolderLock, reserve: Reserve, session: int, keep_days: int
    ) -> None:
        self.queue: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self.failure: JournalTrouble | None = None
        self.trouble: JournalTrouble | None = None
        self.ended = threading.Event()
        self.watchers: list[Sync] = []
        self.waiting = 0
        self._connection: sqlite3.Connection = database.conn
        self._path = path
        self._lock = lock
        self._reserve = reserve
        self._reserve_due = 0.0
        self._session = session
        self._keep_ms = keep_days * DAY_MS
        self._projection = Projection(session)
        self._seq = 0
        self._reconciled_seq = 0
        self._rows: list[tuple[object, ...]] = []
        self._changes: list[Statement] = []
        self._syncs: list[Sync] = []
        self._due = 0.0
        self._checkpoint: tuple[int, int] | None = None
        self._stale: list[Statement] = []
        self._closing: Close | None = None
        self.thread = threading.Thread(target=self._run, name="journal", daemon=True)

    @property
    def depth(self) -> int:
        """Items not on disk yet."""
        return self.queue.qsize() + self.waiting

    def _run(self) -> None:
        try:
            while self._closing is None:
                self._take()
                if self._syncs or self._closing or len(self._rows) >= GROUP_ROWS or time.monotonic() >= self._due:
                    self._commit()
                if self._stale and not self._rows:
                    self._prune()
            self._finish(self._closing)
        except SQLITE_ERRORS as why:
            self.failure = judge(why, self._path)
        except JournalTrouble as why:
            self.failure = why
        except OSError as why:
            self.failure = JournalBroken(f"{self._path.parent}: {why}")
        finally:
            self.failure = self.failure or self._unfinished()
            self._connection.close()
            self.ended.set()
            self._dismiss()

    def _unfinished(self) -> JournalTrouble | None:
        """Why rows were left behind, if any were: a bug, or what kept them from the disk to the end."""
        bug = sys.exception()
        if bug:
            return WriterDied(f"the journal's writer ended: {bug!r}")
        return self.trouble if self._rows else None

    def _dismiss(self) -> None:
        """Answers everyone who still waits; who asks after `ended` is set looks there."""
        with contextlib.suppress(queue.Empty):
            while True:
                item = self.queue.get_nowait()
                if isinstance(item, Sync):
                    self._syncs.append(item)
        self._syncs += self.watchers
        self._answer(self.failure)

    # -- what comes in

    def _take(self) -> None:
        """Waits for the next item no longer than the group may, then takes all that is there."""
        try:
            self._add(self.queue.get(timeout=self._patience()))
            while len(self._rows) < GROUP_ROWS and self._closing is None:
                self._add(self.queue.get_nowait())
        except queue.Empty:
            pass
        self.waiting = len(self._rows) + len(self._changes)

    def _patience(self) -> float | None:
        if self._stale and not self._rows:
            return 0.0
        if self._rows or self._changes:
            return max(0.0, self._due - time.monotonic())
        return None

    def _add(self, item: Item) -> None:
        match item:
            case Entry(now_ms, event, commands):
                self._open_group()
                self._seq += 1
                self._rows.append(self._row(now_ms, event, commands))
                self._changes += self._projection.statements(now_ms, event, commands)
            case Telemetry(statement):
                self._open_group()
                self._changes.append(statement)
            case Sync():
                self._syncs.append(item)
            case Close():
                self._closing = item

    def _open_group(self) -> None:
        if not self._rows and not self._changes:
            self._due = time.monotonic() + GROUP_S

    def _row(self, now_ms: int, event: AnyEvent, commands: list[AnyCommand]) -> tuple[object, ...]:
        checkpoint = None
        if isinstance(event, Reconciled):
            self._reconciled_seq = self._seq
        elif isinstance(event, History) and self._reconciled_seq:
            checkpoint, self._reconciled_seq = self._reconciled_seq, 0
            self._checkpoint = (self._seq, now_ms)
        key = (self._session, self._seq, now_ms)
        happened, led_to = encode_event(event), encode_commands(commands)
        return (*key, happened, led_to, checksum(*key, happened, led_to), checkpoint)

    # -- what goes to disk

    def _commit(self) -> None:
        """Writes the group and tells who waits. What may pass is tried again later; the rest raises."""
        try:
            if self._rows or self._changes:
                self._write()
        except SQLITE_ERRORS as why:
            if self._connection.in_transaction:
                self._connection.rollback()
            self.trouble = judge(why, self._path)
            if isinstance(self.trouble, JournalFull):
                self._reserve.release()
                self._reserve_due = time.monotonic() + RESERVE_S
            elif not isinstance(self.trouble, JournalLocked):
                raise
            self._due = time.monotonic() + RETRY_S
            self._answer(self.trouble)
            return
        self._rows.clear()
        self._changes.clear()
        self.waiting = 0
        self.trouble = None
        self._answer(None)
        if self._checkpoint:
            self._after_checkpoint(*self._checkpoint)
        if self._reserve.trouble and time.monotonic() >= self._reserve_due:
            self._reserve_due = time.monotonic() + RESERVE_S
            self._reserve.make()

    def _write(self) -> None:
        execute = self._connection.execute
        execute("begin immediate")
        self._connection.executemany(PUT_ROW, self._rows)
        for sql, values in self._changes:
            execute(sql, values)
        execute("commit")

    def _answer(self, trouble: JournalTrouble | None) -> None:
        for sync in self._syncs:
            sync.answered.set()
            with contextlib.suppress(RuntimeError):  # the loop has ended, and with it who waited
                sync.loop.call_soon_threadsafe(_resolve, sync.answer, trouble)
        self._syncs.clear()

    def _after_checkpoint(self, seq: int, now_ms: int) -> None:
        self._checkpoint = None
        self._lock.remember(Mark(self._session, seq))
        kept_ms = now_ms - self._keep_ms
        self._stale = [(PRUNE_NOTES, (kept_ms,)), (PRUNE_FORECASTS, (kept_ms,))]
        oldest = self._connection.execute(OLDEST_KEPT, (kept_ms,)).fetchone()
        if oldest:
            self._stale.append((PRUNE, tuple(oldest)))

    def _prune(self) -> None:
        """Deletes some rows of one table that are older than what is kept; idle time only."""
        sql, values = self._stale[-1]
        try:
            deleted = self._connection.execute(sql, (*values, PRUNE_ROWS)).rowcount
        except SQLITE_ERRORS as why:
            if not isinstance(judge(why, self._path), JournalFull | JournalLocked):
                raise
            deleted = 0  # the next checkpoint tries again
        if deleted < PRUNE_ROWS:
            self._stale.pop()

    def _finish(self, close: Close) -> None:
        if self._rows or self._changes:
            return
        ended = (close.ended_ms, close.exit, self._session)
        self._connection.execute("update sessions set ended_ms = ?, exit = ? where id = ?", ended)
        self._lock.remember(Mark(self._session, self._seq))


def _resolve(answer: asyncio.Future[None], trouble: JournalTrouble | None) -> None:
    if answer.done():
        return
    if trouble is None:
        answer.set_result(None)
    else:
        answer.set_exception(type(trouble)(*trouble.args))  # one each: a raised exception collects frames
