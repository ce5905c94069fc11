"""The Binance codec against frames as the documentation shows them, as the exchange sent them, and as nobody should."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.market import Candle, LastPrice, Quote
from bot.exchanges.binance import (
    FAULTS,
    FRAME_BYTES_MAX,
    STREAMS_MAX,
    Ack,
    BadFrame,
    Codec,
    Message,
    Refusal,
    Shutdown,
    Unknown,
    subscribe,
)

OPEN_MS = 1_672_515_780_000
CODEC = Codec(("BNB/BTC", "ETH/USDT"), "1m")


def kline(**changes: Any) -> dict[str, Any]:
    """The documentation's kline event, closed, with some of its inner fields changed."""
    inner: dict[str, Any] = {
        "t": OPEN_MS,
        "T": OPEN_MS + 59_999,
        "s": "BNBBTC",
        "i": "1m",
        "f": 100,
        "L": 200,
        "o": "0.0010",
        "c": "0.0020",
        "h": "0.0025",
        "l": "0.0010",
        "v": "1000",
        "n": 100,
        "x": True,
        "q": "1.0000",
        "V": "500",
        "Q": "0.500",
        "B": "123456",
    }
    return {"e": "kline", "E": OPEN_MS + 60_002, "s": "BNBBTC", "k": inner | changes}


def decode(event: Any, wrapped: bool = True) -> Message:
    body = {"stream": "bnbbtc@kline_1m", "data": event} if wrapped else event
    return CODEC.decode(json.dumps(body).encode())


def refusal(frame: bytes | str) -> BadFrame:
    with pytest.raises(BadFrame) as caught:
        CODEC.decode(frame)
    return caught.value


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_closing_frame_is_a_candle_and_a_forming_one_a_price(wrapped: bool) -> None:
    """Combined and raw streams say the same."""
    assert decode(kline(), wrapped) == Candle("BNB/BTC", OPEN_MS, 0.001, 0.0025, 0.001, 0.002, 1000.0, 1.0, 100)
    assert decode(kline(x=False), wrapped) == LastPrice("BNB/BTC", OPEN_MS + 60_002, 0.002, 100)


def test_text_and_bytes_are_the_same_frame() -> None:
    """Libraries hand out either."""
    text = json.dumps(kline())
    assert CODEC.decode(text) == CODEC.decode(text.encode())


def test_a_minute_without_trades_is_a_candle() -> None:
    """Fault F15: n = 0, f = L = -1, volumes zero, the last price carried."""
    quiet = kline(n=0, f=-1, L=-1, v="0", q="0", o="0.002", h="0.002", l="0.002", c="0.002")
    candle = decode(quiet)
    assert isinstance(candle, Candle)
    assert (candle.trades, candle.volume, candle.close) == (0, 0.0, 0.002)


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_book_ticker_is_a_quote(wrapped: bool) -> None:
    """It carries no event name and no time."""
    event = {"u": 400900217, "s": "BNBBTC", "b": "25.35", "B": "31.21", "a": "25.36", "A": "40.66"}
    assert decode(event, wrapped) == Quote("BNB/BTC", 0, 25.35, 31.21, 25.36, 40.66)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ('{"result":null,"id":1}', Ack(1)),
        ('{"result":null,"id":null}', Ack(None)),
        ('{"result":["bnbbtc@kline_1m"],"id":"x"}', Ack("x")),
        (
            '{"code":2,"msg":"Invalid request: unknown variant X","id":3}',
            Refusal(3, "Invalid request: unknown variant X"),
        ),
        ('{"code":0,"msg":"Unknown property"}', Refusal(None, "Unknown property")),
        ('{"error":{"code":3,"msg":"Invalid JSON"},"id":1}', Refusal(1, "Invalid JSON")),
        ('{"e":"serverShutdown","E":1770123456789}', Shutdown()),
        ('{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}', Shutdown()),
        ('{"e":"aggTrade","E":1672515782136,"s":"BNBBTC","a":15,"p":"0.3","q":"1","m":true}', Unknown("aggTrade")),
        ('{"e":"depthUpdate","s":"BNBBTC","a":[["1","2"]],"b":[]}', Unknown("depthUpdate")),
        ('{"e":"24hrTicker","s":"XXXUSDT","b":"1","a":"2","k":7}', Unknown("24hrTicker")),
        ('{"stream":"bnbbtc@depth5","data":{"lastUpdateId":160,"bids":[],"asks":[]}}', Unknown("bnbbtc@depth5")),
        ("{}", Unknown("")),
    ],
)
def test_control_frames_and_events_of_no_use_are_told_apart(frame: str, message: Message) -> None:
    """Acks, refusals as the documentation lists them, the server's farewell, and what is only counted (F21)."""
    assert CODEC.decode(frame) == message


