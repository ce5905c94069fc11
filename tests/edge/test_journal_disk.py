"""Disks that fill, fail and are held by others (faults P9, P10, P11): nothing unwritten is ever acted on."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from bot.config import Storage
from bot.edge.database import FILE
from bot.edge.reserve import MIB, Reserve
from bot.edge.store import Store
from bot.edge.trouble import JournalBroken, JournalFull, JournalLocked
from tests.edge.journaling import checkpoint, observe, opened

FAILING_FSYNC = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
static int broken(void) { return access(getenv("BROKEN_WHEN"), F_OK) == 0; }
int fdatasync(int file) {
    if (broken()) { errno = EIO; return -1; }
    return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(file);
}
int fsync(int file) {
    if (broken()) { errno = EIO; return -1; }
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(file);
}
"""


def python(program: str, *before: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Runs a test of this file in a process of its own."""
    line = f"import asyncio, sys; from tests.edge import test_journal_disk as test; asyncio.run(test.{program})"
    command = [*before, sys.executable, "-c", line]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=60
    )


def test_a_full_disk_gives_up_the_reserve_and_goes_on(tmp_path: Path) -> None:
    """Fault P9 on a real file system of 8 MiB: see `on_a_full_disk`."""
    if os.geteuid() or not shutil.which("unshare"):
        pytest.skip("mounting a small file system takes root and unshare")
    mount = f'mount -t tmpfs -o size=8m tmpfs {tmp_path} && exec "$@"'
    done = python(f"on_a_full_disk({str(tmp_path)!r})", "unshare", "-m", "sh", "-c", mount, "sh")
    if "mount:" in done.stderr:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "held\n"


async def on_a_full_disk(name: str) -> None:
    """The sync without room raises and deletes the reserve; the next writes; with room again the reserve is back."""
    folder = Path(name) / "data"
    journal = opened(folder, Storage(reserve_mib=1))
    checkpoint(journal)
    await journal.sync()
    ballast = Path(name) / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(name).free - MIB // 4))
    number = 0
    try:
        while True:
            observe(journal, number)
            number += 1
            await journal.sync()
            assert number < 10_000
    except JournalFull as full:
        assert full.fault == "P9"
    assert not (folder / "reserve").exists()
    await journal.sync()  # what could not be written is still there and now fits
    assert isinstance(journal.trouble, JournalFull)
    with Store(folder) as store:
        assert len(list(store.rows(1))) == journal.rows
    with pytest.raises(JournalFull):  # the reserve is used up too: still nothing is lost
        while True:
            observe(journal, number)
            number += 1
            await journal.sync()
    ballast.unlink()
    await journal.sync()
    with Store(folder) as store:
        assert len(list(store.rows(1))) == journal.rows
    await journal.close(1, "done")
    print("held")


async def test_a_full_database_keeps_what_it_could_not_write(tmp_path: Path) -> None:
    """SQLITE_FULL on any machine: sync raises JournalFull, and after room is made no row is missing."""
    journal = opened(tmp_path, Storage(reserve_mib=1))
    checkpoint(journal)
    await journal.sync()
    pages = journal._database.conn.execute("pragma page_count").fetchone()[0]
    journal._database.conn.execute(f"pragma max_page_count = {pages + 2}")
    with pytest.raises(JournalFull) as full:
        for number in range(10_000):
            observe(journal, number)
            await journal.sync()
    assert full.value.exit_code == 74
    assert not (tmp_path / "reserve").exists()
    journal._database.conn.execute("pragma max_page_count = 1000000")
    await journal.sync()
    await journal.close(1, "done")
    with Store(tmp_path) as store:
        assert len(list(store.rows(1))) == journal.rows


def test_a_write_the_disk_refuses_ends_the_writer(tmp_path: Path) -> None:
    """Fault P10, a real failing write (the process may not grow files): see `on_a_failing_disk`."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))"
    line = f"{limit}; import asyncio; from tests.edge import test_journal_disk as t; asyncio.run(t.on_a_failing_disk({str(tmp_path)!r}))"
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    rows = int(done.stdout)
    with Store(tmp_path) as store:
        assert len(list(store.rows(1))) >= rows


def test_a_failed_fsync_ends_the_writer(tmp_path: Path) -> None:
    """Fault P10, a real EIO from fsync (a shim under SQLite): never tried again; a restart finds what was synced."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        pytest.skip("the shim that makes fsync fail needs a C compiler")
    (tmp_path / "shim.c").write_text(FAILING_FSYNC)
    shim = str(tmp_path / "shim.so")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", shim, str(tmp_path / "shim.c"), "-ldl"], check=True)
    folder, broken = tmp_path / "data", tmp_path / "broken"
    done = python(f"on_a_failing_disk({str(folder)!r}, {str(broken)!r})", LD_PRELOAD=shim, BROKEN_WHEN=str(broken))
    assert done.returncode == 0, done.stderr
    with Store(folder) as store:
        assert len(list(store.rows(1))) >= int(done.stdout)


async def on_a_failing_disk(name: str, broken: str = "") -> None:
    """Writes until the disk fails; then every way to go on raises JournalBroken. Prints the rows synced."""
    journal = opened(Path(name), Storage(reserve_mib=0))
    checkpoint(journal)
    await journal.sync()
    synced = journal.rows
    with pytest.raises(JournalBroken) as failed:
        for number in range(10_000):
            if broken and number == 20:
                Path(broken).touch()
            observe(journal, number)
            await journal.sync()
            synced = journal.rows
    assert failed.value.exit_code == 74
    if broken:
        Path(broken).unlink()  # the disk says it is well again: too late
    with pytest.raises(JournalBroken):
        await journal.sync()
    with pytest.raises(JournalBroken):
        observe(journal, 0)
    with pytest.raises(JournalBroken):
        await journal.watch()
    with pytest.raises(JournalBroken):
        await journal.close(1, "broken")
    print(synced)


def holder(path: Path) -> "subprocess.Popen[str]":
    """Another process that holds the database's write lock until it is killed."""
    program = (
        f"import sqlite3; c = sqlite3.connect({str(path)!r}, isolation_level=None); c.execute('begin immediate');"
        "print('held', flush=True); input()"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


async def test_a_database_held_by_another_process_stops_the_order_not_the_bot(tmp_path: Path) -> None:
    """Fault P11: sync waits lock_wait_s, then raises; once the other lets go, everything is written after all."""
    journal = opened(tmp_path, Storage(reserve_mib=0, lock_wait_s=0.3))
    observe(journal, 0)
    await journal.sync()
    other = holder(tmp_path / FILE)
    loop = asyncio.get_running_loop()
    began = loop.time()
    observe(journal, 1)
    with pytest.raises(JournalLocked) as locked:
        await journal.sync()
    assert loop.time() - began >= 0.25
    assert locked.value.exit_code == 75
    assert isinstance(journal.trouble, JournalLocked)
    with Store(tmp_path) as store:
        assert len(list(store.rows(1))) == 1
    other.kill()
    other.communicate()
    observe(journal, 2)
    await journal.sync()
    assert journal.trouble is None
    with Store(tmp_path) as store:
        assert len(list(store.rows(1))) == 3
    await journal.close(1, "done")


async def test_a_lock_that_ends_in_time_delays_and_nothing_else(tmp_path: Path) -> None:
    """A backup tool that holds the lock for a moment costs that moment."""
    journal = opened(tmp_path, Storage(reserve_mib=0, lock_wait_s=5))
    other = holder(tmp_path / FILE)
    asyncio.get_running_loop().call_later(0.1, other.kill)
    observe(journal, 0)
    await journal.sync()
    assert other.wait() < 0  # what held the lock is gone: the journal waited for it
    await journal.close(1, "done")
    with Store(tmp_path) as store:
        assert len(list(store.rows(1))) == 1


async def test_a_reader_does_not_hold_up_the_bot(tmp_path: Path) -> None:
    """Fault Q11: while another connection stays in a read, syncs go on and the reader sees one moment of time."""
    journal = opened(tmp_path, Storage(reserve_mib=0, lock_wait_s=0.001))
    for number in range(100):
        observe(journal, number)
    await journal.sync()
    reader = sqlite3.connect(f"file:{tmp_path / FILE}?mode=ro", uri=True, isolation_level=None)
    reader.execute("begin")
    assert reader.execute("select count(*) from journal").fetchone() == (100,)
    for number in range(200):
        observe(journal, number)
        await journal.sync()  # a lock that were waited for would raise
    assert reader.execute("select count(*) from journal").fetchone() == (100,)
    reader.close()
    await journal.close(1, "done")


def test_no_room_for_the_reserve_is_trouble_and_no_refusal(tmp_path: Path) -> None:
    """With positions to look after a bot starts on a nearly full disk; the trouble says what to do."""
    reserve = Reserve(tmp_path, shutil.disk_usage(tmp_path).total // MIB)
    reserve.make()
    assert isinstance(reserve.trouble, JournalFull)
    assert not (tmp_path / "reserve").exists()
    small = Reserve(tmp_path, 1)
    small.make()
    assert small.trouble is None
    assert (tmp_path / "reserve").stat().st_size == MIB
