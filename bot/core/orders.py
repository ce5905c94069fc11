"""The life of an order, as a table, and the book of our own orders.

INTENT -> SENT -> OPEN / PARTIAL / CANCELING -> FILLED, CANCELED, EXPIRED, REJECTED or ABSENT, and UNKNOWN
for a request whose answer proves nothing. Fills are truth, states are opinion: a fill is accepted in any
state, once by trade id. UNKNOWN ends in ABSENT only behind the fence: server time past the request's
timestamp + recvWindow (5 s) + the engine's wait (10 s) + 30 s, and all three witnesses silent.
"""

from collections.abc import Iterator
from decimal import Decimal

from msgspec.structs import replace

from bot.core.commands import Approved
from bot.core.events import Accepted, Canceled, Filled, Rejected, Report, Sent, Unanswered, Unfound
from bot.core.market import MONEY, Side
from bot.core.snapshot import Order, State

FENCE_MS = 45_000
FINAL_KEPT_MS = 86_400_000
LIVE = (State.INTENT, State.SENT, State.UNKNOWN, State.OPEN, State.PARTIAL, State.CANCELING)
UNPROVEN = (State.INTENT, State.SENT, State.UNKNOWN)
ZERO = Decimal(0)


class Impossible(AssertionError):
    """A report that cannot follow: our bug or a broken promise of the exchange's."""


def intent(order: Approved, reserved_price: Decimal, now_ms: int) -> Order:
    """An approved order at the beginning of its life; its worst case is reserved at `reserved_price`."""
    return Order(
        order.client_id,
        order.symbol,
        order.side,
        order.quantity,
        order.limit,
        reserved_price,
        order.open_ms,
        now_ms,
        now_ms + order.life_ms,
        order.reason,
    )


def advance(order: Order, report: Report) -> Order:
    """The order after one more report. Echoes and overtaken reports change nothing."""
    match order.state, report:
        case _, Filled():
            return _fill(order, report)  # money has moved, whatever we believed
        case State.INTENT, Sent(request_ms=request_ms):
            return replace(order, state=State.SENT, request_ms=request_ms)
        case ((State.INTENT | State.SENT), Unanswered()):
            return replace(order, state=State.UNKNOWN)
        case ((State.INTENT | State.SENT | State.UNKNOWN), Accepted()):
            return replace(order, state=State.PARTIAL if order.filled else State.OPEN)
        case ((State.INTENT | State.SENT | State.UNKNOWN), Rejected()):
            return replace(order, state=State.REJECTED)
        case ((State.INTENT | State.SENT | State.UNKNOWN | State.OPEN | State.PARTIAL | State.CANCELING), Canceled()):
            return replace(order, state=State.EXPIRED if report.reason == "expired" else State.CANCELED)
        case State.UNKNOWN, Unfound(time_ms=time_ms):
            behind = time_ms > order.request_ms + FENCE_MS
            return replace(order, state=State.ABSENT) if behind else order
        case _, (Sent() | Accepted() | Canceled() | Unanswered() | Unfound()):
            return order  # an echo of what we already know, or overtaken by the truth
        case _:
            raise Impossible(f"{report} cannot follow {order}")


def _fill(order: Order, fill: Filled) -> Order:
    if fill.trade_id in order.trade_ids:
        return order
    filled = MONEY.add(order.filled, fill.quantity)
    if filled > order.quantity:
        raise Impossible(f"{order.client_id} filled {filled} of {order.quantity}")
    state = order.state
    if filled == order.quantity:
        state = State.FILLED
    elif state in (*UNPROVEN, State.OPEN):
        state = State.PARTIAL
    return replace(order, filled=filled, state=state, trade_ids=(*order.trade_ids, fill.trade_id))


class Orders:
    """Our own orders by client id. `live` counts the ones that may still fill."""

    def __init__(self) -> None:
        self._all: dict[str, Order] = {}
        self.live: dict[str, Order] = {}

    def restore(self, orders: tuple[Order, ...], now_ms: int) -> None:
        """Takes over remembered orders. A request that may have been in the air when we died is UNKNOWN.

        Where nobody knows whether it left, it may have left until now: its fence counts from here.
        """
        for order in orders:
            if order.state in (State.INTENT, State.SENT):
                order = replace(order, state=State.UNKNOWN, request_ms=order.request_ms or now_ms)
            self._put(order)

    def add(self, order: Order) -> None:
        self._put(order)

    def get(self, client_id: str) -> Order | None:
        return self._all.get(client_id)

    def report(self, report: Report) -> tuple[Order, Order] | None:
        """The order before and after a report; None when the id is not ours."""
        before = self._all.get(report.client_id)
        if before is None:
            return None
        after = advance(before, report)
        self._put(after)
        return before, after

    def ask(self, order: Order, now_ms: int) -> None:
        """Remembers when an unknown order was last asked for."""
        self._put(replace(order, asked_ms=now_ms))

    def cancel(self, order: Order, now_ms: int) -> None:
        """Remembers that a cancel was asked for."""
        self._put(replace(order, state=State.CANCELING, asked_ms=now_ms))

    def _put(self, order: Order) -> None:
        self._all[order.client_id] = order
        if order.final:
            self.live.pop(order.client_id, None)
        else:
            self.live[order.client_id] = order

    def forget(self, now_ms: int) -> None:
        """Drops final orders older than a day: no fill of theirs can come any more."""
        old = [order for order in self._all.values() if order.final and order.created_ms < now_ms - FINAL_KEPT_MS]
        for order in old:
            del self._all[order.client_id]

    def buying(self) -> dict[str, Decimal]:
        """What the live buys of each symbol may still cost at worst, fees not included."""
        costs: dict[str, Decimal] = {}
        for order in self.live.values():
            if order.side is Side.BUY:
                cost = MONEY.multiply(order.remaining, order.reserved_price)
                costs[order.symbol] = MONEY.add(costs.get(order.symbol, ZERO), cost)
        return costs

    def selling(self, symbol: str) -> Decimal:
        """The quantity that live sells may still take."""
        quantity = ZERO
        for order in self.live.values():
            if order.side is Side.SELL and order.symbol == symbol:
                quantity = MONEY.add(quantity, order.remaining)
        return quantity

    def __iter__(self) -> Iterator[Order]:
        return iter(self._all.values())
