"""Volatility target: another strategy's targets, sized so that what is held swings by about as much as is wanted.

Factor       target / forecast, from `least` to `most`; both are volatilities a year. `most` is 1 at most: long only, no
             leverage, so a market calmer than the target is held whole and swings by less.
Forecast     of the portfolio (`per = "portfolio"`): sqrt(w' C w) with C_ij = r s_i s_j, C_ii = s_i^2, which is
             sqrt((1 - r) sum (w_i s_i)^2 + r (sum w_i s_i)^2); w are the shares before sizing, s the forecasts of the next
             hour, r one correlation for all pairs. Of each coin alone (`per = "coin"`): its own s.
Correlation  r is the mean over all pairs of the coins' correlations in the window: with z_bi the return of coin i in block b
             over its root mean square, n coins, r = (mean_b (sum_i z_bi)^2 - n) / (n (n - 1)), at least 0. Blocks are of
             BLOCK slices, since coins answer each other with a delay: the returns of single slices correlate too little.
Year         HOURS of independent returns: an hour's volatility times sqrt(8760).
Not known    a coin's forecast: an entry is sized with `least`, what is held of it is let be, and left out of the
             portfolio's.
Two ways     a strategy that stands (bot/core/strategy.py) is held to factor x standing shares, coin by coin, asked when an
             hour closes, as there is a forecast an hour. Of any other the entries are made smaller, and everything else
             passes: w is then what is held with its targets in place.
Band         what is held of a coin that should be held may be off by `band` of what is wanted, and is brought back to the
             edge of that, no further: where trading costs in proportion, that is the best there is to do.
Sources      Moreira and Muir, "Volatility-Managed Portfolios", 2017; Elton and Gruber, "Estimating the Dependence Structure
             of Share Prices", 1973 (one correlation for all); Epps, "Comovements in Stock Prices in the Very Short Run", 1979;
             Davis and Norman, "Portfolio Selection with Transaction Costs", 1990 (the band and its edge).
"""

from typing import Literal

import numpy as np
from msgspec import Struct
from pydantic import BaseModel, Field, model_validator

from bot.core.market import HOUR_MS, Floats, Mask
from bot.core.strategy import Block, Sparing, Standing, Strategy, View

HOURS = 8_760
BLOCK = 10
BLOCKS_MIN = 20  # of fewer a correlation would be a guess
ROWS = 1_000


