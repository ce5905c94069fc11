"""The one training loop, for every network: a task says what to minimise and what to score, the plan says how.

Optimiser  AdamW (Loshchilov and Hutter, 2019) with decay on matrices alone; the rate rises linearly, then falls as a
           cosine to 0, by the step. Gradients are clipped by their norm over all parameters.
Chosen     the weights with the best validation score, not the lowest loss; their running average where the plan has one.
Draws      every random number of a step is a function of (seed, step, micro-batch, rank): a training that was killed and
           goes on from its checkpoint draws what it would have drawn.
Trouble    a step without a finite loss and gradient is skipped and counted; a GPU out of memory halves the micro-batch.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol, cast

import msgspec
import numpy as np
import torch
from msgspec import Struct
from msgspec.structs import replace
from torch import Tensor, nn

from models import training_state
from models.processes import Place, mean, parallel, spread
from models.training_log import Line, Log
from models.training_plan import BadPlan, Plan, decayed, rate
from models.training_state import BadCheckpoint, Progress, Scores, State, Validation, Weights

Told = Callable[[int, int, float], None]
Said = Callable[[str], None]


class Diverged(ArithmeticError):
    """A training that computes no numbers any more."""

    exit_code = 1


class NoRoom(RuntimeError):
    """A GPU whose memory the training does not fit in."""

    exit_code = 75


class Task(Protocol):
    """What to learn. `settings` are JSON values that tell this training from others: a checkpoint is for them alone."""

    @property
    def module(self) -> nn.Module: ...

    @property
    def settings(self) -> Mapping[str, Any]: ...

    def loss(self, module: nn.Module, step: int, size: int, generator: torch.Generator) -> Tensor:
        """The mean loss over `size` examples drawn with the generator, which lives on the device that trains.

        `module` stands for the task's own, wrapped: call it, and nothing else of it.
        """
        ...

    def validate(self, module: nn.Module) -> Mapping[str, float]:
        """Scores by name, without gradients; "score" is the one that chooses, larger is better."""
        ...


class Outcome(Struct, frozen=True):
    """What a training came to: the best score and the step that had it, every validation, steps taken and skipped.

    `accumulate` is above the plan's where memory ran out. `seconds` count over all restarts.
    """

    score: float
    best_step: int
    steps: int
    skipped: int
    history: tuple[Validation, ...]
    accumulate: int
    seconds: float


def fit(
    task: Task,
    plan: Plan,
    folder: Path,
    place: Place,
    told: Told = lambda step, steps, loss: None,
    said: Said = lambda line: None,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Trains the task's module, which then holds the best weights; goes on where a checkpoint in `folder` ends.

    `told` hears of every step, its count from 1 and its loss; `said` what a person should know; both in the leading
    process alone. `clock` gives seconds. Torch's global generator is left as it was found.
    """
    gpus = [place.device] if place.device.type == "cuda" else []
    with torch.random.fork_rng(gpus):
        run = Run(task, plan, place, said if place.leads else lambda line: None)
        began = clock() - run.resume(folder)
        with Log(folder, run.progress.step) if place.leads else nullcontext() as log:
            if log is not None and not log.has_board:
                said("TensorBoard is not installed: training.jsonl alone is written (pip install tensorboard)")
            while not run.finished:
                line = run.advance(clock, began)
                if log is None:
                    continue
                told(run.progress.step, plan.steps, run.loss)
                if line is not None:
                    log.write(line)
                if run.finished or run.progress.step % plan.checkpoint_every == 0:
                    training_state.save(run.state(), folder)
        return run.outcome()


