"""One question to an exchange through ccxt: within its weight, tried again where that can help, errors by their kind.

Limits  after 429 or 418 nothing is sent before Retry-After ends (A1, A2).
Errors  RestError, rebuilt without URL and headers (S1).
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, TypeVar

from bot.edge.clock import Clock
from bot.edge.weight import Banned, Weight
from bot.exchanges.binance import BadFrame

TRIES, BACKOFF_S = 3, 0.5
LIMITED = (418, 429)
SHUTTING_DOWN = '"code":-1016'  # passes, though ccxt calls it a bad request (M6)
DEFAULT_BAN_S = 60.0

Kind = Literal["unreachable", "limited", "garbled", "refused", "unlisted"]
T = TypeVar("T")


class RestError(Exception):
    """The exchange did not answer usefully; `retry_after` is the seconds it wants to be left alone."""

    exit_code = 74

    def __init__(self, kind: Kind, text: str, retry_after: float = 0.0) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind
        self.retry_after = retry_after


class Questions:
    """Asks within `weight`, which `heard` is told of every answer's status and headers."""

    def __init__(self, weight: Weight, clock: Clock) -> None:
        self._weight = weight
        self._clock = clock

    def heard(self, status: int, headers: Mapping[Any, Any]) -> None:
        """What any answer says of the limits; for ccxt's `on_rest_response`, which comes before it judges the status."""
        lowered = {str(name).lower(): str(value) for name, value in headers.items()}
        if status in LIMITED:
            self._weight.ban(_seconds(lowered.get("retry-after", "")))
        self._weight.heard(lowered.get("x-mbx-used-weight-1m", ""))

    async def ask(
        self,
        weight: int,
        call: Callable[[dict[str, Any]], Awaitable[Any]],
        params: dict[str, Any],
        read: Callable[[Any], T],
    ) -> T:
        """One GET within the limits, its answer read; tried again a few times where that can help."""
        import ccxt

        trouble = RestError("unreachable", "not asked")
        for attempt in range(TRIES):
            if attempt:
                await self._clock.sleep(BACKOFF_S * 2**attempt)
            try:
                await self._weight.spend(weight)
                answer = await call(params)
                return read(answer)
            except Banned as why:
                raise RestError("limited", str(why), why.left_s) from None
            except (ccxt.DDoSProtection, ccxt.RateLimitExceeded) as why:
                raise RestError("limited", type(why).__name__, self._weight.banned_s) from None
            except BadFrame as why:
                trouble = RestError("garbled", str(why))
            except ccxt.OperationFailed as why:
                trouble = RestError("unreachable", type(why).__name__)
            except ccxt.BadSymbol as why:
                raise RestError("unlisted", type(why).__name__) from None
            except ccxt.ExchangeError as why:
                if self._weight.banned_s:  # a limit that ccxt does not know by its body
                    raise RestError("limited", type(why).__name__, self._weight.banned_s) from None
                if SHUTTING_DOWN in str(why):
                    trouble = RestError("unreachable", type(why).__name__)
                    continue
                if type(why) is not ccxt.ExchangeError:  # the plain one is also a reply cut in the middle
                    raise RestError("refused", type(why).__name__) from None
                trouble = RestError("garbled", type(why).__name__)
        raise trouble


def _seconds(retry_after: str) -> float:
    """What Retry-After asks for; a minute where it is missing or no number."""
    return float(retry_after) if retry_after.isdecimal() else DEFAULT_BAN_S
