"""Recovery: one session's rows, decided the same again or not gone on with, and nothing replayed behind a clean stop."""

import sqlite3
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from bot.config import BadConfiguration, Settings
from bot.core.commands import AnyCommand, Submit
from bot.core.events import Reconciled
from bot.core.market import MINUTE_MS, Side
from bot.core.memory import remember
from bot.core.snapshot import Order, Snapshot, State
from bot.edge.database import FILE
from bot.edge.encoding import encode_commands, encode_event
from bot.edge.journal import Journal
from bot.edge.store import Row, Store, checksum
from bot.session import Diverged, build_engine, continue_from, recorded_as, recover, recover_state, replay_all
from tests.making import COINS, instruments, walk
from tests.recording import HISTORY, SETTINGS, Session, record

MORE = (*COINS, "XRP/USDT")
FIVE = SETTINGS.model_copy(update={"market": SETTINGS.market.model_copy(update={"timeframe": "5m"})})


async def stopped(folder: Path) -> Session:
    """A session that ended as a clean stop ends: a checkpoint is its last word."""
    session = Session(folder, walk(HISTORY + 40))
    for row in range(HISTORY, HISTORY + 40):
        session.minute(row)
    session.checkpoint()
    await session.journal.close(session.now_ms, "stopped")
    return session


async def begun(folder: Path, symbols: tuple[str, ...], settings: Settings = SETTINGS) -> Snapshot:
    """A session that died before it had its history; the state it began with."""
    journal = Journal(folder, settings.storage)
    with Store(folder) as store:
        past = recover(store, settings)
    engine = build_engine(settings, symbols, 0)
    number = journal.open_session(1, recorded_as(settings, 0), symbols)
    snapshot = continue_from(past, engine, number, Decimal(1), instruments(symbols))
    journal.append(1, Reconciled(snapshot), engine.handle(Reconciled(snapshot), 1))
    await journal.close(1, "stopped")
    return snapshot


def forge(folder: Path, row: Row, commands: list[AnyCommand]) -> None:
    """The journal of a version that decided otherwise at this row: its commands, and a checksum that agrees."""
    forged = encode_commands(commands)
    with sqlite3.connect(folder / FILE) as disk:
        key = (row.session, row.seq)
        event = disk.execute("select event from journal where (session, seq) = (?, ?)", key).fetchone()[0]
        values = (forged, checksum(*key, row.now_ms, event, forged), *key)
        disk.execute("update journal set commands = ?, checksum = ? where (session, seq) = (?, ?)", values)
    disk.close()


def first_order(folder: Path) -> Row:
    with Store(folder) as store:
        return next(row for row in store.rows(1) if any(isinstance(one, Submit) for one in row.commands))


def recovered(folder: Path, settings: Settings = SETTINGS) -> Snapshot:
    with Store(folder) as store:
        past = recover(store, settings)
    assert past is not None
    return past


async def test_a_start_that_died_before_its_history_does_not_bar_the_next(tmp_path: Path) -> None:
    """Another universe, stopped before its first History: the next start has all that the last but one left."""
    first = await record(tmp_path)
    grown = await begun(tmp_path, MORE)
    past = recovered(tmp_path)
    assert past.symbols == MORE
    assert past.holdings == first.engine.ledger.positions()
    assert (past.cash, past.decided_ms) == (first.engine.ledger.cash, first.engine.decided_ms)
    assert encode_state(past) == encode_state(grown)
    with Store(tmp_path) as store:
        assert all(one.identical for _, one in replay_all(store))


async def test_a_start_that_died_before_its_history_forgets_no_forecasts(tmp_path: Path) -> None:
    """The z-score's past comes through any number of starts that reached nothing."""
    first = await record(tmp_path)
    kept = remember(first.engine, 1, first.engine.strategy.rows)
    assert len(kept.forecasts_open_ms)
    for _ in range(2):
        await begun(tmp_path, COINS)
    past = recovered(tmp_path)
    np.testing.assert_array_equal(past.forecasts_open_ms, kept.forecasts_open_ms)
    np.testing.assert_array_equal(past.forecasts, kept.forecasts)


def encode_state(snapshot: Snapshot) -> bytes:
    return encode_event(Reconciled(snapshot))


async def test_a_version_that_decides_otherwise_does_not_go_on(tmp_path: Path) -> None:
    """What the account went through is not what this version would have done: 78, the row, and what to do."""
    await record(tmp_path)
    row = first_order(tmp_path)
    forge(tmp_path, row, [])
    with Store(tmp_path) as store, pytest.raises(Diverged) as refused:
        recover(store, SETTINGS)
    assert refused.value.exit_code == 78
    for said in (f"session 1 row {row.seq}: Forecasted", "name another storage.folder", "stop that one", str(tmp_path)):
        assert said in str(refused.value)
    with Store(tmp_path) as store:
        assert recover_state(store) is not None  # whoever only reads, reads


async def test_behind_a_clean_stop_any_version_goes_on(tmp_path: Path) -> None:
    """A checkpoint that nothing follows is the state: not one decision before it is made again."""
    session = await stopped(tmp_path)
    forge(tmp_path, first_order(tmp_path), [])
    past = recovered(tmp_path)
    kept = remember(session.engine, 1, session.engine.strategy.rows)
    assert encode_state(past) == encode_state(kept)


