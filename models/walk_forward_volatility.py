"""Walking forward: what a way to fit would have forecast, had it been fitted again and again as time went on.

Folds    the last part of the hours, cut into equal stretches. Before each the model is fitted anew, on hours that end
         at least the embargo before the stretch begins; the last of them, as many as the final model has, validate.
Beside   the baselines, fitted again for each fold on the same hours.
Glued    the forecasts of all folds are scored as one stretch: no hour of it was seen by the model that forecast it.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct

from bot.core.market import HOUR_MS, Integers, Panel
from models.evaluate_volatility import HOURS_MIN, Score
from models.model import BadModel
from models.volatility_baselines import fit_baseline
from models.volatility_coverage import coverage
from models.volatility_hindcast import Hindcast, hindcast, outcome, scores
from models.volatility_model import VolatilityModel

Said = Callable[[str], None]


class Fitted(Struct, frozen=True, eq=False):
    """A model that has seen nothing yet, and the optimiser's steps it took; 0 for one without an optimiser."""

    model: VolatilityModel
    steps: int = 0


Fit = Callable[[Panel, int, Path], Fitted]


class Fold(Struct, frozen=True):
    """Fitted on hours from before `seen_ms`, those from `validation_ms` on validating; forecasts [start_ms, stop_ms).

    All are opens of hours; `symbols` are the coins that had enough hours by then.
    """

    validation_ms: int
    seen_ms: int
    start_ms: int
    stop_ms: int
    symbols: tuple[str, ...]


class WalkedForward(Struct, frozen=True, eq=False):
    """The forecasts of all folds, glued: the model's under "", the baselines' under their names; `folds` [H] from 1.

    `seconds` are those of this walk, which may have found folds trained before.
    """

    embargo_hours: int
    count: int
    folds: Integers
    hindcasts: dict[str, Hindcast]
    scores: dict[str, Score]
    seconds: float


def folds_of(panel: Panel, validation_ms: int, count: int, embargo_hours: int, tune: str | None) -> tuple[Fold, ...]:
    """So many folds over the hours from `validation_ms` on. BadModel where one has too little to be fitted on."""
    first, end_ms = int(np.searchsorted(panel.open_ms, validation_ms)), int(panel.open_ms[-1]) + HOUR_MS
    hours = len(panel) - first
    if hours < count * HOURS_MIN:
        raise BadModel(f"{hours} hours make no {count} folds of {HOURS_MIN}: take fewer, or begin validation earlier")
    rows = np.linspace(first, len(panel), count + 1).astype(int)[:-1]
    edges = [*panel.open_ms[rows].tolist(), end_ms]
    found = []
    for at, (start_ms, stop_ms) in enumerate(itertools.pairwise(edges), 1):
        seen_ms = start_ms - embargo_hours * HOUR_MS
        if seen_ms <= panel.open_ms[0]:
            raise BadModel(
                f"no hours are left before fold {at} of {count} less an embargo of {embargo_hours} hours: take a"
                " shorter embargo, begin validation later, or give earlier candles"
            )
        symbols = _enough(_before(panel, seen_ms), seen_ms - (end_ms - validation_ms), tune, f"fold {at} of {count}")
        found.append(Fold(seen_ms - (end_ms - validation_ms), seen_ms, start_ms, stop_ms, symbols))
    return tuple(found)


def _enough(seen: Panel, validation_ms: int, tune: str | None, what: str) -> tuple[str, ...]:
    """The coins a fold can be fitted on. BadModel where there is none, or not the one that is tuned for."""
    there = coverage(seen, validation_ms)
    why = there.wrong.get(tune or "")
    if why is None and there.enough:
        return there.enough
    symbol, why = (tune, why) if why else next(iter(there.wrong.items()))
    raise BadModel(f"{what} begins too early, {symbol}: {why}; or walk forward over less, by a later validation")


def walk_forward(
    panel: Panel,
    folds: Sequence[Fold],
    embargo_hours: int,
    fit: Fit,
    baselines: Sequence[str],
    folder: Path,
    tune: str | None,
    said: Said = lambda line: None,
) -> WalkedForward:
    """Fits in folders of `folder`, where a walk that was killed goes on, and forecasts fold by fold. BadModel."""
    began = time.perf_counter()
    several: dict[str, list[Hindcast]] = {name: [] for name in ("", *baselines)}
    for at, fold in enumerate(folds, 1):
        said(f"fold {at} of {len(folds)}")
        seen = _before(panel, fold.seen_ms).of(fold.symbols)
        models = {"": fit(seen, fold.validation_ms, folder / f"fold-{at}").model}
        models |= {name: fit_baseline(name, seen, fold.validation_ms) for name in baselines}
        for name, model in models.items():
            several[name].append(hindcast(model, panel, fold.start_ms, fold.stop_ms))
    glued = {name: Hindcast.joined(parts) for name, parts in several.items()}
    numbers = np.repeat(np.arange(1, len(folds) + 1), [len(part) for part in several[""]])
    open_ms = glued[""].open_ms
    coins = range(len(panel.symbols)) if tune is None else [panel.symbols.index(tune)]
    found = scores(glued, outcome(panel, open_ms), coins)
    return WalkedForward(embargo_hours, len(folds), numbers, glued, found, time.perf_counter() - began)


def _before(panel: Panel, time_ms: int) -> Panel:
    return panel.rows(0, int(np.searchsorted(panel.open_ms, time_ms)))
