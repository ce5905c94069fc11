"""The paper broker: hands approved orders to the paper exchange and its reports to the pump.

The same seam a live broker fills: `submit`, `cancel`, `query`; whatever happens to an order comes back as
events through `deliver`. Market data reaches the paper exchange here, stamped with the time it was
received, since a book ticker carries none.
"""

from collections.abc import Callable, Iterable
from decimal import Decimal

from msgspec.structs import replace

from bot.config import Account
from bot.core.commands import Approved
from bot.core.events import Report, Sent
from bot.core.fills import FillModel
from bot.core.market import Instrument, LastPrice, Quote
from bot.core.paper import PaperExchange
from bot.core.snapshot import Snapshot, State
from bot.edge.clock import Clock

TRADES_A_SESSION = 10**9
RESTING = (State.OPEN, State.PARTIAL, State.CANCELING)


def fill_model(account: Account) -> FillModel:
    """What trading costs on paper, exact."""
    return FillModel(
        Decimal(repr(account.fee_bps)),
        account.fee_in,
        Decimal(repr(account.spread_bps)),
        Decimal(repr(account.slippage_bps)),
        Decimal(repr(account.participation)),
    )


class PaperBroker:
    """Starts where the snapshot stands: its balances are the ledger's, its open orders rest again."""

    def __init__(
        self,
        account: Account,
        instruments: tuple[Instrument, ...],
        snapshot: Snapshot,
        clock: Clock,
        deliver: Callable[[Report], None],
    ) -> None:
        balances = {snapshot.quote_asset: snapshot.cash}
        balances |= {holding.symbol.partition("/")[0]: holding.quantity for holding in snapshot.holdings}
        trades = snapshot.session * TRADES_A_SESSION  # ids never repeat across sessions
        self._exchange = PaperExchange(instruments, fill_model(account), account.latency_ms, balances, trades)
        self._clock = clock
        self._deliver = deliver
        for order in snapshot.orders:
            if order.state in RESTING:
                self._exchange.adopt(order, clock.now_ms())

    def submit(self, order: Approved) -> None:
        now_ms = self._clock.now_ms()
        self._deliver(Sent(order.client_id, now_ms))
        self._tell(self._exchange.submit(order, now_ms))

    def cancel(self, client_id: str, symbol: str) -> None:
        self._tell(self._exchange.cancel(client_id))

    def query(self, client_id: str, symbol: str) -> None:
        self._tell(self._exchange.query(client_id, self._clock.now_ms()))

    def quote(self, quote: Quote) -> None:
        """The book's touch: what waits for this symbol may fill."""
        self._tell(self._exchange.quote(replace(quote, time_ms=self._clock.now_ms())))

    def last_price(self, last: LastPrice) -> None:
        """A traded price: serves symbols whose book is not known."""
        self._tell(self._exchange.last_price(last))

    def disconnected(self) -> None:
        """The feed was lost: no quote of before it may fill anything."""
        self._exchange.unquote()

    def _tell(self, reports: Iterable[Report]) -> None:
        for report in reports:
            self._deliver(report)
