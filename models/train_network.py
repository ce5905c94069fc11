"""Training a network of hidden coins: candles in, a model folder out.

Splits  by time: the first 70 % teach, the next 15 % choose the checkpoint; the rest is not looked at. The folder says it
        was fitted on both, so that nothing measures it on either.
Also    candles of other coins and other times may teach the same weights: those of before the validation rows begin.
Edge    fitted on the 15 %: on rows that taught it a network diverges less than it will on new ones.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import torch
from msgspec import Struct

from bot.core.market import Floats, Integers, Panel
from models.architectures import NETWORKS
from models.baselines import Gaussian, GaussianSettings
from models.checkpoint import Card, check_target, digest, save
from models.dataset import returns_in, split
from models.gain import fit_gain
from models.inputs import Inputs, Stream
from models.masked_task import HiddenCoins
from models.model import BadModel
from models.network import Network
from models.presets import SCORED_MAX, Preset
from models.processes import Place
from models.schemes import Scheme
from models.scores import mean_correlation
from models.table import Table
from models.train import BASELINES, Trained, fit_baseline
from models.training import Outcome, fit
from models.training_plan import BadPlan, Plan
from models.training_state import Scores

LIMITS = (
    "It infers what a coin did in the same slice; that is no forecast. What its divergence earned on candles it never"
    " saw is a question for `lacuna evaluate` and `lacuna backtest`. It knows one interval and one exchange's habits."
)


class Wanted(Struct, frozen=True, eq=False):
    """What to train: a preset and how it is called, on these candles; `also` teach the same weights.

    `command` is what a person typed for it, for the card.
    """

    name: str
    preset: Preset
    panel: Panel
    also: tuple[Panel, ...] = ()
    command: str = ""


class TrainedNetwork(Trained, frozen=True):
    """What `train_network` did; `scores` are the best weights' of the validation split, by name."""

    scores: Scores = msgspec.field(default_factory=dict)


def train_network(
    wanted: Wanted,
    folder: Path,
    plan: Plan,
    place: Place,
    told: Callable[[int, int, float], None],
    said: Callable[[str], None],
) -> TrainedNetwork | None:
    """Trains and writes the folder; a training that was killed goes on from FOLDER.training. BadModel, BadPlan.

    None in a process that does not lead.
    """
    began = time.perf_counter()
    check_target(folder)
    preset, panel = wanted.preset, wanted.panel
    parts = split(panel)
    if len(parts.validation) < 2 or len(panel.symbols) < 3:
        raise BadModel(f"{len(panel)} slices of {len(panel.symbols)} coins to train on: give more of both")
    seen = panel.rows(0, len(parts.train) + len(parts.validation))
    stream = _stream(panel)
    also = [_before(one, seen, len(parts.train), preset) for one in wanted.also]
    said("the Gaussian ...")
    inputs = stream.absorb(seen)
    network = _made(preset, stream, plan.seed, place.device)
    train = len(parts.train)
    task = _task(network, inputs, seen, train, wanted, [_stream(one).absorb(one) for one in also])
    if task.rows < plan.batch:
        raise BadModel(f"{task.rows} slices of a set teach something, a batch is {plan.batch}: give more candles")
    outcome = fit(task, plan, folder.with_name(f"{folder.name}.training"), place, told, said)
    if not place.leads:
        return None
    said("the estimate of edge, and the closed forms beside it ...")
    network.module.eval()
    inferred = np.full((len(parts.validation), len(seen.symbols)), np.nan)
    judged = _spaced(train, len(seen), preset.judged if place.device.type == "cpu" else None)
    inferred[judged - train] = network.infer_rows(inputs, judged)
    network.gain = fit_gain(inferred, parts.validation)
    network.fitted_ms = int(seen.open_ms[-1])
    scores = _best_scores(outcome)
    published = {key: value for key, value in scores.items() if key.startswith("published")}
    metrics = _metrics(inferred, seen) | published | {"steps": float(outcome.best_step)}
    limits = f"{_lesson(wanted, also)} {LIMITS}"
    card = Card(int(seen.open_ms[0]), network.fitted_ms, len(seen), metrics, limits, wanted.command)
    save(network, folder, card)
    return _told(network, folder, seen, scores, time.perf_counter() - began)


def _stream(panel: Panel) -> Stream:
    return Stream(Gaussian(panel.symbols, panel.interval_ms, GaussianSettings(wicks=True)))


