"""REST through ccxt against a real local server: closed candles only, whole sets, limits kept, nothing leaked."""

import asyncio
import random
from collections.abc import Callable
from decimal import Decimal

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.market import HOUR_MS, MINUTE_MS
from bot.edge.clock import Clock
from bot.edge.rest import RestError
from bot.edge.weight import Banned, Weight
from bot.exchanges.binance import NotListed
from tests.edge.answering import Server, asking, minutes
from tests.making import COINS, START_MS

BTC, ETH, SOL = COINS


def server(*opens: int, now: int = 5_000, speed: float = 1.0) -> Server:
    """Its time is a second into minute `now`, counted from the first candle there may be."""
    return Server(Clock(speed, START_MS + MINUTE_MS * now + 1_000), minutes(*opens))


def at(minute: int) -> int:
    return START_MS + MINUTE_MS * minute


async def test_candles_of_several_symbols_come_sorted() -> None:
    """By time, then symbol; the bounds are included, what lies outside is not there."""
    async with asking(server(*range(10))) as rest:
        candles = await rest.candles((SOL, BTC), at(3), at(5))
    assert [(one.open_ms, one.symbol) for one in candles] == [(at(m), name) for m in (3, 4, 5) for name in (BTC, SOL)]
    assert candles[0].volume == 1.5


async def test_long_ranges_are_asked_in_pages_of_a_thousand() -> None:
    """2,500 candles are three requests, and each asks for no more than it can get."""
    exchange = server(*range(2_500))
    async with asking(exchange) as rest:
        candles = await rest.candles((BTC,), at(0), at(2_499))
    assert [one.open_ms for one in candles] == [at(minute) for minute in range(2_500)]
    assert [int(asked["limit"]) for _, _, asked in exchange.asked] == [1_000] * 3


async def test_the_running_candle_is_left_out() -> None:
    """Fault F16: the answer ends with it, it has not closed."""
    exchange = server(*range(10), now=9)  # minute 9 is running
    async with asking(exchange) as rest:
        candles = await rest.candles((BTC,), at(5), at(20))
    assert [one.open_ms for one in candles] == [at(minute) for minute in (5, 6, 7, 8)]


async def test_a_range_that_has_not_closed_is_not_asked_for() -> None:
    """Nothing can come of it."""
    exchange = server(*range(10), now=9)
    async with asking(exchange) as rest:
        assert await rest.candles((BTC,), at(9), at(20)) == []
    assert not exchange.asked


async def test_what_the_exchange_has_not_is_left_absent() -> None:
    """Faults F14, F16: a suspension, or the newest candle still lacking: no error, no endless asking."""
    exchange = server(0, 1, 2, 6, 7)
    async with asking(exchange) as rest:
        candles = await rest.candles((BTC,), at(0), at(9))
    assert [one.open_ms for one in candles] == [at(minute) for minute in (0, 1, 2, 6, 7)]
    assert len(exchange.asked) <= 5


@given(
    holes=st.sets(st.integers(0, 150), max_size=20),
    start=st.integers(0, 60),
    length=st.integers(0, 120),
    now=st.integers(40, 180),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=25, deadline=None)
async def test_any_paging_gives_the_set_of_one_perfect_answer(
    holes: set[int], start: int, length: int, now: int, seed: int
) -> None:
    """Faults F16, F17: pages that overlap, repeat, come newest first or shuffled, shorter than asked, `since` moved."""
    exchange = server(*(set(range(151)) - holes), now=now)
    perfect = [minute for minute in range(start, min(start + length + 1, now, 151)) if minute not in holes]
    exchange.weird = random.Random(seed)
    async with asking(exchange, share=1.0) as rest:
        candles = await rest.candles((BTC,), at(start) - 1, at(start + length) + 1)
    assert [one.open_ms for one in candles] == [at(minute) for minute in perfect]


async def test_rules_of_the_universe_are_asked_for_by_name() -> None:
    """In the order wanted; an unknown pair is named, and is no reason to ask for ever."""
    exchange = server()
    async with asking(exchange) as rest:
        sol, btc = await rest.instruments((SOL, BTC))
        assert (sol.symbol, btc.symbol) == (SOL, BTC)
        assert (btc.price_step, btc.notional_min) == (Decimal("0.01"), Decimal(5))
        with pytest.raises(NotListed, match="DOGE/USDT"):
            await rest.instruments((BTC, "DOGE/USDT"))


async def test_the_middle_of_the_touch() -> None:
    """The second source for a price that jumped (fault F20)."""
    async with asking(server()) as rest:
        assert await rest.book_mid(BTC) == 100.0


async def test_the_clock_agrees_with_the_server() -> None:
    """Fault T6: five samples; the move is told."""
    exchange = server()
    exchange.ahead_ms = 0
    async with asking(exchange) as rest:
        start = exchange.clock.now_ms()
        await rest.sync_clock()
        assert len(exchange.asked) == 5
        assert abs(exchange.clock.now_ms() - start) < 2_000


