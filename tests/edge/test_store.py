"""The tables people read: they show what the engine booked, to the last digit."""

import sqlite3
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bot.core.commands import Cancel
from bot.core.events import (
    Accepted,
    Canceled,
    Forecast,
    Forecasted,
    Reconciled,
    Rejected,
    Sent,
    Unanswered,
    Unfound,
    Wake,
)
from bot.core.market import MINUTE_MS, MONEY, Side
from bot.core.memory import genesis
from bot.core.snapshot import Order, State
from bot.edge.database import FILE
from bot.edge.store import Projection, Store
from bot.edge.trouble import JournalCorrupt, NoJournal
from tests.edge.journaling import checkpoint, opened, run, submit
from tests.making import START_MS, Wanting, filled, instruments, setup, started, walk


async def test_an_order_is_shown_as_the_engine_sees_it(tmp_path: Path) -> None:
    """Its state follows the reports by the engine's own table; fills are kept apart, with exact money."""
    journal = opened(tmp_path)
    checkpoint(journal)
    wish = submit(1, quantity="0.50")
    journal.append(START_MS, Wake(), [wish])
    journal.append(START_MS + 1, Sent("lac1-1", START_MS), [])
    journal.append(START_MS + 2, Unanswered("lac1-1", "timeout"), [])
    journal.append(START_MS + 3, filled(wish, "99.990", "7", "0.0100", "0.20"), [])
    journal.append(START_MS + 4, Wake(), [Cancel("lac1-1", "BTC/USDT")])
    journal.append(START_MS + 5, Canceled("lac1-1", "expired"), [])
    await journal.close(1, "done")
    with Store(tmp_path) as store:
        [order], [fill] = store.newest("orders"), store.newest("fills")
    assert order == {
        "client_id": "lac1-1",
        "session": 1,
        "symbol": "BTC/USDT",
        "side": "buy",
        "quantity": "0.50",
        "limit_price": "100.10",
        "state": "expired",
        "filled": "0.20",
        "open_ms": START_MS,
        "created_ms": START_MS,
        "updated_ms": START_MS + 5,
        "reason": "because",
        "answer": "expired",
    }
    assert (fill["quantity"], fill["price"], fill["fee"], fill["fee_asset"]) == ("0.20", "99.990", "0.0100", "USDT")


def rows_of(projection: Projection, wish: object, *reports: object) -> list[str]:
    """The states an order's rows go through."""
    changes = projection.statements(START_MS, Wake(), [wish])  # type: ignore[list-item]
    for report in reports:
        changes += projection.statements(START_MS, report, [])  # type: ignore[arg-type]
    return [values[6] for sql, values in changes if "into orders" in sql]


def test_a_rejection_keeps_the_words_of_the_exchange() -> None:
    """What the exchange said stays readable beside the order."""
    projection = Projection(1)
    projection.statements(1, Wake(), [submit(1)])
    [(_, values)] = projection.statements(2, Rejected("lac1-1", "-2010", "insufficient balance"), [])
    assert values[6] == "rejected"
    assert values[-1] == "-2010 insufficient balance"


def test_an_order_that_never_arrived_ends_absent() -> None:
    """An unknown order becomes absent only behind the fence, as in the engine."""
    early, late = Unfound("lac1-1", START_MS + 10_000), Unfound("lac1-1", START_MS + 60_000)
    states = rows_of(Projection(1), submit(1), Sent("lac1-1", START_MS), Unanswered("lac1-1", "timeout"), early, late)
    assert states == ["intent", "sent", "unknown", "unknown", "absent"]


def test_a_foreign_report_shows_nowhere() -> None:
    """A fill of an order that is not ours is not booked, so it is not shown."""
    assert Projection(1).statements(1, filled(submit(9), "1"), []) == []
    assert Projection(1).statements(1, Accepted("lac1-9", "x"), []) == []


def test_a_repeated_trade_is_one_fill() -> None:
    """A trade reported twice is one row (fault O15)."""
    projection, wish = Projection(1), submit(1)
    projection.statements(1, Wake(), [wish])
    once = filled(wish, "100", "7", quantity="0.1")
    assert len(projection.statements(2, once, [])) == 2
    assert len(projection.statements(3, once, [])) == 1


@given(
    st.lists(st.tuples(st.sampled_from(["buy", "sell"]), st.integers(1, 400), st.integers(9_000, 11_000)), max_size=12)
)
def test_the_ledger_is_the_sum_of_the_fills_shown(trades: list[tuple[str, int, int]]) -> None:
    """Invariant I3: cash and coins recomputed from the fills table equal the engine's ledger, digit for digit."""
    talk, projection = started(Wanting(), walk(5)), Projection(1)
    cash, coins, shown = Decimal(10_000), Decimal(0), []
    for number, (side, quantity, price) in enumerate(trades):
        amount = Decimal(quantity) / 1000
        if side == "sell" and amount > coins or side == "buy" and amount * price / 100 > cash:
            continue
        wish = submit(number, Side(side), str(amount))
        fill = filled(wish, str(Decimal(price) / 100), str(number), "0.01")
        projection.statements(START_MS, Wake(), [wish])
        shown += [values for sql, values in projection.statements(START_MS, fill, []) if "into fills" in sql]
        talk.engine.ledger.apply(fill)
        coins = coins + amount if side == "buy" else coins - amount
    cash, coins = Decimal(10_000), Decimal(0)
    for _, _, _, _, side, quantity, price, fee, _, _ in shown:
        sign = 1 if side == "buy" else -1
        cash = MONEY.subtract(cash, sign * Decimal(quantity) * Decimal(price) + Decimal(fee))
        coins += sign * Decimal(quantity)
    ledger = talk.engine.ledger
    held = ledger.holdings.get("BTC/USDT")
    assert cash == ledger.cash
    assert coins == (held.quantity if held else 0)


