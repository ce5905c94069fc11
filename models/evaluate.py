"""How well a model infers hidden coins (lag 0) and whether that predicts (lag 1), beside the closed forms.

Every coin is inferred as if it alone were hidden, at every slice of the last 15 % of the panel. The closed forms are
fitted on the panel's first 70 %. Models that keep a state go on learning from slices as they come, so nothing scored
has been seen by what scores it.

Rows             one set for all: a coin counts in a slice where it is real and every model infers it
lag 0            correlation of the inferred with the actual return of the same slice
lag 1            of the inferred return with the actual return of the next slice
divergence_next  of (inferred - actual) with the actual return of the next slice
"""

import copy
import difflib
import time
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from bot.core.market import Floats, Integers, Panel
from models.bulk import Told, infer_in_bulk, nobody, observe_in_bulk
from models.calibration import Bin, calibrate
from models.comparison import Comparison, compare
from models.dataset import returns_in, split
from models.edge import Event, Forward, Horizon, event_study, forwards, horizons
from models.model import BadModel, Model
from models.scores import Strength, Summary, correlations, explained, strength, summary
from models.train import BASELINES, fit_baseline

TEST_MIN = 4
SAMPLE = 4_000
COMPARED = "BTC/USDT"


class CannotScore(ValueError):
    """These candles say nothing about this model: too few, of another interval, or those it was fitted on."""

    exit_code = 1


class Scores(Struct, frozen=True):
    """One model's correlations, `r2` the mean over coins of the error saved against inferring zero.

    `inferred` is the share of real returns it inferred at all, before rows were made one set for all models.
    """

    lag0: Summary
    lag1: Summary
    divergence_next: Summary
    r2: float | None
    inferred: float
    horizons: tuple[Horizon, ...]
    event_study: tuple[Event, ...]


class Coin(Struct, frozen=True):
    """One coin over `points` slices: correlations with their classes, mean returns; None where undefined."""

    symbol: str
    points: int
    lag0: float | None
    lag0_class: Strength
    lag1: float | None
    lag1_class: Strength
    divergence_next: float | None
    mean_inferred: float | None
    mean_actual: float | None
    mean_divergence: float | None
    gain: float | None


class Evaluation(Scores, frozen=True, eq=False, kw_only=True):
    """What `evaluate` found: the model's own scores and all else; `steps` slices from `start_ms` to `stop_ms` counted.

    `calibration` is of inferred with actual returns, `gain_calibration` of gain x divergence with the next return; the
    latter is empty for a model without a gain. `sample` [K, 2]: inferred and actual returns, evenly spaced.
    """

    architecture: str
    coins: int
    steps: int
    interval_ms: int
    start_ms: int
    stop_ms: int
    baselines: dict[str, Scores]
    per_coin: tuple[Coin, ...]
    comparison: Comparison
    calibration: tuple[Bin, ...]
    gain_calibration: tuple[Bin, ...]
    sample: Floats
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; without the sample."""
        named = {name: getattr(self, name) for name in self.__struct_fields__ if name != "sample"}
        return dict(msgspec.to_builtins(named))


class Rows(Struct, frozen=True, eq=False):
    """What models are scored on: actual returns [T, N], NaN where not real, and what came after them."""

    open_ms: Integers
    actual: Floats
    ahead: tuple[Forward, ...]


def evaluate(
    model: Model, panel: Panel, steps: int | None = None, coin: str | None = None, told: Told = nobody
) -> Evaluation:
    """Scores a freshly loaded model on the last 15 % of the panel, or on `steps` of it, evenly spaced. It is left as it was.

    `told` hears how many slices are inferred, of all that the model and the baselines infer.

    CannotScore when it was fitted on any of that, or the panel lacks coins, length, or the model's interval. BadModel
    for a `coin` to compare that is none of the model's.
    """
    began = time.perf_counter()
    panel = _suited(model, panel)
    compared = model.symbols.index(_compared(model, coin))
    test = split(panel).test
    inferred = {"": _infer_test(model, panel, _part(told, 0))}
    for part, name in enumerate(BASELINES, 1):
        inferred[name] = _infer_test(fit_baseline(name, panel), panel, _part(told, part))
    actual = _actual(panel, len(test))
    comparison = compare(model.symbols[compared], test.open_ms, inferred[""][:, compared], actual[:, compared])
    at = _evenly(len(test), steps)
    ahead = tuple(Forward(one.steps, one.raw[at], one.relative[at]) for one in forwards(test))
    shares = {name: _share(found[at], actual[at]) for name, found in inferred.items()}
    known = np.isfinite(actual) & np.logical_and.reduce([np.isfinite(found) for found in inferred.values()])
    rows = Rows(test.open_ms[at], np.where(known, actual, np.nan)[at], ahead)
    scores = {name: _scores(found[at], rows, shares[name]) for name, found in inferred.items()}
    mine, gain = inferred[""][at], model.infer().gain
    return Evaluation(
        architecture=model.architecture,
        coins=len(panel.symbols),
        steps=len(at),
        interval_ms=panel.interval_ms,
        start_ms=int(rows.open_ms[0]),
        stop_ms=int(rows.open_ms[-1]),
        **msgspec.structs.asdict(scores.pop("")),
        baselines=scores,
        per_coin=_per_coin(model.symbols, mine, rows, gain),
        comparison=comparison,
        calibration=calibrate(mine, rows.actual),
        gain_calibration=() if gain is None else calibrate(gain * (mine - rows.actual), ahead[0].raw),
        sample=_sample(mine, rows.actual),
        seconds=time.perf_counter() - began,
    )


def _suited(model: Model, panel: Panel) -> Panel:
    """The panel of the model's coins."""
    missing = sorted(set(model.symbols) - set(panel.symbols))
    if missing:
        raise CannotScore(
            f"the candles lack {', '.join(missing)}, which the model infers: give candles of all its coins"
        )
    if panel.interval_ms != model.interval_ms:
        raise CannotScore(f"the candles are of {panel.interval_ms} ms, the model is for {model.interval_ms} ms")
    test = split(panel).test
    if len(test) < TEST_MIN:
        raise CannotScore(f"{len(panel)} slices leave {len(test)} to score on: give more")
    if model.fitted_ms >= int(test.open_ms[0]):
        raise CannotScore(
            f"the model was fitted on slices up to {_utc(model.fitted_ms)}, the scored ones would begin at"
            f" {_utc(int(test.open_ms[0]))}: give newer candles, or fit on less"
        )
    return panel if panel.symbols == model.symbols else panel.of(model.symbols)


