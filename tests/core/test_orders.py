"""The life of an order: what follows what, whatever order reports come in."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.events import Accepted, Canceled, Filled, Rejected, Report, Sent, Unanswered, Unfound
from bot.core.market import Side
from bot.core.orders import FENCE_MS, Impossible, advance
from bot.core.snapshot import Order, State

ORDER = Order("id", "BTC/USDT", Side.BUY, Decimal(10), None, Decimal(100), 0, 1_000, 61_000, "test")


def fill(quantity: str, trade_id: str) -> Filled:
    return Filled("id", "BTC/USDT", trade_id, Side.BUY, Decimal(quantity), Decimal(100), Decimal(0), "USDT", 2_000)


REPORTS: list[Report] = [
    Sent("id", 1_000),
    Accepted("id", "x"),
    fill("4", "1"),
    fill("6", "2"),
    Canceled("id", "canceled"),
    Canceled("id", "expired"),
    Unanswered("id", "timeout"),
    Unfound("id", 1_000 + FENCE_MS),
]


@given(st.lists(st.sampled_from(REPORTS), max_size=25))
def test_filled_never_falls_never_exceeds_and_no_report_raises(reports: list[Report]) -> None:
    """Invariant I13: reports may overtake and repeat each other; fills count once by trade id."""
    order = ORDER
    for report in reports:
        after = advance(order, report)
        assert order.filled <= after.filled <= order.quantity
        if order.final and not isinstance(report, Filled):
            assert after == order
        order = after
    trades = {report.trade_id: report.quantity for report in reports if isinstance(report, Filled)}
    assert order.filled == sum(trades.values())


@given(st.permutations(REPORTS[:4]))
def test_the_order_of_reports_does_not_matter(reports: list[Report]) -> None:
    """Sent, accepted and two fills lead to FILLED in every order they can arrive in."""
    order = ORDER
    for report in reports:
        order = advance(order, report)
    assert (order.state, order.filled) == (State.FILLED, Decimal(10))


@pytest.mark.parametrize(
    ("reports", "state"),
    [
        ([], State.INTENT),
        ([Sent("id", 1)], State.SENT),
        ([Sent("id", 1), Accepted("id", "x")], State.OPEN),
        ([Sent("id", 1), Accepted("id", "x"), fill("4", "1")], State.PARTIAL),
        ([Sent("id", 1), fill("4", "1"), Accepted("id", "x")], State.PARTIAL),
        ([Sent("id", 1), Unanswered("id", "cut")], State.UNKNOWN),
        ([Sent("id", 1), Unanswered("id", "cut"), Accepted("id", "x")], State.OPEN),
        ([Sent("id", 1), Unanswered("id", "cut"), Unfound("id", FENCE_MS + 1)], State.UNKNOWN),
        ([Sent("id", 1), Unanswered("id", "cut"), Unfound("id", FENCE_MS + 2)], State.ABSENT),
        ([Sent("id", 1), Rejected("id", "-2010", "no")], State.REJECTED),
        ([Sent("id", 1), Accepted("id", "x"), Canceled("id", "expired")], State.EXPIRED),
        ([Sent("id", 1), Canceled("id", "canceled"), fill("10", "1")], State.FILLED),
    ],
)
def test_the_table_read_aloud(reports: list[Report], state: State) -> None:
    """Each row is one life of an order and the state it ends in."""
    order = ORDER
    for report in reports:
        order = advance(order, report)
    assert order.state is state


def test_more_than_was_ordered_cannot_fill() -> None:
    """A fill above the quantity is not our order's: it raises rather than be booked."""
    with pytest.raises(Impossible):
        advance(advance(ORDER, fill("6", "1")), fill("6", "2"))


def test_a_reject_cannot_follow_an_open_order() -> None:
    """A definite no after the yes is a broken promise, not a state."""
    order = advance(ORDER, Accepted("id", "x"))
    with pytest.raises(Impossible):
        advance(order, Rejected("id", "-1", "no"))