@pytest.mark.parametrize(
    ("changes", "reason", "fault"),
    [
        ({"o": "NaN"}, "NaN price", "F19"),
        ({"c": "nan"}, "NaN price", "F19"),
        ({"h": "Infinity"}, "infinite price", "F19"),
        ({"h": "1e308"}, "infinite price", "F19"),
        ({"c": "0"}, "zero or negative price", "F19"),
        ({"l": "-0.001"}, "zero or negative price", "F19"),
        ({"l": "-inf"}, "zero or negative price", "F19"),
        ({"h": "0.0005"}, "high below low", "F19"),
        ({"c": "0.003"}, "open or close outside high and low", "F19"),
        ({"o": "0.0005"}, "open or close outside high and low", "F19"),
        ({"v": "-1"}, "impossible volume", "F19"),
        ({"q": "nan"}, "impossible volume", "F19"),
        ({"v": "inf"}, "impossible volume", "F19"),
        ({"n": -1}, "impossible volume", "F19"),
        ({"o": None}, "broken values", "F19"),
        ({"o": ""}, "broken values", "F19"),
        ({"n": "many"}, "broken values", "F19"),
        ({"n": 10**30}, "impossible volume", "F19"),
        ({"t": 10**400}, "off-grid time", "F18"),
        ({"t": OPEN_MS + 1}, "off-grid time", "F18"),
        ({"t": OPEN_MS // 1000}, "off-grid time", "F18"),
        ({"t": OPEN_MS // 60_000_000 * 60_000}, "off-grid time", "F18"),
        ({"t": OPEN_MS * 1000}, "off-grid time", "F18"),
        ({"t": 0}, "off-grid time", "F18"),
        ({"t": -60_000}, "off-grid time", "F18"),
        ({"i": "5m"}, "foreign interval", "F23"),
        ({"i": "1M"}, "foreign interval", "F23"),
    ],
)
@pytest.mark.parametrize("closed", [True, False])
def test_what_is_not_sane_is_refused_by_name(changes: dict[str, Any], reason: str, fault: str, closed: bool) -> None:
    """Faults F18, F19, F23: refused, never repaired, in closing and forming frames, and the coin is known."""
    bad = refusal(json.dumps(kline(x=closed, **changes)))
    assert (bad.reason, bad.fault, bad.symbol) == (reason, fault, "BNB/BTC")


@pytest.mark.parametrize("time_ms", [None, 0, OPEN_MS // 1000, OPEN_MS * 1000, -1])
def test_a_price_needs_a_time_in_milliseconds(time_ms: int | None) -> None:
    """Fault F18: the event's own time is held to the same as the candle's."""
    event = kline(x=False) | {"E": time_ms}
    assert refusal(json.dumps(event)).reason in ("off-grid time", "broken values")


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (json.dumps(kline(s="XXXUSDT")).encode(), "foreign symbol"),
        (json.dumps(kline() | {"s": "ETHUSDT"}).encode(), "foreign symbol"),
        (b'{"u":1,"s":"XXXUSDT","b":"1","B":"1","a":"2","A":"1"}', "foreign symbol"),
        (b'{"u":1,"s":"ETHUSDT","b":"3","B":"1","a":"2","A":"1"}', "impossible quote"),
        (b'{"u":1,"s":"ETHUSDT","b":"0","B":"1","a":"2","A":"1"}', "impossible quote"),
        (b'{"u":1,"s":"ETHUSDT","b":"1","B":"1","a":"nan","A":"1"}', "impossible quote"),
        (b'{"u":1,"s":"ETHUSDT","b":"1","B":"-1","a":"2","A":"1"}', "impossible quote"),
        (b'{"u":1,"s":"ETHUSDT","b":"1","B":"1"}', "impossible quote"),
        (b'{"u":1,"s":"ETHUSDT","b":null,"B":"1","a":"2","A":"1"}', "broken values"),
        (b'{"e":"kline","s":"ETHUSDT"}', "broken values"),
        (b'{"e":"kline"', "broken JSON"),
        (b'{"e":"kl\xffine"}', "broken JSON"),
        (b"\x00\xff\x80 binary", "broken JSON"),
        (b"", "broken JSON"),
        (b"[]", "broken JSON"),
        (b"17", "broken JSON"),
        (b" " * (FRAME_BYTES_MAX + 1), "oversized"),
        (b"[" * 100_000, "broken JSON"),
        (b'{"data":' * 50_000, "broken JSON"),
        ('{"e":"\ud800"}', "broken JSON"),
    ],
)
def test_broken_and_foreign_frames_are_refused_by_name(frame: bytes | str, reason: str) -> None:
    """Faults F21, F23: whatever it is, the answer is BadFrame with a reason of the list."""
    bad = refusal(frame)
    assert bad.reason == reason
    assert bad.fault == FAULTS[reason]


def test_unknown_fields_are_ignored() -> None:
    """Fault F21: the exchange may add fields on any day."""
    assert decode(kline(Z={"new": [1, 2]}) | {"news": 1}) == decode(kline())


def test_symbols_beyond_ascii_are_symbols() -> None:
    """Binance allows them since December 2025."""
    codec = Codec(("币安/USDT",), "1m")
    frame = json.dumps(kline(s="币安USDT") | {"s": "币安USDT"}, ensure_ascii=False)
    candle = codec.decode(frame.encode())
    assert isinstance(candle, Candle)
    assert candle.symbol == "币安/USDT"


@given(st.one_of(st.binary(max_size=300), st.text(st.characters(exclude_categories=[]), max_size=300)))
def test_any_bytes_are_a_message_or_a_bad_frame(frame: bytes | str) -> None:
    """No input leads to another exception, lone surrogates included."""
    try:
        CODEC.decode(frame)
    except BadFrame as bad:
        assert bad.reason in FAULTS


NAMES = st.sampled_from(
    ["e", "E", "s", "k", "b", "B", "a", "A", "t", "x", "o", "i", "n", "data", "stream", "id", "msg"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["kline", "BNBBTC", "1m", "1", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=6),
    max_leaves=15,
)


@given(st.dictionaries(st.one_of(NAMES, st.sampled_from(["result", "code", "error"])), JSON))
def test_any_object_is_a_message_or_a_bad_frame(body: dict[str, Any]) -> None:
    """Also where the shape is nearly right."""
    try:
        CODEC.decode(json.dumps(body))
    except BadFrame as bad:
        assert bad.reason in FAULTS


@given(st.integers(0, 400), st.binary(min_size=1, max_size=4))
def test_a_damaged_kline_is_sane_or_refused(at: int, damage: bytes) -> None:
    """Some bytes of a good frame overwritten: what still decodes keeps every promise."""
    frame = json.dumps({"stream": "bnbbtc@kline_1m", "data": kline()}).encode()
    frame = frame[:at] + damage + frame[at + len(damage) :]
    try:
        message = CODEC.decode(frame)
    except BadFrame:
        return
    if isinstance(message, Candle):
        assert_sane(message)


@given(st.sampled_from(["o", "h", "l", "c", "v", "q"]), st.floats())
def test_no_insane_number_becomes_a_candle(field: str, value: float) -> None:
    """Whatever one field says, a candle that comes out is finite, positive and in order."""
    try:
        candle = decode(kline(**{field: repr(value)}))
    except BadFrame:
        return
    assert isinstance(candle, Candle)
    assert_sane(candle)


def assert_sane(candle: Candle) -> None:
    assert candle.symbol in CODEC.symbols
    assert candle.open_ms % 60_000 == 0
    assert 10**12 < candle.open_ms < 10**13
    assert 0 < candle.low <= min(candle.open, candle.close) <= max(candle.open, candle.close) <= candle.high < 1e15
    assert 0 <= candle.volume < 1e30
    assert 0 <= candle.quote_volume < 1e30
    assert candle.trades >= 0


def test_one_subscribe_names_every_stream_in_lower_case() -> None:
    """Symbol by symbol, so that a cut between symbols keeps klines and book ticker together."""
    message = json.loads(subscribe(CODEC.streams(book_ticker=True), 7))
    assert (message["method"], message["id"]) == ("SUBSCRIBE", 7)
    assert message["params"] == ["bnbbtc@kline_1m", "bnbbtc@bookTicker", "ethusdt@kline_1m", "ethusdt@bookTicker"]
    assert CODEC.streams(book_ticker=False) == ["bnbbtc@kline_1m", "ethusdt@kline_1m"]
    assert STREAMS_MAX % 2 == 0
