"""What the codec makes of REST answers: klines and the exchange's rules."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.market import Candle
from bot.exchanges.binance import BadFrame, Codec, NotListed, decode_instruments

OPEN_MS = 1_750_477_740_000
CODEC = Codec(("BNB/BTC",), "1m")


def row(minute: int = 0, **changes: Any) -> list[Any]:
    """One row as the documentation shows it; `changes` by position, as _4="NaN"."""
    open_ms = OPEN_MS + 60_000 * minute
    values = [open_ms, "1.0", "3.0", "0.5", "2.0", "10.5", open_ms + 59_999, "21.0", 7, "5.0", "9.0", "0"]
    for position, value in changes.items():
        values[int(position[1:])] = value
    return values


def test_rows_become_candles_in_their_order() -> None:
    """Open, high, low, close, both volumes and the trades, from their places in the row."""
    candles, refused = CODEC.decode_klines("BNB/BTC", [row(1), row(0)])
    assert candles[1] == Candle("BNB/BTC", OPEN_MS, 1.0, 3.0, 0.5, 2.0, 10.5, 21.0, 7)
    assert candles[0].open_ms == OPEN_MS + 60_000
    assert not refused


def test_a_minute_without_trades_is_a_candle() -> None:
    """Fault F15, as a public capture has it."""
    price = "0.02345000"
    quiet = row(_1=price, _2=price, _3=price, _4=price, _5="0.00000000", _7="0.00000000", _8=0)
    (candle,), _ = CODEC.decode_klines("BNB/BTC", [quiet])
    assert (candle.trades, candle.volume, candle.close) == (0, 0.0, 0.02345)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"_4": "NaN"}, "NaN price"),
        ({"_2": "1e308"}, "infinite price"),
        ({"_3": "0"}, "zero or negative price"),
        ({"_2": "0.1"}, "high below low"),
        ({"_5": "-1"}, "impossible volume"),
        ({"_0": OPEN_MS + 15_000}, "off-grid time"),
        ({"_0": OPEN_MS * 1000}, "off-grid time"),
        ({"_1": None}, "broken values"),
        ({"_8": "x"}, "broken values"),
        ({"_8": float("inf")}, "broken values"),
    ],
)
def test_an_odd_row_costs_its_candle_and_not_the_page(changes: dict[str, Any], reason: str) -> None:
    """Faults F18, F19: the same sanity as on the stream, row by row."""
    candles, refused = CODEC.decode_klines("BNB/BTC", [row(0), row(1, **changes), row(2)])
    assert [candle.open_ms for candle in candles] == [OPEN_MS, OPEN_MS + 120_000]
    assert [(bad.reason, bad.symbol) for bad in refused] == [(reason, "BNB/BTC")]


@pytest.mark.parametrize("answer", ["<html>", None, {}, {"code": -1121}, 7])
def test_what_is_no_list_of_rows_is_refused(answer: Any) -> None:
    """An HTML page with status 200 is no candle."""
    with pytest.raises(BadFrame):
        CODEC.decode_klines("BNB/BTC", answer)


@given(st.recursive(st.none() | st.floats() | st.integers() | st.text(max_size=5), st.lists, max_leaves=30))
def test_any_answer_is_candles_or_a_bad_frame(answer: Any) -> None:
    """No other exception."""
    try:
        CODEC.decode_klines("BNB/BTC", answer)
    except BadFrame as bad:
        assert bad.symbol == "BNB/BTC"


def entry(**changes: Any) -> dict[str, Any]:
    """One pair of an exchangeInfo answer."""
    filters = {
        "PRICE_FILTER": {"minPrice": "0.01000000", "maxPrice": "1000000.00000000", "tickSize": "0.01000000"},
        "LOT_SIZE": {"minQty": "0.00001000", "maxQty": "9000.00000000", "stepSize": "0.00001000"},
        "MARKET_LOT_SIZE": {"minQty": "0.00000000", "maxQty": "120.50000000", "stepSize": "0.00000000"},
        "NOTIONAL": {"minNotional": "5.00000000", "applyMinToMarket": True},
    }
    listed = [{"filterType": kind} | values for kind, values in (filters | changes.pop("filters", {})).items()]
    whole = {"symbol": "BTCUSDT", "status": "TRADING", "baseAsset": "BTC", "quoteAsset": "USDT", "filters": listed}
    return whole | changes


def rules(*entries: Any) -> dict[str, Any]:
    return {"symbols": list(entries)}


def test_rules_are_exact_and_the_stricter_lot_size_counts() -> None:
    """Decimals as they stand; a market order must pass LOT_SIZE and MARKET_LOT_SIZE, whose zeros are off."""
    (btc,) = decode_instruments(rules(entry()), ("BTC/USDT",))
    assert (btc.price_step, btc.quantity_step, btc.quantity_min) == (
        Decimal("0.01"),
        Decimal("0.00001"),
        Decimal("0.00001"),
    )
    assert (btc.quantity_max, btc.notional_min, btc.status) == (Decimal("120.5"), Decimal(5), "TRADING")


def test_a_status_we_do_not_know_is_a_halt() -> None:
    """Never read as tradable."""
    assert decode_instruments(rules(entry(status="AUCTION_MATCH")))[0].status == "HALT"
    assert decode_instruments(rules(entry(status="CANCEL_ONLY")))[0].status == "CANCEL_ONLY"


def test_pairs_come_in_the_order_wanted_and_missing_ones_are_named() -> None:
    """A coin the exchange does not list is the operator's to mend: exit code 78."""
    eth = entry(symbol="ETHUSDT", baseAsset="ETH")
    found = decode_instruments(rules(entry(), eth), ("ETH/USDT", "BTC/USDT"))
    assert [one.symbol for one in found] == ["ETH/USDT", "BTC/USDT"]
    with pytest.raises(NotListed, match="LUNA/USDT, UST/USDT") as caught:
        decode_instruments(rules(eth), ("LUNA/USDT", "ETH/USDT", "UST/USDT"))
    assert caught.value.exit_code == 78


@pytest.mark.parametrize(
    "answer",
    [
        "<html>",
        {},
        {"symbols": [7]},
        rules(entry(filters={"LOT_SIZE": {}})),
        rules(entry(filters={"PRICE_FILTER": {"tickSize": "NaN"}})),
        rules(entry(filters={"PRICE_FILTER": {"tickSize": "-0.01"}})),
        rules(entry(filters={"NOTIONAL": {"minNotional": "many"}})),
        rules(entry(filters={"NOTIONAL": {"minNotional": None}})),
    ],
)
def test_broken_rules_are_refused(answer: Any) -> None:
    """No instrument is made from what is not understood."""
    with pytest.raises(BadFrame):
        decode_instruments(answer)


def test_rules_survive_their_own_text() -> None:
    """What ccxt hands over is parsed JSON."""
    assert decode_instruments(json.loads(json.dumps(rules(entry()))))[0].base == "BTC"
