"""What is owned, what it cost, and what was earned: fills in, balances out, all in Decimal.

Invariant, exact after every fill:  cash_start + realised = cash + positions at cost + fees_value.
Fees  taken in the quote asset lower the cash; taken in the bought coin they lower the position, and their
      value at the fill's price moves from the position's cost to `fees_value`. A fee in a third asset is
      kept in `fees` alone.
Marks floats: equity is a reading for decisions, never an entry.
Arrays  [N] in universe order: `quantity` held, `mark`, `entry` average price paid and trailing `high` (NaN where
        nothing is held), `opened_ms` of the entry (0 there); `held` [H] the indices of what is held. The highs of
        `holdings` are as of the last trade.
"""

from decimal import Decimal

import numpy as np
from msgspec.structs import replace

from bot.core.events import Filled
from bot.core.market import MONEY, Floats, Integers, Side
from bot.core.snapshot import Holding

ZERO = Decimal(0)
COST_STEP = Decimal("1e-18")  # a share of a cost keeps so many digits that later sums stay exact


class Oversold(AssertionError):
    """A sell of more than is held: no path of ours leads here, so it is a bug."""


class Ledger:
    def __init__(self, symbols: tuple[str, ...], quote_asset: str, cash: Decimal) -> None:
        self.symbols = symbols
        self.quote_asset = quote_asset
        self.cash_start = self.cash = cash
        self.realised = ZERO
        self.fees: dict[str, Decimal] = {}
        self.fees_value = ZERO
        self.holdings: dict[str, Holding] = {}
        self._index = {symbol: at for at, symbol in enumerate(symbols)}
        coins = len(symbols)
        self.quantity: Floats = np.zeros(coins)
        self.mark: Floats = np.zeros(coins)
        self.entry: Floats = np.full(coins, np.nan)
        self.high: Floats = np.full(coins, np.nan)
        self.opened_ms: Integers = np.zeros(coins, dtype=np.int64)
        self.held: Integers = np.zeros(0, dtype=np.int64)

    def restore(self, holdings: tuple[Holding, ...]) -> None:
        """Takes over positions a snapshot remembers."""
        for holding in holdings:
            self._hold(holding)

    def apply(self, fill: Filled) -> None:
        """Books one trade. Raises Oversold rather than let a position fall below zero."""
        value = MONEY.multiply(fill.quantity, fill.price)
        if fill.side is Side.BUY:
            self._buy(fill, value)
        else:
            self._sell(fill, value)
        self.fees[fill.fee_asset] = MONEY.add(self.fees.get(fill.fee_asset, ZERO), fill.fee)
        if fill.fee_asset == self.quote_asset:
            self.cash = MONEY.subtract(self.cash, fill.fee)
            self.fees_value = MONEY.add(self.fees_value, fill.fee)
        at = self._index[fill.symbol]
        if not self.mark[at]:
            self.mark_at(at, float(fill.price))

    def mark_at(self, at: int, price: float) -> None:
        """Marks one coin. Marks may be a slice's own closes, so that they are replaced and never written into."""
        self.mark = self.mark.copy()
        self.mark[at] = price

    def _buy(self, fill: Filled, value: Decimal) -> None:
        held = self.holdings.get(fill.symbol)
        quantity, cost = fill.quantity, value
        if fill.fee_asset == fill.symbol.partition("/")[0]:
            quantity = MONEY.subtract(quantity, fill.fee)
            fee_value = MONEY.multiply(fill.fee, fill.price)
            cost = MONEY.subtract(cost, fee_value)
            self.fees_value = MONEY.add(self.fees_value, fee_value)
        self.cash = MONEY.subtract(self.cash, value)
        if held is None:
            self._hold(Holding(fill.symbol, quantity, cost, fill.time_ms, float(fill.price)))
        else:
            quantity, cost = MONEY.add(held.quantity, quantity), MONEY.add(held.cost, cost)
            high = max(float(self.high[self._index[fill.symbol]]), float(fill.price))
            self._hold(Holding(fill.symbol, quantity, cost, held.opened_ms, high))

    def _sell(self, fill: Filled, value: Decimal) -> None:
        held = self.holdings.get(fill.symbol)
        if held is None or fill.quantity > held.quantity:
            raise Oversold(f"sold {fill.quantity} {fill.symbol}, held {held.quantity if held else 0}")
        whole = fill.quantity == held.quantity
        cost = held.cost if whole else _share(held.cost, fill.quantity, held.quantity)
        self.cash = MONEY.add(self.cash, value)
        self.realised = MONEY.add(self.realised, MONEY.subtract(value, cost))
        left, left_cost = MONEY.subtract(held.quantity, fill.quantity), MONEY.subtract(held.cost, cost)
        high = float(self.high[self._index[fill.symbol]])
        self._hold(Holding(fill.symbol, left, left_cost, held.opened_ms, high))

    def _hold(self, holding: Holding) -> None:
        at = self._index[holding.symbol]
        self.quantity[at] = float(holding.quantity)
        if holding.quantity:
            self.holdings[holding.symbol] = holding
            self.entry[at] = float(holding.cost) / float(holding.quantity)
            self.high[at], self.opened_ms[at] = holding.high, holding.opened_ms
        else:
            self.holdings.pop(holding.symbol, None)
            self.entry[at], self.high[at], self.opened_ms[at] = np.nan, np.nan, 0
        self.held = self.quantity.nonzero()[0]

    def raise_highs(self) -> None:
        """Lifts the trailing highs of what is held to the present marks."""
        np.maximum(self.high, self.mark, out=self.high)  # NaN, where nothing is held, stays NaN

    def positions(self) -> tuple[Holding, ...]:
        """What is held, with its highs as of now."""
        return tuple(
            replace(held, high=float(self.high[self._index[symbol]])) for symbol, held in self.holdings.items()
        )

    def equity(self) -> float:
        """Cash and positions at their marks, in the quote asset."""
        if not self.holdings:
            return float(self.cash)
        return float(self.cash) + float(self.quantity.dot(self.mark))

    def equities(self, mark: Floats) -> Floats:
        """The equity [S] at each row of marks [S, N], every digit as `equity` has it."""
        cash = float(self.cash)
        if not self.holdings:
            return np.full(len(mark), cash)
        worth: Floats = cash + np.vecdot(mark, self.quantity)
        return worth

    def balance_error(self) -> Decimal:
        """What the invariant is off by: zero."""
        cost = ZERO
        for held in self.holdings.values():
            cost = MONEY.add(cost, held.cost)
        owned = MONEY.add(MONEY.add(self.cash, cost), self.fees_value)
        return MONEY.subtract(MONEY.add(self.cash_start, self.realised), owned)


def _share(cost: Decimal, quantity: Decimal, whole: Decimal) -> Decimal:
    return MONEY.quantize(MONEY.divide(MONEY.multiply(cost, quantity), whole), COST_STEP)