class Run:
    """One process's part of a training."""

    def __init__(self, task: Task, plan: Plan, place: Place, said: Said) -> None:
        if plan.batch % place.processes or plan.accumulate * place.processes > plan.batch:
            raise BadPlan(
                f"a batch of {plan.batch} cannot be shared by {place.processes} processes of {plan.accumulate}"
                " micro-batches: make it a multiple of the processes, with one example a micro-batch at least"
            )
        self.loss = math.nan
        self._task, self._plan, self._place, self._said = task, plan, place, said
        settings = {f"plan.{name}": value for name, value in msgspec.to_builtins(plan).items()}
        settings |= {f"task.{name}": value for name, value in task.settings.items()}
        self.progress = Progress(settings, plan.accumulate)
        self._module = task.module.to(place.device).train()
        self._parameters = [one for one in self._module.parameters() if one.requires_grad]
        self._optimizer = torch.optim.AdamW(decayed(self._module, plan.weight_decay), lr=plan.lr, fused=True)
        self._parallel = parallel(self._module, place)
        self._forward: nn.Module = self._module if self._parallel is None else self._parallel
        self._generator = torch.Generator(place.device)
        self._bf16 = False
        self._prepare_gpu()
        self._best: Weights = {}
        self._average = _copied(self._module) if plan.ema else {}

    @property
    def finished(self) -> bool:
        """Whether all steps are taken, or the patience is at its end."""
        plan, now = self._plan, self.progress
        return now.step >= plan.steps or 0 < plan.patience <= now.worse_in_row

    def resume(self, folder: Path) -> float:
        """Goes back to the checkpoint, if there is one; the seconds spent until then."""
        if self._place.leads:
            folder.mkdir(parents=True, exist_ok=True)
        state = training_state.load(folder, self.progress.settings, self._optimizer.state_dict())
        step = 0 if state is None else state.progress.step
        if int(spread(str(step).encode(), self._place)) != step:
            raise BadCheckpoint(f"process {self._place.rank} finds no such checkpoint: put {folder} on a shared disk")
        if state is None:
            return 0.0
        try:
            self._module.load_state_dict(state.weights)
        except RuntimeError as why:
            raise BadCheckpoint(f"{folder} holds another module's weights: {why}") from why
        self._optimizer.load_state_dict(state.optimizer)
        self._best = _moved(state.best, self._place.device)
        self._average = _moved(state.average, self._place.device)
        self.progress = state.progress
        self._said(f"going on after step {step}")
        return state.progress.seconds

    def state(self) -> State:
        """What a checkpoint holds."""
        weights, optimizer = self._module.state_dict(), self._optimizer.state_dict()
        return State(self.progress, weights, self._best, self._average, optimizer)

    def outcome(self) -> Outcome:
        """The end: the module takes its best weights. Diverged when no validation had a score."""
        now = self.progress
        if now.best_score is None:
            raise Diverged(f"no validation in {now.step} steps had a finite score: lower lr ({self._plan.lr})")
        self._module.load_state_dict(self._best)
        self._module.eval()
        return Outcome(now.best_score, now.best_step, now.step, now.skipped, now.history, now.accumulate, now.seconds)

    def advance(self, clock: Callable[[], float], began: float) -> Line | None:
        """One step, and the validation that is due after it; the line to log, if any."""
        plan = self._plan
        lr = rate(plan, self.progress.step)
        norm = self._step(lr)
        step, scores = self.progress.step, Scores()
        if step == plan.steps or step % plan.validate_every == 0:
            scores = self._validate()
        self.progress = replace(self.progress, seconds=clock() - began)
        if not scores and step % plan.log_every:
            return None
        loss = self.progress.loss
        self.progress = replace(self.progress, losses=())
        return Line(step, loss, lr, norm if math.isfinite(norm) else None, self.progress.seconds, scores)

    def _step(self, lr: float) -> float:
        """One optimiser step, or a skipped one; the gradient's norm before clipping."""
        plan, step = self._plan, self.progress.step
        while (total := self._gradients(step)) is None:
            self._halve()
        self.loss = mean(total, self._place)
        norm = float(nn.utils.clip_grad_norm_(self._parameters, plan.clip or math.inf))
        if not (math.isfinite(self.loss) and math.isfinite(norm)):
            self.progress = self.progress.stepped(None, False)
            self._check_skips()
            return norm
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        self._optimizer.step()
        self.progress = self.progress.stepped(self.loss, plan.ema > 0)
        if plan.ema:
            self._absorb()
        return norm

    def _gradients(self, step: int) -> Tensor | None:
        """The step's mean loss here, the gradients left in the module; None when memory ran out."""
        self._optimizer.zero_grad()
        share = self._plan.batch // self._place.processes
        sizes = _parts(share, self.progress.accumulate)
        total = torch.zeros((), device=self._place.device)
        try:
            for micro, size in enumerate(sizes):
                self._seed(step, micro)
                with self._apart(last=micro + 1 == len(sizes)):
                    with self._autocast():
                        loss = self._task.loss(self._forward, step, size, self._generator) * (size / share)
                    loss.backward()  # type: ignore[no-untyped-call]
                total += loss.detach()
        except torch.OutOfMemoryError as why:
            if self._place.processes > 1:  # the others already wait for this one's gradients
                raise NoRoom(f"a GPU is out of memory: set accumulate to {2 * self.progress.accumulate}") from why
            return None
        return total

    def _halve(self) -> None:
        """Twice the micro-batches, of half the size. Outside of the `except`, whose traceback holds what it computed."""
        if self.progress.accumulate >= self._plan.batch:
            raise NoRoom("the GPU has no room for one example: take a smaller preset, or free its memory")
        accumulate = min(2 * self.progress.accumulate, self._plan.batch)
        torch.cuda.empty_cache()
        self.progress = replace(self.progress, accumulate=accumulate)
        self._said(
            f"the GPU is out of memory: {accumulate} micro-batches a step from here on, the batch stays the same"
        )

    def _validate(self) -> Scores:
        """The scores, and the best weights kept. The leader validates, all judge alike."""
        with self._averaged():
            found = b""
            if self._place.leads:
                self._module.eval()
                with torch.no_grad(), self._autocast():
                    scores = self._task.validate(self._module)
                self._module.train()
                found = msgspec.json.encode({name: float(value) for name, value in scores.items()})  # NaN becomes null
            judged = msgspec.json.decode(spread(found, self._place), type=Scores)
            self.progress = self.progress.judged(judged)
            if self.progress.best_step == self.progress.step:
                self._best = _copied(self._module)
        return judged

    def _check_skips(self) -> None:
        now = self.progress
        if now.skipped_in_row >= self._plan.skips_in_row_max:
            raise Diverged(
                f"{now.skipped_in_row} steps in a row without a finite loss and gradient, the last one step {now.step}:"
                f" lower lr ({self._plan.lr}) or clip ({self._plan.clip}), and look for NaN in what the task draws"
            )

    def _seed(self, step: int, micro: int) -> None:
        """Two streams, or dropout would be correlated with what is drawn."""
        sequence = np.random.SeedSequence((self._plan.seed, step, micro, self._place.rank))
        drawn, dropped = sequence.generate_state(2, np.uint64).tolist()
        self._generator.manual_seed(drawn)
        torch.default_generator.manual_seed(dropped)  # torch.manual_seed takes 1 ms more where there is no GPU
        if self._place.device.type == "cuda":
            with torch.cuda.device(self._place.device):
                torch.cuda.manual_seed(dropped)

    def _absorb(self) -> None:
        """The running average takes the new weights; young, it forgets its start faster (as TensorFlow's does)."""
        count = self.progress.averaged
        decay = min(self._plan.ema, (1 + count) / (10 + count))
        for name, now in self._module.state_dict().items():
            if now.is_floating_point():
                self._average[name].lerp_(now, 1 - decay)
            else:
                self._average[name].copy_(now)

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The module with the averaged weights, where there are such."""
        if not self._average:
            yield
            return
        raw = _copied(self._module)
        self._module.load_state_dict(self._average)
        try:
            yield
        finally:
            self._module.load_state_dict(raw)

    def _apart(self, last: bool) -> AbstractContextManager[None]:
        """Gradients meet those of the other processes after the last micro-batch alone."""
        return nullcontext() if last or self._parallel is None else self._parallel.no_sync()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._place.device.type, torch.bfloat16, enabled=self._bf16)

    def _prepare_gpu(self) -> None:
        gpu = self._place.device.type == "cuda"
        if self._plan.precision == "bf16":
            self._bf16 = gpu and torch.cuda.is_bf16_supported()
            if not self._bf16:
                self._said(f"no bf16 on {self._place.device}: training in float32")
        if self._plan.compile and gpu:
            self._forward = cast(nn.Module, torch.compile(self._forward))


def _parts(total: int, count: int) -> list[int]:
    """`total` in `count` parts that differ by one at most."""
    return [total // count + (index < total % count) for index in range(count)]


def _copied(module: nn.Module) -> Weights:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def _moved(weights: Weights, device: torch.device) -> Weights:
    return {name: tensor.to(device) for name, tensor in weights.items()}
