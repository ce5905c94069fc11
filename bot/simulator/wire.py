"""How Binance spot writes candles, quotes and rules: values in, JSON text out. The bot's codec is the other direction.

Source  Binance, "WebSocket Streams" and "REST API", state of July 2026.
Times   milliseconds UTC.   Numbers  strings with 8 decimals, here with their JSON quotes. Takers buy half of all.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from bot.core.market import Floats, Integers, compact
from bot.core.rules import NOTIONAL_MIN, QUANTITY_MAX
from bot.simulator.market import Candles, History, Quotes, Source

INTERVALS = {
    "1m": 60_000, "3m": 180_000, "5m": 300_000, "15m": 900_000, "30m": 1_800_000, "1h": 3_600_000, "2h": 7_200_000,
    "4h": 14_400_000, "6h": 21_600_000, "8h": 28_800_000, "12h": 43_200_000, "1d": 86_400_000, "3d": 259_200_000,
}  # fmt: skip
ORDER_TYPES = ["LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT"]
STP_MODES = ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT", "TRANSFER"]
PRICE_MAX = 1_000_000


class Kline(NamedTuple):
    """One candle as it is sent. Numbers are JSON texts, quotes included, so that a fault may put anything there."""

    symbol: str
    interval: str
    open_ms: int
    close_ms: int
    first_trade: int
    last_trade: int
    open: str
    close: str
    high: str
    low: str
    volume: str
    trades: int
    quote_volume: str
    taker_volume: str
    taker_quote: str

    def event(self, event_ms: int, *, closed: bool, more: str = "") -> str:
        """The stream event; `more` are further fields, with their comma."""
        flag = "true" if closed else "false"
        return (
            f'{{"e":"kline","E":{event_ms},"s":"{self.symbol}",{more}"k":{{"t":{self.open_ms},"T":{self.close_ms},'
            f'"s":"{self.symbol}","i":"{self.interval}","f":{self.first_trade},"L":{self.last_trade},'
            f'"o":{self.open},"c":{self.close},"h":{self.high},"l":{self.low},"v":{self.volume},'
            f'"n":{self.trades},"x":{flag},"q":{self.quote_volume},"V":{self.taker_volume},'
            f'"Q":{self.taker_quote},"B":"0"}}}}'
        )


class Row(NamedTuple):
    """One candle as REST answers it; the same texts."""

    open_ms: int
    open: str
    high: str
    low: str
    close: str
    volume: str
    close_ms: int
    quote_volume: str
    trades: int
    taker_volume: str
    taker_quote: str

    def text(self) -> str:
        return (
            f"[{self.open_ms},{self.open},{self.high},{self.low},{self.close},{self.volume},{self.close_ms},"
            f'{self.quote_volume},{self.trades},{self.taker_volume},{self.taker_quote},"0"]'
        )


class Writer:
    """Writes the numbers of one market's symbols on their steps."""

    def __init__(self, source: Source) -> None:
        self.names = [compact(symbol) for symbol in source.symbols]
        self.index = {name: at for at, name in enumerate(self.names)}
        self._bases = [symbol.partition("/")[::2] for symbol in source.symbols]
        self._price_decimals = source.price_decimals.tolist()
        self._volume_decimals = source.volume_decimals.tolist()
        self._prices = [_format(decimals) for decimals in self._price_decimals]
        self._volumes = [_format(decimals) for decimals in self._volume_decimals]

    def price(self, at: int, value: float) -> str:
        return self._prices[at] % value

    def volume(self, at: int, value: float) -> str:
        return self._volumes[at] % value

    def klines(
        self, candles: Candles, chosen: Integers, interval: str, open_ms: int, interval_ms: int
    ) -> Iterator[tuple[int, Kline]]:
        """The chosen symbols' candles with the symbol's number; absent ones must not be chosen."""
        close_ms = open_ms + interval_ms - 1
        columns = [column[chosen].tolist() for column in candles]
        for at, o, h, l, c, v, q, n, first, last in zip(chosen.tolist(), *columns, strict=True):
            p, w = self._prices[at], self._volumes[at]
            yield (
                at,
                Kline(
                    self.names[at], interval, open_ms, close_ms, first, last, p % o, p % c, p % h, p % l, w % v, n,
                    f'"{q:.8f}"', w % (v / 2), f'"{q / 2:.8f}"',
                ),
            )  # fmt: skip

    def rows(self, at: int, history: History, interval_ms: int) -> list[Row]:
        """REST rows of one symbol, oldest first."""
        p, w = self._prices[at], self._volumes[at]
        columns: list[list[Any]] = [column.tolist() for column in history]
        return [
            Row(
                t,
                p % o,
                p % h,
                p % l,
                p % c,
                w % v,
                t + interval_ms - 1,
                f'"{q:.8f}"',
                n,
                w % (v / 2),
                f'"{q / 2:.8f}"',
            )
            for t, o, h, l, c, v, q, n in zip(*columns, strict=True)
        ]

    def touch(self, at: int, quotes: Sequence[Floats]) -> tuple[str, str, str, str]:
        """Bid, its quantity, ask, its quantity of one symbol."""
        bid, bid_quantity, ask, ask_quantity = (float(side[at]) for side in quotes)
        return self.price(at, bid), self.volume(at, bid_quantity), self.price(at, ask), self.volume(at, ask_quantity)

    def touches(self, quotes: Quotes, chosen: Integers) -> Iterator[tuple[int, str]]:
        """The chosen symbols' best bid and ask, each as the fields of a book ticker event from "s" on."""
        columns = [column[chosen].tolist() for column in quotes]
        for at, bid, bid_quantity, ask, ask_quantity in zip(chosen.tolist(), *columns, strict=True):
            p, w = self._prices[at], self._volumes[at]
            yield (
                at,
                f'"s":"{self.names[at]}","b":{p % bid},"B":{w % bid_quantity},"a":{p % ask},"A":{w % ask_quantity}}}',
            )

    def rules(self, at: int, status: str) -> dict[str, Any]:
        """One symbol of exchangeInfo."""
        base, quote = self._bases[at]
        return {
            "symbol": self.names[at],
            "status": status,
            "baseAsset": base,
            "baseAssetPrecision": 8,
            "quoteAsset": quote,
            "quotePrecision": 8,
            "quoteAssetPrecision": 8,
            "baseCommissionPrecision": 8,
            "quoteCommissionPrecision": 8,
            "orderTypes": ORDER_TYPES,
            "icebergAllowed": True,
            "ocoAllowed": True,
            "otoAllowed": True,
            "opoAllowed": True,
            "quoteOrderQtyMarketAllowed": True,
            "allowTrailingStop": True,
            "cancelReplaceAllowed": True,
            "amendAllowed": True,
            "pegInstructionsAllowed": True,
            "isSpotTradingAllowed": True,
            "isMarginTradingAllowed": False,
            "filters": self._filters(at),
            "permissions": [],
            "permissionSets": [["SPOT"]],
            "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
            "allowedSelfTradePreventionModes": STP_MODES,
        }

    def _filters(self, at: int) -> list[dict[str, Any]]:
        tick, step = _step(self._price_decimals[at]), _step(self._volume_decimals[at])
        sides = {"bidMultiplierUp": "5", "bidMultiplierDown": "0.2", "askMultiplierUp": "5", "askMultiplierDown": "0.2"}
        notional = {"minNotional": f"{NOTIONAL_MIN:.8f}", "applyMinToMarket": True}
        trailing = {"minTrailingAboveDelta": 10, "maxTrailingAboveDelta": 2000}
        trailing |= {"minTrailingBelowDelta": 10, "maxTrailingBelowDelta": 2000}
        return [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": f"{PRICE_MAX:.8f}", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": f"{QUANTITY_MAX:.8f}", "stepSize": step},
            {"filterType": "ICEBERG_PARTS", "limit": 10},
            {
                "filterType": "MARKET_LOT_SIZE",
                "minQty": "0.00000000",
                "maxQty": f"{QUANTITY_MAX:.8f}",
                "stepSize": "0.00000000",
            },
            {"filterType": "TRAILING_DELTA", **trailing},
            {"filterType": "PERCENT_PRICE_BY_SIDE", **sides, "avgPriceMins": 5},
            {
                "filterType": "NOTIONAL",
                **notional,
                "maxNotional": "9000000.00000000",
                "applyMaxToMarket": False,
                "avgPriceMins": 5,
            },
            {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
            {"filterType": "MAX_NUM_ORDER_LISTS", "maxNumOrderLists": 20},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5},
            {"filterType": "MAX_NUM_ORDER_AMENDS", "maxNumOrderAmends": 10},
        ]


def _format(decimals: int) -> str:
    """Rounds to the step and fills up to 8 decimals: 2 give "%.2f000000"."""
    return f'"%.{decimals}f{"0" * (8 - decimals)}"' if decimals else '"%.0f.00000000"'


def _step(decimals: int) -> str:
    return f"{10.0**-decimals:.8f}"
