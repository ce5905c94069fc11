"""A volatility model on slices of any length: hours are made of them, and each forecast stands until the next.

A forecast is of the hour after the newest complete one. It is used by slices that close within that hour, the one that
completes the newest hour among them; where the next hour never became complete it is out of date and used no more.
"""

import numpy as np
from msgspec import Struct

from bot.core.hours import Hours, joined
from bot.core.market import HOUR_MS, Floats, Integers, Panel
from models.model import BadModel
from models.volatility_model import VolatilityForecast, VolatilityModel


class HourlyForecasts(Struct, frozen=True, eq=False):
    """The hours [H] that a forecast was made at the close of, by their opens; `volatility` [H, N] of the hours after."""

    open_ms: Integers
    volatility: Floats

    def at(self, close_ms: int) -> Floats | None:
        """What stands [N] at this time, None where nothing does."""
        row = int(np.searchsorted(self.open_ms, close_ms - HOUR_MS, side="right")) - 1
        if row < 0 or close_ms >= int(self.open_ms[row]) + 2 * HOUR_MS:
            return None
        return np.asarray(self.volatility[row])


class Hourly:
    """The model at work. BadModel for slices that make no hours."""

    def __init__(self, model: VolatilityModel, interval_ms: int) -> None:
        try:
            self._hours = Hours(model.symbols, interval_ms)
        except ValueError as why:
            raise BadModel(f"volatility is forecast by the hour: {why}") from why
        self.model = model
        self.newest: VolatilityForecast | None = None

    @property
    def symbols(self) -> tuple[str, ...]:
        return self.model.symbols

    @property
    def interval_ms(self) -> int:
        return self._hours.interval_ms

    def warm(self, hours: Panel) -> None:
        """Hours from before the first slice, of which no hour is made."""
        self._take(hours)

    def observe(self, panel: Panel) -> Panel:
        """Absorbs the next slices; the hours that they complete, of which `newest` is the forecast then."""
        hours = self._hours.absorb(panel)
        self._take(hours)
        return hours

    def at(self, close_ms: int) -> Floats | None:
        """The forecast volatilities [N] that stand at this time, None where none do."""
        newest = self.newest
        if newest is None:
            return None
        return HourlyForecasts(newest.open_ms, newest.volatility).at(close_ms)

    def _take(self, hours: Panel) -> None:
        if len(hours):
            self.model.observe(hours)
            self.newest = self.model.forecast()


def forecast_ahead(model: VolatilityModel, panel: Panel, before: Panel | None = None) -> HourlyForecasts:
    """All forecasts that observing the panel slice by slice would give, `before` being hours that warm up. BadModel.

    The model must have seen nothing, and stays so.
    """
    try:
        hours = Hours(model.symbols, panel.interval_ms).absorb(panel)
    except ValueError as why:
        raise BadModel(f"volatility is forecast by the hour: {why}") from why
    first = 0
    if before is not None:
        earlier = before.rows(0, int(np.searchsorted(before.open_ms, hours.open_ms[0]))) if len(hours) else before
        first = max(0, len(earlier) - 1)  # the last one's stands in the panel's first hour
        hours = joined((earlier.of(hours.symbols), hours))
    found = model.forecast_panel(hours, first)
    return HourlyForecasts(found.open_ms, found.volatility)
