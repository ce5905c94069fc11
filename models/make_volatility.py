"""A volatility model from hours to its folder: fitted, scored on validation beside the baselines, saved with its card.

What the panel holds is all that is looked at: leave the test hours out of it.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec import Struct

from bot.core.market import HOUR_MS, Panel
from models.checkpoint import Card, digest, save
from models.evaluate_volatility import Score
from models.volatility_baselines import fit_baseline
from models.volatility_hindcast import hindcast, outcome, scores
from models.volatility_model import VolatilityModel
from models.walk_forward_volatility import Fit, WalkedForward

BESIDE = ("har-panel", "har-plus", "ewma")
TOLD = ("qlike", "rmse", "mae", "mape", "r2", "direction")  # of a score, on the card
LIMITS = (
    "It forecasts how far prices move in the next hour, not where to, from hours of one exchange. Its factors were found"
    " on the validation hours that the scores here are of, and so were those of the baselines beside it: what it is worth"
    " on hours it never saw is a question for `lacuna evaluate`. Single crash hours are beyond it."
)
LIMITS_OF_NETWORK = (
    " A coin that it has not learned is answered for as the typical one, and by the panel HAR where it moves like none."
)


class Wanted(Struct, frozen=True, eq=False):
    """What to make: a preset or a baseline by name, of all coins of a panel of hours, for one of them where it is tuned.

    `command` is what a person typed for it, for the card.
    """

    name: str
    panel: Panel
    validation_ms: int
    tune: str | None = None
    command: str = ""

    @property
    def beside(self) -> tuple[str, ...]:
        """The baselines it is shown beside."""
        return tuple(name for name in BESIDE if name != self.name)

    @property
    def scored(self) -> str:
        """What its scores are of, in words."""
        coins = len(self.panel.symbols)
        return self.tune or (self.panel.symbols[0] if coins == 1 else f"the mean of {coins} coins")


class Walk(Struct, frozen=True):
    """How a walk forward went: the model's score on `hours` of its folds, and the baselines'."""

    folds: int
    embargo_hours: int
    start_ms: int
    stop_ms: int
    hours: int
    model: Score
    baselines: dict[str, Score]


class Made(Struct, frozen=True):
    """What was made. `scored` says which coins the scores are of; `hours` are those looked at, `steps`
    the optimiser's for this model, `seconds` those of the walk too.
    """

    architecture: str
    preset: str
    folder: str
    symbols: tuple[str, ...]
    hours: int
    start_ms: int
    stop_ms: int
    validation_ms: int
    scored: str
    validation: Score
    baselines: dict[str, Score]
    walk_forward: Walk | None
    steps: int
    seconds: float
    digest: str


def make_volatility(
    wanted: Wanted,
    fit: Fit,
    folder: Path,
    walked: WalkedForward | None,
    leads: bool = True,
    said: Callable[[str], None] = lambda line: None,
) -> Made | None:
    """Fits, scores and saves; None in a process that does not lead. BadModel.

    A training goes on in FOLDER.training. `walked`: how the same way to fit did in folds, for the card.
    """
    began = time.perf_counter()
    panel, validation_ms = wanted.panel, wanted.validation_ms
    fitted = fit(panel, validation_ms, training_of(folder))
    if not leads:
        return None
    said("the baselines beside it ...")
    found = _validated(wanted, fitted.model)
    own = found.pop("")
    walk = None if walked is None else _walk(walked)
    metrics = _metrics("validation", own, found)
    if walk is not None:
        metrics |= _metrics("walk_forward", walk.model, walk.baselines)
    start_ms, stop_ms = int(panel.open_ms[0]), int(panel.open_ms[-1])
    limits = f"Preset {wanted.name}; scores are of {wanted.scored}. {LIMITS}{LIMITS_OF_NETWORK * bool(fitted.steps)}"
    card = Card(start_ms, stop_ms, len(panel), metrics, limits, wanted.command, validation_ms)
    save(fitted.model, folder, card)
    return Made(
        fitted.model.architecture,
        wanted.name,
        str(folder),
        panel.symbols,
        len(panel),
        start_ms,
        stop_ms,
        validation_ms,
        wanted.scored,
        own,
        found,
        walk,
        fitted.steps,
        time.perf_counter() - began + (0.0 if walked is None else walked.seconds),
        digest(folder),
    )


def training_of(folder: Path) -> Path:
    """Where the training of a model folder leaves its checkpoints and what it tells."""
    return folder.with_name(f"{folder.name}.training")


def _validated(wanted: Wanted, model: VolatilityModel) -> dict[str, Score]:
    """The scores on the validation hours, the model's own under ""."""
    panel, validation_ms = wanted.panel, wanted.validation_ms
    models = {"": model} | {name: fit_baseline(name, panel, validation_ms) for name in wanted.beside}
    stop_ms = int(panel.open_ms[-1]) + HOUR_MS
    found = {name: hindcast(one, panel, validation_ms, stop_ms) for name, one in models.items()}
    coins = range(len(panel.symbols)) if wanted.tune is None else [panel.symbols.index(wanted.tune)]
    return scores(found, outcome(panel, found[""].open_ms), coins)


def _walk(walked: WalkedForward) -> Walk:
    open_ms = walked.hindcasts[""].open_ms
    others = {name: score for name, score in walked.scores.items() if name}
    return Walk(
        walked.count,
        walked.embargo_hours,
        int(open_ms[0]),
        int(open_ms[-1]),
        len(open_ms),
        walked.scores[""],
        others,
    )


def _metrics(prefix: str, own: Score, others: Mapping[str, Score]) -> dict[str, float | None]:
    """Scores as the card has them: validation_qlike, and validation_qlike_ewma beside it."""
    several = {"": own} | {f"_{name}": score for name, score in others.items()}
    return {f"{prefix}_{key}{name}": getattr(score, key) for key in TOLD for name, score in several.items()}
