"""How far a training has come, and its checkpoint: one safetensors file with that account as JSON in its header.

Tensors   module/NAME the weights, best/NAME those that scored best, average/NAME their running average,
          optimizer/INDEX/NAME the moments of parameter INDEX. Nothing in the file is code, nothing is unpickled.
Atomic    written beside its place, synced, renamed: after SIGKILL the file is the one before or the one after.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
from msgspec import Struct
from msgspec.structs import replace
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

FORMAT = 1
FILE = "checkpoint.safetensors"
MAY_CHANGE = ("plan.log_every", "plan.checkpoint_every", "plan.compile")  # they do not move the loss curve on purpose

Weights = dict[str, Tensor]
Scores = dict[str, float | None]


class BadCheckpoint(ValueError):
    """A checkpoint that cannot be read or written; the text says what to do."""

    exit_code = 74


class OtherRun(ValueError):
    """A checkpoint of a training with other settings."""

    exit_code = 78


class Validation(Struct, frozen=True):
    """One validation: after which step, the train loss lately, the scores; None where one is not finite."""

    step: int
    loss: float | None
    scores: Scores


class Progress(Struct, frozen=True):
    """The account of a training after `step` steps.

    `losses` are those since the last line of the log. `accumulate` grows when a GPU runs out of memory. `averaged` counts
    the updates of the running average, `skipped` the steps without a finite loss and gradient, `skipped_in_row` the
    newest of them. `seconds` is the time spent, over all restarts.
    """

    settings: dict[str, Any]
    accumulate: int
    step: int = 0
    losses: tuple[float, ...] = ()
    averaged: int = 0
    skipped: int = 0
    skipped_in_row: int = 0
    best_step: int = 0
    best_score: float | None = None
    worse_in_row: int = 0
    history: tuple[Validation, ...] = ()
    seconds: float = 0.0
    format: int = FORMAT

    def stepped(self, loss: float | None, averaged: bool) -> "Progress":
        """After one more step of this loss; None when it was skipped."""
        if loss is None:
            skipped, in_row = self.skipped + 1, self.skipped_in_row + 1
            return replace(self, step=self.step + 1, skipped=skipped, skipped_in_row=in_row)
        losses, count = (*self.losses, loss), self.averaged + averaged
        return replace(self, step=self.step + 1, losses=losses, averaged=count, skipped_in_row=0)

    def judged(self, scores: Scores) -> "Progress":
        """After a validation. A score that is not finite is never the best."""
        history = (*self.history, Validation(self.step, self.loss, scores))
        score = scores["score"]
        if score is None or (self.best_score is not None and score <= self.best_score):
            return replace(self, history=history, worse_in_row=self.worse_in_row + 1)
        return replace(self, history=history, worse_in_row=0, best_step=self.step, best_score=score)

    @property
    def loss(self) -> float | None:
        """The mean since the last line of the log; None when all steps since were skipped."""
        return sum(self.losses) / len(self.losses) if self.losses else None


class State(Struct, frozen=True, eq=False):
    """All that a training needs to go on; `optimizer` is torch's own state dict."""

    progress: Progress
    weights: Weights
    best: Weights
    average: Weights
    optimizer: dict[str, Any]


def save(state: State, folder: Path) -> None:
    """Puts the checkpoint in its place. BadCheckpoint when the disk refuses."""
    groups = {"module": state.weights, "best": state.best, "average": state.average}
    groups |= {f"optimizer/{index}": moments for index, moments in state.optimizer["state"].items()}
    tensors = {
        f"{group}/{name}": tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for group, some in groups.items()
        for name, tensor in some.items()
    }
    path, unfinished = folder / FILE, folder / f".{FILE}.unfinished"
    try:
        save_file(tensors, unfinished, {"progress": msgspec.json.encode(state.progress).decode()})
        _sync(unfinished)
        unfinished.replace(path)
        _sync(folder)
    except (OSError, SafetensorError) as why:
        raise BadCheckpoint(f"{path} cannot be written: {why}: make room, then start again to go on") from why


def load(folder: Path, settings: Mapping[str, Any], optimizer: dict[str, Any]) -> State | None:
    """The state of the checkpoint there, None where there is none.

    `optimizer` is the state dict of a fresh one, for what is not stored. OtherRun when the settings are not these.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            progress = msgspec.json.decode((file.metadata() or {}).get("progress", ""), type=Progress)
            _check(progress, settings, folder)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dictionary
    except (OSError, SafetensorError, msgspec.DecodeError) as why:
        raise BadCheckpoint(f"{path} cannot be read: {why}: {_anew(folder)}") from why
    moments: dict[int, Weights] = {}
    for name, tensor in _group(tensors, "optimizer").items():
        index, _, kind = name.partition("/")
        moments.setdefault(int(index), {})[kind] = tensor
    weights, best, average = (_group(tensors, name) for name in ("module", "best", "average"))
    return State(progress, weights, best, average, optimizer | {"state": moments})


def _check(progress: Progress, settings: Mapping[str, Any], folder: Path) -> None:
    if progress.format != FORMAT:
        raise BadCheckpoint(f"{folder / FILE} is of format {progress.format}, not {FORMAT}: {_anew(folder)}")
    found, wanted = progress.settings, msgspec.json.decode(msgspec.json.encode(settings))
    names = sorted({*found, *wanted} - {*MAY_CHANGE})
    other = [name for name in names if found.get(name) != wanted.get(name)]
    if other:
        said = ", ".join(f"{name} {found.get(name)} (now {wanted.get(name)})" for name in other[:5])
        raise OtherRun(f"{folder} holds a training with other settings, {said}: use those, or {_anew(folder)}")


def _anew(folder: Path) -> str:
    return f"remove {folder / FILE} to train from the start, or name another folder"


def _group(tensors: Weights, name: str) -> Weights:
    prefix = f"{name}/"
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
