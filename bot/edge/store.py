"""What people and the next session read: the projections of the journal, and the journal itself.

`Projection` turns each event and its commands into the rows of orders, fills, forecasts and notes; the
writer commits them with the journal row they come from. `Store` reads, on a connection that cannot write
and holds no transaction between two calls, so it never delays the bot (fault Q11).
Orders, fills and equity are the account's history and stay for ever; notes and forecasts go with the journal's
old rows, after `storage.keep_days`.
Money is exact text, times are milliseconds UTC.
"""

import json
import sqlite3
import zlib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Self

import msgspec
import numpy as np
from msgspec.structs import replace
from sqlite_utils import Database

from bot.core.commands import AnyCommand, Cancel, Note, Submit
from bot.core.events import (
    Accepted,
    AnyEvent,
    Canceled,
    CandleClosed,
    Filled,
    Forecast,
    Forecasted,
    Reconciled,
    Rejected,
    Report,
    Sent,
    Unanswered,
    Unfound,
)
from bot.core.orders import advance, intent
from bot.core.snapshot import Order, State
from bot.edge.database import FILE, SCHEMA, SQLITE_ERRORS, judge
from bot.edge.encoding import BadRecord, decode_commands, decode_event
from bot.edge.trouble import JournalCorrupt, JournalNewer, NoJournal

CHUNK = 500
FIRST = 1  # a session's first row, its Reconciled
NOT_SHOWN = Decimal(0)  # what the worst case was reserved at is the engine's own
WAIT_S = 5.0

Statement = tuple[str, tuple[Any, ...]]

PUT_ORDER = """
insert into orders (client_id, session, symbol, side, quantity, limit_price, state, filled, open_ms, created_ms,
    updated_ms, reason, answer) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
on conflict (client_id) do update set state = excluded.state, filled = excluded.filled,
    updated_ms = case when (state, filled) = (excluded.state, excluded.filled) then updated_ms
        else excluded.updated_ms end, answer = case excluded.answer when '' then answer else excluded.answer end
"""
PUT_FILL = """
insert into fills (symbol, trade_id, client_id, session, side, quantity, price, fee, fee_asset, time_ms)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
PUT_FORECAST = "insert or replace into forecasts (open_ms, seconds, coins, mean, spread) values (?, ?, ?, ?, ?)"
PUT_NOTE = "insert into notes (session, now_ms, code, fault, symbol, text) values (?, ?, ?, ?, ?, ?)"


class Projection:
    """The tables people read, as statements. Orders move by the same table as in the engine."""

    def __init__(self, session: int) -> None:
        self._session = session
        self._orders: dict[str, Order] = {}

    def statements(self, now_ms: int, event: AnyEvent, commands: list[AnyCommand]) -> list[Statement]:
        """What one journal row changes in them."""
        changes: list[Statement] = []
        match event:
            case CandleClosed():
                pass  # nearly all rows
            case Reconciled(snapshot):
                self._orders = {order.client_id: order for order in snapshot.orders}
                changes += [self._put(order, now_ms) for order in snapshot.orders]
            case Sent() | Accepted() | Rejected() | Filled() | Canceled() | Unanswered() | Unfound():
                changes += self._report(event, now_ms)
            case Forecasted(forecast, seconds):
                changes.append((PUT_FORECAST, _summary(forecast, seconds)))
            case _:
                pass
        for command in commands:
            match command:
                case Submit(order):
                    changes.append(self._put(intent(order, NOT_SHOWN, now_ms), now_ms))
                case Cancel(client_id) if client_id in self._orders:
                    changes.append(self._put(replace(self._orders[client_id], state=State.CANCELING), now_ms))
                case Note(code, text, fault, symbol):
                    changes.append((PUT_NOTE, (self._session, now_ms, code, fault, symbol, text)))
                case _:
                    pass
        return changes

    def _report(self, report: Report, now_ms: int) -> list[Statement]:
        before = self._orders.get(report.client_id)
        if before is None:
            return []  # the engine notes it as foreign and books nothing
        after = advance(before, report)
        changes = [self._put(after, now_ms, _answer(report))]
        if isinstance(report, Filled) and len(after.trade_ids) > len(before.trade_ids):
            changes.append((PUT_FILL, self._fill(report)))
        return changes

    def _put(self, order: Order, now_ms: int, answer: str = "") -> Statement:
        self._orders[order.client_id] = order
        limit = None if order.limit is None else str(order.limit)
        times = (order.open_ms, order.created_ms, now_ms)
        money = (str(order.quantity), limit, order.state.value, str(order.filled))
        name = (order.client_id, self._session, order.symbol, order.side.value)
        return PUT_ORDER, (*name, *money, *times, order.reason, answer)

    def _fill(self, fill: Filled) -> tuple[Any, ...]:
        money = (str(fill.quantity), str(fill.price), str(fill.fee), fill.fee_asset)
        return (fill.symbol, fill.trade_id, fill.client_id, self._session, fill.side.value, *money, fill.time_ms)


def _answer(report: Report) -> str:
    match report:
        case Rejected(code=code, reason=reason):
            return f"{code} {reason}".strip()
        case Unanswered(reason=reason) | Canceled(reason=reason):
            return reason
        case _:
            return ""


def _summary(forecast: Forecast, seconds: float) -> tuple[Any, ...]:
    known = forecast.returns[np.isfinite(forecast.returns)]
    middle = (float(known.mean()), float(known.std())) if len(known) else (None, None)
    return (forecast.open_ms, seconds, len(known), *middle)


class Session(msgspec.Struct, frozen=True):
    """One run of the bot. `ended_ms` and `exit` are None while it runs, and for ever after a crash."""

    id: int
    started_ms: int
    ended_ms: int | None
    exit: str | None
    version: str
    settings: dict[str, Any]
    symbols: tuple[str, ...]


class Row(msgspec.Struct, frozen=True, eq=False):
    """One handled event, when, and what it led to; `record` is the commands' bytes as they were written."""

    session: int
    seq: int
    now_ms: int
    event: AnyEvent
    commands: list[AnyCommand]
    record: bytes


