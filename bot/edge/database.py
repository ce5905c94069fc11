"""The SQLite file: its tables, and every reason not to open it.

One process writes, through one connection; readers open it read-only and never checkpoint (fault P15).
A file that is damaged, cut, foreign, newer or older than the folder remembers is refused by name, never
replaced (P12 to P14). A new one is made beside its place and renamed into it, so a crash leaves none or a
whole one (P30). Files are readable by their owner alone (S18).
"""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from sqlite_utils import Database

from bot.edge.lock import FolderLock, Mark
from bot.edge.trouble import (
    FolderUnusable,
    JournalBroken,
    JournalCorrupt,
    JournalFull,
    JournalLocked,
    JournalNewer,
    JournalStale,
    JournalTrouble,
)

FILE = "lacuna.sqlite"
BACKUPS = "lacuna.schema-*.backup.sqlite"
APPLICATION = 0x4C61636E  # "Lacn", the file's own mark in its header
MAGIC = b"SQLite format 3\x00"
SAFE_SQLITE = (3, 51, 3)
SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)  # the second where a damaged file's bytes stand in the message

SCHEMA = 1
TABLES = """
create table sessions (
    id integer primary key, started_ms integer not null, ended_ms integer, exit text,
    version text not null, settings text not null, symbols text not null
) strict;
create table journal (
    session integer not null references sessions (id), seq integer not null, now_ms integer not null,
    event blob not null, commands blob not null, checksum integer not null,
    checkpoint integer, -- on a History row: the seq of the Reconciled row that it completes
    primary key (session, seq)
) strict, without rowid;
create index checkpoints on journal (session, seq) where checkpoint is not null;
create table orders (
    client_id text primary key, session integer not null references sessions (id), symbol text not null,
    side text not null, quantity text not null, limit_price text, state text not null, filled text not null,
    open_ms integer not null, created_ms integer not null, updated_ms integer not null,
    reason text not null, answer text not null
) strict;
create index orders_by_time on orders (created_ms);
create table fills (
    symbol text not null, trade_id text not null, client_id text not null references orders (client_id),
    session integer not null references sessions (id), side text not null, quantity text not null,
    price text not null, fee text not null, fee_asset text not null, time_ms integer not null,
    primary key (symbol, trade_id)
) strict;
create index fills_by_time on fills (time_ms);
create table equity (
    open_ms integer primary key, equity real not null, cash real not null, exposure real not null,
    drawdown real not null, risk text not null
) strict;
create table forecasts (
    open_ms integer primary key, seconds real not null, coins integer not null, mean real, spread real
) strict;
create table notes (
    id integer primary key, session integer not null references sessions (id), now_ms integer not null,
    code text not null, fault text not null, symbol text not null, text text not null
) strict;
create index notes_by_time on notes (now_ms);
"""

Migration = Callable[[Database], None]
MIGRATIONS: dict[int, Migration] = {}  # from schema n to n + 1


def open_database(lock: FolderLock, lock_wait_s: float) -> Database:
    """The one writing connection, checked and ready. Who calls holds the folder's lock."""
    path = lock.folder / FILE
    mark = lock.mark()
    try:
        if not path.exists():
            _create(path, mark)
        database = connect(path, lock_wait_s)
        try:
            migrate(database, path, SCHEMA, MIGRATIONS)
            _check(database, path)
            _check_age(database, path, mark)
        except BaseException:
            database.close()
            raise
    except SQLITE_ERRORS as why:
        raise judge(why, path) from why
    except OSError as why:
        raise FolderUnusable(f"cannot write {path}: {why.strerror}; set storage.folder to one you own") from why
    return database


