"""Volatilities forecast ahead of a replay: checked as live, kept on disk by content, and seen by every worker."""

from pathlib import Path

import numpy as np
from msgspec.structs import replace

from backtest.crew import Crew, Seen
from backtest.forecasts import Forecasts, history_hash, volatility_ahead, volatility_kept_ahead
from bot.core.market import Floats
from models.hourly import HourlyForecasts, forecast_ahead
from models.volatility_baselines import fit_baseline
from models.volatility_model import VolatilityModel
from tests.models.hours import equal
from tests.models.volatile import volatile

HOURS = volatile(400)
EWMA = fit_baseline("ewma", HOURS, int(HOURS.open_ms[200]))


def scaled(times: Floats) -> VolatilityModel:
    """EWMA with the volatilities of each coin so many times as large."""
    return VolatilityModel(EWMA.predictor.of(HOURS.symbols), replace(EWMA.factors, root=times), 0)


def test_an_absurd_volatility_makes_its_hour_unknown() -> None:
    """One coin beyond 100 % an hour, now and then: those hours say nothing of any coin, as live; the others all."""
    plain = forecast_ahead(EWMA.of(HOURS.symbols), HOURS).volatility
    times = 1.0 / np.nanmedian(plain[:, 0])
    found = volatility_ahead(scaled(np.array([times, 1.0])), HOURS).volatility
    absurd = plain[:, 0] * times > 1.0
    assert 0 < absurd.sum() < len(absurd)
    assert np.isnan(found[absurd]).all()
    assert equal(found[~absurd, 1], plain[~absurd, 1])


def test_what_was_made_is_read_and_what_was_cut_is_made_again(tmp_path: Path) -> None:
    """The file's values are taken as they are; a cut one, or one of other coins, is replaced."""
    name = history_hash(HOURS)

    def kept() -> HourlyForecasts:
        return volatility_kept_ahead(EWMA.of(HOURS.symbols), "m" * 64, HOURS, None, name, tmp_path)

    made = kept()
    (path,) = tmp_path.iterdir()
    np.savez(path, open_ms=made.open_ms, volatility=2.0 * made.volatility)
    assert equal(kept().volatility, 2.0 * made.volatility)
    path.write_bytes(path.read_bytes()[:-50])
    assert equal(kept().volatility, made.volatility)
    np.savez(path, open_ms=made.open_ms, volatility=made.volatility[:, :1])
    assert equal(kept().volatility, made.volatility)


def test_other_hours_before_are_other_forecasts(tmp_path: Path) -> None:
    """The hours that warm up are part of the name; so is the model."""
    late, early = HOURS.rows(100, 400), HOURS.rows(0, 100)
    name = history_hash(late)
    for model, before in (("a", None), ("a", early), ("a", early.rows(50, 100)), ("b", None)):
        volatility_kept_ahead(EWMA.of(HOURS.symbols), model * 64, late, before, name, tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


def told(seen: Seen, at: int) -> Floats | None:
    """What a worker knows of the volatilities at an hour's close."""
    assert seen.forecasts is not None
    return seen.forecasts.volatility_at(int(seen.panel.open_ms[at]) + seen.panel.interval_ms)


def test_every_worker_sees_the_volatilities() -> None:
    """With and without inferred returns beside them, in processes of their own."""
    ahead = forecast_ahead(EWMA.of(HOURS.symbols), HOURS)
    for returns in (None, np.zeros(HOURS.close.shape)):
        with Crew(2, Seen(HOURS, Forecasts(returns, volatility=ahead))) as crew:
            for at, found in crew.each(told, [30, 399]):
                assert found is not None
                assert equal(found, ahead.volatility[at])
