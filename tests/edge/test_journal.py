"""The journal told as what it promises: order, syncs, checkpoints, pruning, and what gives way."""

import asyncio
import sqlite3
import threading
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from bot.config import Storage
from bot.core.commands import Note
from bot.core.events import CandleClosed, Forecast, Forecasted, History, Reconciled, Wake
from bot.core.market import DAY_MS, MINUTE_MS
from bot.core.memory import genesis
from bot.edge import journal as journal_module
from bot.edge.database import FILE
from bot.edge.encoding import encode_commands, encode_event
from bot.edge.journal import Journal
from bot.edge.store import Store, Table
from bot.edge.trouble import JournalBehind, WriterDied
from tests.edge.journaling import SMALL, checkpoint, observe, opened, run, submit
from tests.making import COINS, START_MS, candle, filled, instruments, setup, walk


async def test_rows_come_back_in_the_order_they_were_taken(tmp_path: Path) -> None:
    """Every event, its time and its commands are read back in order, with the very bytes of the commands."""
    journal = opened(tmp_path)
    checkpoint(journal)
    for number in range(1_200):
        observe(journal, number)
    journal.append(7, Wake(), [submit(1)])
    await journal.close(START_MS, "done")
    with Store(tmp_path) as store:
        rows = list(store.rows(1))
    assert [row.seq for row in rows] == list(range(1, 1_204))
    assert encode_event(rows[2].event) == encode_event(CandleClosed(candle("BTC/USDT", START_MS)))
    assert rows[-1].record == encode_commands([submit(1)]) == encode_commands(rows[-1].commands)
    assert rows[-1].now_ms == 7


async def test_what_was_synced_is_on_disk(tmp_path: Path) -> None:
    """After sync returns, another connection sees the row; before that nothing is promised."""
    journal = opened(tmp_path)
    for number in range(20):
        observe(journal, number)
        await journal.sync()
        with Store(tmp_path) as store:
            assert sum(1 for _ in store.rows(1)) == number + 1
    await journal.close(START_MS, "done")


async def test_rows_reach_the_disk_without_a_sync(tmp_path: Path) -> None:
    """A row that nobody waits for is committed with its group, a moment later."""
    journal = opened(tmp_path)
    observe(journal, 0)
    async with asyncio.timeout(5):
        while journal.depth:
            await asyncio.sleep(0.01)
    with Store(tmp_path) as store:
        assert sum(1 for _ in store.rows(1)) == 1
    await journal.close(START_MS, "done")


async def test_a_row_and_what_it_shows_are_one_transaction(tmp_path: Path) -> None:
    """Whoever reads at any moment finds as many notes as journal rows: projections never lag or lead."""
    journal = opened(tmp_path)
    connection = sqlite3.connect(f"file:{tmp_path / FILE}?mode=ro", uri=True)
    for number in range(300):
        observe(journal, number)
        if number % 7 == 0:
            await journal.sync()
        rows, notes = connection.execute(
            "select (select count(*) from journal), (select count(*) from notes)"
        ).fetchone()
        assert rows == notes
    connection.close()
    await journal.close(START_MS, "done")


async def test_only_one_thread_ever_writes(tmp_path: Path) -> None:
    """One thread and one writing connection for a journal, gone after close."""
    journal = opened(tmp_path)
    assert [thread.name for thread in threading.enumerate()].count("journal") == 1
    await journal.close(START_MS, "done")
    assert "journal" not in [thread.name for thread in threading.enumerate()]


async def test_the_newest_whole_checkpoint_is_found(tmp_path: Path) -> None:
    """A session is resumed from the last Reconciled row that a History row completed, up to the last row."""
    journal = opened(tmp_path)
    checkpoint(journal)
    for number in range(10):
        observe(journal, number)
    checkpoint(journal)
    observe(journal, 11)
    journal.append(START_MS, Reconciled(genesis(setup(), 1, Decimal(1), instruments())), [])  # and then the power went
    await journal.close(START_MS, "done")
    with Store(tmp_path) as store:
        last = store.last_session()
        assert last is not None
        kinds = [type(row.event) for row in last.rows()]
    assert last.seq == 13
    assert kinds == [Reconciled, History, CandleClosed, Reconciled]


