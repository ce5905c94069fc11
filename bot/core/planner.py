"""Targets become wishes: the one place where float signals turn into Decimal orders.

Sells come first, then buys in universe order. A difference is traded when it is worth it: above
`trade_min` of equity, or when a position goes to zero. Quantities are rounded down to the step; a sell never
exceeds what is held and not already being sold; buys share the free cash, fees and a margin included.
"""

from decimal import Decimal
from functools import lru_cache
from typing import Literal

from msgspec import Struct
from pydantic import BaseModel, Field

from bot.core.ledger import Ledger
from bot.core.market import MONEY, Floats, Instrument, Side, ceil_to, floor_to
from bot.core.orders import Orders
from bot.core.strategy import Portfolio

ZERO, ONE = Decimal(0), Decimal(1)
FULL_EXIT = 1e-9


class Planner(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """How wishes become orders. Shares of equity; `notional_margin` times the exchange's minimum is the least.

    `funding` "cash": buys share the cash that is free now; "exchange": each is ordered whole, sells of the same slice
    may pay for it, and the exchange refuses what the cash does not cover.
    """

    order_type: Literal["market", "limit"] = "market"
    limit_offset_bps: float = Field(10.0, ge=0, le=500)
    life_ms: int = Field(60_000, ge=1_000)
    trade_min: float = Field(0.002, ge=0, le=1)
    notional_margin: float = Field(1.5, ge=1)
    cash_margin: float = Field(0.01, ge=0, lt=1)
    funding: Literal["cash", "exchange"] = "cash"


class Wish(Struct, frozen=True):
    """A wanted trade on the instrument's steps, valued at the mark. `limit` is None for a market order."""

    symbol: str
    at: int
    side: Side
    quantity: Decimal
    price: Decimal
    limit: Decimal | None
    reason: str


def plan(
    targets: Floats,
    portfolio: Portfolio,
    ledger: Ledger,
    orders: Orders,
    instruments: tuple[Instrument, ...],
    settings: Planner,
) -> list[Wish]:
    """The trades that lead from the portfolio to the targets [N], NaN left alone."""
    moves = targets - portfolio.weights
    wishes = []
    for at in (moves < 0).nonzero()[0].tolist():
        target = float(targets[at])
        worth_it = moves[at] < -settings.trade_min or target <= FULL_EXIT
        if worth_it and ledger.quantity[at] > 0 and portfolio.mark[at] > 0:
            wish = _sell(at, target, portfolio, ledger, orders, instruments[at], settings)
            if wish:
                wishes.append(wish)
    buys = (moves > settings.trade_min).nonzero()[0].tolist()
    return [*wishes, *_buys(buys, moves, portfolio, ledger, orders, instruments, settings)] if buys else wishes


def _buys(
    coins: list[int],
    moves: Floats,
    portfolio: Portfolio,
    ledger: Ledger,
    orders: Orders,
    instruments: tuple[Instrument, ...],
    settings: Planner,
) -> list[Wish]:
    wishes = []
    ordered = orders.buying()
    free = ledger.cash
    for cost in ordered.values():
        free = MONEY.subtract(free, cost)
    for at in coins:
        wanted = Decimal(repr(float(moves[at]) * portfolio.equity))
        value = MONEY.subtract(wanted, ordered.get(instruments[at].symbol, ZERO))
        wish = _buy(at, value, free, portfolio, instruments[at], settings)
        if wish:
            wishes.append(wish)
            free = MONEY.subtract(free, _worst(wish, settings))
    return wishes


def _sell(
    at: int,
    target: float,
    portfolio: Portfolio,
    ledger: Ledger,
    orders: Orders,
    instrument: Instrument,
    settings: Planner,
) -> Wish | None:
    held, selling = ledger.holdings[instrument.symbol].quantity, orders.selling(instrument.symbol)
    free = MONEY.subtract(held, selling)
    price = _exact(portfolio.mark[at], instrument)
    quantity = free
    if target > FULL_EXIT:
        surplus = (portfolio.weights[at] - target) * portfolio.equity / portfolio.mark[at]
        quantity = min(free, MONEY.subtract(Decimal(repr(float(surplus))), selling))
    quantity = instrument.floor_quantity(_at_most(quantity, instrument))
    if not _tradable(quantity, price, instrument, ONE):
        return None  # dust: kept in the ledger, tried again when it is sellable (fault O10)
    return Wish(instrument.symbol, at, Side.SELL, quantity, price, _limit(Side.SELL, price, instrument, settings), "")


def _buy(
    at: int,
    value: Decimal,
    free: Decimal,
    portfolio: Portfolio,
    instrument: Instrument,
    settings: Planner,
) -> Wish | None:
    price = _exact(portfolio.mark[at], instrument)
    if not price > 0:
        return None
    if settings.funding == "cash":
        value = min(value, MONEY.multiply(free, _exactly(1.0 - settings.cash_margin)))
    quantity = instrument.floor_quantity(_at_most(MONEY.divide(value, price), instrument))
    if not _tradable(quantity, price, instrument, _exactly(settings.notional_margin)):
        return None
    return Wish(instrument.symbol, at, Side.BUY, quantity, price, _limit(Side.BUY, price, instrument, settings), "")


def _at_most(quantity: Decimal, instrument: Instrument) -> Decimal:
    """What one order may hold; the rest is wished for again with the next slice."""
    return min(quantity, instrument.quantity_max) if instrument.quantity_max else quantity


def _tradable(quantity: Decimal, price: Decimal, instrument: Instrument, margin: Decimal) -> bool:
    if quantity <= 0 or quantity < instrument.quantity_min:
        return False
    return MONEY.multiply(quantity, price) >= MONEY.multiply(instrument.notional_min, margin)


def _limit(side: Side, price: Decimal, instrument: Instrument, settings: Planner) -> Decimal | None:
    if settings.order_type == "market":
        return None
    offset = MONEY.divide(_exactly(settings.limit_offset_bps), Decimal(10_000))
    if side is Side.BUY:
        return ceil_to(MONEY.multiply(price, MONEY.add(ONE, offset)), instrument.price_step)
    return floor_to(MONEY.multiply(price, MONEY.subtract(ONE, offset)), instrument.price_step)


def _worst(wish: Wish, settings: Planner) -> Decimal:
    return MONEY.multiply(MONEY.multiply(wish.quantity, wish.limit or wish.price), _exactly(1.0 + settings.cash_margin))


@lru_cache(maxsize=256)
def _exactly(setting: float) -> Decimal:
    """A setting as people wrote it."""
    return Decimal(repr(setting))


def _exact(price: float, instrument: Instrument) -> Decimal:
    return floor_to(Decimal(repr(float(price))), instrument.price_step) or Decimal(repr(float(price)))
