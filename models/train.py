"""Fitting the closed forms: on the train split alone, settings chosen on the validation split."""

import time
from pathlib import Path

import numpy as np
from msgspec import Struct

from bot.core.market import Panel
from models.baselines import CLIP, RIDGE_PENALTY, Gaussian, GaussianSettings, Market, Ridge
from models.checkpoint import Card, digest, save
from models.closed_form import ClosedForm
from models.conditional import Moments, precision_of
from models.dataset import TRAIN, VALIDATION, Split, deviation_of, returns_in, split, standardised
from models.gain import fit_gain
from models.model import BadModel
from models.scores import mean_correlation

GAUSSIANS = {
    "gaussian": GaussianSettings(lags=0),
    "gaussian_lag1": GaussianSettings(lags=1),
    "gaussian_wicks": GaussianSettings(lags=1, wicks=True),
}
BASELINES = ("market", "ridge", *GAUSSIANS)
TRIED = {"market": ("market",), "ridge": ("ridge",), "gaussian": tuple(GAUSSIANS)}  # what `fit` chooses from
NAMES = tuple(TRIED)


class Fitted(Struct, frozen=True, eq=False):
    """A model, its mean lag-0 correlation on the validation split, and that of every setting tried."""

    model: ClosedForm
    validation: float | None
    tried: dict[str, float | None]


class Trained(Struct, frozen=True):
    """What `train` did. `validation` is the mean lag-0 correlation there; `gain` is the mean over coins; `digest` names the
    folder's content.
    """

    architecture: str
    folder: str
    coins: int
    slices: int
    start_ms: int
    stop_ms: int
    validation: float | None
    tried: dict[str, float | None]
    gain: float | None
    seconds: float
    digest: str


def train(name: str, panel: Panel, folder: Path, share: float = TRAIN) -> Trained:
    """Fits on the first `share` of the panel and writes the model folder. BadModel for a name that is none."""
    began = time.perf_counter()
    fitted = fit(name, panel, share)
    model, used = fitted.model, panel.rows(0, int(len(panel) * share))
    start_ms, stop_ms = int(used.open_ms[0]), int(used.open_ms[-1])
    metrics = {"validation_lag0": fitted.validation} | {f"validation_lag0_{key}": v for key, v in fitted.tried.items()}
    save(model, folder, Card(start_ms, stop_ms, len(used), metrics))
    gain = None if model.gain is None else float(model.gain.mean())
    seconds = time.perf_counter() - began
    where = str(folder)
    coins = len(model.symbols)
    return Trained(
        name, where, coins, len(used), start_ms, stop_ms, fitted.validation, fitted.tried, gain, seconds, digest(folder)
    )


def fit(name: str, panel: Panel, share: float = TRAIN) -> Fitted:
    """The model of this name, fitted on the first `share` of the slices; the next 15 % choose between settings."""
    if name not in NAMES:
        raise BadModel(f"no closed form {name!r}: there are {', '.join(NAMES)}")
    parts = _parts(panel, share)
    candidates = {key: _fitted(key, parts.train) for key in TRIED[name]}
    scored = {key: _score(model, parts.validation) for key, model in candidates.items()}
    best = max(candidates, key=lambda key: -np.inf if (score := scored[key]) is None else score)
    return Fitted(candidates[best], scored[best], scored if len(scored) > 1 else {})


def fit_baseline(name: str, panel: Panel, share: float = TRAIN) -> ClosedForm:
    """One of BASELINES, its settings given, fitted on the first `share` of the slices."""
    if name not in BASELINES:
        raise BadModel(f"no baseline {name!r}: there are {', '.join(BASELINES)}")
    return _fitted(name, _parts(panel, share).train)


def _parts(panel: Panel, share: float) -> Split:
    parts = split(panel, share, min(VALIDATION, 1.0 - share))
    if len(parts.train) < 2 or len(panel.symbols) < 2:
        raise BadModel(f"{len(parts.train)} slices of {len(panel.symbols)} coins to fit on: give two of each at least")
    return parts


def _fitted(name: str, panel: Panel) -> ClosedForm:
    """One of BASELINES, fitted on all of the panel; it has seen it and stands at its end."""
    model: ClosedForm
    if name in GAUSSIANS:
        model = Gaussian(panel.symbols, panel.interval_ms, GAUSSIANS[name])
    else:
        model = {"market": _market, "ridge": _ridge}[name](panel)
    model.fitted_ms = int(panel.open_ms[-1])
    model.gain = fit_gain(model.absorb(panel), panel)
    return model


def _score(model: ClosedForm, panel: Panel) -> float | None:
    """Mean lag-0 correlation on slices that come right after what the model has seen."""
    returns = returns_in(panel)
    return mean_correlation(model.infer_panel(panel), returns.values, returns.real)


def _market(panel: Panel) -> ClosedForm:
    return Market(panel.symbols, panel.interval_ms, deviation_of(returns_in(panel)))


def _ridge(panel: Panel) -> ClosedForm:
    returns = returns_in(panel)
    deviation = deviation_of(returns)
    known = returns.real & (deviation > 0)
    moments = Moments(len(panel.symbols), 1.0)
    moments.absorb(standardised(returns.values, deviation, known, CLIP), known)
    precision = precision_of(moments.correlation(-RIDGE_PENALTY / 2, 0.0), RIDGE_PENALTY)
    return Ridge(panel.symbols, panel.interval_ms, deviation, precision)
