"""What the engine wants done. It wishes; the edge acts and tells what came of it as events."""

from decimal import Decimal

import msgspec

from bot.core.market import Side


class Command(msgspec.Struct, frozen=True, eq=False, tag=True):
    """The root of all commands."""


class Approved(msgspec.Struct, frozen=True):
    """An order that risk let through. Only risk.py makes one; nothing else can be submitted.

    `limit` is None for a market order. `life_ms`: what is unfilled after this long is cancelled.
    """

    client_id: str
    symbol: str
    side: Side
    quantity: Decimal
    limit: Decimal | None
    life_ms: int
    open_ms: int
    reason: str


class Infer(Command, frozen=True):
    """Forecast this slice, now the newest in the window."""

    open_ms: int


class Submit(Command, frozen=True):
    order: Approved


class Cancel(Command, frozen=True):
    client_id: str
    symbol: str


class Query(Command, frozen=True):
    """Ask the exchange what became of an order: by client id, open orders, trades since."""

    client_id: str
    symbol: str


class Fetch(Command, frozen=True):
    """Ask REST for the candles of these symbols with opens from `start_ms` to `stop_ms`, both included."""

    symbols: tuple[str, ...]
    start_ms: int
    stop_ms: int


class Confirm(Command, frozen=True):
    """Ask a second source for the price of a symbol whose candle jumped."""

    symbol: str


class WakeAt(Command, frozen=True):
    time_ms: int


class Note(Command, frozen=True):
    """Something a person may want to know. `fault` is the catalogue's number, "" for good news."""

    code: str
    text: str
    fault: str = ""
    symbol: str = ""


AnyCommand = Infer | Submit | Cancel | Query | Fetch | Confirm | WakeAt | Note
