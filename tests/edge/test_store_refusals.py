"""Every reason not to start on a data folder, by name and exit code (faults P12, P13, P14, P29, P30)."""

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from sqlite_utils import Database

from bot.edge.database import APPLICATION, FILE, SCHEMA, back_up, connect, migrate, sqlite_doubt
from bot.edge.journal import Journal
from bot.edge.lock import FolderLock, Mark
from bot.edge.store import Store
from bot.edge.trouble import FolderUnusable, JournalCorrupt, JournalLocked, JournalNewer, JournalStale
from tests.edge.journaling import SMALL, opened, run


def change(folder: Path, sql: str) -> None:
    with sqlite3.connect(folder / FILE) as connection:
        connection.executescript(sql)
    connection.close()


@pytest.mark.parametrize("content", [b"", b"SQLite", b"not a database at all" * 100])
async def test_a_file_that_is_no_database_stays_as_it_is(tmp_path: Path, content: bytes) -> None:
    """Empty, cut or foreign: refused with 74, named, and never replaced by an empty one."""
    await run(tmp_path, 1)
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(JournalCorrupt, match="there is no backup") as refused:
        Journal(tmp_path, SMALL)
    assert refused.value.exit_code == 74
    assert str(tmp_path / FILE) in str(refused.value)
    assert (tmp_path / FILE).read_bytes() == content


async def test_a_database_that_is_gone_is_missed(tmp_path: Path) -> None:
    """The folder remembers its sessions: a deleted database is a refusal, not a fresh start."""
    await run(tmp_path, 1)
    (tmp_path / FILE).unlink()
    with pytest.raises(JournalCorrupt, match="session 1"):
        Journal(tmp_path, SMALL)
    assert not (tmp_path / FILE).exists()


async def test_the_newest_good_backup_is_named(tmp_path: Path) -> None:
    """Of several backups the newest one that is whole."""
    await run(tmp_path, 1)
    good, bad = (tmp_path / f"lacuna.schema-{number}.backup.sqlite" for number in (1, 2))
    connection = sqlite3.connect(tmp_path / FILE)
    back_up(connection, good)
    connection.close()
    os.utime(good, (1, 1))
    bad.write_bytes(good.read_bytes()[:5_000])
    (tmp_path / FILE).write_bytes(b"")
    with pytest.raises(JournalCorrupt, match=good.name):
        Journal(tmp_path, SMALL)


async def test_somebody_elses_database_is_refused(tmp_path: Path) -> None:
    """A sound SQLite file that is not ours is left alone."""
    change(tmp_path, "create table theirs (x)")
    with pytest.raises(JournalCorrupt, match="not a database of lacuna"):
        Journal(tmp_path, SMALL)


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """Fault P13: what a newer version wrote is not touched; exit code 78."""
    await run(tmp_path, 1)
    change(tmp_path, f"pragma user_version = {SCHEMA + 1}")
    with pytest.raises(JournalNewer, match=f"schema {SCHEMA + 1}") as refused:
        Journal(tmp_path, SMALL)
    assert refused.value.exit_code == 78
    with pytest.raises(JournalNewer):
        Store(tmp_path)


async def test_an_older_schema_is_backed_up_and_migrated(tmp_path: Path) -> None:
    """Fault P13: the steps run in one transaction, and the backup holds what was there before."""
    await run(tmp_path, 3)
    database = connect(tmp_path / FILE, 1.0)

    def add_a_column(changed: Database) -> None:
        changed.conn.execute("alter table equity add column mood text")

    migrate(database, tmp_path / FILE, SCHEMA + 1, {SCHEMA: add_a_column})
    assert "mood" in {column.name for column in database["equity"].columns}
    assert database.conn.execute("pragma user_version").fetchone() == (SCHEMA + 1,)
    database.close()
    backup = sqlite3.connect(tmp_path / f"lacuna.schema-{SCHEMA}.backup.sqlite")
    assert backup.execute("pragma user_version").fetchone() == (SCHEMA,)
    assert backup.execute("select count(*) from journal").fetchone() == (5,)
    backup.close()


async def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    """Half a migration is rolled back, the version stays, and the error is shown."""
    await run(tmp_path, 3)
    database = connect(tmp_path / FILE, 1.0)

    def half(changed: Database) -> None:
        changed.conn.execute("alter table equity add column mood text")
        changed.conn.execute("alter table nothing add column mood text")

    with pytest.raises(sqlite3.OperationalError):
        migrate(database, tmp_path / FILE, SCHEMA + 1, {SCHEMA: half})
    assert "mood" not in {column.name for column in database["equity"].columns}
    assert database.conn.execute("pragma user_version").fetchone() == (SCHEMA,)
    database.close()


