"""A paper exchange: orders in, reports out, filled by the market's own quotes. Pure; the time is an argument.

An order may fill by the first price known at or after its arrival + latency. It rests until it is filled,
cancelled, or its life is over. Balances are checked as an exchange does, and every filter of the
instrument is applied. Same inputs, same reports; trade ids count up from the number it is given.
"""

from collections.abc import Iterable
from decimal import Decimal

from msgspec import Struct
from msgspec.structs import replace

from bot.core.commands import Approved
from bot.core.events import Accepted, Canceled, Filled, Rejected, Report, Unfound
from bot.core.fills import FillModel
from bot.core.market import MONEY, Instrument, LastPrice, Quote, Side
from bot.core.snapshot import Order

ZERO = Decimal(0)


class Resting(Struct, frozen=True):
    """An order at the exchange and what is left of it."""

    order: Approved
    remaining: Decimal
    ready_ms: int
    ends_ms: int


class PaperExchange:
    def __init__(
        self,
        instruments: tuple[Instrument, ...],
        fills: FillModel,
        latency_ms: int,
        balances: dict[str, Decimal],
        trades: int = 0,
    ) -> None:
        self._instruments = {instrument.symbol: instrument for instrument in instruments}
        self._fills = fills
        self._latency_ms = latency_ms
        self.balances = dict(balances)
        self._trades = trades
        self._resting: dict[str, Resting] = {}
        self._waiting: dict[str, list[str]] = {}
        self._quoted: set[str] = set()
        self._over: dict[str, Report] = {}

    @property
    def waiting(self) -> Iterable[str]:
        """The symbols that have orders here, in the order they came."""
        return self._waiting.keys()

    def submit(self, order: Approved, now_ms: int) -> list[Report]:
        """Accepts or rejects an order, as the exchange's filters and balances say."""
        refusal = self._refusal(order)
        if refusal:
            return [Rejected(order.client_id, *refusal)]
        ends_ms = now_ms + order.life_ms
        self._resting[order.client_id] = Resting(order, order.quantity, now_ms + self._latency_ms, ends_ms)
        self._waiting.setdefault(order.symbol, []).append(order.client_id)
        return [Accepted(order.client_id, f"paper-{order.client_id}")]

    def adopt(self, order: Order, now_ms: int) -> None:
        """Puts back an order that rested when the last session ended: its balances are already settled."""
        approved = Approved(
            order.client_id,
            order.symbol,
            order.side,
            order.quantity,
            order.limit,
            order.expires_ms - order.created_ms,
            order.open_ms,
            order.reason,
        )
        self._resting[order.client_id] = Resting(approved, order.remaining, now_ms, order.expires_ms)
        self._waiting.setdefault(order.symbol, []).append(order.client_id)

    def _refusal(self, order: Approved) -> tuple[str, str] | None:
        instrument = self._instruments.get(order.symbol)
        if instrument is None:
            return "-1121", "Invalid symbol."
        if instrument.status != "TRADING":
            return "-2010", "Market is closed."
        if order.client_id in self._resting:
            return "-2010", "Duplicate order sent."
        step, least = instrument.quantity_step, instrument.quantity_min
        most = instrument.quantity_max or order.quantity
        if not least <= order.quantity <= most or (step and MONEY.remainder(order.quantity, step)):
            return "-1013", "Filter failure: LOT_SIZE"
        if order.side is Side.SELL and order.quantity > self.balances.get(instrument.base, ZERO):
            return "-2010", "Account has insufficient balance for requested action."
        return None

    def quote(self, quote: Quote) -> list[Report]:
        """Meets the orders of one symbol with its best bid and ask."""
        self._quoted.add(quote.symbol)
        if quote.symbol not in self._waiting:
            return []
        return self._match(quote.symbol, quote.time_ms, quote)

    def last_price(self, last: LastPrice) -> list[Report]:
        """Meets the orders of one symbol with a traded price, where no book is known."""
        if last.symbol not in self._waiting or last.symbol in self._quoted or not last.trades:
            return []
        return self._match(last.symbol, last.time_ms, last)

    def unquote(self) -> None:
        """The book is no longer subscribed or the connection was lost: traded prices serve until it speaks."""
        self._quoted.clear()

    def _match(self, symbol: str, time_ms: int, seen: Quote | LastPrice) -> list[Report]:
        reports: list[Report] = []
        instrument = self._instruments[symbol]
        taken = {Side.BUY: ZERO, Side.SELL: ZERO}
        for client_id in list(self._waiting[symbol]):
            resting = self._resting[client_id]
            side = resting.order.side
            if time_ms < resting.ready_ms:
                continue
            if time_ms >= resting.ends_ms:
                reports.append(self._end(resting, "expired"))
                continue
            if isinstance(seen, Quote):
                price, available = self._fills.at_touch(side, seen, instrument)
            else:
                price, available = self._fills.at_last(side, seen, instrument)
            if not price or _beyond(resting.order, price):
                continue
            quantity = min(resting.remaining, MONEY.subtract(available, taken[side]))
            if quantity <= 0:
                continue
            taken[side] = MONEY.add(taken[side], quantity)
            reports += self._fill(resting, quantity, price, time_ms)
        return reports

    def _fill(self, resting: Resting, quantity: Decimal, price: Decimal, time_ms: int) -> list[Report]:
        order, instrument = resting.order, self._instruments[resting.order.symbol]
        fee, fee_asset = self._fills.fee(order.side, quantity, price, instrument)
        if not self._settle(order.side, instrument, quantity, price, fee, fee_asset):
            return [self._end(resting, "expired")]
        self._trades += 1
        left = MONEY.subtract(resting.remaining, quantity)
        self._resting[order.client_id] = replace(resting, remaining=left)
        fill = Filled(
            order.client_id, order.symbol, str(self._trades), order.side, quantity, price, fee, fee_asset, time_ms
        )
        if not left:
            self._forget(resting)
            self._over[order.client_id] = fill
        return [fill]

    def _settle(
        self, side: Side, instrument: Instrument, quantity: Decimal, price: Decimal, fee: Decimal, fee_asset: str
    ) -> bool:
        """Moves the balances; False when they do not cover the trade with its fee."""
        value = MONEY.multiply(quantity, price)
        moves = {instrument.base: quantity, instrument.quote: -value}
        if side is Side.SELL:
            moves = {instrument.base: -quantity, instrument.quote: value}
        moves[fee_asset] = MONEY.subtract(moves.get(fee_asset, ZERO), fee)
        after = {asset: MONEY.add(self.balances.get(asset, ZERO), move) for asset, move in moves.items()}
        if any(balance < 0 for balance in after.values()):
            return False
        self.balances.update(after)
        return True

    def cancel(self, client_id: str) -> list[Report]:
        """Cancels what is left of an order; of one that is over or unknown there is nothing to say."""
        resting = self._resting.get(client_id)
        return [self._end(resting, "canceled")] if resting else []

    def query(self, client_id: str, now_ms: int) -> list[Report]:
        """What became of an order: resting, over, or never seen."""
        if client_id in self._resting:
            return [Accepted(client_id, f"paper-{client_id}")]
        known = self._over.get(client_id)
        return [known] if known else [Unfound(client_id, now_ms)]

    def _end(self, resting: Resting, reason: str) -> Report:
        self._forget(resting)
        ended = Canceled(resting.order.client_id, reason)
        self._over[resting.order.client_id] = ended
        return ended

    def _forget(self, resting: Resting) -> None:
        client_id, symbol = resting.order.client_id, resting.order.symbol
        del self._resting[client_id]
        self._waiting[symbol].remove(client_id)
        if not self._waiting[symbol]:
            del self._waiting[symbol]
        while len(self._over) > 10_000:
            del self._over[next(iter(self._over))]


def _beyond(order: Approved, price: Decimal) -> bool:
    if order.limit is None:
        return False
    return price > order.limit if order.side is Side.BUY else price < order.limit
