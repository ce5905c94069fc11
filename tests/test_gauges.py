"""What the gauges read of the parts: what has grown is added once, an hour's forecast that failed is a fault."""

import numpy as np

from bot.config import Forecaster as Settings
from bot.core.hours import hours_of
from bot.core.market import HOUR_MS, MINUTE_MS
from bot.edge.clock import Clock
from bot.edge.faults import Alert, Faults
from bot.edge.forecaster import Forecaster
from bot.edge.metrics import Metrics
from bot.edge.volatility_work import VolatilityWork
from bot.gauges import Gauges
from models.shipped_volatility import shipped_simple
from tests.edge.test_metrics import samples
from tests.making import COINS, walk

MINUTES = walk(100 * 60)


async def test_an_hour_whose_forecast_failed_is_a_fault_once() -> None:
    """Fault C6: counted when it is first read, not again; the forecast is NaN in the metrics until the next."""
    metrics, alerts = Metrics("0.1.0", "paper", "binance", "USDT"), list[Alert]()
    faults, gauges = Faults(alerts.append), Gauges(metrics)
    work = VolatilityWork(shipped_simple(COINS), shipped_simple(COINS), MINUTE_MS)
    forecaster = Forecaster(None, Settings(), Clock(), lambda answer: None, work)
    forecaster.close()  # the worker is away: what it would do is done here
    work.warm(work.begin(hours_of(MINUTES)), MINUTES.rows(len(MINUTES) - 121, len(MINUTES)))
    hour_ms = work.standing.open_ms
    gauges.read_forecaster(forecaster, faults, hour_ms + 5 * HOUR_MS)
    assert np.isnan(samples(metrics)["lacuna_volatility_forecast_ratio", (COINS[0],)])  # of an hour long over
    gauges.read_forecaster(forecaster, faults, hour_ms + HOUR_MS)
    found = samples(metrics)
    assert found["lacuna_volatility_forecasts_total", ("answered",)] == 1 and not alerts
    assert all(found["lacuna_volatility_forecast_ratio", (symbol,)] > 0 for symbol in COINS)
    work._fail("odd")
    for _ in range(2):
        gauges.read_forecaster(forecaster, faults, hour_ms + HOUR_MS)
    found = samples(metrics)
    assert found["lacuna_volatility_forecasts_total", ("failed",)] == 1
    assert np.isnan(found["lacuna_volatility_forecast_ratio", (COINS[0],)])
    assert faults.counts == {"C6": 1} and "an hour's volatility: odd" in alerts[0].text
