"""Walk forward: fit a model on the past, trade the stretch after it, move on; what is judged was never fitted on.

Fold     train rows, an embargo, test rows. Every test part begins where the one before ends; the train part of a fold is
         the same length before its own test part (sliding), or all that came before it (anchored).
Fit      on the train part alone: its first FIT fit, the rest of it chooses between a model's settings. From the end of its
         fit on the model observes every slice, as it does live; its coefficients may go on learning, its kind may not.
Embargo  rows between train and test; with as many as the strategy and the model look back no decision reads a row that was
         fitted on.
Account  one, over all test parts: at a fold's end the model is changed and nothing else. What is held stays held, nothing
         is sold at an edge, the capital of a fold is what the one before ended with. So the whole is one Result.
Gain     each model's own, in its own test part.
Source   Pardo, "The Evaluation and Optimization of Trading Strategies", 2008 (walk-forward analysis); Lopez de Prado,
         "Advances in Financial Machine Learning", 2018, chapter 7 (embargo).
"""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from backtest.baselines import hold
from backtest.crew import Crew, Seen
from backtest.forecasts import Forecasts, infer_ahead, returns_of
from backtest.luck import sharpe_of
from backtest.result import Result
from backtest.run import play
from backtest.simulate import Progress, nobody
from backtest.statistics import Trip
from bot.config import Settings
from bot.core.market import Floats, Panel
from models.baselines import Gaussian
from models.checkpoint import CLOSED_FORMS
from models.closed_form import ClosedForm
from models.dataset import TRAIN, VALIDATION
from models.hourly import HourlyForecasts
from models.train import fit

FIT = TRAIN / (TRAIN + VALIDATION)


class Fold(Struct, frozen=True):
    """Rows of a panel: trained on [train_start, train_stop), tested on [test_start, test_stop)."""

    train_start: int
    train_stop: int
    test_start: int
    test_stop: int


class Refit(Struct, frozen=True):
    """A fold to be fitted and inferred: the model's name, and the rows before the test part that it observes at least."""

    model: str
    fold: Fold
    history: int


class Refitted(Struct, frozen=True, eq=False):
    """What a fold's model infers on its test rows: `returns` [T, N], with its `gain` [N].

    `fitted_ms` is the last slice it was fitted on, `validation` the score that chose its settings.
    """

    returns: Floats
    gain: Floats
    fitted_ms: int
    validation: float | None


class FoldFigures(Struct, frozen=True):
    """One fold of a walk: times are of the first and behind the last slice; `trips` are round trips that ended in it.

    `fitted_ms` and `validation` are None where nothing is fitted; `sharpe` is annual, on the basis of inference.
    """

    train_start_ms: int
    train_stop_ms: int
    test_start_ms: int
    test_stop_ms: int
    total_return: float
    hold_return: float | None
    sharpe: float | None
    fills: int
    trips: int
    fitted_ms: int | None
    validation: float | None


class Walked(Struct, frozen=True, eq=False):
    """The replay over all test parts, and what was fitted for each (nothing for a strategy without forecasts)."""

    result: Result
    folds: tuple[Fold, ...]
    refitted: tuple[Refitted, ...]


def model_rows(name: str | None, panel: Panel) -> int:
    """The slices a model of this name must observe before it is worth asking; 0 without one."""
    if name is None:
        return 0
    return Gaussian(panel.symbols, panel.interval_ms).warmup if name == Gaussian.architecture else ClosedForm.warmup


def folds_of(rows: int, train: int, test: int, embargo: int, needed: int, anchored: bool) -> tuple[Fold, ...]:
    """As many whole folds as there are in `rows`; none where not even one fits. The first decision needs `needed` rows."""
    first = max(train + embargo, needed)
    starts = range(first, rows - test + 1, test)
    return tuple(
        Fold(0 if anchored else start - embargo - train, start - embargo, start, start + test) for start in starts
    )


