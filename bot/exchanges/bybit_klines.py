"""Klines as other exchanges list them: rows of time, open, high, low, close, volume, and Bybit's turnover; sans I/O.

Source  Bybit v5, "Get Kline": seven strings a row, newest first, the running candle among them. ccxt's own rows are
        six numbers, with no turnover.
Times   milliseconds UTC of the open.
Unknown turnover is NaN where the row has none; nobody counts trades: -1 where the candle traded, 0 where it did not.
Errors  BadFrame, by reason, for an answer that is no list of rows, and beside the candles for each odd row.
"""

import math
from typing import Any

from bot.core.market import Candle
from bot.exchanges.binance import PRICE_MAX, TIME_MAX_MS, TIME_MIN_MS, VOLUME_MAX, BadFrame

UNCOUNTED = -1


def decode_answer(symbol: str, answer: Any, interval_ms: int) -> tuple[list[Candle], list[BadFrame]]:
    """Candles of a kline answer's envelope, oldest first, and the rows refused."""
    try:
        rows = answer["result"]["list"]
    except (TypeError, LookupError) as why:
        raise BadFrame("broken JSON", symbol) from why
    return decode_rows(symbol, rows, interval_ms)


def decode_rows(symbol: str, rows: Any, interval_ms: int) -> tuple[list[Candle], list[BadFrame]]:
    """Candles of rows in any order, oldest first, and the rows refused."""
    if not isinstance(rows, list):
        raise BadFrame("broken JSON", symbol)
    candles: list[Candle] = []
    refused: list[BadFrame] = []
    for row in rows:
        try:
            candles.append(_candle(symbol, row, interval_ms))
        except BadFrame as bad:
            refused.append(bad)
    return sorted(candles, key=lambda one: one.open_ms), refused


def _candle(symbol: str, row: Any, interval_ms: int) -> Candle:
    try:
        open_ms = int(row[0])
        o, h, l, c, v = (float(row[at]) for at in range(1, 6))
        turnover = float(row[6]) if len(row) > 6 else math.nan
    except (TypeError, ValueError, OverflowError, LookupError) as why:
        raise BadFrame("broken values", symbol) from why
    # the chain refuses NaN, infinities, zero, negatives and disorder
    if not (0 < l <= o <= h < PRICE_MAX and l <= c <= h):
        whole = all(0 < price < PRICE_MAX for price in (o, h, l, c))
        raise BadFrame("open or close outside high and low" if whole else "broken values", symbol)
    if open_ms % interval_ms or not TIME_MIN_MS < open_ms < TIME_MAX_MS:
        raise BadFrame("off-grid time", symbol)
    if not 0 <= v < VOLUME_MAX or turnover < 0 or turnover >= VOLUME_MAX:
        raise BadFrame("impossible volume", symbol)
    return Candle(symbol, open_ms, o, h, l, c, v, turnover, UNCOUNTED if v else 0)