def _utc(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def _compared(model: Model, coin: str | None) -> str:
    """The coin to compare slice by slice: the one named, else COMPARED, else the model's first."""
    if coin is None:
        return COMPARED if COMPARED in model.symbols else model.symbols[0]
    if coin not in model.symbols:
        near = difflib.get_close_matches(coin, model.symbols, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(model.symbols[:5])}, ..."
        raise BadModel(f"the model infers no {coin}: {hint}")
    return coin


def _infer_test(model: Model, panel: Panel, told: Told) -> Floats:
    """The inferred returns of the test slices; the model first catches up with what lies before them."""
    start = int(np.searchsorted(panel.open_ms, model.fitted_ms, side="right"))
    first = len(panel) - len(split(panel).test)
    at_work = copy.deepcopy(model)
    observe_in_bulk(at_work, panel.rows(start, first))
    return infer_in_bulk(at_work, panel.rows(first, len(panel)), told)


def _part(told: Told, part: int) -> Told:
    """Tells of one of the models as a part of all."""
    return lambda done, of: told(part * of + done, (1 + len(BASELINES)) * of)


def _actual(panel: Panel, test: int) -> Floats:
    """The returns of the last `test` slices, NaN where not real."""
    returns = returns_in(panel)
    actual: Floats = np.where(returns.real, returns.values, np.nan)[-test:]
    return actual


def _evenly(count: int, wanted: int | None) -> Integers:
    """`wanted` of `count` positions, evenly spaced from the first to the last; all where that is no fewer."""
    chosen = count if wanted is None else min(wanted, count)
    return np.linspace(0, count - 1, chosen).round().astype(np.int64)


def _share(inferred: Floats, actual: Floats) -> float:
    real = np.isfinite(actual)
    return float((real & np.isfinite(inferred)).sum() / max(int(real.sum()), 1))


def _scores(inferred: Floats, rows: Rows, share: float) -> Scores:
    divergence = inferred - rows.actual  # NaN on rows that do not count
    lag0, lag1, after = (summary(one) for one in _correlations(inferred, rows))
    saved = explained(inferred, rows.actual, np.isfinite(rows.actual))
    saved = saved[np.isfinite(saved)]
    return Scores(
        lag0,
        lag1,
        after,
        float(saved.mean()) if len(saved) else None,
        share,
        horizons(divergence, rows.ahead, rows.open_ms),
        event_study(divergence, rows.ahead, rows.open_ms),
    )


def _correlations(inferred: Floats, rows: Rows) -> tuple[Floats, Floats, Floats]:
    """Lag 0, lag 1 and divergence with the next return, each [N]."""
    known, after = np.isfinite(rows.actual), rows.ahead[0].raw
    return (
        correlations(inferred, rows.actual, known),
        correlations(inferred, after, known),
        correlations(inferred - rows.actual, after, known),
    )


def _per_coin(symbols: tuple[str, ...], inferred: Floats, rows: Rows, gain: Floats | None) -> tuple[Coin, ...]:
    known = np.isfinite(inferred) & np.isfinite(rows.actual)
    points = known.sum(axis=0)
    lag0, lag1, after = _correlations(inferred, rows)
    mean_inferred, mean_actual, mean_divergence = (
        np.where(known, values, 0.0).sum(axis=0) / np.where(points, points, np.nan)
        for values in (inferred, rows.actual, inferred - rows.actual)
    )
    gains = np.full(len(symbols), np.nan) if gain is None else gain
    return tuple(
        Coin(
            symbol=symbol,
            points=int(points[at]),
            lag0=_maybe(lag0[at]),
            lag0_class=strength(float(lag0[at])),
            lag1=_maybe(lag1[at]),
            lag1_class=strength(float(lag1[at])),
            divergence_next=_maybe(after[at]),
            mean_inferred=_maybe(mean_inferred[at]),
            mean_actual=_maybe(mean_actual[at]),
            mean_divergence=_maybe(mean_divergence[at]),
            gain=_maybe(gains[at]),
        )
        for at, symbol in enumerate(symbols)
    )


def _sample(inferred: Floats, actual: Floats) -> Floats:
    """Pairs [K, 2] of at most SAMPLE entries, evenly spaced over slices and coins."""
    known = np.isfinite(inferred) & np.isfinite(actual)
    pairs: Floats = np.stack((inferred[known], actual[known]), axis=1)
    return pairs[_evenly(len(pairs), SAMPLE)]


def _maybe(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
