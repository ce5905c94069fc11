"""The Binance codec on messages the exchange really sent (../shared/data, not part of the project)."""

import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bot.core.market import Candle, LastPrice, pair
from bot.exchanges.binance import BadFrame, Codec, Unknown, decode_instruments

RECORDED = Path("../shared/data/payloads/recorded")
pytestmark = pytest.mark.skipif(not RECORDED.is_dir(), reason="recorded messages (../shared/data) are not here")


def lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (RECORDED / name).read_text().splitlines()]


def kinds(codec: Codec, name: str) -> Counter[str]:
    """What a recorded connection decodes to; a bad frame by its reason."""
    found: Counter[str] = Counter()
    for line in lines(name):
        if line["direction"] != "received":
            continue
        try:
            message = codec.decode(line["raw"])
            found[message.name if isinstance(message, Unknown) else type(message).__name__] += 1
        except BadFrame as bad:
            found[bad.reason] += 1
    return found


def test_a_recorded_connection_decodes_without_a_bad_frame() -> None:
    """Binance in October 2021: quotes, prices, and events we have no use for."""
    codec = Codec(("NKN/USDT", "BLZ/ETH", "LRC/BTC", "RUNE/EUR"), "1m")
    found = kinds(codec, "binance_spot_ws_2021-10-11.jsonl")
    assert found == {"depthUpdate": 177, "Quote": 84, "LastPrice": 2, "aggTrade": 2}


def test_a_recorded_connection_of_binance_us_decodes_without_a_bad_frame() -> None:
    """The same protocol from another house; its klines are five."""
    codec = Codec(("CRV/USDT", "COMP/USDT", "OMG/BUSD", "ZRX/USDT"), "1m")
    found = kinds(codec, "binance_us_ws.jsonl")
    assert found["LastPrice"] + found["Candle"] == 5
    assert set(found) <= {"depthUpdate", "Quote", "LastPrice", "Candle", "aggTrade"}


def test_a_recorded_connection_of_another_universe_is_foreign() -> None:
    """The same frames for a bot that trades other coins: every price refused by name."""
    found = kinds(Codec(("BNB/BTC",), "1m"), "binance_spot_ws_2021-10-11.jsonl")
    assert found == {"depthUpdate": 177, "foreign symbol": 86, "aggTrade": 2}


def test_recorded_klines_of_one_stream_decode() -> None:
    """34 raw five-minute frames; prices and times are those of the text, and as minutes they are foreign."""
    codec, minutes = Codec(("BTC/USDT",), "5m"), Codec(("BTC/USDT",), "1m")
    events = lines("binance_spot_ws_kline_5m_BTCUSDT_2021-09-14.jsonl")
    assert len(events) == 34
    for event in events:
        message = codec.decode(json.dumps(event))
        assert isinstance(message, Candle if event["k"]["x"] else LastPrice)
        price = message.close if isinstance(message, Candle) else message.price
        assert price == float(event["k"]["c"])
        with pytest.raises(BadFrame, match="foreign interval"):
            minutes.decode(json.dumps(event))


@pytest.mark.parametrize("name", sorted(path.name for path in RECORDED.glob("binance_spot_rest_klines_*.json")))
def test_recorded_rest_klines_decode(name: str) -> None:
    """Every row of a REST answer is a sane candle on its interval's grid, exactly as far as a float goes."""
    symbol, timeframe = pair(name.split("_")[4]), name.split("_")[5]
    if timeframe == "30m":
        pytest.skip("30m is no timeframe of ours")
    rows = json.loads((RECORDED / name).read_text())
    candles, refused = Codec((symbol,), timeframe).decode_klines(symbol, rows)
    assert not refused
    assert [(one.open_ms, one.close, one.trades) for one in candles] == [
        (row[0], float(row[4]), row[8]) for row in rows
    ]


@pytest.mark.parametrize("name", ["binance_spot_exchangeInfo.json", "binance_us_exchangeInfo.json"])
def test_recorded_rules_of_a_whole_exchange_decode(name: str) -> None:
    """Every pair of 2021 with its real filters; what trades has steps."""
    answer = json.loads((RECORDED / name).read_text())
    instruments = decode_instruments(answer)
    assert len(instruments) == len(answer["symbols"])
    trading = [one for one in instruments if one.status == "TRADING"]
    assert trading
    assert all(one.price_step > 0 and one.quantity_step > 0 and one.notional_min > 0 for one in trading)


def test_recorded_rules_of_one_pair_are_those_of_the_text() -> None:
    """BTC/USDT in December 2022."""
    answer = json.loads((RECORDED / "binance_spot_exchangeInfo_BTCUSDT_2022-12-11.json").read_text())
    (bitcoin,) = decode_instruments(answer, ("BTC/USDT",))
    assert (bitcoin.price_step, bitcoin.quantity_step) == (Decimal("0.01"), Decimal("0.00001"))
    assert bitcoin.notional_min == 10
