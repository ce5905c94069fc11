"""Training a volatility network: hours in, a model out.

Splits  by time: hours before `validation_ms` teach, those from it on choose the checkpoint and find the factors. What
        the panel holds is all that is looked at: leave the test hours out of it.
Two     trainings by the one loop: on all coins, then, where a coin is tuned for, on it alone from there on.
Seeds   several make an ensemble; each trains from its own, all else alike.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from msgspec import Struct
from torch import nn

from bot.core.market import Integers, Panel
from models.har import Form, fit_har
from models.hour_table import HourRows, fit_scalings
from models.model import BadModel
from models.processes import Place
from models.seasonality import fit_seasonality
from models.student import quantile
from models.training import fit
from models.training_plan import Plan
from models.volatility import Estimator, volatility
from models.volatility_inputs import VolatilityInputs
from models.volatility_kinds import KINDS, Lesson, Preset
from models.volatility_model import VALIDATION_MIN, VolatilityModel, calibrated, surprises
from models.volatility_network import Learned, Units, VolatilityNetwork
from models.volatility_task import NextHour, answers_of, units_of

Told = Callable[[int, int, float], None]
Said = Callable[[str], None]


class TrainedVolatility(Struct, frozen=True, eq=False):
    """What a training came to: the model, which has seen nothing yet, and the optimiser's steps of all seeds."""

    model: VolatilityModel
    steps: int


def train_volatility(
    name: str,
    preset: Preset,
    seen: Panel,
    validation_ms: int,
    folder: Path,
    place: Place,
    *,
    tune: str | None = None,
    seeds: tuple[int, ...] = (0,),
    told: Told = lambda step, steps, loss: None,
    said: Said = lambda line: None,
) -> TrainedVolatility:
    """Trains in `folder`, where a training that was killed goes on. BadModel, BadPlan.

    `name` is how the preset is called; `tune` the coin that it ends on.
    """
    if tune is not None and tune not in seen.symbols:
        raise BadModel(f"{tune} is not among the candles to train on: {', '.join(seen.symbols)}")
    train = int(np.searchsorted(seen.open_ms, validation_ms))
    said("inputs ...")
    network, rows = _untrained(preset, seen, train, seeds, place.device)
    lessons = [("panel", preset.panel, np.arange(len(seen.symbols)))]
    if tune is not None and preset.tune is not None:
        lessons.append(("tuned", preset.tune, np.array([seen.symbols.index(tune)])))
    steps = 0
    for at, seed in enumerate(seeds):
        for stage, lesson, coins in lessons:
            said(f"{_coins(seen, coins)}, seed {seed}")
            settings = _settings(name, stage, seen, rows, validation_ms, coins)
            task = NextHour(network, at, rows, train, coins, settings)
            plan = plan_of(lesson, preset, task, seed, place.device)
            outcome = fit(task, plan, folder / f"{stage}-{seed}", place, told, said)
            steps += outcome.steps
    said("the factors of validation ...")
    for module in network.modules:
        module.eval()
    model = calibrated(network, seen, validation_ms)
    return TrainedVolatility(model, steps)


def _coins(seen: Panel, coins: Integers) -> str:
    return f"{len(coins)} coins" if len(coins) > 1 else seen.symbols[int(coins[0])]


def plan_of(lesson: Lesson, preset: Preset, task: NextHour, seed: int, device: torch.device) -> Plan:
    """The lesson as a plan for so many pairs. BadModel where they do not fill a batch."""
    if task.pairs < lesson.batch or not task.scored:
        raise BadModel(
            f"{task.pairs} hours teach and {task.scored} choose, a batch is {lesson.batch}: give more candles"
        )
    steps = max(1, round(lesson.epochs * task.pairs / lesson.batch))
    every = max(1, steps // lesson.validations)
    return Plan(
        steps=steps,
        batch=lesson.batch,
        lr=lesson.lr,
        weight_decay=lesson.weight_decay,
        warmup_share=lesson.warmup_share,
        patience=lesson.patience,
        validate_every=every,
        checkpoint_every=min(every, 200),
        seed=seed,
        precision=preset.precision if device.type == "cuda" else "float32",
    )


def _untrained(
    preset: Preset, seen: Panel, train: int, seeds: tuple[int, ...], device: torch.device
) -> tuple[VolatilityNetwork, HourRows]:
    """The network before its first step, everything but its weights fitted on train; and the rows of all hours."""
    symbols, kind, taught = seen.symbols, KINDS[preset.kind], seen.rows(0, train)
    if len(seen) - train < VALIDATION_MIN:
        raise BadModel(f"{len(seen) - train} hours to validate on, {VALIDATION_MIN} are needed: begin it earlier")
    own = volatility(taught, Estimator.GARMAN_KLASS)
    logs = np.log(np.where(own > 0.0, own, np.nan))
    season = fit_seasonality(symbols, taught.open_ms, logs)
    config = preset.config(len(symbols))
    scalings = fit_scalings(VolatilityInputs(symbols, season).absorb(taught), taught, kind.window(config))
    simple = fit_har(Form.PANEL, taught)
    unknown = Units(np.zeros(len(symbols)), np.ones(len(symbols)))
    learned = Learned(symbols, season, scalings, unknown, simple.weights[0], _surprise(simple.absorb(taught)))
    rows = learned.stream(symbols).absorb(seen)
    units = units_of(answers_of(rows), rows, kind.logs, train)
    learned = msgspec.structs.replace(learned, units=units)
    modules = tuple(_module(kind.build, config, seed) for seed in seeds)
    return VolatilityNetwork(preset.kind, config, modules, learned, symbols, device), rows


def _surprise(logs: Any) -> float:
    """The scale of the panel HAR's errors on train, as a Student's t's, from what lies between their deciles."""
    missed = surprises(logs)[0]
    missed = missed[np.isfinite(missed)]
    lower, upper = np.quantile(missed, (0.1, 0.9))
    return float(upper - lower) / (2.0 * quantile(0.9))


def _module(build: Callable[[Any], nn.Module], config: Any, seed: int) -> nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return build(config)


def _settings(
    name: str, stage: str, seen: Panel, rows: HourRows, validation_ms: int, coins: Integers
) -> dict[str, Any]:
    """What tells this training from others."""
    return {
        "preset": name,
        "stage": stage,
        "symbols": list(seen.symbols),
        "coins": coins.tolist(),
        "validation_ms": validation_ms,
        "start_ms": int(seen.open_ms[0]),
        "stop_ms": int(seen.open_ms[-1]),
        "candles": hashlib.blake2b(rows.inputs.tobytes(), digest_size=16).hexdigest(),
    }