class Recorded(msgspec.Struct, frozen=True, eq=False):
    """The newest state on disk: the newest session that began, and the Reconciled row to start from in it.

    `rows()` runs from there to the last row committed: one session's, of its own settings and symbols.
    """

    session: Session
    seq: int
    _store: "Store"

    def rows(self) -> Iterator[Row]:
        return self._store.rows(self.session.id, self.seq)


def checksum(session: int, seq: int, now_ms: int, event: bytes, commands: bytes) -> int:
    """Finds flipped bits that SQLite cannot see."""
    return zlib.crc32(commands, zlib.crc32(event, zlib.crc32(b"%d %d %d" % (session, seq, now_ms))))


Table = Literal["orders", "fills", "equity", "forecasts", "notes"]
ORDER_OF: dict[Table, str] = {
    "orders": "created_ms desc, rowid desc",
    "fills": "time_ms desc, rowid desc",
    "equity": "open_ms desc",
    "forecasts": "open_ms desc",
    "notes": "id desc",
}


class Store:
    """Reads a data folder, also while a bot writes in it. Raises NoJournal, JournalCorrupt, JournalNewer."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        if not self.path.exists():
            raise NoJournal(f"there is no {FILE} in {folder}: name the data folder of a bot that has run")
        try:
            uri = f"{self.path.absolute().as_uri()}?mode=ro"
            connection = sqlite3.connect(uri, uri=True, timeout=WAIT_S, isolation_level=None)
            self._database = Database(connection, recursive_triggers=False, execute_plugins=False)
            found = connection.execute("pragma user_version").fetchone()[0]
        except SQLITE_ERRORS as why:
            raise judge(why, self.path) from why
        if found > SCHEMA:
            raise JournalNewer(f"{self.path} has schema {found}, this version reads {SCHEMA}: use a newer version")

    def sessions(self) -> list[Session]:
        """All sessions, oldest first."""
        rows = self._all("select * from sessions order by id")
        return [
            Session(**row | {"settings": json.loads(row["settings"]), "symbols": tuple(json.loads(row["symbols"]))})
            for row in rows
        ]

    def last_session(self) -> Recorded | None:
        """The newest session that began, from its newest whole checkpoint on; None where none ever began.

        A session that died before its History is one too: its Reconciled row holds all that came before it.
        """
        found = self._all("select max(session) as session from journal")[0]["session"]
        if found is None:
            return None
        sql = "select max(checkpoint) as seq from journal where checkpoint is not null and session = ?"
        seq = self._all(sql, (found,))[0]["seq"] or FIRST
        return Recorded(next(session for session in self.sessions() if session.id == found), seq, self)

    def rows(self, session: int, from_seq: int = 0) -> Iterator[Row]:
        """The rows of one session: from this one on, or from its first that is kept.

        JournalCorrupt where one is damaged or missing.
        """
        previous = from_seq - 1
        while True:
            chunk = self._all(
                "select * from journal where session = ? and seq > ? order by seq limit ?", (session, previous, CHUNK)
            )
            for record in chunk:
                row = self._row(record)
                if previous >= 0 and row.seq != previous + 1:
                    raise JournalCorrupt(f"{self.path}: session {session} lacks row {previous + 1}")
                previous = row.seq
                yield row
            if len(chunk) < CHUNK:
                return

    def newest(self, table: Table, count: int = -1) -> list[dict[str, Any]]:
        """The newest rows of a table, newest first; -1 for all."""
        return self._all(f"select * from {table} order by {ORDER_OF[table]} limit ?", (count,))

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _row(self, record: dict[str, Any]) -> Row:
        place = f"{self.path}: session {record['session']} row {record['seq']}"
        key = (record["session"], record["seq"], record["now_ms"])
        if checksum(*key, record["event"], record["commands"]) != record["checksum"]:
            raise JournalCorrupt(f"{place} does not match its checksum")
        try:
            commands = decode_commands(record["commands"])
            return Row(*key, decode_event(record["event"]), commands, record["commands"])
        except BadRecord as why:
            raise JournalCorrupt(f"{place}: {why}") from why

    def _all(self, sql: str, values: tuple[Any, ...] = ()) -> list[dict[str, Any]]:
        try:
            return list(self._database.query(sql, values))
        except SQLITE_ERRORS as why:
            raise judge(why, self.path) from why