async def test_yesterdays_copy_is_noticed(tmp_path: Path) -> None:
    """Fault P14: a database older than the folder remembers is refused with both places named."""
    await run(tmp_path, 3)
    shutil.copy(tmp_path / FILE, tmp_path / "yesterday")
    await run(tmp_path, 3)
    shutil.copy(tmp_path / "yesterday", tmp_path / FILE)
    with pytest.raises(JournalStale, match="session 1 .* session 2") as refused:
        Journal(tmp_path, SMALL)
    assert refused.value.exit_code == 78


async def test_a_copy_without_its_log_is_noticed(tmp_path: Path) -> None:
    """Fault P14: rows that stood only in the -wal file are missed, though the session is there."""
    await run(tmp_path, 3)
    lock = FolderLock(tmp_path)
    lock.remember(Mark(1, 6))
    lock.release()
    with pytest.raises(JournalStale, match="at row 5.*at row 6"):
        Journal(tmp_path, SMALL)


async def test_a_crash_while_the_file_is_made_leaves_none(tmp_path: Path) -> None:
    """Fault P30: half a new database is never taken for one; the next start makes a whole one."""
    for name in ("lacuna.unfinished", "lacuna.unfinished-wal", "lacuna.unfinished-shm"):
        (tmp_path / name).write_bytes(b"half")
    await opened(tmp_path).close(1, "done")
    assert not list(tmp_path.glob("lacuna.unfinished*"))
    with Store(tmp_path) as store:
        assert [session.id for session in store.sessions()] == [1]


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    """Fault P29: a path that cannot be a folder says which setting to change; exit code 74."""
    (tmp_path / "file").write_text("here already")
    with pytest.raises(FolderUnusable, match=r"storage\.folder") as refused:
        Journal(tmp_path / "file", SMALL)
    assert refused.value.exit_code == 74


async def test_another_users_folder_is_refused(tmp_path: Path) -> None:
    """Fault P29: a folder or database of another owner is a refusal, and its content stays."""
    await run(tmp_path / "data", 1)
    if os.geteuid():
        pytest.skip("becoming another user takes root")
    for path in (tmp_path.parent.parent, tmp_path.parent, tmp_path):
        path.chmod(0o755)
    program = (
        "import os; from pathlib import Path; from bot.edge.journal import Journal; from tests.edge.journaling import *\n"
        "from bot.edge.trouble import FolderUnusable\n"
        "os.setgid(65534); os.setuid(65534)\n"
        f"try: Journal(Path({str(tmp_path / 'data')!r}), SMALL)\n"
        "except FolderUnusable as why: print(why.exit_code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "74\n", done.stderr


async def test_a_database_held_at_the_start_is_try_later(tmp_path: Path) -> None:
    """Another process that writes while we start: exit code 75 after the wait."""
    await run(tmp_path, 1)
    other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    other.execute("begin immediate")
    journal = Journal(tmp_path, SMALL)
    with pytest.raises(JournalLocked) as refused:
        journal.open_session(1, {}, ())
    assert refused.value.exit_code == 75
    other.close()
    await journal.close(1, "")


async def test_only_the_owner_can_read_the_files(tmp_path: Path) -> None:
    """Fault S18: nothing in the folder is readable by group or others."""
    folder = tmp_path / "data"
    journal = opened(folder)
    await journal.sync()
    assert {path.name for path in folder.iterdir()} >= {FILE, f"{FILE}-wal", "lock", "reserve"}
    for path in (folder, *folder.iterdir()):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path
    await journal.close(1, "done")


async def test_every_commit_is_synced(tmp_path: Path) -> None:
    """The writing connection runs WAL with synchronous = FULL; anything less loses commits in a power cut."""
    journal = opened(tmp_path)
    connection = journal._database.conn
    assert connection.execute("pragma journal_mode").fetchone() == ("wal",)
    assert connection.execute("pragma synchronous").fetchone() == (2,)
    assert connection.execute("pragma foreign_keys").fetchone() == (1,)
    assert connection.execute("pragma application_id").fetchone() == (APPLICATION,)
    await journal.close(1, "done")


def test_an_sqlite_that_can_damage_a_log_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault P15: below 3.51.3 the start warns, from there on it does not."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 51, 2))
    assert "read-only" in sqlite_doubt()
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 51, 3))
    assert sqlite_doubt() == ""
