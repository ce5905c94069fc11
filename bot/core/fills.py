"""How a paper order fills: one price, one quantity, one fee. Used by the paper exchange and by replays.

Source  the touch: a buy takes the ask, a sell the bid, at most a share of the quantity shown; where no book
        is known, the next traded price moved by half the spread and the slippage, against us.
Rounding  prices go to the tick against us (a buy up, a sell down), quantities down to the step, fees keep
          every digit.
"""

from decimal import Decimal

from msgspec import Struct

from bot.core.market import MONEY, Instrument, LastPrice, Quote, Side, ceil_to, floor_to

ONE = Decimal(1)
BPS = Decimal(10_000)
ENDLESS = Decimal("Infinity")


class FillModel(Struct, frozen=True):
    """What trading costs. `fee_in` "received": in the coin bought or the quote gained, as exchanges do."""

    fee_bps: Decimal
    fee_in: str
    spread_bps: Decimal
    slippage_bps: Decimal
    participation: Decimal

    def at_touch(self, side: Side, quote: Quote, instrument: Instrument) -> tuple[Decimal, Decimal]:
        """Price and available quantity for an order that meets this quote."""
        price, shown = (quote.ask, quote.ask_quantity) if side is Side.BUY else (quote.bid, quote.bid_quantity)
        available = instrument.floor_quantity(MONEY.multiply(_exact(shown), self.participation))
        return self._against(side, _exact(price), self.slippage_bps, instrument), available

    def at_last(self, side: Side, last: LastPrice, instrument: Instrument) -> tuple[Decimal, Decimal]:
        """Price and available quantity when only the last traded price is known."""
        worse = MONEY.add(MONEY.divide(self.spread_bps, Decimal(2)), self.slippage_bps)
        return self._against(side, _exact(last.price), worse, instrument), ENDLESS

    def fee(self, side: Side, quantity: Decimal, price: Decimal, instrument: Instrument) -> tuple[Decimal, str]:
        """The fee of a trade and the asset it is taken in."""
        rate = MONEY.divide(self.fee_bps, BPS)
        if side is Side.BUY and self.fee_in == "received":
            return MONEY.multiply(quantity, rate), instrument.base
        return MONEY.multiply(MONEY.multiply(quantity, price), rate), instrument.quote

    def _against(self, side: Side, price: Decimal, worse_bps: Decimal, instrument: Instrument) -> Decimal:
        shift = MONEY.divide(worse_bps, BPS)
        if side is Side.BUY:
            return ceil_to(MONEY.multiply(price, MONEY.add(ONE, shift)), instrument.price_step)
        return floor_to(MONEY.multiply(price, MONEY.subtract(ONE, shift)), instrument.price_step)


def _exact(value: float) -> Decimal:
    return Decimal(repr(value))  # the shortest decimal of the float: what the exchange wrote
