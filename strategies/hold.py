"""Hold: buy every coin once, in equal parts, and keep them. The baseline every other strategy stands beside."""

import numpy as np
from pydantic import BaseModel, Field

from bot.core.market import Floats
from bot.core.strategy import View


class Settings(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """`invested` is the share of equity that is spread over the universe."""

    invested: float = Field(0.9, gt=0, le=1)


class Hold:
    wants_forecast = False
    wants_volatility = False
    warmup = 1
    rows = 1

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def targets(self, view: View) -> Floats:
        """An equal share for every coin that is not held yet; what is held is left alone."""
        wanted: Floats = np.where(view.portfolio.opened_ms > 0, np.nan, self.standing(view))
        return wanted

    def standing(self, view: View) -> Floats:
        """An equal share for every coin."""
        coins = len(view.window.symbols)
        return np.full(coins, self.settings.invested / coins)

    def explain(self, view: View, at: int) -> str:
        return "held from the start"
