"""Round trips, costs and coins: by hand, and what must stay true whatever is traded."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from backtest.baselines import known_closes
from backtest.statistics import Coin, Costs, Trip
from backtest.trips import coins, costs, deals_of, round_trips, trips_of
from bot.core.market import MINUTE_MS
from tests.backtest.accounts import Account, coin
from tests.making import COINS, START_MS, walk

BTC = "BTC/USDT"


def trips(account: Account) -> tuple[Trip, ...]:
    result = account.result()
    return trips_of(deals_of(result), result.panel, known_closes(result.panel)[1])


def spent(account: Account) -> Costs:
    result = account.result()
    return costs(result, deals_of(result))


def parts(account: Account) -> tuple[Coin, ...]:
    result = account.result()
    deals, (firsts, lasts) = deals_of(result), known_closes(result.panel)
    return coins(deals, trips_of(deals, result.panel, lasts), result.panel, firsts, lasts)


def test_a_round_trip_by_hand() -> None:
    """2 bought at 100 and sold at 110 with 1 % a side: 20 - 2 - 2.2 earned on a stake of 200, in two minutes."""
    (trip,) = trips(Account(coin(100, 100, 110, 110), fee="0.01").buy(BTC, 1, "2").sell(BTC, 3, "2"))
    assert replace(trip, fees=0.0, slippage=0.0, profit=0.0) == Trip(
        symbol=BTC,
        entered_ms=START_MS + MINUTE_MS,
        exited_ms=START_MS + 3 * MINUTE_MS,
        closed=True,
        quantity=2.0,
        entry=100.0,
        exit=110.0,
        stake=200.0,
        fees=0.0,
        slippage=0.0,
        profit=0.0,
        reason="buy 1",
        exit_reason="sell 3",
    )
    assert (trip.fees, trip.slippage, trip.profit, trip.gain) == pytest.approx((4.2, 0.0, 15.8, 0.079))


def test_a_gain_that_the_fees_eat_is_no_win() -> None:
    """Spec 8.4: the price rose, the profit after fees is negative, so the trip has lost."""
    together = round_trips(trips(Account(coin(100, 100, 101, 101), fee="0.01").buy(BTC, 1, "1").sell(BTC, 3, "1")))
    assert (together.count, together.wins, together.win_rate, together.profit_factor) == (1, 0, 0.0, 0.0)


def test_parts_of_a_trip_share_the_average_cost() -> None:
    """1 at 100 and 1 at 120 cost 110 on average; a half and then the rest sold at 130 earn 40 in one trip."""
    account = Account(coin(100, 100, 120, 130, 130), fee="0")
    (trip,) = trips(account.buy(BTC, 1, "1").buy(BTC, 3, "1", "120").sell(BTC, 4, "1").sell(BTC, 4, "1"))
    assert (trip.entry, trip.exit, trip.profit, trip.quantity) == pytest.approx((110.0, 130.0, 40.0, 2.0))


def test_a_fee_in_the_coin_leaves_dust_and_ends_the_trip() -> None:
    """Of 1 bought with 1 % taken in the coin 0.99 can be sold; the fee is worth 1, and the trip is over with no profit."""
    account = Account(coin(100, 100, 100, 100), fee="0.01", in_coin=True)
    (trip,) = trips(account.buy(BTC, 1, "1").sell(BTC, 2, "0.98"))
    assert trip.closed
    assert trip.fees == pytest.approx(1.0 + 0.98)
    # the 0.98 sold cost 98 / 0.99 and brought 98 less 0.98; the rest of 0.01 goes on at its cost
    assert trip.profit == pytest.approx(98.0 - 0.98 - 100.0 * 0.98 / 0.99)


def test_dust_goes_on_at_its_cost() -> None:
    """What one trip leaves over is sold with the next: both together earn what came in less what went out."""
    account = Account(coin(100, 100, 100, 100, 200, 200), fee="0")
    account.buy(BTC, 1, "1").sell(BTC, 2, "0.96").buy(BTC, 3, "1").sell(BTC, 5, "1.04")
    first, second = trips(account)
    assert (first.profit, second.profit) == pytest.approx((0.0, 104.0))
    assert first.profit + second.profit == pytest.approx(account.result().equity[-1] - 1_000.0)


def test_a_trip_that_is_not_over_is_marked_and_not_counted() -> None:
    """It has its profit at the last close, its time runs to the end, and win rate and count leave it out."""
    account = Account(coin(100, 100, 130), fee="0").buy(BTC, 1, "1")
    (trip,) = trips(account)
    assert (trip.closed, trip.profit, trip.exit) == (False, 30.0, 130.0)
    assert trip.exited_ms == START_MS + 3 * MINUTE_MS
    together = round_trips((trip,))
    assert (together.count, together.open, together.win_rate, together.expectancy) == (0, 1, None, None)


def test_rates_of_many_trips_by_hand() -> None:
    """Profits 10, -5, 0, 5: two of four win, three for one, 2.5 a trip."""
    account = Account(coin(*[100] * 10), fee="0")
    for row, price in ((1, "110"), (3, "95"), (5, "100"), (7, "105")):
        account.buy(BTC, row, "1").sell(BTC, row + 1, "1", price)
    made = trips(account)
    together = round_trips(made)
    assert (together.count, together.wins, together.win_rate) == (4, 2, 0.5)
    assert (together.profit_factor, together.expectancy) == (3.0, 2.5)
    assert (together.best, together.worst, together.gain) == pytest.approx((10.0, -5.0, 0.025))


def test_slippage_is_what_fills_were_worse_than_the_close_that_was_seen() -> None:
    """Bought 1 above and sold 2 below the close of the decision, 3 each: 9 paid; a better price counts against it."""
    account = Account(coin(100, 100, 100, 100), fee="0").buy(BTC, 1, "3", "101").sell(BTC, 3, "3", "98")
    assert spent(account).slippage == pytest.approx(9.0)
    account = Account(coin(100, 100, 100, 100), fee="0").buy(BTC, 1, "3", "99")
    assert spent(account).slippage == pytest.approx(-3.0)


def test_at_the_break_even_fee_the_same_fills_earn_nothing() -> None:
    """Fills that earn 10 of 210 traded break even at 1/21 a side: replayed with it, equity ends where it began."""
    prices = coin(100, 100, 110, 110)
    account = Account(prices, fee="0.001").buy(BTC, 1, "1").sell(BTC, 3, "1")
    fee = spent(account).break_even_fee
    assert fee == pytest.approx(10.0 / 210.0)
    again = Account(prices, fee=repr(fee)).buy(BTC, 1, "1").sell(BTC, 3, "1").result()
    assert again.equity[-1] == pytest.approx(1_000.0)


def test_costs_by_hand() -> None:
    """One round trip of 100 and 110: 210 traded, a fee of 2.1 at 1 %, turnover 210 over the mean equity."""
    account = Account(coin(100, 100, 110, 110), fee="0.01").buy(BTC, 1, "1").sell(BTC, 3, "1")
    made, equity = spent(account), account.result().equity
    assert (made.traded, made.fees) == pytest.approx((210.0, 2.1))
    assert made.turnover == pytest.approx(210.0 / equity.mean())
    assert made.turnover_annual == pytest.approx(210.0 / equity.mean() * 525_600 / 3)


def test_without_a_trade_there_is_nothing_to_say() -> None:
    """No trips, no costs, no break-even, and every coin with its own return alone."""
    account = Account(coin(100, 110))
    assert trips(account) == ()
    made = spent(account)
    assert (made.traded, made.fees, made.break_even_fee, made.turnover) == (0, 0, None, 0.0)
    (part,) = parts(account)
    assert (part.fills, part.profit, part.win_rate) == (0, 0, None)
    assert part.hold_return == pytest.approx(0.1)


def test_a_fee_in_a_third_asset_is_refused() -> None:
    """Its value is not known here, and a fee left out would be a lie."""
    account = Account(coin(100, 100)).buy(BTC, 1, "1")
    foreign = replace(account.fills[0], fee_asset="BNB")
    with pytest.raises(ValueError, match="BNB"):
        deals_of(replace(account.result(), fills=(foreign,)))


TRADE = st.tuples(st.integers(1, 39), st.sampled_from(COINS), st.booleans(), st.integers(1, 2_000))


@settings(deadline=None)
@given(st.lists(TRADE, max_size=40), st.booleans(), st.sampled_from(["0", "0.001", "0.02"]))
def test_the_coins_profits_are_the_change_in_equity(
    trades: list[tuple[int, str, bool, int]], in_coin: bool, fee: str
) -> None:
    """Whatever is traded, however fees are taken: profits over coins, open positions marked, sum to equity - capital."""
    account = Account(walk(40), "1000000", fee, in_coin)
    held = dict.fromkeys(COINS, Decimal(0))
    for row, symbol, buy, thousandths in sorted(trades):
        quantity = Decimal(thousandths) / 1_000
        if buy:
            account.buy(symbol, row, str(quantity))
            held[symbol] += quantity * (1 - Decimal(fee)) if in_coin else quantity
        elif quantity := min(quantity, held[symbol]):
            account.sell(symbol, row, str(quantity))
            held[symbol] -= quantity
    result = account.result()
    change = result.equity[-1] - result.capital
    assert sum(part.profit for part in parts(account)) == pytest.approx(change, abs=1e-6)
    made = spent(account)
    assert made.fees == pytest.approx(sum(part.fees for part in parts(account)))
    if fee == "0":
        assert made.fees == 0.0


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(COINS), st.integers(1, 18), st.integers(1, 20)), max_size=12))
def test_whole_round_trips_sum_to_the_change_in_equity(stays: list[tuple[str, int, int]]) -> None:
    """Trips that sell all they bought, open ones marked, earn together what the account did."""
    account = Account(walk(40), "1000000")
    free_from = dict.fromkeys(COINS, 0)
    for symbol, entered, lasted in sorted(stays, key=lambda stay: stay[1]):
        if entered < free_from[symbol]:
            continue
        account.buy(symbol, entered, "1.5")
        if entered + lasted < 30:
            account.sell(symbol, entered + lasted, "1.5")
        free_from[symbol] = entered + lasted + 1 if entered + lasted < 30 else 99
    result = account.result()
    assert sum(trip.profit for trip in trips(account)) == pytest.approx(result.equity[-1] - 1e6, abs=1e-6)
