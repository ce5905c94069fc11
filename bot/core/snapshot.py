"""What the engine remembers: the values a session starts from and the journal checkpoints.

Money and quantities are Decimal, times milliseconds UTC, prices that only feed decisions floats.
"""

from decimal import Decimal
from enum import StrEnum

import msgspec

from bot.core.market import MONEY, Floats, Instrument, Integers, Mask, Side


class State(StrEnum):
    """The life of an order. UNKNOWN is neither dead nor open; nothing replaces it until absence is proven."""

    INTENT = "intent"
    SENT = "sent"
    UNKNOWN = "unknown"
    OPEN = "open"
    PARTIAL = "partial"
    CANCELING = "canceling"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    ABSENT = "absent"


FINAL = frozenset({State.FILLED, State.CANCELED, State.EXPIRED, State.REJECTED, State.ABSENT})


class Order(msgspec.Struct, frozen=True):
    """One order as far as we know it.

    `limit` is None for a market order. `request_ms` is 0 until the request left. `reserved_price` is
    the price at which its worst case was reserved. `trade_ids` are the trades already booked.
    """

    client_id: str
    symbol: str
    side: Side
    quantity: Decimal
    limit: Decimal | None
    reserved_price: Decimal
    open_ms: int
    created_ms: int
    expires_ms: int
    reason: str
    state: State = State.INTENT
    filled: Decimal = Decimal(0)
    request_ms: int = 0
    asked_ms: int = 0
    trade_ids: tuple[str, ...] = ()

    @property
    def final(self) -> bool:
        return self.state in FINAL

    @property
    def remaining(self) -> Decimal:
        return MONEY.subtract(self.quantity, self.filled)


class Holding(msgspec.Struct, frozen=True):
    """A position: its coins, what they cost (fees excluded), since when, and its stop's memory."""

    symbol: str
    quantity: Decimal
    cost: Decimal
    opened_ms: int
    high: float


class Cause(msgspec.Struct, frozen=True):
    """Why trading is held back: a level, what tripped it, and when it ends (0: when it is cleared).

    `symbol` is "" when it holds for all. A latched cause is ended by a person alone.
    """

    code: str
    level: int
    text: str
    symbol: str = ""
    until_ms: int = 0
    latched: bool = False
    fault: str = ""


class RiskMemory(msgspec.Struct, frozen=True):
    """What the limits remember across restarts."""

    causes: tuple[Cause, ...]
    equity_peak: float
    day: int
    equity_day_start: float
    cooldowns: dict[str, int]
    recent_orders_ms: tuple[int, ...]
    recent_rejects_ms: tuple[int, ...]


class Assembly(msgspec.Struct, frozen=True, eq=False):
    """Slices that wait for candles, and the last ones that closed, K of them, for N symbols.

    `values` [K, 5, N] in the order of FIELDS; `arrived`, `streamed` and `present` [K, N]: which candles came, came by
    the stream, and traded; `asked_ms` [K] when REST was asked for the missing; `misses` [N] how many slices running
    the stream has lost a symbol.
    """

    open_ms: Integers
    values: Floats
    arrived: Mask
    streamed: Mask
    present: Mask
    asked_ms: Integers
    misses: Integers


class Streaks(msgspec.Struct, frozen=True, eq=False):
    """What counts in a row: `sane` [N] candles of each symbol, and forecasts that failed."""

    sane: Integers
    failed_forecasts: int


class Snapshot(msgspec.Struct, frozen=True, eq=False):
    """Everything a session needs to go on. `forecasts` [K, N] are the last inferred returns.

    `cash_start` is what the account began with; cash, holdings and fees balance against it. `marks` [N] are the
    last known prices, 0 where none was ever known: a window of absent candles does not tell them. `assembly` and
    `streaks` are None where time has passed since: a checkpoint has them, a new session has not.
    """

    session: int
    symbols: tuple[str, ...]
    interval_ms: int
    instruments: tuple[Instrument, ...]
    quote_asset: str
    cash_start: Decimal
    cash: Decimal
    holdings: tuple[Holding, ...]
    fees: dict[str, Decimal]
    fees_value: Decimal
    realised: Decimal
    orders: tuple[Order, ...]
    risk: RiskMemory
    decided_ms: int
    orders_made: int
    forecasts_open_ms: Integers
    forecasts: Floats
    marks: Floats
    assembly: Assembly | None = None
    streaks: Streaks | None = None
