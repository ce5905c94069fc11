"""What `lacuna walk-forward` does: candles, folds and settings, checked before any work; then fit, replay, judge, tell."""

import time
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct, to_builtins

from backtest.forecasts import history_hash
from backtest.measure import judged
from backtest.run import rows_needed
from backtest.statistics import as_dict
from backtest.summary import text_of
from backtest.trials import Trials
from backtest.walkforward import FIT, Fold, FoldFigures, Refitted, fold_figures, folds_of, model_rows, refit_all, walk
from bot.backtesting import volatilities_of
from bot.building import strategy_of
from bot.config import BadConfiguration, Settings
from bot.core.market import DAY_MS, Panel
from bot.edge.candles import check_holes, covered, load_panel, utc
from bot.history import COVERAGE, MINUTE_MS, Asked, as_played, fitted_on, say_remarks, tried_models, universe_of
from bot.progress import progress_bar
from bot.reporting import check_report, write
from bot.warming import Volatility, volatility_of
from models.baselines import Gaussian

FOLDS_MAX = 1_000
ROWS_MIN = 2
FIT_ROWS_MIN = 100


class Plan(Struct, frozen=True):
    """The model of the folds (None: the strategy's) and how they are cut: days, embargo, anchored or sliding.

    `embargo` is in slices; None for what strategy and model look back.
    """

    train: str | None
    train_days: float
    test_days: float
    embargo: int | None
    anchored: bool


class Walk(Struct, frozen=True, eq=False):
    """What is walked through: all checked, nothing computed. `needed` rows are history before the first decision."""

    settings: Settings
    panel: Panel
    model: str | None
    folds: tuple[Fold, ...]
    embargo: int
    needed: int
    volatility: Volatility | None


def run_walk_forward(
    asked: Asked, plan: Plan, report: Path | None, research: Path, seed: int, workers: int
) -> tuple[dict[str, Any], str]:
    """Fits fold by fold, replays all test parts as one account, judges it; the figures for programs and for people."""
    check_report(report)
    model = _model(asked.settings, plan.train)
    panel, remarks = _panel(asked, plan.train_days)
    begin_ms = int(panel.open_ms[0])
    volatility, said = volatility_of(asked.settings, panel.symbols, panel.interval_ms, begin_ms, asked.hours)
    remarks += said
    ready = _ready(asked.settings, panel, plan, model, volatility)
    say_remarks(remarks)
    name = history_hash(ready.panel)
    refitted: tuple[Refitted, ...] = ()
    if model is not None:
        with progress_bar("fit") as progress:
            refitted = refit_all(ready.panel, ready.folds, model, ready.needed, workers, progress)
    how: dict[str, object] = {
        "model": model,
        "train_days": plan.train_days,
        "test_days": plan.test_days,
        "embargo": ready.embargo,
        "anchored": plan.anchored,
    }
    ahead = None if volatility is None else volatilities_of(volatility, ready.panel, name, research)
    with progress_bar("replay") as progress:
        tried = {"walk_forward": how} | (tried_models("", volatility) if volatility else {})
        walked = walk(ready.settings, ready.panel, ready.folds, refitted, ready.needed, tried, progress, ahead)
    trials = Trials(research / "trials.sqlite")
    try:
        now_ms = int(time.time() * 1000)
        trials.describe(name, walked.result.panel)
        figures = judged(walked.result, name, trials, now_ms, np.random.default_rng(seed))
    finally:
        trials.close()
    if report is not None:
        write(walked.result, figures, report)
    folds = fold_figures(walked, ready.panel, figures.trips)
    left_out = len(ready.panel) - ready.folds[-1].test_stop
    told = {
        "report": str(report) if report else None,
        "notes": walked.result.notes,
        "remarks": remarks,
        "left_out": left_out,
        "walk_forward": how,
    }
    lines = [*_table(folds), "", text_of(figures), _said(ready, plan, left_out)]
    return as_dict(figures) | told | {"folds": [to_builtins(fold) for fold in folds]}, "\n".join(lines)


def _model(settings: Settings, name: str | None) -> str | None:
    """The model that is fitted: the gaussian unless another is named, none for a strategy without forecasts."""
    strategy = settings.strategy.name
    if strategy_of(settings).wants_forecast:
        return name or Gaussian.architecture
    if name is not None:
        raise BadConfiguration([f"--train {name}: the strategy {strategy} needs no forecasts: leave this option out"])
    return None


def _panel(asked: Asked, train_days: float) -> tuple[Panel, tuple[str, ...]]:
    """The candles of the range, and remarks on what is not played: coins that the first train part hardly has.

    Later candles have no say in it: nobody knew then which coins would stay.
    """
    symbols, remarks = universe_of(asked, None)
    span = asked.span
    panel = load_panel(asked.candles, symbols, span.start_ms, span.stop_ms, exchange=asked.exchange)
    if not asked.symbols:
        known = int(np.searchsorted(panel.open_ms, panel.open_ms[:1].sum() + int(train_days * DAY_MS)))
        kept = covered(panel.rows(0, known), COVERAGE)
        left_out = ", ".join(symbol for symbol in panel.symbols if symbol not in kept)
        if not kept:
            raise BadConfiguration(
                [f"{span.option}: no coin has candles in {COVERAGE:.0%} of its first train part: choose another"]
            )
        if left_out:
            remarks += (f"not played, for want of candles in {COVERAGE:.0%} of the first train part: {left_out}",)
        panel = panel.of(kept)
    check_holes(panel, int(asked.hole_max_minutes * MINUTE_MS))
    return panel, remarks


