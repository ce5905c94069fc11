"""The books of a folder, also where its journal does not begin at the beginning any more."""

import sqlite3
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec.structs import replace

from bot.audit import audit
from bot.core.events import Reconciled
from bot.core.snapshot import Snapshot
from bot.edge.database import FILE
from bot.edge.store import Store
from bot.session import recover_state, replay_all
from tests.making import walk
from tests.recording import HISTORY, Session, record

CHECKPOINT = HISTORY + 20


def prune(folder: Path, session: int, seq: int) -> None:
    """Deletes every row before this one, as the journal's writer does, perhaps not to its end."""
    with sqlite3.connect(folder / FILE) as disk:
        disk.execute("delete from journal where (session, seq) < (?, ?)", (session, seq))
    disk.close()


def checkpoint_of(folder: Path) -> int:
    """The second Reconciled row of the first session."""
    with Store(folder) as store:
        return [row.seq for row in store.rows(1) if isinstance(row.event, Reconciled)][1]


def audited(folder: Path) -> tuple[list[str], Snapshot]:
    with Store(folder) as store:
        state = recover_state(store)
        assert state is not None
        return audit(store, state), state


@pytest.mark.parametrize("rows_left", [0, 7])
async def test_the_books_open_with_the_first_checkpoint_that_is_kept(tmp_path: Path, rows_left: int) -> None:
    """Pruned up to a checkpoint, or almost: holdings, cash and fees of before are where the fills go on from."""
    await record(tmp_path, checkpoint_at=CHECKPOINT)
    seq = checkpoint_of(tmp_path)
    with Store(tmp_path) as store:
        opening = next(row.event for row in store.rows(1, seq))
    assert isinstance(opening, Reconciled)
    assert opening.snapshot.holdings and opening.snapshot.fees
    prune(tmp_path, 1, seq - rows_left)
    assert audited(tmp_path)[0] == []
    with Store(tmp_path) as store:
        assert all(one.identical for _, one in replay_all(store))


async def test_books_of_a_pruned_journal_still_tell_what_is_wrong(tmp_path: Path) -> None:
    """A coin, a cent or a fee too much is found, on either side of the pruning."""
    await record(tmp_path, checkpoint_at=CHECKPOINT)
    prune(tmp_path, 1, checkpoint_of(tmp_path))
    state = audited(tmp_path)[1]
    held, *others = state.holdings
    asset = next(iter(state.fees))
    wrong = {
        held.symbol: replace(state, holdings=tuple(others)),
        "cash": replace(state, cash=state.cash + Decimal("0.01")),
        f"fees of .* {asset}": replace(state, fees=state.fees | {asset: Decimal(0)}),
    }
    for said, other in wrong.items():
        with Store(tmp_path) as store, pytest.raises(AssertionError, match=said):
            assert audit(store, other) == []


async def test_books_go_on_through_sessions_of_which_one_was_pruned_away(tmp_path: Path) -> None:
    """The first session is gone, the second's opening state stands for it."""
    panel = walk(HISTORY + 40)
    for start in (HISTORY, HISTORY + 20):
        session = Session(tmp_path, panel, start)
        for row in range(start, start + 20):
            session.minute(row)
        await session.journal.close(session.now_ms, "stopped")
    prune(tmp_path, 2, 1)
    assert audited(tmp_path)[0] == []