async def test_behind_a_clean_stop_settings_may_have_been_renamed(tmp_path: Path) -> None:
    """A setting that this version does not know stops no start behind a checkpoint, and is named by any other."""
    for folder, make in (("stopped", stopped), ("died", record)):
        session = await make(tmp_path / folder)
        with sqlite3.connect(tmp_path / folder / FILE) as disk:
            disk.execute("update sessions set settings = json_set(settings, '$.settings.risk.old_name', 1)")
        disk.close()
    assert recovered(tmp_path / "stopped").cash == session.engine.ledger.cash
    with pytest.raises(Diverged, match=r"risk\.old_name"):
        recovered(tmp_path / "died")


async def test_a_session_behind_a_clean_stop_goes_on_and_replays(tmp_path: Path) -> None:
    """After the last checkpoint come a new session and its trades; all of it is identical."""
    await stopped(tmp_path)
    panel = walk(HISTORY + 60)
    session = Session(tmp_path, panel, HISTORY + 40)
    for row in range(HISTORY + 40, HISTORY + 60):
        session.minute(row)
    await session.journal.close(session.now_ms, "stopped")
    assert recovered(tmp_path).holdings == session.engine.ledger.positions()
    with Store(tmp_path) as store:
        found = dict(replay_all(store))
    assert [one.identical for one in found.values()] == [True, True]


async def test_a_recorded_session_is_read_without_todays_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that sets a strategy's setting, in the only way a shell can name one, bars no recovery."""
    session = await record(tmp_path)
    monkeypatch.setenv("LACUNA__STRATEGIES__MASKED_DIVERGENCE__DIVERGENCE_THRESHOLD", "0.5")
    assert recovered(tmp_path).cash == session.engine.ledger.cash


async def test_a_folder_of_another_quote_is_refused(tmp_path: Path) -> None:
    """Fault A10: cash in one currency is not cash in another."""
    await record(tmp_path, minutes=2)
    other = SETTINGS.model_copy(update={"market": SETTINGS.market.model_copy(update={"quote": "FDUSD"})})
    with pytest.raises(
        BadConfiguration, match=r"storage\.folder: belongs to paper on binance in USDT, not .* in FDUSD"
    ):
        recovered(tmp_path, other)


async def test_forecasts_of_another_interval_are_forgotten(tmp_path: Path) -> None:
    """What was inferred for minutes says nothing of five of them; what is owned and the marks stay."""
    await record(tmp_path)
    past = recovered(tmp_path)
    assert len(past.forecasts_open_ms)
    now = continue_from(past, build_engine(FIVE, COINS, 0), 2, Decimal(1), instruments())
    assert now.interval_ms == 5 * MINUTE_MS
    assert now.forecasts.shape == (0, len(COINS))
    assert len(now.forecasts_open_ms) == 0
    assert (now.holdings, now.cash) == (past.holdings, past.cash)
    np.testing.assert_array_equal(now.marks, past.marks)


@pytest.mark.parametrize(("before", "after"), [(1, 5), (5, 1), (1, 1440), (1440, 1)])
def test_no_close_is_decided_twice_and_none_is_passed_over(before: int, after: int) -> None:
    """A slice of another interval is decided where it closes after the last decided one did, and only there."""
    day = 1_700_006_400_000  # midnight UTC
    decided_ms = day + 3 * before * MINUTE_MS
    closed_ms = decided_ms + before * MINUTE_MS
    past = snapshot(before, decided_ms)
    name = {1: "1m", 5: "5m", 1440: "1d"}[after]
    settings = SETTINGS.model_copy(update={"market": SETTINGS.market.model_copy(update={"timeframe": name})})
    now = continue_from(past, build_engine(settings, COINS, 0), 2, Decimal(1), instruments())
    for open_ms in range(day, closed_ms + 2 * after * MINUTE_MS, after * MINUTE_MS):
        assert (open_ms > now.decided_ms) == (open_ms + after * MINUTE_MS > closed_ms)
    fresh = continue_from(snapshot(before, 0), build_engine(settings, COINS, 0), 2, Decimal(1), instruments())
    assert fresh.decided_ms == 0


def snapshot(minutes: int, decided_ms: int, orders: tuple[Order, ...] = ()) -> Snapshot:
    """A past of slices of so many minutes."""
    past = continue_from(None, build_engine(SETTINGS, COINS, 0), 1, Decimal(10), instruments())
    return replace(past, interval_ms=minutes * MINUTE_MS, decided_ms=decided_ms, orders=orders)


def order(symbol: str, state: State) -> Order:
    return Order(f"lac1-{symbol}", symbol, Side.BUY, Decimal(1), Decimal(9), Decimal(9), 0, 0, 9, "because", state)


@pytest.mark.parametrize("state", [State.OPEN, State.PARTIAL, State.UNKNOWN, State.CANCELING])
def test_a_coin_with_an_open_order_may_not_leave_the_universe(state: State) -> None:
    """An order that may still fill needs its coin in the books; one that is over does not."""
    rest = COINS[1:]
    rules = instruments(rest)
    engine = build_engine(SETTINGS, rest, 0)
    with pytest.raises(BadConfiguration, match=f"{COINS[0]} has an open order"):
        continue_from(snapshot(1, 0, (order(COINS[0], state),)), engine, 2, Decimal(1), rules)
    over = snapshot(1, 0, (order(COINS[0], State.FILLED), order(COINS[1], state)))
    assert [one.symbol for one in continue_from(over, engine, 2, Decimal(1), rules).orders] == [COINS[1]]