class Settings(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """`of` is the strategy that is sized, `target` a volatility a year as a fraction; the others are shares of its targets."""

    of: Literal["hold", "masked-divergence"] = "hold"
    target: float = Field(0.4, gt=0, le=10)
    per: Literal["portfolio", "coin"] = "portfolio"
    least: float = Field(0.1, ge=0, le=1)
    most: float = Field(1.0, gt=0, le=1)
    band: float = Field(0.2, ge=0, lt=1)

    @model_validator(mode="after")
    def _in_order(self) -> "Settings":
        if self.least > self.most:
            raise ValueError("least is above most: lower it, or raise most")
        return self


class Sizing(Struct, frozen=True, eq=False):
    """`factor` [N] that shares are multiplied by, and the forecast that each is of: volatilities a year [N], NaN unknown."""

    factor: Floats
    forecast: Floats


class VolatilityTarget:
    """`inner` is the strategy that is sized."""

    wants_volatility = True

    def __init__(self, settings: Settings, inner: Strategy) -> None:
        self.settings = settings
        self.inner = inner
        self.wants_forecast = inner.wants_forecast
        correlates = settings.per == "portfolio"
        self.warmup = max(inner.warmup, ROWS + 1 if correlates else 1)
        self.rows = max(inner.rows, ROWS + 1 if correlates else 1)
        self._sized: tuple[View, Sizing] | None = None  # of the last view: an order's reason asks for it again

    def targets(self, view: View) -> Floats | None:
        """Wanted shares of equity [N]: the inner strategy's, sized."""
        if isinstance(self.inner, Standing):
            return self._held_to(self.inner, view)
        return self._scaled(view)

    def _held_to(self, inner: Standing, view: View) -> Floats | None:
        """The nearest shares within the band of what is wanted, NaN where they are; None within an hour."""
        if (view.window.newest_ms + view.window.interval_ms) % HOUR_MS:
            return None
        sizing, weights = self._sizing(view), view.portfolio.weights
        wanted = sizing.factor * inner.standing(view)
        near = np.clip(weights, wanted * (1 - self.settings.band), wanted * (1 + self.settings.band))
        let_be = (near == weights) | ((weights > 0) & np.isnan(sizing.forecast))
        targets: Floats = np.where(let_be, np.nan, np.where(weights > 0, near, wanted))
        return targets

    def _scaled(self, view: View) -> Floats | None:
        """The inner strategy's targets with its entries made smaller; an entry never becomes a sale."""
        targets = self.inner.targets(view)
        if targets is None or np.isnan(targets).all():
            return targets
        weights = view.portfolio.weights
        entries = targets > weights
        if not entries.any():
            return targets
        sized = self._sizing(view).factor * targets
        scaled: Floats = np.where(entries, np.where(sized > weights, sized, np.nan), targets)
        return scaled

    def _shares(self, view: View) -> Floats:
        """What the inner strategy would hold [N]: in the long run, or with its targets in place."""
        if isinstance(self.inner, Standing):
            return self.inner.standing(view)
        weights, targets = view.portfolio.weights, self.inner.targets(view)
        if targets is None:
            return weights
        shares: Floats = np.where(np.isnan(targets), weights, targets)
        return shares

    def _sizing(self, view: View) -> Sizing:
        """How the inner strategy's shares are sized in this view."""
        if self._sized is None or self._sized[0] is not view:
            self._sized = (view, self._size(view, self._shares(view)))
        return self._sized[1]

    def _size(self, view: View, shares: Floats) -> Sizing:
        s = self.settings
        hourly = np.full(len(shares), np.nan)
        if view.forecast is not None and view.forecast.volatility is not None:
            hourly = view.forecast.volatility
        known = np.isfinite(hourly) & (hourly > 0)
        yearly = np.where(known, hourly, np.nan) * np.sqrt(HOURS)
        if s.per == "portfolio" and known.any():
            returns, real = view.window.returns(ROWS)
            counted = known & (shares > 0)
            whole = together(shares[counted], yearly[counted], correlation(returns[:, counted], real[:, counted]))
            yearly = np.where(known, whole, np.nan)
        with np.errstate(divide="ignore"):  # a portfolio of nothing: as much as there may be
            factor = np.clip(s.target / yearly, s.least, s.most)
        return Sizing(np.where(known, factor, s.least), yearly)

    def quiet(self, block: Block) -> Mask:
        """Where [T] no hour closes, for a strategy that stands; else where the inner strategy is quiet, if it can tell."""
        if isinstance(self.inner, Standing):
            within: Mask = block.close_ms % HOUR_MS != 0
            return within
        if isinstance(self.inner, Sparing):
            return self.inner.quiet(block)
        return np.zeros(len(block.returns), dtype=np.bool_)

    def explain(self, view: View, at: int) -> str:
        """The factor with the forecast and the target that it comes from, behind what the inner strategy says."""
        inner, sizing, s = self.inner, self._sizing(view), self.settings
        forecast, what = float(sizing.forecast[at]), "its" if s.per == "coin" else "the portfolio's"
        seen = (
            f"{what} forecast volatility is {forecast:.0%} a year" if np.isfinite(forecast) else "volatility not known"
        )
        said = "" if isinstance(inner, Standing) else f"{inner.explain(view, at)}, "
        return f"{said}factor {sizing.factor[at]:.2f}: {seen}, the target {s.target:.0%}"


def together(shares: Floats, volatility: Floats, mean_correlation: float) -> float:
    """The volatility of shares [N] of coins of these volatilities [N] with one correlation for all pairs; 0 of none."""
    parts = shares * volatility
    alone, all_as_one = float((parts * parts).sum()), float(parts.sum()) ** 2
    return float(np.sqrt((1 - mean_correlation) * alone + mean_correlation * all_as_one))


def correlation(returns: Floats, real: Mask) -> float:
    """The mean correlation of all pairs of coins in returns [T, N], as the module says; 1 where too little is known."""
    blocks = len(returns) // BLOCK
    if blocks < BLOCKS_MIN:
        return 1.0
    known = np.where(real, returns, 0.0)[len(returns) - blocks * BLOCK :]
    moved = known.reshape(blocks, BLOCK, -1).sum(axis=1)
    size = np.sqrt((moved * moved).mean(axis=0))
    z = moved[:, size > 0] / size[size > 0]
    coins = z.shape[1]
    if coins < 2:
        return 1.0
    square = float((z.sum(axis=1) ** 2).mean())
    found = (square - coins) / (coins * (coins - 1))
    return float(min(1.0, max(0.0, found)))
