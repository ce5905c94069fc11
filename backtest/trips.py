"""Fills as round trips, what each earned, and what trading cost.

A trip  runs from flat to flat of one coin: from the first buy to the sell after which at most DUST of the most held is left.
        Buys and sells between are parts of it; what it sells costs the average price of what was held (average cost).
Dust    steps and fees taken in the coin leave rests that cannot be sold. A rest goes on at its cost into the coin's next trip;
        a coin's profit is its cash flow and its marked rest, so over coins it is the change in equity to the last digit.
Fees    as money: in the quote asset as they are, in the bought coin at the fill's price (what the ledger does).
Wins    a trip whose realised profit after fees is above zero (spec 8.4).
Break-even  the fee f a side where gross profit - f * traded value = 0, for the same fills: an approximation, since lower fees
        would have left more to trade with, and orders would have differed. Positions still open pay no selling fee.
"""

import math
from typing import NamedTuple

import numpy as np

from backtest.result import Result
from backtest.statistics import YEAR_MS, Coin, Costs, RoundTrips, Trip
from bot.core.events import Filled
from bot.core.market import Floats, Panel, Side

DUST = 0.05  # of the most held: a partial exit leaves more, a step or a fee leaves less


class Deal(NamedTuple):
    """One fill in floats: `received` coins after a fee taken in them, `cash` what it did to the cash, the rest as money.

    `slippage` is against the close its decision saw, `execution` against the open after it, each 0 where there was none.
    """

    at: int
    buy: bool
    time_ms: int
    quantity: float
    received: float
    value: float
    fee: float
    cash: float
    slippage: float
    execution: float
    reason: str


class _Open:
    """A coin's position while it is counted: what is held and its cost, and the trip that runs."""

    def __init__(self) -> None:
        self.held = self.cost = 0.0
        self.clear()

    def clear(self) -> None:
        self.first: Deal | None = None
        self.last: Deal | None = None
        self.most = self.bought = self.sold = self.stake = self.proceeds = self.fees = self.slippage = self.profit = 0.0


def deals_of(result: Result) -> list[Deal]:
    """The fills in the order they came. Raises ValueError for a fee in a third asset: its value is not known here."""
    panel = result.panel
    index = {symbol: at for at, symbol in enumerate(panel.symbols)}
    orders = {order.client_id: order for order in result.orders}
    decided = [orders[fill.client_id].open_ms if fill.client_id in orders else -1 for fill in result.fills]
    rows = np.searchsorted(panel.open_ms, np.array(decided, dtype=np.int64), side="right") - 1
    deals = []
    for fill, row in zip(result.fills, rows.tolist(), strict=True):
        at = index[fill.symbol]
        order = orders.get(fill.client_id)
        close = float(panel.close[row, at]) if row >= 0 else np.nan
        after = float(panel.open[row + 1, at]) if 0 <= row < len(panel) - 1 else np.nan
        deals.append(_deal(fill, at, close, after, order.reason if order else ""))
    return deals


def _deal(fill: Filled, at: int, close: float, after: float, reason: str) -> Deal:
    base, _, quote = fill.symbol.partition("/")
    quantity, price, fee = float(fill.quantity), float(fill.price), float(fill.fee)
    if fee and fill.fee_asset not in (base, quote):
        raise ValueError(
            f"a fee of {fill.symbol} in {fill.fee_asset} has no known value: take fees in {base} or {quote}"
        )
    buy = fill.side is Side.BUY
    in_coin = fill.fee_asset == base
    value = quantity * price
    worse, later = (_worse(price, than, buy) * quantity for than in (close, after))
    return Deal(
        at=at,
        buy=buy,
        time_ms=fill.time_ms,
        quantity=quantity,
        received=quantity - fee if buy and in_coin else quantity,
        value=value,
        fee=fee * price if in_coin else fee,
        cash=(-value if buy else value) - (0.0 if in_coin else fee),
        slippage=worse,
        execution=later,
        reason=reason,
    )


def _worse(price: float, than: float, buy: bool) -> float:
    if math.isnan(than):
        return 0.0
    return price - than if buy else than - price


def trips_of(deals: list[Deal], panel: Panel, marks: Floats) -> tuple[Trip, ...]:
    """All round trips by the time they began; those still open at the end are marked at `marks` [N]."""
    books: dict[int, _Open] = {}
    trips: list[Trip] = []
    for deal in deals:
        book = books.setdefault(deal.at, _Open())
        if book.first is None and not deal.buy:
            _sell(book, deal)  # a rest of an earlier trip: the coin's profit has it, no trip does
            book.clear()
            continue
        book.first = book.first or deal
        book.last = deal
        book.fees += deal.fee
        book.slippage += deal.slippage
        if deal.buy:
            _buy(book, deal)
        else:
            _sell(book, deal)
            if book.held <= DUST * book.most:
                trips.append(_closed(book, panel.symbols[deal.at]))
                book.clear()
    end_ms = int(panel.open_ms[-1]) + panel.interval_ms
    trips += [_marked(book, panel.symbols[at], end_ms, float(marks[at])) for at, book in books.items() if book.first]
    return tuple(sorted(trips, key=lambda trip: (trip.entered_ms, trip.symbol)))


