"""How well a model infers hidden coins (lag 0) and whether that predicts (lag 1), beside the closed forms.

Every coin is inferred as if it alone were hidden, at every slice of the last 15 % of the panel. Market, ridge and
Gaussian are fitted on the panel's first 70 %. Models that keep a state go on learning from slices as they come, so
nothing scored has been seen by what scores it.

lag 0            correlation of the inferred with the actual return of the same slice
lag 1            of the inferred return with the actual return of the next slice
divergence_next  of (inferred - actual) with the actual return of the next slice
Classes          strong above 0.1 in size, weak above 0.05, none below or where there is no correlation
"""

import copy
import time
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from bot.core.market import Floats, Mask, Panel
from models.dataset import TRAIN, Returns, returns_in, split
from models.model import Model
from models.scores import correlations, explained
from models.train import NAMES, fit

STRONG, WEAK = 0.1, 0.05
TEST_MIN = 4


class CannotScore(ValueError):
    """These candles say nothing about this model: too few, of another interval, or those it was fitted on."""

    exit_code = 1


class Summary(Struct, frozen=True):
    """Correlations over coins. None where no coin has one."""

    mean: float | None
    median: float | None
    min: float | None
    max: float | None
    strong: int
    weak: int
    none: int


class Scores(Struct, frozen=True):
    """One model's three correlations, and the mean over coins of the error saved against inferring zero."""

    lag0: Summary
    lag1: Summary
    divergence_next: Summary
    r2: float | None


class Coin(Struct, frozen=True):
    """One coin's correlations over `points` slices; None where undefined."""

    symbol: str
    points: int
    lag0: float | None
    lag1: float | None
    divergence_next: float | None


class Evaluation(Struct, frozen=True):
    """What `evaluate` found; `steps` slices from `start_ms` to `stop_ms` were scored."""

    architecture: str
    coins: int
    steps: int
    start_ms: int
    stop_ms: int
    lag0: Summary
    lag1: Summary
    divergence_next: Summary
    r2: float | None
    baselines: dict[str, Scores]
    per_coin: tuple[Coin, ...]
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return dict(msgspec.to_builtins(self))


def evaluate(model: Model, panel: Panel) -> Evaluation:
    """Scores a freshly loaded model on the last 15 % of the panel. It is left as it was.

    CannotScore when it was fitted on any of that, or the panel lacks coins, length, or the model's interval.
    """
    began = time.perf_counter()
    panel = _suited(model, panel)
    parts = split(panel)
    returns = _test_returns(panel)
    inferred = _infer_test(model, panel)
    found = _correlations(inferred, returns)
    scores = _scores(inferred, returns, found)
    baselines = {name: _baseline(name, panel, returns) for name in NAMES}
    points = (returns.real & np.isfinite(inferred)).sum(axis=0)
    rows = zip(model.symbols, points, *found, strict=True)
    per_coin = tuple(Coin(symbol, int(count), *(_maybe(value) for value in values)) for symbol, count, *values in rows)
    return Evaluation(
        model.architecture,
        len(panel.symbols),
        len(parts.test),
        int(parts.test.open_ms[0]),
        int(parts.test.open_ms[-1]),
        scores.lag0,
        scores.lag1,
        scores.divergence_next,
        scores.r2,
        baselines,
        per_coin,
        time.perf_counter() - began,
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
            f"the model was fitted on slices up to {model.fitted_ms}, the scored ones would begin at"
            f" {int(test.open_ms[0])}: give newer candles, or fit on less"
        )
    return panel.of(model.symbols)


def _infer_test(model: Model, panel: Panel) -> Floats:
    """The inferred returns of the test slices; the model first catches up with what lies before them."""
    start = int(np.searchsorted(panel.open_ms, model.fitted_ms, side="right"))
    test = len(split(panel).test)
    return copy.deepcopy(model).infer_panel(panel.rows(start, len(panel)))[-test:]


def _test_returns(panel: Panel) -> Returns:
    returns = returns_in(panel)
    return returns.rows(len(panel) - len(split(panel).test), len(panel))


def _baseline(name: str, panel: Panel, returns: Returns) -> Scores:
    inferred = _infer_test(fit(name, panel, TRAIN).model, panel)
    return _scores(inferred, returns, _correlations(inferred, returns))


def _correlations(inferred: Floats, returns: Returns) -> tuple[Floats, Floats, Floats]:
    """Lag 0, lag 1 and divergence with the next return, each [N]. Only coins present in a slice count in it."""
    actual, real = returns.values, returns.real
    next_real: Mask = real[:-1] & real[1:] & returns.follows[1:, None]
    return (
        correlations(inferred, actual, real),
        correlations(inferred[:-1], actual[1:], next_real),
        correlations((inferred - actual)[:-1], actual[1:], next_real),
    )


def _scores(inferred: Floats, returns: Returns, found: tuple[Floats, Floats, Floats]) -> Scores:
    saved = explained(inferred, returns.values, returns.real)
    saved = saved[np.isfinite(saved)]
    lag0, lag1, divergence = (summary(one) for one in found)
    return Scores(lag0, lag1, divergence, float(saved.mean()) if len(saved) else None)


def summary(found: Floats) -> Summary:
    """Correlations [N] in seven numbers."""
    size = np.abs(np.where(np.isfinite(found), found, 0.0))
    strong, weak = int((size > STRONG).sum()), int(((size > WEAK) & (size <= STRONG)).sum())
    defined = found[np.isfinite(found)]
    if not len(defined):
        return Summary(None, None, None, None, strong, weak, len(found) - strong - weak)
    mean, median, least, most = (float(read(defined)) for read in (np.mean, np.median, np.min, np.max))
    return Summary(mean, median, least, most, strong, weak, len(found) - strong - weak)


def _maybe(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
