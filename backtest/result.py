"""What a replay did: the account slice by slice, its orders and fills, and what it cost to find out.

Shapes  T slices, oldest first, N symbols, in universe order; all arrays are on the panel's rows.
Money   `orders` and `fills` are exact; `equity`, `cash` and `exposure` are floats, in the quote asset, at each close.
"""

from msgspec import Struct

from bot.core.events import Filled
from bot.core.market import Floats, Panel
from bot.core.snapshot import Order


class Result(Struct, frozen=True, eq=False):
    """One replay over `panel`, the slices from the first that could be decided to the last, at their closes.

    `equity` [T] cash and positions; `exposure` [T] the share of it in positions; `capital` what it began with.
    `fills` in the order they came; the order they belong to, with its reason and the slice it was decided at
    (`open_ms`), is found by `client_id` in `orders`. `fee` is the share of a trade's value the exchange took.
    `notes` counts what the engine noted, by code: vetoes, limits that tripped. `settings` are the ones in force,
    `digest` a hash of every order, cancel and fill: equal replays have equal digests.
    """

    name: str
    panel: Panel
    capital: float
    fee: float
    equity: Floats
    cash: Floats
    exposure: Floats
    orders: tuple[Order, ...]
    fills: tuple[Filled, ...]
    settings: dict[str, object]
    digest: str
    seconds: float
    notes: dict[str, int] = {}
