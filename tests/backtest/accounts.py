"""Results made by hand: trades at chosen slices of a panel, booked by the real ledger, as a replay would hand them on."""

from decimal import Decimal

import numpy as np
from numpy.typing import ArrayLike

from backtest.result import Result
from bot.core.events import Filled
from bot.core.ledger import Ledger
from bot.core.market import Floats, Panel, Side
from bot.core.snapshot import Order, State
from tests.making import panel


class Account:
    """An account on a panel. `buy` and `sell` fill at the open of a row, decided at the close of the row before."""

    def __init__(self, history: Panel, cash: str = "1000", fee: str = "0.001", in_coin: bool = False) -> None:
        self.history = history
        self.capital = Decimal(cash)
        self.fee = Decimal(fee)
        self.in_coin = in_coin
        self.orders: list[Order] = []
        self.fills: list[Filled] = []

    def buy(self, symbol: str, row: int, quantity: str, price: str = "") -> "Account":
        return self._trade(Side.BUY, symbol, row, Decimal(quantity), price)

    def sell(self, symbol: str, row: int, quantity: str, price: str = "") -> "Account":
        return self._trade(Side.SELL, symbol, row, Decimal(quantity), price)

    def _trade(self, side: Side, symbol: str, row: int, quantity: Decimal, at: str) -> "Account":
        opened = float(self.history.open[row, self.history.symbols.index(symbol)])
        price = Decimal(at) if at else Decimal(repr(opened))
        in_coin = self.in_coin and side is Side.BUY
        fee = quantity * self.fee if in_coin else quantity * price * self.fee
        base, _, quote = symbol.partition("/")
        name = str(len(self.fills))
        decided, now = int(self.history.open_ms[max(row - 1, 0)]), int(self.history.open_ms[row])
        self.orders.append(
            Order(name, symbol, side, quantity, None, price, decided, now, now, f"{side} {row}", State.FILLED, quantity)
        )
        self.fills.append(Filled(name, symbol, name, side, quantity, price, fee, base if in_coin else quote, now))
        return self

    def result(self) -> Result:
        """Equity at every close: cash and what is held at the last known closes."""
        history = self.history
        ledger = Ledger(history.symbols, "USDT", self.capital)
        fills = sorted(self.fills, key=lambda fill: fill.time_ms)
        equity, cash = np.empty(len(history)), np.empty(len(history))
        for row in range(len(history)):
            while fills and fills[0].time_ms <= history.open_ms[row]:
                ledger.apply(fills.pop(0))
            close = history.close[row]
            ledger.mark[:] = np.where(np.isnan(close), ledger.mark, close)
            equity[row], cash[row] = ledger.equity(), float(ledger.cash)
        return result_of(history, float(self.capital), float(self.fee), equity, cash, self.orders, self.fills)


def result_of(
    history: Panel,
    capital: float,
    fee: float,
    equity: Floats,
    cash: Floats,
    orders: list[Order],
    fills: list[Filled],
) -> Result:
    exposure = np.divide(equity - cash, equity, out=np.zeros_like(equity), where=equity > 0.0)
    told = tuple(sorted(fills, key=lambda fill: fill.time_ms))
    return Result(
        "hand", history, capital, fee, equity, cash, exposure, tuple(orders), told, {"by": "hand"}, "digest", 0.5
    )


def coin(*closes: float, symbols: tuple[str, ...] = ("BTC/USDT",)) -> Panel:
    """One coin's minutes from its closes; each opens at the close before."""
    return panel(np.array(closes, dtype=np.float64)[:, None], symbols=symbols)


def minutes(equity: ArrayLike) -> Panel:
    """A panel of one coin as long as this curve, its closes the curve's."""
    return panel(np.asarray(equity, dtype=np.float64)[:, None], symbols=("BTC/USDT",))
