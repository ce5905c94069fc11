"""Fitting the closed forms: on the train split alone, settings chosen on the validation split.

Gain    the expected next return per unit of divergence (inferred - actual): least squares through zero over the train
        split, pooled over coins in units of each coin's deviation, clipped as the models' inputs are, and shrunk by
        how far it stands out of its own error (positive-part James-Stein; the error is taken over days, because the
        coins of one minute and the minutes of one day are not independent).
"""

import time
from pathlib import Path

import numpy as np
from msgspec import Struct

from bot.core.market import Floats, Panel
from models.baselines import CLIP, DAY_MS, RIDGE_PENALTY, Gaussian, GaussianSettings, Market, Ridge
from models.checkpoint import Card, digest, save
from models.closed_form import ClosedForm
from models.conditional import Moments, precision_of
from models.dataset import TRAIN, VALIDATION, deviation_of, returns_in, split, standardised
from models.model import BadModel
from models.scores import mean_correlation

NAMES = ("market", "ridge", "gaussian")


class Fitted(Struct, frozen=True, eq=False):
    """A model, its mean lag-0 correlation on the validation split, and that of every setting tried."""

    model: ClosedForm
    validation: float | None
    tried: dict[str, float | None]


class Trained(Struct, frozen=True):
    """What `train` did. `validation` is the mean lag-0 correlation there; `digest` names the folder's content."""

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
    gain = None if model.gain is None else float(model.gain[0])
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
    parts = split(panel, share, min(VALIDATION, 1.0 - share))
    if len(parts.train) < 2 or len(panel.symbols) < 2:
        raise BadModel(f"{len(parts.train)} slices of {len(panel.symbols)} coins to fit on: give two of each at least")
    candidates = {"market": _markets, "ridge": _ridges, "gaussian": _gaussians}[name](parts.train)
    scored: dict[str, float | None] = {}
    for key, model in candidates.items():
        model.fitted_ms = int(parts.train.open_ms[-1])
        model.gain = fit_gain(model.absorb(parts.train), parts.train)
        scored[key] = _score(model, parts.validation)
    best = max(candidates, key=lambda key: -np.inf if (score := scored[key]) is None else score)
    return Fitted(candidates[best], scored[best], scored if len(scored) > 1 else {})


def fit_gain(inferred: Floats, panel: Panel) -> Floats:
    """The gain [N] that inferred returns [T, N] of the panel's slices would have had; the same for every coin."""
    returns = returns_in(panel)
    deviation = deviation_of(returns)
    divergence, known = inferred - returns.values, returns.real & np.isfinite(inferred) & (deviation > 0)
    usable = known[:-1] & returns.real[1:] & returns.follows[1:, None]
    before = standardised(divergence[:-1], deviation, usable, CLIP)
    after = standardised(returns.values[1:], deviation, usable, CLIP)
    total = float((before * before).sum())
    slope = float((before * after).sum()) / total if total else 0.0
    days = np.unique(panel.open_ms[:-1] // DAY_MS, return_inverse=True)[1]
    errors = np.bincount(days, weights=(before * (after - slope * before)).sum(axis=1)) if len(days) else np.zeros(1)
    variance = float((errors * errors).sum()) / total**2 if total else 0.0
    kept = max(0.0, 1.0 - variance / slope**2) if slope else 0.0
    return np.full(len(panel.symbols), slope * kept)


def _score(model: ClosedForm, panel: Panel) -> float | None:
    """Mean lag-0 correlation on slices that come right after what the model has seen."""
    returns = returns_in(panel)
    return mean_correlation(model.infer_panel(panel), returns.values, returns.real)


def _markets(panel: Panel) -> dict[str, ClosedForm]:
    deviation = deviation_of(returns_in(panel))
    return {"": Market(panel.symbols, panel.interval_ms, deviation)}


def _ridges(panel: Panel) -> dict[str, ClosedForm]:
    returns = returns_in(panel)
    deviation = deviation_of(returns)
    known = returns.real & (deviation > 0)
    moments = Moments(len(panel.symbols), 1.0)
    moments.absorb(standardised(returns.values, deviation, known, CLIP), known)
    precision = precision_of(moments.correlation(-RIDGE_PENALTY / 2, 0.0), RIDGE_PENALTY)
    return {"": Ridge(panel.symbols, panel.interval_ms, deviation, precision)}


def _gaussians(panel: Panel) -> dict[str, ClosedForm]:
    tried = {
        "lags0": GaussianSettings(lags=0),
        "lags1": GaussianSettings(lags=1),
        "wicks": GaussianSettings(lags=1, wicks=True),
    }
    return {name: Gaussian(panel.symbols, panel.interval_ms, settings) for name, settings in tried.items()}