async def test_the_clock_takes_no_answer_that_is_late() -> None:
    """Fault T6: answers that take three seconds of wall time to come prove nothing."""
    exchange = server()
    monotonic = iter(range(0, 10_000, 3))
    slow = Clock(1.0, START_MS, monotonic=lambda: float(next(monotonic)))
    exchange.clock = slow
    async with asking(exchange) as rest:
        with pytest.raises(RestError, match="too long"):
            await rest.sync_clock()


def limited(status: int, seconds: str) -> Callable[[int, web.Request], web.Response | None]:
    """The first request is refused with Retry-After."""
    body = {"code": -1003, "msg": "Way too much request weight used; IP banned until 1659146400000."}

    def interrupt(number: int, request: web.Request) -> web.Response | None:
        return web.json_response(body, status=status, headers={"Retry-After": seconds}) if number == 1 else None

    return interrupt


@pytest.mark.parametrize("status", [429, 418])
async def test_nothing_is_sent_before_retry_after_ends(status: int) -> None:
    """Faults A1, A2: 20 s of exchange time without a request, then it goes on; the caller is told how long."""
    exchange = server(*range(5), speed=60.0)
    exchange.interrupt = limited(status, "20")
    async with asking(exchange) as rest:
        with pytest.raises(RestError) as caught:
            await rest.candles((BTC,), at(0), at(4))
        assert caught.value.kind == "limited"
        assert 19 <= caught.value.retry_after <= 20
        for _ in range(3):
            with pytest.raises(RestError) as caught:
                await rest.book_mid(BTC)
            assert caught.value.kind == "limited"
        assert len(exchange.asked) == 1
        await exchange.clock.sleep(caught.value.retry_after)
        assert len(await rest.candles((BTC,), at(0), at(4))) == 5
    assert exchange.asked[1][0] - exchange.asked[0][0] >= 19.5


async def test_a_limit_without_a_term_lasts_a_minute() -> None:
    """Retry-After missing or no number."""
    exchange = server(*range(5), speed=60.0)
    exchange.interrupt = limited(429, "soon")
    async with asking(exchange) as rest:
        with pytest.raises(RestError) as caught:
            await rest.book_mid(BTC)
    assert 55 <= caught.value.retry_after <= 60


@pytest.mark.parametrize(
    "broken",
    [
        web.Response,
        lambda: web.Response(text="<html>maintenance</html>", content_type="text/html"),
        lambda: web.Response(text="[[1,", content_type="application/json"),
        lambda: web.Response(status=500),
        lambda: web.Response(status=502, text="<html>Bad gateway</html>"),
        lambda: web.json_response({"code": -1000, "msg": "unknown"}, status=500),
        lambda: web.json_response({"code": -1008, "msg": "busy"}, status=503),
    ],
)
async def test_what_may_pass_is_tried_again_a_few_times(broken: Callable[[], web.Response]) -> None:
    """5xx, HTML with status 200, an empty or cut body: two more tries, then RestError; a later try may succeed."""
    exchange = server(*range(5), speed=60.0)
    exchange.interrupt = lambda number, request: broken() if number <= 2 else None
    async with asking(exchange) as rest:
        assert len(await rest.candles((BTC,), at(0), at(4))) == 5
        exchange.interrupt = lambda number, request: broken()
        asked = len(exchange.asked)
        with pytest.raises(RestError) as caught:
            await rest.candles((BTC,), at(0), at(4))
        assert caught.value.kind in ("unreachable", "garbled")
        assert len(exchange.asked) - asked == 3


async def test_a_definite_refusal_is_not_repeated() -> None:
    """-1121 will be -1121 again."""
    exchange = server(speed=60.0)
    body = {"code": -1121, "msg": "Invalid symbol."}
    exchange.interrupt = lambda number, request: web.json_response(body, status=400)
    async with asking(exchange) as rest:
        with pytest.raises(RestError) as caught:
            await rest.book_mid(BTC)
    assert caught.value.kind == "unlisted"
    assert len(exchange.asked) == 1


async def test_a_pair_that_is_not_listed_has_no_candles_and_spoils_nothing() -> None:
    """Fault M2: whoever asks for a hole of many coins gets those of the others."""
    exchange = server(*range(5), speed=60.0)
    body = {"code": -1121, "msg": "Invalid symbol."}
    exchange.interrupt = lambda number, request: (
        web.json_response(body, status=400) if request.query.get("symbol") == "ETHUSDT" else None
    )
    async with asking(exchange) as rest:
        candles = await rest.candles((BTC, ETH), at(0), at(4))
    assert [one.symbol for one in candles] == [BTC] * 5