def connect(path: Path, lock_wait_s: float) -> Database:
    """Opens an existing file for writing: WAL, every commit synced, foreign keys on."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise _corrupt(path, "it does not begin as an SQLite file does")
    if not os.access(path, os.W_OK):
        raise FolderUnusable(f"cannot write {path}: set storage.folder to one you own")
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=lock_wait_s,
        isolation_level=None,
        check_same_thread=False,  # opened at start, then used by the writer thread alone
    )
    try:
        if connection.execute("pragma journal_mode = wal").fetchone()[0] != "wal":
            raise FolderUnusable(f"{path} cannot keep a write-ahead log: put storage.folder on a local disk")
        connection.execute("pragma synchronous = full")
        connection.execute("pragma foreign_keys = on")
        connection.execute("pragma temp_store = memory")  # needs no descriptor later (fault P21)
        return Database(connection, execute_plugins=False)
    except BaseException:
        connection.close()
        raise


def migrate(database: Database, path: Path, schema: int, migrations: dict[int, Migration]) -> None:
    """Brings an older database up to `schema`, in one transaction and after a backup (fault P13)."""
    connection = database.conn
    if connection.execute("pragma application_id").fetchone()[0] != APPLICATION:
        raise _corrupt(path, "it is not a database of lacuna")
    found = int(connection.execute("pragma user_version").fetchone()[0])
    if found > schema:
        text = f"{path} has schema {found}, this version knows {schema}: run the version that wrote it, or a newer one"
        raise JournalNewer(text)
    if found == schema:
        return
    backup = path.with_name(f"lacuna.schema-{found}.backup.sqlite")
    back_up(connection, backup)
    connection.execute("begin immediate")
    try:
        for step in range(found, schema):
            migrations[step](database)
        connection.execute(f"pragma user_version = {schema}")
        connection.execute("commit")
    finally:
        if connection.in_transaction:
            connection.rollback()


def back_up(connection: sqlite3.Connection, target: Path) -> None:
    """A whole copy of the database in `target`, in place only when it is complete."""
    unfinished = target.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    _touch(unfinished)
    with sqlite3.connect(unfinished) as copy:
        connection.backup(copy)
    copy.close()
    _settle(unfinished, target)


def judge(why: sqlite3.Error | UnicodeDecodeError, path: Path) -> JournalTrouble:
    """Which trouble an SQLite error is."""
    code = getattr(why, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if isinstance(why, UnicodeDecodeError):
        code = sqlite3.SQLITE_CORRUPT
    text = f"{path}: {why}"
    match code:
        case sqlite3.SQLITE_FULL:
            return JournalFull(f"{text}: make room on the disk of {path.parent}")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return JournalLocked(f"{text}: another process holds it, close that one")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return _corrupt(path, str(why))
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return FolderUnusable(f"{text}: set storage.folder to one you can write")
        case _:
            return JournalBroken(text)


def sqlite_doubt() -> str:
    """Why this SQLite deserves a warning at start, or "" (fault P15)."""
    if sqlite3.sqlite_version_info >= SAFE_SQLITE:
        return ""
    return f"SQLite {sqlite3.sqlite_version} can damage a log that two connections write: open it read-only elsewhere"


def _create(path: Path, mark: Mark) -> None:
    if mark.session:
        raise _corrupt(path, f"it is gone, though {path.parent} remembers session {mark.session}")
    if path.with_name(f"{FILE}-wal").exists():
        raise _corrupt(path, "it is gone, though its log is there")
    unfinished = path.with_suffix(".unfinished")
    for left in path.parent.glob(f"{unfinished.name}*"):
        left.unlink()
    _touch(unfinished)
    connection = sqlite3.connect(unfinished)
    connection.executescript(
        f"pragma journal_mode = wal; begin; {TABLES} pragma application_id = {APPLICATION};"
        f" pragma user_version = {SCHEMA}; commit;"
    )
    connection.close()
    _settle(unfinished, path)


def _check(database: Database, path: Path) -> None:
    """Reads every page; damage inside a row's own bytes is what the rows' checksums are for."""
    found = database.conn.execute("pragma quick_check(1)").fetchone()[0]
    if found != "ok":
        raise _corrupt(path, found)


def _check_age(database: Database, path: Path, mark: Mark) -> None:
    row = database.conn.execute("select session, seq from journal order by session desc, seq desc limit 1").fetchone()
    session = database.conn.execute("select coalesce(max(id), 0) from sessions").fetchone()[0]
    have = Mark(session, row[1] if row and row[0] == session else 0)
    if have < mark:
        text = (
            f"{path} ends in session {have.session} at row {have.seq}, {path.parent} remembers session "
            f"{mark.session} at row {mark.seq}: an older copy, or one without its -wal file; bring back the newest"
        )
        raise JournalStale(text)


def _corrupt(path: Path, what: str) -> JournalCorrupt:
    text = f"{path} cannot be used: {what}"
    backup = _newest_backup(path.parent)
    return JournalCorrupt(f"{text}; the newest good backup is {backup}" if backup else f"{text}; there is no backup")


def _newest_backup(folder: Path) -> Path | None:
    for backup in sorted(folder.glob(BACKUPS), key=lambda file: file.stat().st_mtime, reverse=True):
        try:
            connection = sqlite3.connect(f"{backup.absolute().as_uri()}?mode=ro", uri=True)
            good = connection.execute("pragma quick_check(1)").fetchone()[0] == "ok"
            connection.close()
        except sqlite3.Error:
            continue
        if good:
            return backup
    return None


def _touch(path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def _settle(unfinished: Path, path: Path) -> None:
    """Gives a finished file its name for good: fsync, rename, fsync of the folder (fault P30)."""
    for step in (unfinished, None, path.parent):
        if step is None:
            unfinished.replace(path)
            continue
        handle = os.open(step, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
