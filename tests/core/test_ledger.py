"""The ledger: what stays true whatever is traded."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.events import Filled
from bot.core.ledger import Ledger, Oversold
from bot.core.market import Side

CASH = Decimal(1_000_000)
QUANTITY = st.decimals("0.001", "50", places=3)
PRICE = st.decimals("0.01", "900", places=2)


def trade(side: Side, quantity: Decimal, price: Decimal, fee: Decimal, asset: str, number: int = 1) -> Filled:
    return Filled("id", "BTC/USDT", str(number), side, quantity, price, fee, asset, 1_000)


def ledger() -> Ledger:
    return Ledger(("BTC/USDT", "ETH/USDT"), "USDT", CASH)


@given(st.lists(st.tuples(st.sampled_from(Side), QUANTITY, PRICE, st.booleans()), max_size=30))
def test_the_books_balance_to_the_last_digit(trades: list[tuple[Side, Decimal, Decimal, bool]]) -> None:
    """cash_start + realised = cash + positions at cost + fees, exactly, after every fill."""
    book = ledger()
    for number, (side, quantity, price, received) in enumerate(trades):
        held = book.holdings.get("BTC/USDT")
        if side is Side.SELL:
            quantity = min(quantity, held.quantity) if held else Decimal(0)
            if not quantity:
                continue
        in_coin = received and side is Side.BUY
        fee = quantity * Decimal("0.001") if in_coin else quantity * price * Decimal("0.001")
        book.apply(trade(side, quantity, price, fee, "BTC" if in_coin else "USDT", number))
        assert book.balance_error() == 0
        assert all(holding.quantity > 0 for holding in book.holdings.values())


@given(st.lists(QUANTITY, min_size=1, max_size=20))
def test_trading_at_one_price_costs_the_fees(quantities: list[Decimal]) -> None:
    """Nothing is made or lost by trading back and forth at one price, except the fees."""
    book, price, fee = ledger(), Decimal(100), Decimal("0.25")
    for quantity in quantities:
        book.apply(trade(Side.BUY, quantity, price, fee, "USDT"))
        book.apply(trade(Side.SELL, quantity, price, fee, "USDT"))
    assert book.cash == CASH - 2 * fee * len(quantities)
    assert book.realised == 0
    assert not book.holdings


def test_a_fee_in_the_bought_coin_lowers_the_position() -> None:
    """Fault O11: position = filled - fee; the fee's value leaves the position's cost."""
    book = ledger()
    book.apply(trade(Side.BUY, Decimal(2), Decimal(100), Decimal("0.002"), "BTC"))
    assert book.holdings["BTC/USDT"].quantity == Decimal("1.998")
    assert book.holdings["BTC/USDT"].cost == Decimal("199.800")
    assert (book.cash, book.fees_value) == (CASH - 200, Decimal("0.200"))


def test_realised_profit_of_a_round_trip_by_hand() -> None:
    """Buy 2 at 100, sell 1 at 110: 10 realised, half the cost left."""
    book = ledger()
    book.apply(trade(Side.BUY, Decimal(2), Decimal(100), Decimal(0), "USDT"))
    book.apply(trade(Side.SELL, Decimal(1), Decimal(110), Decimal(0), "USDT"))
    assert book.realised == 10
    assert book.holdings["BTC/USDT"].cost == 100
    book.mark[0] = 120.0
    assert book.equity() == pytest.approx(float(CASH) + 30)


def test_more_than_is_held_cannot_be_sold() -> None:
    """Long only: a sell above the position is a bug and says so."""
    book = ledger()
    book.apply(trade(Side.BUY, Decimal(1), Decimal(100), Decimal(0), "USDT"))
    with pytest.raises(Oversold):
        book.apply(trade(Side.SELL, Decimal("1.001"), Decimal(100), Decimal(0), "USDT"))
