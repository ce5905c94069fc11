"""Bybit's kline answers and ccxt's rows: what becomes of them."""

import math
from typing import Any

import pytest

from bot.exchanges.binance import BadFrame
from bot.exchanges.bybit_klines import decode_answer, decode_rows

MINUTE = 60_000
AT = 1_704_067_200_000
ROW = [str(AT), "100.5", "101", "99.5", "100", "2.5", "251.25"]


def answer(*rows: Any) -> dict[str, Any]:
    return {"retCode": 0, "result": {"category": "spot", "symbol": "BTCUSDT", "list": list(rows)}, "time": AT}


def changed(**fields: Any) -> list[Any]:
    names = ("time", "open", "high", "low", "close", "volume", "turnover")
    return [fields.get(name, value) for name, value in zip(names, ROW, strict=True)]


def test_newest_first_becomes_oldest_first() -> None:
    """Strings to numbers; turnover is the quote volume; trades are uncounted, or none without volume."""
    later = changed(time=str(AT + MINUTE), volume="0", turnover="0")
    candles, refused = decode_answer("BTC/USDT", answer(later, ROW), MINUTE)
    assert not refused and [one.open_ms for one in candles] == [AT, AT + MINUTE]
    first = candles[0]
    assert (first.open, first.high, first.low, first.close) == (100.5, 101.0, 99.5, 100.0)
    assert (first.volume, first.quote_volume) == (2.5, 251.25) and [one.trades for one in candles] == [-1, 0]


def test_rows_without_turnover_do_not_know_it() -> None:
    """ccxt's own rows are six numbers."""
    candles, refused = decode_rows("BTC/USDT", [[AT, 100.5, 101.0, 99.5, 100.0, 2.5]], MINUTE)
    assert not refused and math.isnan(candles[0].quote_volume) and candles[0].trades == -1


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (changed(time=str(AT + 1)), "off-grid time"),
        (changed(time=str(AT // 1000)), "off-grid time"),
        (changed(high="99"), "open or close outside high and low"),
        (changed(close="NaN"), "broken values"),
        (changed(low="0"), "broken values"),
        (changed(high="Infinity"), "broken values"),
        (changed(volume="-1"), "impossible volume"),
        (changed(volume="inf"), "impossible volume"),
        (changed(turnover="-1"), "impossible volume"),
        (changed(open=""), "broken values"),
        (ROW[:5], "broken values"),
        (None, "broken values"),
        ([AT, None, 1.0, 1.0, 1.0, 1.0], "broken values"),
    ],
)
def test_an_odd_row_costs_one_candle(row: Any, reason: str) -> None:
    """It is refused by its reason; the rest of the page stays."""
    candles, refused = decode_answer("BTC/USDT", answer(row, changed(time=str(AT + MINUTE))), MINUTE)
    assert [one.open_ms for one in candles] == [AT + MINUTE]
    assert [bad.reason for bad in refused] == [reason]


@pytest.mark.parametrize("broken", [None, [], "html", {}, {"result": None}, {"result": {"list": "x"}}])
def test_what_is_no_answer_is_a_bad_frame(broken: Any) -> None:
    """The whole page, to be asked for again."""
    with pytest.raises(BadFrame, match="broken JSON"):
        decode_answer("BTC/USDT", broken, MINUTE)