async def test_errors_name_no_url() -> None:
    """Threat S1: errors are rebuilt; nothing of the request is in them or behind them."""
    exchange = server(speed=60.0)
    exchange.interrupt = lambda number, request: web.Response(status=500)
    async with asking(exchange) as rest:
        with pytest.raises(RestError) as caught:
            await rest.candles((BTC,), at(0), at(4))
    assert "127.0.0.1" not in f"{caught.value} {caught.value.__cause__}"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


async def test_an_exchange_that_is_away_is_unreachable() -> None:
    """Fault F25: a refused connection is an answer of its own kind."""
    exchange = server(speed=60.0)
    async with asking(exchange) as rest:
        pass
    with pytest.raises(RestError) as caught:
        await rest.book_mid(BTC)
    assert caught.value.kind == "unreachable"
    await rest.close()


async def test_no_more_than_our_share_of_the_weight_is_spent() -> None:
    """Invariant I9: at most 60 in any minute, wherever it begins; what is more waits, nothing is refused."""
    clock = Clock(120.0)
    weight, times = Weight(60, clock), []
    for _ in range(70):
        await weight.spend(2)
        times.append(clock.seconds())
    assert all(later - earlier >= 59 for earlier, later in zip(times, times[30:], strict=False))
    assert times[29] - times[0] < 30


async def test_requests_wait_for_their_share() -> None:
    """1 % of 6,000 a minute are 30 questions of weight 2: 61 take two minutes."""
    exchange = server(speed=120.0)
    async with asking(exchange, share=0.01) as rest:
        began = exchange.clock.seconds()
        for _ in range(61):
            await rest.book_mid(BTC)
        assert exchange.clock.seconds() - began >= 119
    assert len(exchange.asked) == 61


async def test_the_exchanges_own_count_is_heeded() -> None:
    """Others at our address may use the allowance: above our share nothing is asked until the next minute."""
    clock = Clock(600.0, START_MS + 10_000)
    weight = Weight(3_000, clock)
    await weight.spend(2)
    weight.heard("3001")
    await weight.spend(2)
    assert clock.now_ms() >= START_MS + 60_000


async def test_a_request_above_the_whole_share_is_asked_alone() -> None:
    """A share too small for one question does not stop the bot: it waits for an empty minute."""
    clock = Clock(600.0, START_MS)
    weight = Weight(10, clock)
    async with asyncio.timeout(10):
        await weight.spend(20)
        await weight.spend(20)
    assert clock.now_ms() >= START_MS + 60_000


async def test_a_longer_ban_is_not_shortened() -> None:
    """Answers may overtake each other."""
    weight = Weight(10, Clock())
    weight.ban(100.0)
    weight.ban(5.0)
    with pytest.raises(Banned):
        await weight.spend(1)
    assert weight.banned_s > 99


async def test_an_odd_row_is_counted_and_left_out() -> None:
    """Fault F18 in history: candles off the grid exist around past maintenance."""
    exchange = server(0, 1, 2)
    exchange.opens.add(at(1) + 15_000)
    async with asking(exchange) as rest:
        candles = await rest.candles((BTC,), at(0), at(2))
        assert [one.open_ms for one in candles] == [at(0), at(1), at(2)]
        assert rest.refused == {"off-grid time": 1}


async def test_one_symbols_trouble_ends_the_question() -> None:
    """All or nothing, in one error: what was half answered is asked again by who wanted it."""
    exchange = server(*range(5), speed=60.0)
    exchange.interrupt = lambda number, request: (
        web.Response(status=503) if request.query.get("symbol") == "ETHUSDT" else None
    )
    async with asking(exchange) as rest:
        with pytest.raises(RestError):
            await rest.candles((BTC, ETH, SOL), at(0), at(4))


async def test_hours_are_asked_for_beside_any_timeframe() -> None:
    """As hours, in one page of a thousand, closed ones alone; a pair that is not listed is told."""
    exchange = server(now=60 * 1_002)
    first = -(-START_MS // HOUR_MS) * HOUR_MS
    exchange.opens = {first + HOUR_MS * hour for hour in range(1_010)}
    async with asking(exchange) as rest:
        candles = await rest.hours(BTC, first, first + 999 * HOUR_MS)
        assert [one.open_ms for one in candles] == [first + HOUR_MS * hour for hour in range(1_000)]
        assert [asked["interval"] for _, _, asked in exchange.asked] == ["1h"]
        running = await rest.hours(BTC, first + 998 * HOUR_MS, first + 1_009 * HOUR_MS)
        assert running[-1].open_ms + HOUR_MS <= exchange.clock.now_ms() < running[-1].open_ms + 2 * HOUR_MS
        body = {"code": -1121, "msg": "Invalid symbol."}
        exchange.interrupt = lambda number, request: web.json_response(body, status=400)
        with pytest.raises(RestError) as caught:
            await rest.hours(BTC, first, first)
    assert caught.value.kind == "unlisted"
