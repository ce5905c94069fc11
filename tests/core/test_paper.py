"""The paper exchange: filters, fills at the touch or the next traded price, balances that never go negative."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.commands import Approved
from bot.core.events import Accepted, Canceled, Filled, Rejected, Unfound
from bot.core.fills import FillModel
from bot.core.market import LastPrice, Quote, Side
from bot.core.paper import PaperExchange
from tests.making import COINS, instruments

BTC = COINS[0]
FREE = FillModel(Decimal(0), "quote", Decimal(0), Decimal(0), Decimal(1))
COSTLY = FillModel(Decimal(10), "received", Decimal(2), Decimal(0), Decimal("0.5"))


def exchange(fills: FillModel = FREE, latency_ms: int = 0, **balances: str) -> PaperExchange:
    held = {"USDT": Decimal(1_000)} | {asset: Decimal(amount) for asset, amount in balances.items()}
    return PaperExchange(instruments(), fills, latency_ms, held)


def order(side: Side, quantity: str, limit: str | None = None, client_id: str = "a") -> Approved:
    price = Decimal(limit) if limit else None
    return Approved(client_id, BTC, side, Decimal(quantity), price, 60_000, 0, "test")


def quote(time_ms: int, bid: float = 99.0, ask: float = 101.0, shown: float = 100.0) -> Quote:
    return Quote(BTC, time_ms, bid, shown, ask, shown)


def test_a_buy_takes_the_ask_and_a_sell_the_bid() -> None:
    """Crossing the spread costs the spread."""
    market = exchange()
    market.submit(order(Side.BUY, "1"), 0)
    (bought,) = market.quote(quote(1))
    market.submit(order(Side.SELL, "1", client_id="b"), 2)
    (sold,) = market.quote(quote(3))
    assert isinstance(bought, Filled)
    assert isinstance(sold, Filled)
    assert (bought.price, sold.price) == (Decimal(101), Decimal(99))
    assert market.balances["USDT"] == 998


def test_no_price_before_decision_plus_latency_fills() -> None:
    """The first price at or after the arrival fills; an older one never does."""
    market = exchange(latency_ms=150)
    market.submit(order(Side.BUY, "1"), 1_000)
    assert market.quote(quote(1_149)) == []
    assert isinstance(market.quote(quote(1_150))[0], Filled)


def test_no_more_fills_than_a_share_of_what_is_shown() -> None:
    """Half of the 2 shown is 1: the rest waits for the next quote."""
    market = exchange(COSTLY)
    market.submit(order(Side.BUY, "3"), 0)
    quantities = []
    for time_ms in (1, 2, 3):
        quantities += [fill.quantity for fill in market.quote(quote(time_ms, shown=2.0)) if isinstance(fill, Filled)]
    assert quantities == [1, 1, 1]
    assert market.quote(quote(4)) == []


def test_without_a_book_the_next_traded_price_fills_with_half_the_spread() -> None:
    """2 bps of spread: a buy pays 1 bp above the trade, rounded up to the tick; 0.1 % fee in the coin."""
    market = exchange(COSTLY)
    market.submit(order(Side.BUY, "1"), 0)
    (bought,) = market.last_price(LastPrice(BTC, 1, 100.0))
    assert isinstance(bought, Filled)
    assert (bought.price, bought.fee, bought.fee_asset) == (Decimal("100.01"), Decimal("0.001"), "BTC")
    assert market.balances["BTC"] == Decimal("0.999")


def test_a_quoted_symbol_does_not_fill_at_traded_prices() -> None:
    """Where the book is known it alone fills; after a disconnect traded prices serve until it speaks again."""
    market = exchange()
    market.quote(quote(0))
    market.submit(order(Side.BUY, "1"), 0)
    assert market.last_price(LastPrice(BTC, 1, 100.0)) == []
    market.unquote()
    assert len(market.last_price(LastPrice(BTC, 2, 100.0))) == 1


def test_a_limit_is_a_limit() -> None:
    """A buy limited at 100 does not pay 101."""
    market = exchange()
    market.submit(order(Side.BUY, "1", "100"), 0)
    assert market.quote(quote(1)) == []
    assert isinstance(market.quote(quote(2, ask=100.0))[0], Filled)


@pytest.mark.parametrize(
    ("wish", "code", "text"),
    [
        (order(Side.BUY, "0.0005"), "-1013", "LOT_SIZE"),
        (order(Side.BUY, "0.0015"), "-1013", "LOT_SIZE"),
        (order(Side.BUY, "10001"), "-1013", "LOT_SIZE"),
        (order(Side.SELL, "1"), "-2010", "insufficient balance"),
    ],
)
def test_the_filters_of_the_exchange_are_applied(wish: Approved, code: str, text: str) -> None:
    """Off the step, below the least, above the most, not held: refused with the exchange's own words."""
    (report,) = exchange().submit(wish, 0)
    assert isinstance(report, Rejected)
    assert report.code == code
    assert text in report.reason


def test_what_is_over_or_cancelled_says_so_and_what_never_was_is_unfound() -> None:
    """Every question about an order has an answer."""
    market = exchange()
    assert isinstance(market.submit(order(Side.BUY, "1"), 0)[0], Accepted)
    assert isinstance(market.query("a", 1)[0], Accepted)
    assert market.cancel("a") == market.query("a", 2)[:1] or isinstance(market.query("a", 2)[0], Canceled)
    assert market.cancel("a") == []
    assert isinstance(market.query("zzz", 3)[0], Unfound)


def test_an_order_ends_with_its_life() -> None:
    """After 60 s what is left expires."""
    market = exchange()
    market.submit(order(Side.BUY, "1"), 0)
    (ended,) = market.last_price(LastPrice("BTC/USDT", 60_000, 100.0))
    assert isinstance(ended, Canceled)
    assert ended.reason == "expired"


@given(
    st.lists(
        st.tuples(st.sampled_from(Side), st.integers(1, 9), st.floats(1.0, 400.0), st.floats(0.01, 20.0)),
        max_size=30,
    )
)
def test_no_balance_goes_negative_and_value_is_conserved(wishes: list[tuple[Side, int, float, float]]) -> None:
    """Fills only what is covered: cash + what trades say was spent is what was there."""
    market = exchange(COSTLY)
    cash = Decimal(1_000)
    for number, (side, quantity, price, shown) in enumerate(wishes):
        market.submit(order(side, str(quantity), client_id=str(number)), number)
        for report in market.quote(quote(number, price, price, shown)):
            if isinstance(report, Filled):
                value = report.quantity * report.price
                cash += value if report.side is Side.SELL else -value
                cash -= report.fee if report.fee_asset == "USDT" else 0
        assert all(balance >= 0 for balance in market.balances.values())
    assert market.balances["USDT"] == cash


def test_a_price_nobody_has_traded_at_yet_fills_nothing() -> None:
    """A candle that forms without a trade shows an older candle's price: no fill before the first trade."""
    market = exchange()
    market.submit(order(Side.BUY, "1"), 0)
    assert market.last_price(LastPrice("BTC/USDT", 1_000, 100.0, trades=0)) == []
    assert market.last_price(LastPrice("BTC/USDT", 2_000, 100.0, trades=1))
