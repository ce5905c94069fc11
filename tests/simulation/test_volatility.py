"""Volatility in a running bot: past hours by REST, each hour's forecast, told to people, journaled, replayed."""

from pathlib import Path
from typing import Any

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from bot.core.events import Forecasted
from bot.core.market import MINUTE_MS, Panel
from bot.edge.store import Store
from bot.edge.volatility_work import VolatilityStatus, VolatilityWork
from bot.readings import status_of
from bot.session import replay_all
from bot.simulator.synthetic import synthetic_panel
from bot.terminal import picture
from models.baselines import Market
from models.hourly import HourlyForecasts, forecast_ahead
from models.shipped_volatility import shipped_simple
from tests.simulation.world import World

COINS, SPEED = 6, 1_200.0
FIVE_MS, HOUR_MS = 300_000, 3_600_000
START = 90 * 60 + 40  # within an hour, and the panel HAR knows a coin from half a week on
SLOW: dict[str, dict[str, Any]] = {  # five minutes take a quarter of a second
    "feed": {"silence_s": 3_000.0, "ping_every_s": 3_000.0, "pong_within_s": 3_000.0, "resync_every_s": 90_000.0},
    "risk": {"stale_after_ms": 290_000, "forecast_age_max_ms": 290_000, "volatility_max": 0.0},
    "market": {"window": 20, "timeframe": "5m", "soft_limit_ms": 200_000, "hard_limit_ms": 280_000},
    "forecaster": {"model": "market", "volatility": "har", "budget_s": 290.0},
}
CLOSE = {"rtol": 1e-9, "equal_nan": True}  # the exchange's hours have their volumes rounded


def work_of(panel: Panel) -> VolatilityWork:
    return VolatilityWork(shipped_simple(panel.symbols), shipped_simple(panel.symbols), FIVE_MS)


def world_of(folder: Path, panel: Panel, *faults: str, strategy: str = "masked-divergence") -> World:
    start_ms = int(panel.open_ms[START])
    model, work = Market(panel.symbols, FIVE_MS), work_of(panel)
    return World(
        folder,
        *faults,
        panel=panel,
        speed=SPEED,
        model=model,
        settings=SLOW | {"strategy": {"name": strategy}},
        started_ms=start_ms,
        volatility=work,
    )


def work_in(world: World) -> VolatilityStatus:
    forecaster = world.daemon.forecaster
    assert forecaster is not None and forecaster.volatility is not None
    return forecaster.volatility


def told(world: World, ahead: HourlyForecasts) -> list[int]:
    """The opens of the slices whose journaled forecast has a known volatility; all that are known are those ahead."""
    opens = []
    for row in world.rows():
        if not isinstance(row.event, Forecasted):
            continue
        forecast = row.event.forecast
        assert forecast.volatility is not None
        if np.isfinite(forecast.volatility).any():
            wanted = ahead.at(forecast.open_ms + FIVE_MS)
            assert wanted is not None and np.allclose(forecast.volatility, wanted, **CLOSE)  # type: ignore[arg-type]
            opens.append(forecast.open_ms)
    return opens


