"""Kills and power cuts: committed stays committed (faults P3, P8, P16; invariant I25)."""

import asyncio
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from bot.edge.database import FILE
from bot.edge.journal import Journal
from bot.edge.store import Store
from bot.edge.trouble import AlreadyRunning, JournalCorrupt, JournalTrouble
from tests.edge.journaling import SMALL, checkpoint, observe, opened

WAL = f"{FILE}-wal"


def bot(folder: Path) -> "subprocess.Popen[str]":
    """Another process that writes in this folder until it is killed."""
    program = f"from pathlib import Path; from tests.edge.journaling import *; write_for_ever(Path({str(folder)!r}))"
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)


def rows_of(folder: Path, session: int) -> int:
    """How many rows of a session are readable: all of them, in order, each with its checksum."""
    with Store(folder) as store:
        seqs = [row.seq for row in store.rows(session)]
    assert seqs == list(range(1, len(seqs) + 1))
    return len(seqs)


def test_a_kill_loses_nothing_that_was_synced(tmp_path: Path) -> None:
    """SIGKILL at random moments: every row that was acknowledged is there, without a gap, session after session."""
    chance = random.Random(8)
    for session in range(1, 7):
        process = bot(tmp_path)
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(chance.randrange(1, 60))]
        process.send_signal(signal.SIGKILL)
        said += process.stdout.readlines()
        process.wait()
        whole = [line.split() for line in said if line.endswith("\n")]
        assert int(whole[-1][0]) == session
        assert rows_of(tmp_path, session) >= int(whole[-1][1])
    connection = sqlite3.connect(tmp_path / FILE)
    assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
    assert connection.execute("pragma foreign_key_check").fetchall() == []
    with Store(tmp_path) as store:
        last = store.last_session()
        assert last is not None
        assert last.session.id == 6
        assert len(list(last.rows())) == rows_of(tmp_path, 6)


async def test_a_second_bot_on_the_folder_is_refused_and_a_dead_one_leaves_nothing(tmp_path: Path) -> None:
    """Fault P16: while another process holds the folder we refuse with 75; killed, its lock is gone with it."""
    process = bot(tmp_path)
    assert process.stdout is not None
    process.stdout.readline()
    with pytest.raises(AlreadyRunning) as refused:
        Journal(tmp_path, SMALL)
    assert refused.value.exit_code == 75
    assert str(tmp_path) in str(refused.value)
    process.kill()
    process.communicate()
    await opened(tmp_path).close(1, "done")


async def test_a_power_cut_loses_nothing_that_was_synced(tmp_path: Path) -> None:
    """Fault P8: whatever the disk kept of the bytes after the last fsync, cut anywhere or torn, the synced rows stay."""
    chance = random.Random(5)
    live, cut = tmp_path / "live", tmp_path / "cut"
    journal = opened(live)
    checkpoint(journal)
    for _ in range(12):
        for number in range(chance.randrange(1, 40)):
            observe(journal, number)
        await journal.sync()
        synced, durable = journal.rows, (live / WAL).stat().st_size
        for number in range(chance.randrange(1, 300)):
            observe(journal, number)
        await journal.sync()
        for _ in range(3):
            _copy(live, cut)
            _tear(cut / WAL, durable, chance)
            assert rows_of(cut, 1) >= synced
            reopened = Journal(cut, SMALL)
            reopened.open_session(1, {}, ())
            await reopened.close(1, "done")
            assert rows_of(cut, 1) >= synced
    await journal.close(1, "done")


async def test_files_copied_at_any_moment_hold_what_was_synced(tmp_path: Path) -> None:
    """Also across checkpoints of the log: a copy taken right after a sync holds every row before it."""
    live, copy = tmp_path / "live", tmp_path / "copy"
    journal = opened(live)
    checkpoint(journal)
    wrapped = 0
    size = 0
    for _ in range(20):
        for number in range(500):
            observe(journal, number)
        await journal.sync()
        wrapped += (live / WAL).stat().st_size == size
        size = (live / WAL).stat().st_size
        _copy(live, copy)
        assert rows_of(copy, 1) == journal.rows
    await journal.close(1, "done")
    assert wrapped, "the log never began anew, so nothing was shown"


def test_a_cut_or_flipped_database_never_reads_as_a_good_one(tmp_path: Path) -> None:
    """Fault P12: after damage anywhere the start refuses, or every row it gives is one that was written."""
    process = bot(tmp_path / "live")
    assert process.stdout is not None
    for _ in range(60):
        process.stdout.readline()
    process.kill()
    process.communicate()
    connection = sqlite3.connect(tmp_path / "live" / FILE)
    connection.execute("pragma wal_checkpoint(truncate)")
    connection.close()
    with Store(tmp_path / "live") as store:
        written = [(row.seq, row.record) for row in store.rows(1)]
    size = (tmp_path / "live" / FILE).stat().st_size
    chance, refused = random.Random(3), 0
    for number in range(60):
        _copy(tmp_path / "live", tmp_path / "hurt")
        with (tmp_path / "hurt" / FILE).open("r+b") as file:
            if number % 3:
                file.seek(chance.randrange(size))
                file.write(chance.randbytes(16))
            else:
                file.truncate(chance.randrange(size))
        try:
            asyncio.run(Journal(tmp_path / "hurt", SMALL).close(1, "read"))
            with Store(tmp_path / "hurt") as store:
                assert [(row.seq, row.record) for row in store.rows(1)] == written
        except JournalCorrupt as why:
            refused += 1
            assert FILE in str(why)
        except JournalTrouble as why:
            assert "schema" in str(why) or "older copy" in str(why)
    assert refused >= 20  # at least every cut


def _copy(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for name in (FILE, WAL):
        if (source / name).exists():
            shutil.copy(source / name, target / name)


def _tear(wal: Path, durable: int, chance: random.Random) -> None:
    """What a disk may have kept: all before `durable`, anything of the rest."""
    size = wal.stat().st_size
    keep = chance.randrange(durable, size + 1)
    with wal.open("r+b") as file:
        file.truncate(keep)
        if keep > durable and chance.random() < 0.5:
            file.seek(chance.randrange(durable, keep))
            file.write(chance.randbytes(min(512, keep - durable)))
