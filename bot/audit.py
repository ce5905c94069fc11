"""The books of a data folder, checked from its journal: what must hold whatever happened, crashes included.

Invariants I1, I3, I4, I5, I6 and I11 of the fault catalogue: the ledger is the sum of the fills, every trade is booked
once, no wish is ordered twice, no slice is decided twice, nothing is sold that was not held.
"""

from collections import Counter
from decimal import Decimal

from bot.core.commands import Submit
from bot.core.events import Filled
from bot.core.market import MONEY, Side
from bot.core.snapshot import Snapshot
from bot.edge.store import Row, Store
from bot.session import engine_of

ZERO = Decimal(0)


class Books:
    """What the journal's fills add up to."""

    def __init__(self, cash: Decimal) -> None:
        self.balances: Counter[str] = Counter()
        self.cash = cash
        self.quantities: dict[str, Decimal] = {}
        self.trades: Counter[tuple[str, str]] = Counter()

    def add(self, fill: Filled) -> None:
        base, _, quote = fill.symbol.partition("/")
        value = MONEY.multiply(fill.quantity, fill.price)
        moved, paid = (fill.quantity, -value) if fill.side is Side.BUY else (-fill.quantity, value)
        if fill.fee_asset == base:
            moved = MONEY.subtract(moved, fill.fee)
        elif fill.fee_asset == quote:
            paid = MONEY.subtract(paid, fill.fee)
        self.cash = MONEY.add(self.cash, paid)
        self.quantities[fill.symbol] = MONEY.add(self.quantities.get(fill.symbol, ZERO), moved)
        self.trades[fill.symbol, fill.trade_id] += 1


def audit(store: Store, state: Snapshot | None) -> list[str]:
    """What is wrong with the books; empty when they are right. `state` is what recovery makes of them."""
    problems: list[str] = []
    books: Books | None = None
    decided_ms = 0
    wishes: Counter[tuple[int, str, str, str]] = Counter()
    for session in store.sessions():
        engine = engine_of(session.settings, session.symbols)
        for row in store.rows(session.id):
            before = engine.decided_ms
            engine.handle(row.event, row.now_ms)
            if type(row.event).__name__ == "Reconciled":
                books = books or Books(engine.ledger.cash_start)
                decided_ms = max(decided_ms, engine.decided_ms)
                continue
            if engine.decided_ms != before:
                if engine.decided_ms <= decided_ms:
                    problems.append(f"slice {engine.decided_ms} was decided twice, again in session {session.id}")
                decided_ms = engine.decided_ms
            if books is not None:
                _book(row, books, wishes)
        if engine.session and engine.ledger.balance_error():
            problems.append(f"session {session.id}: the ledger is off by {engine.ledger.balance_error()}")
    problems += [f"trade {symbol} {trade} was booked {times} times" for (symbol, trade), times in _twice(books)]
    problems += [
        f"{side} {symbol} of slice {at} was ordered {n} times" for (at, symbol, side, _), n in wishes.items() if n > 1
    ]
    return problems + _against(state, books)


def _book(row: Row, books: Books, wishes: Counter[tuple[int, str, str, str]]) -> None:
    if isinstance(row.event, Filled):
        books.add(row.event)
    for command in row.commands:
        if isinstance(command, Submit):
            order = command.order
            wishes[order.open_ms, order.symbol, order.side, order.reason] += 1


def _twice(books: Books | None) -> list[tuple[tuple[str, str], int]]:
    return [(key, times) for key, times in books.trades.items() if times > 1] if books else []


def _against(state: Snapshot | None, books: Books | None) -> list[str]:
    """The recovered ledger beside the sum of the fills."""
    if state is None or books is None:
        return []
    problems = []
    if state.cash != books.cash:
        problems.append(f"cash is {state.cash}, the fills add up to {books.cash}")
    held = {holding.symbol: holding.quantity for holding in state.holdings}
    for symbol in sorted({*held, *books.quantities}):
        if held.get(symbol, ZERO) != books.quantities.get(symbol, ZERO):
            problems.append(f"{symbol}: {held.get(symbol, ZERO)} held, the fills add up to {books.quantities[symbol]}")
        if books.quantities.get(symbol, ZERO) < 0:
            problems.append(f"{symbol}: more was sold than bought")
    return problems