async def test_a_restart_takes_the_orders_over(tmp_path: Path) -> None:
    """Orders a snapshot remembers keep their row, and go on from there in the next session."""
    wish = submit(1)
    journal = opened(tmp_path)
    checkpoint(journal)
    journal.append(START_MS, Wake(), [wish])
    journal.append(START_MS + 1, Accepted("lac1-1", "x"), [])
    await journal.close(1, "died")
    order = wish.order
    money = (order.quantity, order.limit, Decimal(100))
    known = Order(
        order.client_id, order.symbol, order.side, *money, START_MS, START_MS, START_MS, "because", State.OPEN
    )
    journal = opened(tmp_path)
    snapshot = replace(genesis(setup(), 2, Decimal(10_000), instruments()), orders=(known,))
    journal.append(START_MS + 9, Reconciled(snapshot), [])
    await journal.sync()
    with Store(tmp_path) as store:
        assert store.newest("orders")[0]["updated_ms"] == START_MS + 1
    journal.append(START_MS + 10, filled(wish, "100", "1"), [])
    await journal.close(1, "done")
    with Store(tmp_path) as store:
        [row], [fill] = store.newest("orders"), store.newest("fills")
    assert (row["session"], row["state"], row["updated_ms"]) == (1, "filled", START_MS + 10)
    assert (fill["session"], fill["client_id"]) == (2, "lac1-1")


async def test_forecasts_are_shown_in_short(tmp_path: Path) -> None:
    """How many coins were inferred, their mean and spread, and how long it took; the whole is in the journal."""
    journal = opened(tmp_path)
    checkpoint(journal)
    journal.append(1, Forecasted(Forecast(START_MS, np.array([0.01, np.nan, 0.03])), 0.25), [])
    journal.append(1, Forecasted(Forecast(START_MS + MINUTE_MS, np.full(3, np.nan)), 0.25), [])
    journal.record_equity(60_000, 10_001.5, 9_000.0, 0.1, 0.02, "RUNNING")
    await journal.close(1, "done")
    with Store(tmp_path) as store:
        nothing, some = store.newest("forecasts")
        assert store.newest("equity", 1)[0]["equity"] == 10_001.5
    assert (some["coins"], some["mean"], some["spread"], some["seconds"]) == (2, 0.02, 0.01, 0.25)
    assert (nothing["coins"], nothing["mean"]) == (0, None)


async def test_newest_first_and_no_more_than_asked(tmp_path: Path) -> None:
    """A status page asks for the last few rows and gets those."""
    journal = opened(tmp_path)
    checkpoint(journal)
    for number in range(5):
        journal.append(number, Wake(), [submit(number)])
        journal.record_equity(number, 1.0, 1.0, 0.0, 0.0, "RUNNING")
    await journal.close(1, "done")
    with Store(tmp_path) as store:
        assert [row["client_id"] for row in store.newest("orders", 2)] == ["lac1-4", "lac1-3"]
        assert [row["open_ms"] for row in store.newest("equity", 2)] == [4, 3]
        assert len(store.newest("orders")) == 5


def test_no_journal_is_said_so(tmp_path: Path) -> None:
    """Reading a folder that no bot has used names the folder and makes nothing in it."""
    with pytest.raises(NoJournal, match=str(tmp_path)):
        Store(tmp_path)
    assert list(tmp_path.iterdir()) == []


async def test_a_missing_row_is_damage(tmp_path: Path) -> None:
    """A hole in the journal is never read over: the rest would not follow from what came before."""
    await run(tmp_path, 10)
    _write(tmp_path, "delete from journal where seq = 5")
    with Store(tmp_path) as store, pytest.raises(JournalCorrupt, match="lacks row 5"):
        list(store.rows(1))


async def test_a_changed_row_is_damage(tmp_path: Path) -> None:
    """SQLite cannot see a flipped bit inside a value; the row's checksum does."""
    await run(tmp_path, 10)
    _write(tmp_path, "update journal set now_ms = now_ms + 1 where seq = 7")
    with Store(tmp_path) as store, pytest.raises(JournalCorrupt, match="row 7"):
        list(store.rows(1))


def _write(folder: Path, sql: str) -> None:
    with sqlite3.connect(folder / FILE) as connection:
        connection.execute(sql)
    connection.close()
