"""Forecasts of a stretch of past hours by several models, beside what happened, and how good they were.

H hours forecast, each at the close of the hour before  N coins, those of the panel  Q quantiles
Scored  hours that moved, right after one that did, and that every model has forecast: the same for all.
Three   numbers of each forecast, each by the measure it is for (models/volatility_scores.py).
"""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from msgspec import Struct

from bot.core.market import HOUR_MS, Floats, Integers, Mask, Panel
from models.evaluate_volatility import HOURS_MIN, Score, score_of
from models.model import BadModel
from models.volatility import Estimator, volatility
from models.volatility_model import VolatilityModel

PARTS = ("volatility", "mean", "median", "quantiles")


class Hindcast(Struct, frozen=True, eq=False):
    """What one model said of the hours with these opens [H]: arrays [H, N], `quantiles` [H, N, Q].

    NaN where the model does not know the coin.
    """

    open_ms: Integers
    volatility: Floats
    mean: Floats
    median: Floats
    quantiles: Floats

    def __len__(self) -> int:
        return len(self.open_ms)

    @classmethod
    def joined(cls, parts: "Sequence[Hindcast]") -> "Hindcast":
        """Stretches that follow each other, as one."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__struct_fields__))


class Outcome(Struct, frozen=True, eq=False):
    """The volatilities [H, N] of hours and of the hours right before them, NaN where one did not move."""

    actual: Floats
    now: Floats


def hindcast(model: VolatilityModel, panel: Panel, start_ms: int, stop_ms: int) -> Hindcast:
    """What the model would have said of the panel's hours from start_ms to before stop_ms. BadModel without any before.

    The hours before warm it up; the model must have seen nothing, and stays so.
    """
    first, stop = _rows(panel, start_ms, stop_ms)
    begin = max(0, first - 1 - model.warmup)
    found = model.forecast_panel(panel.of(model.symbols).rows(begin, stop - 1), first - 1 - begin)
    at = [panel.symbols.index(symbol) for symbol in model.symbols]
    several = []
    for name in PARTS:
        known = getattr(found, name)
        whole = np.full((len(known), len(panel.symbols), *known.shape[2:]), np.nan)
        whole[:, at] = known
        several.append(whole)
    return Hindcast(panel.open_ms[first:stop], *several)


def outcome(panel: Panel, open_ms: Integers) -> Outcome:
    """What happened in these hours of the panel, which follow each other there."""
    first, stop = _rows(panel, int(open_ms[0]), int(open_ms[-1]) + 1)
    found = volatility(panel.rows(first - 1, stop), Estimator.GARMAN_KLASS)
    moved = np.where(found > 0.0, found, np.nan)
    follows = np.diff(panel.open_ms[first - 1 : stop]) == HOUR_MS
    return Outcome(moved[1:], np.where(follows[:, None], moved[:-1], np.nan))


def scores(models: Mapping[str, Hindcast], happened: Outcome, coins: Sequence[int]) -> dict[str, Score]:
    """The score of each model, the mean over these coins; one with too few hours to score is left out of it.

    BadModel where none has enough.
    """
    several: dict[str, list[Score]] = {name: [] for name in models}
    for coin in coins:
        usable = np.isfinite(happened.actual[:, coin]) & np.isfinite(happened.now[:, coin])
        for found in models.values():
            usable &= np.isfinite(found.volatility[:, coin])
        if usable.sum() < HOURS_MIN:
            continue
        for name, found in models.items():
            several[name].append(_score(found, happened, usable, coin))
    if not all(several.values()):
        raise BadModel(f"no coin has {HOURS_MIN} hours to score: give more candles, or longer folds")
    return {name: _mean(found) for name, found in several.items()}


def _score(found: Hindcast, happened: Outcome, usable: Mask, coin: int) -> Score:
    parts = (found.volatility, found.mean, found.median, happened.actual, happened.now)
    return score_of(*(part[usable, coin] for part in parts))


def _mean(several: Sequence[Score]) -> Score:
    return Score(*np.mean([msgspec.structs.astuple(one) for one in several], axis=0).tolist())


def _rows(panel: Panel, start_ms: int, stop_ms: int) -> tuple[int, int]:
    first, stop = (int(at) for at in np.searchsorted(panel.open_ms, (start_ms, stop_ms)))
    if not first or stop <= first:
        raise BadModel("hours to be forecast, with hours before them, are needed: give more candles")
    return first, stop
