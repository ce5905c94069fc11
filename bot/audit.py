"""The books of a data folder, checked from its journal: what must hold whatever happened, crashes included.

They open with the first state that is kept: an account that has never traded, or where pruning left off.

Invariants I1, I3, I4, I5, I6 and I11 of the fault catalogue: the ledger is the sum of the fills, every trade is booked
once, no wish is ordered twice, no slice is decided twice, nothing is sold that was not held.
"""

from collections import Counter
from decimal import Decimal

from bot.core.commands import Submit
from bot.core.engine import Engine
from bot.core.events import Filled, Reconciled
from bot.core.market import MONEY, Side
from bot.core.snapshot import Snapshot
from bot.edge.store import Row, Store
from bot.session import engine_of

ZERO = Decimal(0)


class Books:
    """What the journal's fills add up to, from a state on."""

    def __init__(self, opening: Snapshot) -> None:
        self.cash = opening.cash
        self.quantities = {holding.symbol: holding.quantity for holding in opening.holdings}
        self.fees = dict(opening.fees)
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
        self.fees[fill.fee_asset] = MONEY.add(self.fees.get(fill.fee_asset, ZERO), fill.fee)
        self.trades[fill.symbol, fill.trade_id] += 1


def audit(store: Store, state: Snapshot | None) -> list[str]:
    """What is wrong with the books; empty when they are right. `state` is what recovery makes of them."""
    problems: list[str] = []
    books: Books | None = None
    closed_ms = 0
    wishes: Counter[tuple[int, str, str, str]] = Counter()
    for session in store.sessions():
        engine: Engine | None = None
        for row in store.rows(session.id):
            if isinstance(row.event, Reconciled):
                books = books or Books(row.event.snapshot)
                engine = engine or engine_of(session.settings, session.symbols)
                engine.handle(row.event, row.now_ms)
                closed_ms = max(closed_ms, _closed_ms(engine))
                continue
            if engine is None or books is None:
                continue  # pruned in part: the books open with the first checkpoint that is kept
            before = engine.decided_ms
            engine.handle(row.event, row.now_ms)
            if engine.decided_ms != before:
                if _closed_ms(engine) <= closed_ms:
                    problems.append(f"slice {engine.decided_ms} was decided twice, again in session {session.id}")
                closed_ms = _closed_ms(engine)
            _book(row, engine.setup.interval_ms, books, wishes)
        if engine is not None and engine.ledger.balance_error():
            problems.append(f"session {session.id}: the ledger is off by {engine.ledger.balance_error()}")
    problems += [f"trade {symbol} {trade} was booked {times} times" for (symbol, trade), times in _twice(books)]
    problems += [
        f"{side} {symbol} of the slice that closed at {at} was ordered {n} times"
        for (at, symbol, side, _), n in wishes.items()
        if n > 1
    ]
    return problems + _against(state, books)


def _closed_ms(engine: Engine) -> int:
    """The close of the last decided slice: opens of two intervals do not compare."""
    return engine.decided_ms + engine.setup.interval_ms if engine.decided_ms else 0


def _book(row: Row, interval_ms: int, books: Books, wishes: Counter[tuple[int, str, str, str]]) -> None:
    if isinstance(row.event, Filled):
        books.add(row.event)
    for command in row.commands:
        if isinstance(command, Submit):
            order = command.order
            wishes[order.open_ms + interval_ms, order.symbol, order.side, order.reason] += 1


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
        owned, summed = held.get(symbol, ZERO), books.quantities.get(symbol, ZERO)
        if owned != summed:
            problems.append(f"{symbol}: {owned} held, the fills add up to {summed}")
        if summed < 0:
            problems.append(f"{symbol}: more was sold than bought")
    for asset in sorted({*state.fees, *books.fees}):
        paid, summed = state.fees.get(asset, ZERO), books.fees.get(asset, ZERO)
        if paid != summed:
            problems.append(f"fees of {paid} {asset} were paid, those of the fills add up to {summed}")
    return problems