def _buy(book: _Open, deal: Deal) -> None:
    book.held += deal.received
    book.cost += -deal.cash
    book.most = max(book.most, book.held)
    book.bought += deal.quantity
    book.stake += deal.value


def _sell(book: _Open, deal: Deal) -> None:
    share = min(deal.quantity / book.held, 1.0) if book.held > 0.0 else 1.0
    book.profit += deal.cash - share * book.cost
    book.cost *= 1.0 - share
    book.held = book.held - deal.quantity if share < 1.0 else 0.0
    book.sold += deal.quantity
    book.proceeds += deal.value


def _closed(book: _Open, symbol: str) -> Trip:
    assert book.last is not None
    return _trip(book, symbol, book.last.time_ms, True, book.proceeds / book.sold, book.profit, book.last.reason)


def _marked(book: _Open, symbol: str, end_ms: int, mark: float) -> Trip:
    """A trip that is not over: what is held counts at its mark, and no selling fee."""
    return _trip(book, symbol, end_ms, False, mark, book.profit + book.held * mark - book.cost, "")


def _trip(book: _Open, symbol: str, end_ms: int, closed: bool, leave: float, profit: float, why: str) -> Trip:
    assert book.first is not None
    return Trip(
        symbol=symbol,
        entered_ms=book.first.time_ms,
        exited_ms=end_ms,
        closed=closed,
        quantity=book.bought,
        entry=book.stake / book.bought,
        exit=leave,
        stake=book.stake,
        fees=book.fees,
        slippage=book.slippage,
        profit=profit,
        reason=book.first.reason,
        exit_reason=why,
    )


def round_trips(trips: tuple[Trip, ...]) -> RoundTrips:
    """The closed ones together."""
    closed = [trip for trip in trips if trip.closed]
    profits = np.array([trip.profit for trip in closed])
    gains = [trip.gain for trip in closed if trip.gain is not None]
    count, wins = len(closed), int(np.sum(profits > 0.0))
    lost = -float(profits[profits < 0.0].sum())
    return RoundTrips(
        count=count,
        open=len(trips) - count,
        wins=wins,
        win_rate=wins / count if count else None,
        profit_factor=float(profits[profits > 0.0].sum()) / lost if lost > 0.0 else None,
        expectancy=float(profits.mean()) if count else None,
        gain=float(np.mean(gains)) if gains else None,
        best=float(profits.max()) if count else None,
        worst=float(profits.min()) if count else None,
        holding_ms=float(np.mean([trip.holding_ms for trip in closed])) if count else None,
    )


def costs(result: Result, deals: list[Deal]) -> Costs:
    """Fees and slippage paid, how much was traded for them, and the fee that would have eaten all."""
    fees = sum(deal.fee for deal in deals)
    traded = sum(deal.value for deal in deals)
    mean = float(result.equity.mean())
    turnover = traded / mean if mean > 0.0 else None
    years = float(result.panel.open_ms[-1] - result.panel.open_ms[0]) / YEAR_MS
    gross = float(result.equity[-1]) - result.capital + fees
    return Costs(
        fee=result.fee,
        fees=fees,
        slippage=sum(deal.slippage for deal in deals),
        traded=traded,
        turnover=turnover,
        turnover_annual=turnover / years if turnover is not None and years > 0.0 else None,
        break_even_fee=gross / traded if traded > 0.0 else None,
    )


def coins(deals: list[Deal], trips: tuple[Trip, ...], panel: Panel, firsts: Floats, lasts: Floats) -> tuple[Coin, ...]:
    """Every coin's part, in universe order; `firsts` and `lasts` [N] are its first and last known closes, NaN without one."""
    mine: list[list[Deal]] = [[] for _ in panel.symbols]
    for deal in deals:
        mine[deal.at].append(deal)
    runs: dict[str, list[Trip]] = {symbol: [] for symbol in panel.symbols}
    for trip in trips:
        runs[trip.symbol].append(trip)
    return tuple(
        _coin(symbol, mine[at], tuple(runs[symbol]), float(firsts[at]), float(lasts[at]))
        for at, symbol in enumerate(panel.symbols)
    )


def _coin(symbol: str, deals: list[Deal], trips: tuple[Trip, ...], first: float, last: float) -> Coin:
    held = sum(deal.received if deal.buy else -deal.quantity for deal in deals)
    together = round_trips(trips)
    return Coin(
        symbol=symbol,
        fills=len(deals),
        trips=together.count,
        wins=together.wins,
        win_rate=together.win_rate,
        profit=sum(deal.cash for deal in deals) + (held * last if held else 0.0),
        fees=sum(deal.fee for deal in deals),
        slippage=sum(deal.slippage for deal in deals),
        traded=sum(deal.value for deal in deals),
        holding_ms=together.holding_ms,
        hold_return=last / first - 1.0 if np.isfinite(last / first) else None,
    )
