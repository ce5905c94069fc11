"""The forecaster against real threads: order, newest question, late answers, refusals, bugs that surface."""

import asyncio
import threading
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from bot.config import Forecaster as Settings
from bot.core.events import Forecasted, ForecastFailed
from bot.core.hours import hours_of
from bot.core.market import MINUTE_MS, Floats, Panel
from bot.edge import forecaster as module
from bot.edge.clock import Clock
from bot.edge.forecaster import Answer, Forecaster, ForecasterStuck, check_universe
from bot.edge.volatility_work import VolatilityWork
from models.baselines import Market
from models.hourly import forecast_ahead
from models.model import BadModel, Inferred
from models.shipped_volatility import shipped_simple
from tests.making import COINS, walk

PANEL = walk(50)


class Held(Market):
    """The market model, which waits before each slice until it is let go, and may be told to misbehave."""

    def __init__(self) -> None:
        super().__init__(COINS, MINUTE_MS)
        self.gate = threading.Semaphore(0)
        self.seen: list[int] = []
        self.trouble: Exception | None = None
        self.says: Floats | None = None

    def observe(self, panel: Panel) -> None:
        self.gate.acquire()
        if self.trouble:
            raise self.trouble
        self.seen += panel.open_ms.tolist()
        super().observe(panel)

    def infer(self) -> Inferred:
        found = super().infer()
        return found if self.says is None else Inferred(found.open_ms, self.says)

    def let_go(self, slices: int = 1_000) -> None:
        self.gate.release(slices)


class Desk:
    """A forecaster with a held model, and what it delivered."""

    def __init__(self, budget_s: float = 20.0, clock: Clock | None = None) -> None:
        self.model = Held()
        self.heard: list[Answer] = []
        self.news = asyncio.Event()
        self.forecaster = Forecaster(self.model, Settings(budget_s=budget_s), clock or Clock(), self.deliver)

    def deliver(self, answer: Answer) -> None:
        self.heard.append(answer)
        self.news.set()

    def asks(self, row: int) -> None:
        self.forecaster.observe(PANEL.rows(row, row + 1))
        self.forecaster.infer(int(PANEL.open_ms[row]))

    async def hears(self) -> Answer:
        """The next answer."""
        async with asyncio.timeout(5):
            await self.news.wait()
        self.news.clear()
        return self.heard[-1]

    async def settles(self, asked: int) -> None:
        """Waits until every question has its end."""
        async with asyncio.timeout(5):
            made = self.forecaster
            while made.answered + made.skipped + made.late + made.failed < asked:
                await asyncio.sleep(0.001)


@pytest.fixture
async def desk() -> "Iterator[Desk]":  # type: ignore[misc]
    made = Desk()
    yield made
    made.model.let_go()
    made.forecaster.close()


async def test_an_answer_comes_on_the_loop(desk: Desk) -> None:
    """The forecast of the slice asked for, what the model alone says, delivered on the loop's own thread."""
    desk.model.let_go()
    desk.forecaster.observe(PANEL.rows(0, 9))
    desk.asks(9)
    answer = await desk.hears()
    assert isinstance(answer, Forecasted)
    assert answer.forecast.open_ms == PANEL.open_ms[9]
    alone = Market(COINS, MINUTE_MS)
    alone.observe(PANEL.rows(0, 10))
    assert np.array_equal(answer.forecast.returns, alone.infer().returns)
    spent = desk.forecaster.spent
    assert spent is not None and 0 <= answer.seconds <= spent.last == spent.p50 == spent.p99 < 1
    assert desk.forecaster.newest is answer.forecast
    assert (desk.forecaster.asked, desk.forecaster.answered, desk.forecaster.late) == (1, 1, 0)


async def test_every_slice_is_seen_and_only_the_newest_is_answered(desk: Desk) -> None:
    """While the model is busy ten slices come: all are observed in order, one forecast is given, the rest are skipped."""
    for row in range(10):
        desk.asks(row)
    desk.model.let_go()
    await desk.settles(10)
    assert desk.model.seen == PANEL.open_ms[:10].tolist()
    assert [answer.forecast.open_ms for answer in desk.heard if isinstance(answer, Forecasted)] == [PANEL.open_ms[9]]
    made = desk.forecaster
    assert (made.answered, made.skipped, made.late, made.failed) == (1, 9, 0, 0)


async def test_an_answer_overtaken_by_a_question_is_dropped(desk: Desk) -> None:
    """The model works on slice 0 when slice 1 is asked: what it says of slice 0 is late (C9)."""
    desk.asks(0)
    while desk.forecaster._question is not None:
        await asyncio.sleep(0.001)
    desk.asks(1)
    desk.model.let_go()
    await desk.settles(2)
    assert [type(answer) for answer in desk.heard] == [Forecasted]
    assert desk.forecaster.late == 1


async def test_an_answer_over_budget_is_dropped() -> None:
    """At 1000x speed a fifth of a second is 200 exchange seconds: far over a budget of 20 (C1)."""
    desk = Desk(clock=Clock(speed=1_000))
    desk.asks(0)
    await asyncio.sleep(0.05)
    desk.model.let_go()
    await desk.settles(1)
    assert not desk.heard and desk.forecaster.late == 1
    desk.forecaster.close()


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        ([np.nan, np.nan, np.nan], "nothing was inferred"),
        ([0.1, np.inf, 0.1], "inferred return of inf"),
        ([0.1, np.nan, -1.5], "inferred return of 1.5"),
    ],
)
async def test_what_is_no_forecast_is_refused(desk: Desk, says: Sequence[float], reason: str) -> None:
    """All NaN, infinities and returns beyond 100 % fail by name (C6)."""
    desk.model.says = np.array(says)
    desk.model.let_go()
    desk.asks(3)
    answer = await desk.hears()
    assert isinstance(answer, ForecastFailed) and reason in answer.reason
    assert answer.open_ms == PANEL.open_ms[3] and desk.forecaster.failed == 1