async def test_a_later_history_is_no_checkpoint(tmp_path: Path) -> None:
    """Candles fetched for a hole are a History row of their own: only Reconciled begins a checkpoint."""
    journal = opened(tmp_path)
    checkpoint(journal)
    observe(journal, 0)
    journal.append(START_MS, History(walk(3)), [])
    await journal.close(START_MS, "done")
    with Store(tmp_path) as store:
        last = store.last_session()
    assert last is not None
    assert last.seq == 1


async def test_a_session_that_died_early_is_where_the_next_begins(tmp_path: Path) -> None:
    """Its Reconciled row holds all that came before it: no row of an earlier session is read."""
    await run(tmp_path, 2)
    journal = opened(tmp_path)
    journal.append(START_MS, Reconciled(genesis(setup(), 2, Decimal(1), instruments())), [])
    journal.append(START_MS, Wake(), [])
    await journal.close(START_MS, "died")
    with Store(tmp_path) as store:
        last = store.last_session()
        assert last is not None
        places = [(row.session, row.seq) for row in last.rows()]
    assert last.session.id == 2
    assert places == [(2, 1), (2, 2)]


async def test_a_session_that_wrote_nothing_is_passed_over(tmp_path: Path) -> None:
    """Only its line among the sessions is there: the one before it has the state."""
    await run(tmp_path, 2)
    await opened(tmp_path).close(START_MS, "died")
    with Store(tmp_path) as store:
        last = store.last_session()
        assert last is not None
        assert [(row.session, row.seq) for row in last.rows()] == [(1, 1), (1, 2), (1, 3), (1, 4)]


async def test_nothing_decided_is_nothing_to_resume(tmp_path: Path) -> None:
    """A journal without a checkpoint has no last session."""
    await opened(tmp_path).close(START_MS, "done")
    with Store(tmp_path) as store:
        assert store.last_session() is None
        assert [found.id for found in store.sessions()] == [1]


async def test_a_session_says_how_it_ended(tmp_path: Path) -> None:
    """Sessions count up, keep their settings and symbols, and tell a good end from none."""
    await run(tmp_path, 0)
    journal = opened(tmp_path)
    await journal.sync()
    with Store(tmp_path) as store:
        first, second = store.sessions()
    assert (first.id, first.ended_ms, first.exit) == (1, START_MS, "done")
    assert (second.id, second.ended_ms, second.exit) == (2, None, None)
    assert second.settings == {"mode": "paper"}
    assert second.symbols == COINS
    await journal.close(START_MS, "done")


async def test_old_rows_are_pruned_at_a_checkpoint(tmp_path: Path) -> None:
    """Rows older than keep_days go, but never from the newest checkpoint on, and notes and forecasts with them."""
    journal = opened(tmp_path, Storage(reserve_mib=0, keep_days=2))
    for day in range(6):
        checkpoint(journal, START_MS + day * DAY_MS)
        for number in range(800):
            now_ms = START_MS + day * DAY_MS + number * MINUTE_MS
            journal.append(now_ms, Forecasted(Forecast(now_ms, np.zeros(3)), 0.1), [Note("n", str(number))])
        await journal.sync()
    async with asyncio.timeout(10):
        while _rows_before(tmp_path, 3 * 802 + 1) or _count(tmp_path, "notes") > 2_400:
            await asyncio.sleep(0.01)
    await journal.close(START_MS, "done")
    with Store(tmp_path) as store:
        kept = list(store.rows(1))
        notes, forecasts = store.newest("notes"), store.newest("forecasts")
    assert kept[0].seq == 3 * 802 + 1  # the checkpoint of day 3: two days and no less are kept
    assert isinstance(kept[0].event, Reconciled)
    assert [row.seq for row in kept] == list(range(kept[0].seq, 6 * 802 + 1))
    assert (len(notes), len(forecasts)) == (2_400, 2_400)
    assert notes[-1]["now_ms"] == forecasts[-1]["open_ms"] == START_MS + 3 * DAY_MS