def _ready(settings: Settings, panel: Panel, plan: Plan, model: str | None, volatility: Volatility | None) -> Walk:
    """The folds of these candles. BadConfiguration where they are too many, too short or none."""
    settings = as_played(settings, panel.symbols, panel.interval_ms)
    if model is not None and len(panel.symbols) < 2:
        raise BadConfiguration(
            [f"--symbols: {len(panel.symbols)} coins: a model infers each from the others, give two"]
        )
    needed = rows_needed(settings, model_rows(model, panel))
    if volatility is not None:
        needed = max(needed, volatility.rows_lacking(panel.interval_ms))
    embargo = needed if plan.embargo is None else plan.embargo
    train, test = (round(days * DAY_MS / panel.interval_ms) for days in (plan.train_days, plan.test_days))
    errors = []
    if train < FIT_ROWS_MIN:
        errors.append(f"--train-days {plan.train_days:g}: {train} slices to fit on, {FIT_ROWS_MIN} are the least")
    if test < ROWS_MIN:
        errors.append(f"--test-days {plan.test_days:g}: {test} slices to test on, {ROWS_MIN} are the least")
    if errors:
        raise BadConfiguration(errors)
    folds = folds_of(len(panel), train, test, embargo, needed, plan.anchored)
    if not folds:
        least = max(train + embargo, needed) + test
        given = f"--train-days {plan.train_days:g} --test-days {plan.test_days:g}"
        takes = f"one fold with its embargo of {embargo} slices takes {_days(least, panel)} days"
        there = f"the candles have {_days(len(panel), panel)}: give shorter parts or more candles"
        raise BadConfiguration([f"{given}: {takes}, {there}"])
    if len(folds) > FOLDS_MAX:
        text = f"would make {len(folds):,} folds, {FOLDS_MAX:,} are the most: test on longer parts"
        raise BadConfiguration([f"--test-days {plan.test_days:g}: {text}"])
    if volatility is not None:
        _check_unknown(volatility, panel, folds)
    return Walk(settings, panel, model, folds, embargo, needed, volatility)


def _check_unknown(volatility: Volatility, panel: Panel, folds: tuple[Fold, ...]) -> None:
    """BadConfiguration where the volatility model, which no fold fits, knows what is tested on."""
    fitted, tested_ms = fitted_on(None, volatility, panel.interval_ms), int(panel.open_ms[folds[0].test_start])
    if tested_ms <= fitted.until_ms:
        text = f"{fitted.said}, and the first test part begins at {utc(tested_ms)}: {fitted.todo}, or start later"
        raise BadConfiguration([f"--timerange: {text}"])


def _days(rows: int, panel: Panel) -> str:
    return f"{rows * panel.interval_ms / DAY_MS:.2f}"


def _table(folds: tuple[FoldFigures, ...]) -> list[str]:
    """A line a fold."""
    when = "  ".join(f"{name:16}" for name in ("trained from", "to before", "tested from", "to before"))
    lines = [f"{'':>4}  {when}{'return':>9}{'hold':>9}{'sharpe':>8}{'fills':>7}{'trips':>7}{'lag 0':>7}"]
    for number, fold in enumerate(folds, 1):
        times = (fold.train_start_ms, fold.train_stop_ms, fold.test_start_ms, fold.test_stop_ms)
        lines.append(
            f"{number:>4}  {'  '.join(utc(time_ms) for time_ms in times)}{fold.total_return:>9.2%}"
            f"{_figure(fold.hold_return, '9.2%')}{_figure(fold.sharpe, '8.2f')}{fold.fills:>7}{fold.trips:>7}"
            f"{_figure(fold.validation, '7.2f')}"
        )
    return lines


def _figure(value: float | None, form: str) -> str:
    width = int(form.partition(".")[0])
    return f"{'-':>{width}}" if value is None else f"{value:>{form}}"


def _said(ready: Walk, plan: Plan, left_out: int) -> str:
    """What these figures are, in a sentence or two."""
    count = len(ready.folds)
    folds = "1 fold" if count == 1 else f"{count} folds"
    fitted = (
        f"the {ready.model} is fitted {'on all that came before' if plan.anchored else f'on {plan.train_days:g} days'}"
        f" ({FIT:.0%} fit, the rest choose its settings)"
        if ready.model
        else "nothing is fitted"
    )
    earned = (
        f"{folds} of one account that is carried on, positions and all; {fitted}, {ready.embargo} slices of embargo"
    )
    rest = f"; the last {left_out} slices make no whole fold and are left out" if left_out else ""
    return f"{earned}{rest}"