def _before(also: Panel, seen: Panel, train: int, preset: Preset) -> Panel:
    """Further candles, those of before the validation rows begin. BadModel where they cannot teach the same weights."""
    if NETWORKS[preset.architecture].owns_coins:
        raise BadModel(
            f"the weights of {preset.architecture} belong to its coins: only coin-query learns from others too"
        )
    if also.interval_ms != seen.interval_ms:
        raise BadModel(f"further candles are of {also.interval_ms} ms, not {seen.interval_ms}: resample them")
    known = int(np.searchsorted(also.open_ms, seen.open_ms[train]))
    if not known:
        raise BadModel("further candles begin after those that choose: what they teach would not be known yet")
    return also.rows(0, known)


def _made(preset: Preset, stream: Stream, seed: int, device: torch.device) -> Network:
    name, config = preset.architecture, preset.config
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        module = NETWORKS[name].build(config, len(stream.gaussian.symbols))
    return Network(name, config, module, stream, device=device)


def _best_scores(outcome: Outcome) -> Scores:
    """The scores of the weights that were chosen."""
    return next(one.scores for one in outcome.history if one.step == outcome.best_step)


def _lesson(wanted: Wanted, also: Sequence[Panel]) -> str:
    """What taught it, for the card."""
    scheme = wanted.preset.scheme
    how = "each coin hidden alone" if scheme is None else f"the scheme {scheme} of hiding"
    others = "; ".join(f"{len(one)} slices of {len(one.symbols)} coins" for one in also)
    return f"Preset {wanted.name}, trained by {how}{bool(others) * ', also on '}{others}."


def _spaced(start: int, stop: int, most: int | None) -> Integers:
    """The rows from start to stop; at most so many of them, evenly spaced."""
    count = stop - start if most is None else min(most, stop - start)
    return np.linspace(start, stop - 1, count).round().astype(np.int64)


def _task(
    network: Network, inputs: Inputs, seen: Panel, train: int, wanted: Wanted, also: Sequence[Inputs]
) -> HiddenCoins:
    returns, preset = returns_in(seen), wanted.preset
    settings = {
        "preset": wanted.name,
        "symbols": list(seen.symbols),
        "interval_ms": seen.interval_ms,
        "start_ms": int(seen.open_ms[0]),
        "stop_ms": int(seen.open_ms[-1]),
        "candles": [hashlib.blake2b(one.candles.tobytes(), digest_size=16).hexdigest() for one in (inputs, *also)],
    }
    scored = _spaced(train, len(seen), preset.scored if network.device.type == "cpu" else SCORED_MAX)
    table, others = Table(inputs, network.device), [Table(one, network.device) for one in also]
    return HiddenCoins(
        network, preset.scheme, table, inputs.scale, returns.values, returns.real, train, scored, settings, others
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


def _told(network: Network, folder: Path, seen: Panel, scores: Scores, seconds: float) -> TrainedNetwork:
    gain = None if network.gain is None else float(np.mean(network.gain))
    start_ms, stop_ms = int(seen.open_ms[0]), int(seen.open_ms[-1])
    return TrainedNetwork(
        network.architecture,
        str(folder),
        len(seen.symbols),
        len(seen),
        start_ms,
        stop_ms,
        scores["lag0"],
        {},
        gain,
        seconds,
        digest(folder),
        scores,
    )


def plan_of(preset: Preset, steps: int, batch: int | None, lr: float | None, seed: int, device: torch.device) -> Plan:
    """The preset's way to train, on this device; `batch` and `lr` where they are given.

    AdamW, a warm-up of 5 %, a cosine, the norm of gradients clipped at 1.
    """
    every, gpu = max(1, steps // preset.validations), device.type == "cuda"
    return Plan(
        steps=steps,
        batch=batch or preset.batch,
        lr=lr or preset.lr,
        ema=preset.ema,
        seed=seed,
        validate_every=every,
        checkpoint_every=min(every, 200),
        precision=preset.precision if gpu else "float32",
        compile=preset.compile and gpu,
    )


def with_scheme(name: str, preset: Preset, scheme: Scheme | None) -> Preset:
    """The preset, trained by another scheme. BadPlan for a network that knows none."""
    if scheme is None:
        return preset
    if preset.scheme is None:
        raise BadPlan(f"{name} hides each coin alone and has no scheme: leave out --scheme, or take another preset")
    return msgspec.structs.replace(preset, scheme=scheme)
