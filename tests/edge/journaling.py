"""What the journal's tests are made of: a folder, rows of every kind, and a bot process that can be killed."""

import asyncio
from decimal import Decimal
from pathlib import Path

from bot.config import Storage
from bot.core.commands import Approved, Note, Submit
from bot.core.events import CandleClosed, History, Reconciled
from bot.core.market import MINUTE_MS, Side
from bot.core.memory import genesis
from bot.edge.journal import Journal
from tests.making import COINS, START_MS, candle, instruments, setup, walk

SMALL = Storage(reserve_mib=1, lock_wait_s=0.2)


def opened(folder: Path, settings: Storage = SMALL) -> Journal:
    """A journal with a session begun."""
    journal = Journal(folder, settings)
    journal.open_session(START_MS, {"mode": "paper"}, COINS)
    return journal


def checkpoint(journal: Journal, now_ms: int = START_MS) -> None:
    """The two rows that a session starts from."""
    made = setup()
    journal.append(now_ms, Reconciled(genesis(made, journal.session, Decimal(10_000), instruments())), [])
    journal.append(now_ms, History(walk(5)), [])


def observe(journal: Journal, number: int) -> None:
    """One candle, and a note about it so that a projection grows too."""
    open_ms = START_MS + number * MINUTE_MS
    journal.append(open_ms, CandleClosed(candle("BTC/USDT", open_ms)), [Note("candle", f"number {number}")])


def submit(number: int, side: Side = Side.BUY, quantity: str = "0.5") -> Submit:
    """An order's intent."""
    name = f"lac1-{number}"
    return Submit(Approved(name, "BTC/USDT", side, Decimal(quantity), Decimal("100.10"), 60_000, START_MS, "because"))


async def run(folder: Path, rows: int) -> None:
    """A whole session of so many candles after its checkpoint, ended well."""
    journal = opened(folder)
    checkpoint(journal)
    for number in range(rows):
        observe(journal, number)
    await journal.close(START_MS, "done")


def write_for_ever(folder: Path) -> None:
    """Writes and syncs until it is killed, saying each number once it is on disk."""

    async def session() -> None:
        journal = opened(folder)
        checkpoint(journal)
        number = 0
        while True:
            for _ in range(1 + number % 7):
                observe(journal, number)
                number += 1
            await journal.sync()
            print(journal.session, journal.rows, flush=True)

    asyncio.run(session())
