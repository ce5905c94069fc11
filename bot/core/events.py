"""What happened: everything the engine can be told, in the order the pump took it.

The journal stores exactly these values, so a fresh engine fed with them decides the same again.
Times are milliseconds UTC, money and quantities are Decimal.
"""

from decimal import Decimal
from enum import StrEnum

import msgspec

from bot.core.market import Candle, Floats, Panel, Side, Slice
from bot.core.snapshot import Snapshot

UNRECORDED = "journal"  # the code of a Rejected of ours: the intent was not on disk, so the order never left


class Verb(StrEnum):
    """What a person may tell the engine. RESUME alone leads back from a halt."""

    PAUSE = "pause"
    RESUME = "resume"
    REDUCE = "reduce"
    FLATTEN = "flatten"
    HALT = "halt"


class Forecast(msgspec.Struct, frozen=True, eq=False):
    """What a model says about one slice.

    `returns` [N]   the inferred return of each coin in the slice's own interval; NaN where not inferred, and everywhere
                    where no model infers returns
    `volatility` [N] forecast volatility of the next hour as it stands at the slice's close: the root of the mean
                    variance, as a fraction of the price; NaN where not known, None where no model forecasts it
    `gain` [N]      expected next return per unit of divergence, fitted on training data; None if unknown
    """

    open_ms: int
    returns: Floats
    volatility: Floats | None = None
    gain: Floats | None = None


class Event(msgspec.Struct, frozen=True, eq=False, tag=True):
    """The root of all events."""


class CandleClosed(Event, frozen=True):
    """The exchange closed a candle. `source` tells the stream from a REST answer."""

    candle: Candle
    source: str = "stream"


class CandleRefused(Event, frozen=True):
    """A frame of this symbol was no sane candle: its entries stop until three sane ones came."""

    symbol: str
    reason: str


class SliceClosed(Event, frozen=True):
    """All symbols at one close, straight from aligned history (the daemon assembles its own)."""

    slice: Slice


class History(Event, frozen=True):
    """Candles of the past, oldest first: they fill the window and never trade."""

    panel: Panel


class Forecasted(Event, frozen=True):
    """A model's answer. `seconds` is the time the inference took."""

    forecast: Forecast
    seconds: float


class ForecastFailed(Event, frozen=True):
    """The model gave no usable answer for this slice."""

    open_ms: int
    reason: str


class Sent(Event, frozen=True):
    """The request left at `request_ms`; from here on its fate is unknown until the exchange speaks."""

    client_id: str
    request_ms: int


class Accepted(Event, frozen=True):
    client_id: str
    exchange_id: str


class Rejected(Event, frozen=True):
    """A definite no. `code` is the exchange's own."""

    client_id: str
    code: str
    reason: str


class Filled(Event, frozen=True):
    """One trade of one of our orders. `trade_id` is unique per symbol; the fee is in `fee_asset`."""

    client_id: str
    symbol: str
    trade_id: str
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal
    fee_asset: str
    time_ms: int


class Canceled(Event, frozen=True):
    """The order is over with what it has filled; `reason` is "canceled" or "expired"."""

    client_id: str
    reason: str


class Unanswered(Event, frozen=True):
    """The request got no answer that proves anything: timeout, cut reply, 5xx."""

    client_id: str
    reason: str


class Unfound(Event, frozen=True):
    """No order, no open order, no trade of this id: all three witnesses asked at `time_ms`."""

    client_id: str
    time_ms: int


class Confirmed(Event, frozen=True):
    """A second source's price of a symbol whose candle jumped: the mid of the book over REST."""

    symbol: str
    price: float


class Reconciled(Event, frozen=True):
    """The state a session starts from, taken from the journal and agreed with the broker."""

    snapshot: Snapshot


class Impaired(Event, frozen=True):
    """A part of ours, by name, does not do its work: no entries until it is `Repaired`. `fault` is the catalogue's."""

    part: str
    fault: str
    text: str


class Repaired(Event, frozen=True):
    """The part works again."""

    part: str


class Wake(Event, frozen=True):
    """The time asked for by WakeAt has come."""


class Stopping(Event, frozen=True):
    """The process is going down: no new intents, resting entries are cancelled."""


class Operator(Event, frozen=True):
    verb: Verb
    who: str


AnyEvent = (
    CandleClosed
    | CandleRefused
    | SliceClosed
    | History
    | Forecasted
    | ForecastFailed
    | Sent
    | Accepted
    | Rejected
    | Filled
    | Canceled
    | Unanswered
    | Unfound
    | Confirmed
    | Reconciled
    | Impaired
    | Repaired
    | Wake
    | Stopping
    | Operator
)
Report = Sent | Accepted | Rejected | Filled | Canceled | Unanswered | Unfound