async def test_volatilities_come_are_told_and_are_those_of_a_backtest(tmp_path: Path) -> None:
    """Over more than three hours: in the journal, in /metrics, in /status and on the terminal; a replay decides the same."""
    panel = synthetic_panel(COINS, START + 400, 11)
    ahead = forecast_ahead(shipped_simple(panel.symbols), panel)
    async with world_of(tmp_path, panel) as world:
        await world.until(lambda: world.daemon.ready.is_set() and work_in(world).hours >= 5)
        standing = work_in(world)
        assert standing.warm and standing.failed == 0
        assert world.daemon.forecaster is not None
        world.daemon._gauges.read_forecaster(world.daemon.forecaster, world.daemon.faults, standing.open_ms + HOUR_MS)
        families = text_string_to_metric_families(world.daemon.metrics.text().decode())
        samples = {(one.name, *one.labels.values()): one.value for each in families for one in each.samples}
        wanted = ahead.at(standing.open_ms + HOUR_MS)
        assert wanted is not None
        for symbol, value in zip(panel.symbols, wanted.tolist(), strict=True):
            assert np.isclose(samples["lacuna_volatility_forecast_ratio", symbol], value, rtol=1e-9)
        assert samples["lacuna_volatility_forecasts_total", "answered"] >= 3
        assert samples["lacuna_volatility_qlike", "model"] == samples["lacuna_volatility_qlike", "har"] > 0
        status = status_of(world.daemon)
        shown = status["volatility"]
        strongest = [row["forecast"] for row in shown["coins"]]
        assert strongest == sorted(strongest, reverse=True) and np.allclose(sorted(strongest), np.sort(wanted))
        assert shown["scored"] >= 2 and len(shown["coins"]) == COINS
        assert "QLIKE" in str(list(picture(status).renderables)[-1])
    opens = told(world, ahead)
    hours = {(open_ms + FIVE_MS) // HOUR_MS for open_ms in opens}
    assert len(hours) >= 4 and len(opens) > 20
    with Store(tmp_path) as store:
        (_, replayed) = next(replay_all(store))
    assert replayed.identical, replayed.first_difference


async def test_hours_that_nobody_saw_are_asked_for_when_the_exchange_is_back(tmp_path: Path) -> None:
    """Fault F25: three hours away is more than the window holds; what is forecast then is what a backtest says."""
    panel = synthetic_panel(COINS, START + 500, 11)
    ahead = forecast_ahead(shipped_simple(panel.symbols), panel)
    async with world_of(tmp_path, panel, "F25@+20m/3h") as world:
        back_ms = world.start_ms + 200 * MINUTE_MS
        await world.until(lambda: world.daemon.ready.is_set() and work_in(world).open_ms >= back_ms + 2 * HOUR_MS)
    opens = told(world, ahead)
    assert min(opens) < back_ms - 3 * HOUR_MS
    assert max(opens) > back_ms


async def test_a_strategy_that_asks_nothing_is_watched_all_the_same(tmp_path: Path) -> None:
    """Holding needs no forecast: the hours are forecast and scored for people, and no question is asked."""
    panel = synthetic_panel(COINS, START + 300, 11)
    ahead = forecast_ahead(shipped_simple(panel.symbols), panel)
    async with world_of(tmp_path, panel, strategy="hold") as world:
        await world.until(lambda: world.daemon.ready.is_set() and work_in(world).score.hours >= 1)
        assert world.daemon.forecaster is not None and world.daemon.forecaster.asked == 0
        standing = work_in(world)
        wanted = ahead.at(standing.open_ms + HOUR_MS)
        assert wanted is not None and np.allclose(standing.forecast, wanted, **CLOSE)  # type: ignore[arg-type]


async def test_a_strategy_that_needs_volatilities_alone_decides_on_them(tmp_path: Path) -> None:
    """No model of returns: the answers hold none, the coins are bought by what their volatility leaves of them."""
    panel = synthetic_panel(COINS, START + 300, 11)
    world = world_of(tmp_path, panel, strategy="volatility-target")
    world._overrides |= {"strategies": {"volatility-target": {"per": "coin", "target": 0.6}}}
    world._model = None  # type: ignore[assignment]
    async with world:
        await world.until(lambda: world.daemon.ready.is_set() and world.daemon.counts.fills > 0)
        await world.until(lambda: work_in(world).hours >= 2)
        outcome = await world.stop()
    forecasts = [row.event.forecast for row in world.rows() if isinstance(row.event, Forecasted)]
    assert forecasts and all(np.isnan(one.returns).all() for one in forecasts)
    assert told(world, forecast_ahead(shipped_simple(panel.symbols), panel))
    assert outcome.decisions and outcome.positions
    with Store(tmp_path) as store:
        (_, replayed) = next(replay_all(store))
    assert replayed.identical, replayed.first_difference