async def test_the_accounts_history_is_never_pruned(tmp_path: Path) -> None:
    """Orders, fills and the equity curve stay, however long ago they were."""
    journal = opened(tmp_path, Storage(reserve_mib=0, keep_days=1))
    checkpoint(journal)
    journal.append(START_MS, Wake(), [submit(1), Note("old", "as old as the order")])
    journal.append(START_MS, filled(submit(1), "100.10"), [])
    journal.record_equity(START_MS, 10_000.0, 9_000.0, 0.1, 0.0, "RUNNING")
    checkpoint(journal, START_MS + 400 * DAY_MS)
    await journal.sync()
    async with asyncio.timeout(10):
        while _count(tmp_path, "notes"):
            await asyncio.sleep(0.01)
    await journal.close(START_MS, "done")
    with Store(tmp_path) as store:
        assert [len(store.newest(table)) for table in ("orders", "fills", "equity")] == [1, 1, 1]


def _count(folder: Path, table: Table) -> int:
    with Store(folder) as store:
        return len(store.newest(table))


def _rows_before(folder: Path, seq: int) -> int:
    connection = sqlite3.connect(f"file:{folder / FILE}?mode=ro", uri=True)
    count: int = connection.execute("select count(*) from journal where seq < ?", (seq,)).fetchone()[0]
    connection.close()
    return count


async def test_the_newest_checkpoint_is_kept_however_old(tmp_path: Path) -> None:
    """A bot that stood still for a year still finds where to go on."""
    journal = opened(tmp_path, Storage(reserve_mib=0, keep_days=1))
    checkpoint(journal, START_MS)
    checkpoint(journal, START_MS + 400 * DAY_MS)
    await journal.sync()
    await journal.close(START_MS, "done")
    with Store(tmp_path) as store:
        last = store.last_session()
        assert last is not None
        assert len(list(last.rows())) == 2


async def test_telemetry_gives_way_and_events_never(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the queue is half full equity rows are dropped and counted; a full queue refuses events by name."""
    monkeypatch.setattr(journal_module, "QUEUE_MAX", 40)
    journal = opened(tmp_path, Storage(reserve_mib=0, lock_wait_s=30))
    blocker = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    blocker.execute("begin immediate")
    with pytest.raises(JournalBehind) as refused:
        for number in range(60):
            observe(journal, number)
            journal.record_equity(number, 1.0, 1.0, 0.0, 0.0, "RUNNING")
    assert refused.value.exit_code == 74
    blocker.execute("rollback")
    blocker.close()
    await journal.sync()
    with Store(tmp_path) as store:
        events, points = len(list(store.rows(1))), len(store.newest("equity"))
    assert events == journal.rows
    assert journal.dropped > 0
    assert points + journal.dropped >= events - 1
    await journal.close(START_MS, "done")


async def test_a_writer_that_dies_is_noticed_by_everyone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that cannot be encoded is our bug: sync, append and watch all say so, with exit code 70."""
    journal = opened(tmp_path)
    watcher = asyncio.ensure_future(journal.watch())
    await asyncio.sleep(0)
    caught: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", caught.append)
    journal.append(1, CandleClosed(candle("\ud800", 1)), [])
    with pytest.raises(WriterDied, match="UnicodeEncodeError") as died:
        await journal.sync()
    assert died.value.exit_code == 70
    with pytest.raises(WriterDied):
        journal.append(1, Wake(), [])
    with pytest.raises(WriterDied):
        await watcher
    with pytest.raises(WriterDied):
        await journal.close(1, "bug")
    assert isinstance(caught[0].exc_value, UnicodeEncodeError)


async def test_watch_ends_with_the_journal(tmp_path: Path) -> None:
    """Watching a journal that is closed in good order just returns."""
    journal = opened(tmp_path)
    watcher = asyncio.ensure_future(journal.watch())
    await asyncio.sleep(0)
    assert not watcher.done()
    await journal.close(1, "done")
    async with asyncio.timeout(10):
        await watcher


async def test_a_journal_without_a_session_gives_the_folder_back(tmp_path: Path) -> None:
    """Opening and closing without a session leaves no lock behind."""
    await Journal(tmp_path, SMALL).close(1, "nothing to do")
    again = Journal(tmp_path, SMALL)
    assert again.trouble is None
    await again.close(1, "nothing to do")
