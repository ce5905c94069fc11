"""Training a network of hidden coins: candles in, a model folder out.

Splits  by time: the first 70 % teach, the next 15 % choose the checkpoint; the rest is not looked at. The folder says it
        was fitted on both, so that nothing measures it on either.
Edge    fitted on the 15 %: on rows that taught it a network diverges less than it will on new ones.
"""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bot.core.market import Floats, Panel
from models.baselines import Gaussian, GaussianSettings
from models.checkpoint import Card, check_target, digest, save
from models.coin_query import Config as CoinQueryConfig
from models.dataset import returns_in, split
from models.gain import fit_gain
from models.inputs import Inputs, Stream
from models.masked_task import HiddenCoins
from models.model import BadModel
from models.network import NETWORKS, Network
from models.processes import Place
from models.scores import mean_correlation
from models.table import Table
from models.train import BASELINES, Trained, fit_baseline
from models.training import fit
from models.training_plan import Plan

PRESETS: dict[str, tuple[str, Any]] = {
    "coin-query": ("coin-query", CoinQueryConfig()),
    "coin-query-wide": ("coin-query", CoinQueryConfig(width=128)),
}
LIMITS = (
    "It infers what a coin did in the same slice; that is no forecast. What its divergence earned on candles it never"
    " saw is a question for `lacuna evaluate` and `lacuna backtest`. It knows one interval and one exchange's habits."
)


def train_network(
    preset: str,
    panel: Panel,
    folder: Path,
    plan: Plan,
    place: Place,
    told: Callable[[int, int, float], None],
    said: Callable[[str], None],
) -> Trained | None:
    """Trains and writes the folder; a training that was killed goes on from FOLDER.training. BadModel, BadPlan.

    None in a process that does not lead.
    """
    began = time.perf_counter()
    check_target(folder)
    if preset not in PRESETS:
        raise BadModel(f"no preset {preset!r}: there are {', '.join(PRESETS)}")
    parts = split(panel)
    if len(parts.validation) < 2 or len(panel.symbols) < 3:
        raise BadModel(f"{len(panel)} slices of {len(panel.symbols)} coins to train on: give more of both")
    seen = panel.rows(0, len(parts.train) + len(parts.validation))
    stream = Stream(Gaussian(panel.symbols, panel.interval_ms, GaussianSettings(wicks=True)))
    said("the Gaussian ...")
    inputs = stream.absorb(seen)
    network = _made(preset, stream, plan.seed, place.device)
    task = _task(network, inputs, seen, len(parts.train), preset, place.device)
    if task.rows < plan.batch:
        raise BadModel(f"{task.rows} slices teach something, a batch is {plan.batch}: give more candles")
    outcome = fit(task, plan, folder.with_name(f"{folder.name}.training"), place, told, said)
    if not place.leads:
        return None
    said("the estimate of edge, and the closed forms beside it ...")
    network.module.eval()
    inferred = network.infer_rows(inputs, len(parts.train))
    network.gain = fit_gain(inferred, parts.validation)
    network.fitted_ms = int(seen.open_ms[-1])
    metrics = _metrics(inferred, seen) | {"steps": float(outcome.best_step)}
    save(network, folder, Card(int(seen.open_ms[0]), network.fitted_ms, len(seen), metrics, LIMITS))
    return _told(network, folder, seen, outcome.score, time.perf_counter() - began)


def _made(preset: str, stream: Stream, seed: int, device: torch.device) -> Network:
    name, config = PRESETS[preset]
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        module = NETWORKS[name].build(config, len(stream.gaussian.symbols))
    return Network(name, config, module, stream, device=device)


def _task(network: Network, inputs: Inputs, seen: Panel, train: int, preset: str, device: torch.device) -> HiddenCoins:
    returns = returns_in(seen)
    settings = {
        "preset": preset,
        "symbols": list(seen.symbols),
        "interval_ms": seen.interval_ms,
        "start_ms": int(seen.open_ms[0]),
        "stop_ms": int(seen.open_ms[-1]),
        "candles": hashlib.blake2b(inputs.candles.tobytes(), digest_size=16).hexdigest(),
    }
    kind = NETWORKS[network.architecture]
    return HiddenCoins(
        network, kind, Table(inputs, device), inputs.scale, returns.values, returns.real, train, settings
    )


def _metrics(inferred: Floats, seen: Panel) -> dict[str, float | None]:
    """Mean lag-0 correlations on the validation rows, the last ones: of what was inferred [V, N], and the closed forms'.

    All on the same rows: where each of them infers something.
    """
    train = len(seen) - len(inferred)
    validation, returns = seen.rows(train, len(seen)), returns_in(seen).rows(train, len(seen))
    several = {"": inferred}
    for name in BASELINES:
        several[f"_{name}"] = fit_baseline(name, seen.rows(0, train), 1.0).infer_panel(validation)
    usable = returns.real & np.all([np.isfinite(one) for one in several.values()], axis=0)
    return {f"validation_lag0{name}": mean_correlation(one, returns.values, usable) for name, one in several.items()}


def _told(network: Network, folder: Path, seen: Panel, score: float, seconds: float) -> Trained:
    gain = None if network.gain is None else float(np.mean(network.gain))
    name = digest(folder)
    start_ms, stop_ms = int(seen.open_ms[0]), int(seen.open_ms[-1])
    return Trained(
        network.architecture,
        str(folder),
        len(seen.symbols),
        len(seen),
        start_ms,
        stop_ms,
        score,
        {},
        gain,
        seconds,
        name,
    )


def plan_of(steps: int, batch: int, seed: int) -> Plan:
    """What worked for the coin query: AdamW at 1e-3, a warm-up of 5 %, a cosine, the norm of gradients clipped at 1."""
    every = max(1, steps // 10)
    return Plan(steps=steps, batch=batch, seed=seed, validate_every=every, checkpoint_every=min(every, 200))