async def test_a_model_that_stands_elsewhere_is_refused(desk: Desk) -> None:
    """Asked for a slice it was never shown, it has no answer for it."""
    desk.model.let_go()
    desk.forecaster.observe(PANEL.rows(0, 5))
    desk.forecaster.infer(int(PANEL.open_ms[7]))
    answer = await desk.hears()
    assert isinstance(answer, ForecastFailed) and "stands at slice" in answer.reason


@pytest.mark.parametrize("trouble", [np.linalg.LinAlgError("singular"), FloatingPointError("0/0"), ValueError("odd")])
async def test_numeric_trouble_fails_one_forecast(desk: Desk, trouble: Exception) -> None:
    """The slice fails with the reason; the next one is answered again."""
    desk.model.trouble = trouble
    desk.model.let_go(1)
    desk.asks(0)
    answer = await desk.hears()
    assert isinstance(answer, ForecastFailed) and type(trouble).__name__ in answer.reason
    desk.model.trouble = None
    desk.model.let_go(2)
    desk.forecaster.observe(PANEL.rows(0, 1))
    desk.asks(1)
    assert isinstance(await desk.hears(), Forecasted)


async def test_a_bug_reaches_whoever_watches(desk: Desk) -> None:
    """Anything that is no numeric trouble comes out of `watch`, however long before it happened."""
    desk.model.trouble = KeyError("a bug")
    desk.model.let_go(1)
    desk.asks(0)
    async with asyncio.timeout(5):
        with pytest.raises(KeyError, match="a bug"):
            await desk.forecaster.watch()
    assert not desk.heard


async def test_a_worker_that_hangs_is_told_not_hidden(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices wait without being dropped; past the bound `watch` raises, so that the process starts again."""
    monkeypatch.setattr(module, "PANELS_MAX", 5)
    for row in range(8):
        desk.forecaster.observe(PANEL.rows(row, row + 1))
    with pytest.raises(ForecasterStuck):
        await desk.forecaster.watch()


async def test_close_ends_the_thread_and_silences_it() -> None:
    """After close nothing is delivered, the thread is gone, and closing again is harmless."""
    desk = Desk()
    desk.model.let_go()
    desk.asks(0)
    desk.forecaster.close()
    desk.forecaster.close()
    await asyncio.sleep(0.01)
    assert not desk.heard
    assert not desk.forecaster._thread.is_alive()


def test_a_universe_names_what_differs() -> None:
    """The same coins in any order pass; otherwise both sides are named (C7)."""
    check_universe(("A/USDT", "B/USDT"), ("B/USDT", "A/USDT"))
    with pytest.raises(BadModel, match="lacks C/USDT, it also has A/USDT"):
        check_universe(("A/USDT", "B/USDT"), ("B/USDT", "C/USDT"))


LONG = walk(100 * 60)


class Hours:
    """A forecaster with a volatility model, with or without one of returns, and what it delivered."""

    def __init__(self, model: Market | None) -> None:
        self.heard: list[Answer] = []
        self.work = VolatilityWork(shipped_simple(COINS), shipped_simple(COINS), MINUTE_MS)
        self.forecaster = Forecaster(model, Settings(), Clock(), self.heard.append, self.work)

    async def hears(self, row: int) -> Answer:
        """The answer to the question of this slice."""
        self.forecaster.infer(int(LONG.open_ms[row]))
        count = len(self.heard)
        async with asyncio.timeout(5):
            while len(self.heard) == count:
                await asyncio.sleep(0.001)
        return self.heard[-1]


@pytest.mark.parametrize("model", [None, Market(COINS, MINUTE_MS)])
async def test_a_forecast_carries_the_volatility_that_stands_at_the_slices_close(model: Market | None) -> None:
    """NaN until past hours came, then what a backtest says; returns are NaN where nothing infers them."""
    hours = Hours(model)
    ahead = forecast_ahead(shipped_simple(COINS), LONG)
    first = len(LONG) - 130
    try:
        hours.forecaster.observe(LONG.rows(first - 121, first))
        cold = await hours.hears(first - 1)
        assert isinstance(cold, Forecasted) and cold.forecast.volatility is not None
        assert np.isnan(cold.forecast.volatility).all()
        hours.forecaster.warm(hours.work.begin(hours_of(LONG.rows(0, first))), LONG.rows(first - 121, first))
        for row in range(first, len(LONG)):
            hours.forecaster.observe(LONG.rows(row, row + 1))
            answer = await hours.hears(row)
            wanted = ahead.at(int(LONG.open_ms[row]) + MINUTE_MS)
            assert isinstance(answer, Forecasted) and answer.forecast.volatility is not None and wanted is not None
            assert np.isfinite(wanted).all() and np.array_equal(answer.forecast.volatility, wanted)
            assert np.isnan(answer.forecast.returns).all() == (model is None)
        standing = hours.forecaster.volatility
        assert standing is not None and standing.warm and standing.failed == 0
    finally:
        hours.forecaster.close()


async def test_without_a_return_model_another_slice_is_refused_too() -> None:
    """Asked for a slice that was not observed, there is no answer for it."""
    hours = Hours(None)
    try:
        hours.forecaster.observe(LONG.rows(0, 5))
        answer = await hours.hears(7)
        assert isinstance(answer, ForecastFailed) and "stands at slice" in answer.reason
    finally:
        hours.forecaster.close()