def refit(seen: Seen, job: Refit) -> Refitted:
    """Fits a fold's model on its train part and infers its test part. BadModel where too little is there to fit on."""
    fold, panel = job.fold, seen.panel
    trained = panel.rows(fold.train_start, fold.train_stop)
    fitted = fit(job.model, trained, FIT)
    found = fitted.model
    build = CLOSED_FORMS[found.architecture]
    model = build(  # as from its folder: it knows what it was fitted on, and no place in time
        found.symbols, found.interval_ms, found.fitted_ms, found.settings(), found.tensors()
    )
    after_fit = int(np.searchsorted(panel.open_ms, found.fitted_ms, side="right"))
    begin = min(after_fit, fold.test_start - job.history)
    inferred = infer_ahead(model, panel.rows(begin, fold.test_stop))
    gain = inferred.gain_at(0)
    assert gain is not None, "fitting finds a gain"
    return Refitted(returns_of(inferred)[fold.test_start - begin :], gain, found.fitted_ms, fitted.validation)


def refit_all(
    panel: Panel, folds: Sequence[Fold], model: str, history: int, workers: int, progress: Progress = nobody
) -> tuple[Refitted, ...]:
    """Every fold's model and answers, by so many processes; the same whatever their number."""
    made: list[Refitted] = []
    with Crew(min(workers, len(folds)), Seen(panel)) as crew:
        for _, found in crew.each(refit, (Refit(model, fold, history) for fold in folds)):
            made.append(found)
            progress(len(made), len(folds))
    return tuple(made)


def walk(
    settings: Settings,
    panel: Panel,
    folds: tuple[Fold, ...],
    refitted: tuple[Refitted, ...],
    needed: int,
    tried: dict[str, object],
    progress: Progress = nobody,
    volatility: HourlyForecasts | None = None,
) -> Walked:
    """One replay over all test parts, each with its own model's forecasts. `needed` rows before them are history.

    `volatility` is of one model for all folds, which is not fitted here.
    """
    first, stop = folds[0].test_start, folds[-1].test_stop
    begin = first - needed
    forecasts = None
    if refitted:
        forecasts = _in_turn(refitted, needed)
    if volatility is not None:
        forecasts = replace(forecasts or Forecasts(None), volatility=volatility)
    result = play(settings, panel.rows(begin, stop), needed, forecasts, tried=tried, progress=progress)
    return Walked(result, folds, refitted)


def _in_turn(refitted: tuple[Refitted, ...], before: int) -> Forecasts:
    """The forecasts of all folds one after another, behind so many rows without any."""
    unknown = np.full((before, refitted[0].returns.shape[1]), np.nan)
    lengths = [len(one.returns) for one in refitted]
    model_at = np.repeat(np.arange(len(refitted)), [before + lengths[0], *lengths[1:]])
    returns = np.concatenate([unknown, *(one.returns for one in refitted)])
    return Forecasts(returns, np.array([one.gain for one in refitted]), model_at)


def fold_figures(walked: Walked, panel: Panel, trips: tuple[Trip, ...]) -> tuple[FoldFigures, ...]:
    """What each fold earned, beside holding the same coins through it."""
    result, interval_ms = walked.result, panel.interval_ms
    first = walked.folds[0].test_start
    filled_ms = [fill.time_ms for fill in result.fills]
    ended_ms = [trip.exited_ms for trip in trips if trip.closed]
    found = []
    capital = result.capital
    for at, fold in enumerate(walked.folds):
        tested = panel.rows(fold.test_start, fold.test_stop)
        equity = result.equity[fold.test_start - first : fold.test_stop - first]
        held = hold(tested, capital, result.fee)
        start_ms, stop_ms = int(tested.open_ms[0]), int(tested.open_ms[-1]) + interval_ms
        made = walked.refitted[at] if walked.refitted else None
        found.append(
            FoldFigures(
                int(panel.open_ms[fold.train_start]),
                int(panel.open_ms[fold.train_stop - 1]) + interval_ms,
                start_ms,
                stop_ms,
                float(equity[-1]) / capital - 1.0 if capital > 0 else 0.0,
                held.performance.total_return if held else None,
                sharpe_of(equity, tested.open_ms, interval_ms),
                sum(start_ms <= time_ms < stop_ms for time_ms in filled_ms),
                sum(start_ms <= time_ms < stop_ms for time_ms in ended_ms),
                made.fitted_ms if made else None,
                made.validation if made else None,
            )
        )
        capital = float(equity[-1])
    return tuple(found)
