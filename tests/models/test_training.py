"""The training loop: what it learns, keeps, skips and refuses; that going on is the same as never having stopped."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from torch import Tensor, nn

from models import training_log, training_state
from models.processes import alone
from models.training import Diverged, NoRoom, fit
from models.training_log import Line
from models.training_plan import BadPlan, Plan, decayed, rate
from models.training_state import BadCheckpoint, OtherRun
from tests.models.lines import Lines

HERE = alone("cpu")
PLAN = Plan(steps=40, batch=12, accumulate=2, ema=0.9, validate_every=10, checkpoint_every=7, log_every=3, seed=5)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other on a busy machine are a hundred times slower than so small a sum."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Stopped(Exception):
    """What ends a training in the middle of these tests."""


class Clock:
    """A second passes between any two looks."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


class Consecutive(Lines):
    """Takes the examples in their order, so that a batch is the same however it is cut."""

    def loss(self, module: nn.Module, step: int, size: int, generator: torch.Generator) -> Tensor:
        rows = (sum(self.sizes) + torch.arange(size)) % 768
        self.sizes.append(size)
        return nn.functional.mse_loss(module(self._x[rows]), self._y[rows])


class Scored(Lines):
    """Validates to the scores it is given, one after another, and keeps the weights it saw."""

    def __init__(self, *scores: float) -> None:
        super().__init__(dropout=0.0)
        self._scores = iter(scores)
        self.seen: list[dict[str, Tensor]] = []

    def validate(self, module: nn.Module) -> dict[str, float]:
        self.seen.append(weights_of(module))
        return {"score": next(self._scores)}


class Broken(Lines):
    """At the steps it is given, the loss is infinite or, still finite, has a gradient that is NaN."""

    def __init__(self, steps: set[int], part: str) -> None:
        super().__init__()
        self._steps, self._part = steps, part

    def loss(self, module: nn.Module, step: int, size: int, generator: torch.Generator) -> Tensor:
        loss = super().loss(module, step, size, generator)
        if step not in self._steps:
            return loss
        return loss * math.inf if self._part == "loss" else loss + torch.sqrt(loss * 0.0)


class Crowded(Lines):
    """Has room for so many examples at once."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self._room = room

    def loss(self, module: nn.Module, step: int, size: int, generator: torch.Generator) -> Tensor:
        if size > self._room:
            raise torch.OutOfMemoryError(f"{size} examples")
        return super().loss(module, step, size, generator)


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one | other)


def lines_of(folder: Path) -> list[Line]:
    return [replace(line, seconds=0.0) for line in training_log.read(folder)]


def train_until(step: int, task: Lines, folder: Path, plan: Plan = PLAN) -> None:
    """Trains and ends in the middle of this step, before it is logged or kept."""

    def told(now: int, steps: int, loss: float) -> None:
        if now == step:
            raise Stopped

    with pytest.raises(Stopped):
        fit(task, plan, folder, HERE, told)


def test_it_learns(tmp_path: Path) -> None:
    """Two hundred steps take the error, of five at the first validation, below one."""
    task = Lines(width=64)
    outcome = fit(task, replace(PLAN, steps=200, lr=0.03), tmp_path, HERE)
    first = outcome.history[0].scores["score"]
    assert first is not None and first < -3.0 and outcome.score > -1.0
    assert task.validate(task.module)["score"] == outcome.score


@pytest.mark.parametrize("stops", [(1,), (7,), (8,), (10,), (3, 9, 25, 26, 40)])
def test_going_on_is_the_same_as_never_having_stopped(tmp_path: Path, stops: tuple[int, ...]) -> None:
    """Weights, scores and every logged number of a training that was ended are, bit for bit, those of one that was not."""
    straight, ended = Lines(), Lines()
    whole = fit(straight, PLAN, tmp_path / "straight", HERE)
    for step in stops:
        train_until(step, Lines(), tmp_path / "ended")
    rest = fit(ended, PLAN, tmp_path / "ended", HERE)
    assert same(straight.module.state_dict(), ended.module.state_dict())
    assert replace(rest, seconds=0.0) == replace(whole, seconds=0.0)
    assert lines_of(tmp_path / "ended") == lines_of(tmp_path / "straight")


def test_what_validation_draws_does_not_reach_training(tmp_path: Path) -> None:
    """Validating ten times as often, with dropout's randomness, leaves the loss curve as it is."""

    class Drawing(Lines):
        def validate(self, module: nn.Module) -> dict[str, float]:
            torch.rand(100)
            return super().validate(module)

    fit(Lines(), replace(PLAN, log_every=1), tmp_path / "seldom", HERE)
    fit(Drawing(), replace(PLAN, log_every=1, validate_every=1), tmp_path / "often", HERE)
    seldom, often = ([line.loss for line in lines_of(tmp_path / name)] for name in ("seldom", "often"))
    assert seldom == often


def test_the_seed_decides_and_the_global_generator_stays(tmp_path: Path) -> None:
    """Another seed is another curve; torch's own generator is where it was."""
    before = torch.get_rng_state()
    for seed in (1, 2):
        fit(Lines(), replace(PLAN, seed=seed), tmp_path / str(seed), HERE)
    assert torch.equal(before, torch.get_rng_state())
    assert [line.loss for line in lines_of(tmp_path / "1")] != [line.loss for line in lines_of(tmp_path / "2")]


def test_no_two_micro_batches_are_the_same_draw(tmp_path: Path) -> None:
    """Every micro-batch of every step draws anew."""
    task = Lines()
    fit(task, PLAN, tmp_path, HERE)
    assert len({tuple(rows.tolist()) for rows in task.drawn}) == PLAN.steps * PLAN.accumulate


@pytest.mark.parametrize("accumulate", [2, 5, 12])
def test_accumulation_changes_no_gradient(tmp_path: Path, accumulate: int) -> None:
    """Micro-batches, of equal size or not, sum to the whole batch's step."""
    whole, parts = Consecutive(dropout=0.0), Consecutive(dropout=0.0)
    fit(whole, replace(PLAN, accumulate=1), tmp_path / "whole", HERE)
    fit(parts, replace(PLAN, accumulate=accumulate), tmp_path / "parts", HERE)
    assert sum(parts.sizes) == sum(whole.sizes) == PLAN.steps * PLAN.batch
    for one, other in zip(whole.module.parameters(), parts.module.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_gradients_are_clipped(tmp_path: Path) -> None:
    """What reaches the optimiser has at most the plan's norm; the log tells the norm before."""
    task = Lines()
    fit(task, replace(PLAN, clip=0.01), tmp_path, HERE)
    norm = math.sqrt(sum(float((one.grad**2).sum()) for one in task.module.parameters() if one.grad is not None))
    assert norm == pytest.approx(0.01, rel=1e-3)
    assert all(line.grad_norm is not None and line.grad_norm > 0.01 for line in lines_of(tmp_path))


def test_the_running_average_is_validated_and_kept(tmp_path: Path) -> None:
    """With `ema` the weights that are scored and kept are the average of those of the steps."""
    plan = replace(PLAN, steps=6, validate_every=1, ema=0.5)
    raw, averaged = Scored(*range(6)), Scored(*range(6))
    start = weights_of(raw.module)["0.weight"]
    fit(raw, replace(plan, ema=0.0), tmp_path / "raw", HERE)
    fit(averaged, plan, tmp_path / "averaged", HERE)
    expected = start
    for count, weights in enumerate(raw.seen, 1):
        decay = min(0.5, (1 + count) / (10 + count))
        expected = decay * expected + (1 - decay) * weights["0.weight"]
        torch.testing.assert_close(averaged.seen[count - 1]["0.weight"], expected)
    torch.testing.assert_close(weights_of(averaged.module)["0.weight"], expected)


def test_patience_ends_the_training_with_the_weights_that_scored_best(tmp_path: Path) -> None:
    """Three validations without a better score end it; the weights are those of the best, whatever the loss says."""
    task = Scored(0.1, 0.5, 0.4, 0.5, 0.2, 9.9)
    outcome = fit(task, replace(PLAN, validate_every=4, patience=3), tmp_path, HERE)
    assert (outcome.best_step, outcome.score, outcome.steps) == (8, 0.5, 20)
    assert same(task.seen[1], task.module.state_dict()) and not same(task.seen[-1], task.module.state_dict())


def test_a_score_that_is_no_number_is_never_the_best(tmp_path: Path) -> None:
    """NaN neither wins nor bars what comes after it; a training with no other score has failed."""
    outcome = fit(Scored(math.nan, -2.0, math.nan, -3.0), PLAN, tmp_path / "some", HERE)
    assert (outcome.best_step, outcome.score) == (20, -2.0)
    assert [one.scores["score"] for one in outcome.history] == [None, -2.0, None, -3.0]
    with pytest.raises(Diverged, match="no validation in 40 steps had a finite score"):
        fit(Scored(*[math.nan] * 4), PLAN, tmp_path / "none", HERE)


@pytest.mark.parametrize("part", ["loss", "gradient"])
def test_a_step_that_is_not_finite_is_skipped_and_counted(tmp_path: Path, part: str) -> None:
    """Its loss reaches neither weights nor average; the training goes on."""
    task = Broken({4, 20, 21}, part)
    outcome = fit(task, replace(PLAN, log_every=1), tmp_path, HERE)
    assert (outcome.skipped, outcome.steps) == (3, 40)
    assert all(bool(one.isfinite().all()) for one in task.module.parameters())
    assert [line.step for line in lines_of(tmp_path) if line.loss is None] == [5, 21, 22]


def test_skipping_in_a_row_ends_with_what_to_do(tmp_path: Path) -> None:
    """After so many skipped steps in a row the error names the setting to change; fewer at a time end nothing."""
    fit(Broken({*range(0, 40, 2)}, "loss"), replace(PLAN, skips_in_row_max=2), tmp_path / "scattered", HERE)
    with pytest.raises(Diverged, match=r"4 steps in a row .* step 9: lower lr \(0.001\)"):
        fit(Broken({*range(5, 40)}, "loss"), replace(PLAN, skips_in_row_max=4), tmp_path / "ended", HERE)


def test_a_full_gpu_gets_smaller_micro_batches(tmp_path: Path) -> None:
    """Out of memory halves the micro-batch and doubles the accumulation, says so once a time, and is remembered."""
    said: list[str] = []
    plan = replace(PLAN, accumulate=1)
    train_until(12, Crowded(room=3), tmp_path, plan)
    task = Crowded(room=3)
    outcome = fit(task, plan, tmp_path, HERE, said=said.append)
    assert outcome.accumulate == 4 and set(task.sizes) == {3} and sum(task.sizes) == 12 * (40 - 7)
    assert said == ["going on after step 7"]
    fit(Crowded(room=3), plan, tmp_path / "new", HERE, said=said.append)
    assert [line for line in said if "memory" in line] == [
        "the GPU is out of memory: 2 micro-batches a step from here on, the batch stays the same",
        "the GPU is out of memory: 4 micro-batches a step from here on, the batch stays the same",
    ]


def test_a_gpu_without_room_for_one_example_ends_it(tmp_path: Path) -> None:
    """When one example does not fit, there is nothing left to halve."""
    with pytest.raises(NoRoom, match="no room for one example"):
        fit(Crowded(room=0), PLAN, tmp_path, HERE)


@given(st.integers(1, 400), st.floats(0, 0.99))
def test_the_rate_rises_then_falls(steps: int, warmup_share: float) -> None:
    """Linear to its top over the warm-up, never above it, never up again after, always above zero."""
    plan = Plan(steps=steps, batch=1, lr=0.5, warmup_share=warmup_share)
    rates = [rate(plan, step) for step in range(steps)]
    top = rates.index(max(rates))
    assert 0 < min(rates) and max(rates) == 0.5
    assert rates[: top + 1] == sorted(rates[: top + 1]) and rates[top:] == sorted(rates[top:], reverse=True)
    assert top in {round(warmup_share * steps) + shift for shift in (-1, 0)}


def test_only_matrices_decay() -> None:
    """The matrices of layers do; biases, norms, embeddings and bare parameters do not, nor what is not learned."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.place_WD = nn.Parameter(torch.zeros(3, 4))
            self.coin = nn.Embedding(5, 4)
            self.attention = nn.MultiheadAttention(4, 2)
            self.norm = nn.LayerNorm(4)
            self.frozen = nn.Linear(4, 4).requires_grad_(False)

    net = Net()
    names = {parameter: name for name, parameter in net.named_parameters()}
    decay, rest = (sorted(names[one] for one in group["params"]) for group in decayed(net, 0.1))
    assert decay == ["attention.in_proj_weight", "attention.out_proj.weight"]
    assert rest == [
        "attention.in_proj_bias", "attention.out_proj.bias", "coin.weight", "norm.bias", "norm.weight", "place_WD"
    ]  # fmt: skip


def test_another_trainings_checkpoint_is_refused(tmp_path: Path) -> None:
    """Other settings of plan or task are named with both values; how often it logs may change."""
    train_until(20, Lines(), tmp_path)
    with pytest.raises(OtherRun, match=r"plan\.lr 0\.001 \(now 0\.002\), plan\.seed 5 \(now 6\): .*remove"):
        fit(Lines(), replace(PLAN, lr=0.002, seed=6), tmp_path, HERE)
    with pytest.raises(OtherRun, match=r"task\.width 16 \(now 8\)"):
        fit(Lines(width=8), PLAN, tmp_path, HERE)
    assert fit(Lines(), replace(PLAN, log_every=1, checkpoint_every=40), tmp_path, HERE).steps == 40


def test_another_modules_weights_are_refused(tmp_path: Path) -> None:
    """The same settings with a module of another shape are no reason to go on."""
    train_until(20, Lines(), tmp_path)
    other = Lines(width=8)
    other.settings = {"width": 16}
    with pytest.raises(BadCheckpoint, match="another module's weights"):
        fit(other, PLAN, tmp_path, HERE)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_cut_checkpoint_is_refused(tmp_path: Path, share: float) -> None:
    """A checkpoint cut anywhere is an error that says what to remove, not a wrong start."""
    train_until(20, Lines(), tmp_path)
    path = tmp_path / training_state.FILE
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(BadCheckpoint, match=r"cannot be read: .*remove .*checkpoint\.safetensors"):
        fit(Lines(), PLAN, tmp_path, HERE)


def test_a_finished_training_is_not_done_again(tmp_path: Path) -> None:
    """Asked again it gives the same answer and the best weights, without a step."""
    told: list[int] = []
    whole = fit(Lines(), PLAN, tmp_path, HERE)
    task = Lines(seed=9)
    assert fit(task, PLAN, tmp_path, HERE, lambda step, steps, loss: told.append(step)) == whole
    assert not told and task.validate(task.module)["score"] == whole.score


def test_a_disk_that_takes_no_file_is_said(tmp_path: Path) -> None:
    """A folder that cannot take the checkpoint ends the training with its path."""
    (tmp_path / f".{training_state.FILE}.unfinished").mkdir()
    with pytest.raises(BadCheckpoint, match=r"checkpoint\.safetensors cannot be written"):
        fit(Lines(), PLAN, tmp_path, HERE)


def test_the_log_has_what_people_ask_for(tmp_path: Path) -> None:
    """A line each three steps and each validation: the mean loss, the rate, the norm, the seconds, the scores."""
    losses: list[float] = []
    fit(Lines(), PLAN, tmp_path, HERE, lambda step, steps, loss: losses.append(loss), clock=Clock())
    lines = training_log.read(tmp_path)
    steps = sorted({*range(3, 41, 3), 10, 20, 30, 40})
    assert [line.step for line in lines] == steps
    assert [line.lr for line in lines] == [rate(PLAN, step - 1) for step in steps]
    assert lines[0].loss == sum(losses[:3]) / 3 and lines[3].loss == losses[9]
    assert [line.step for line in lines if line.scores] == [10, 20, 30, 40]
    assert [line.seconds for line in lines] == [float(step) for step in steps]


def test_seconds_go_on_where_they_ended(tmp_path: Path) -> None:
    """The time of a training that was ended counts from its start, without the pause."""

    def told(now: int, steps: int, loss: float) -> None:
        if now == 20:
            raise Stopped

    with pytest.raises(Stopped):
        fit(Lines(), PLAN, tmp_path, HERE, told, clock=Clock())
    later = Clock()
    later.now = 1e6
    assert fit(Lines(), PLAN, tmp_path, HERE, clock=later).seconds == 40.0


def test_a_torn_line_is_taken_out(tmp_path: Path) -> None:
    """What a kill left of a line, and lines after the checkpoint, are gone when the training goes on."""
    fit(Lines(), PLAN, tmp_path / "straight", HERE)
    train_until(20, Lines(), tmp_path / "ended")
    with (tmp_path / "ended" / training_log.FILE).open("ab") as file:
        file.write(b'{"step":20,"loss":0.')
    fit(Lines(), PLAN, tmp_path / "ended", HERE)
    assert lines_of(tmp_path / "ended") == lines_of(tmp_path / "straight")


def test_tensorboard_reads_the_curve(tmp_path: Path) -> None:
    """TensorBoard's own reader finds the loss of every logged step and the validation scores."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    fit(Lines(), PLAN, tmp_path, HERE)
    events: Any = accumulator.EventAccumulator(str(tmp_path / training_log.BOARD))
    events.Reload()
    losses = {event.step: event.value for event in events.Scalars("loss")}
    assert losses == pytest.approx({line.step: line.loss for line in lines_of(tmp_path)})
    assert [event.step for event in events.Scalars("validation/score")] == [10, 20, 30, 40]


def test_a_processor_trains_in_float32(tmp_path: Path) -> None:
    """bf16 and compilation are for GPUs: on a CPU it is said that there is none, and the curve is float32's."""
    said: list[str] = []
    fit(Lines(), PLAN, tmp_path / "float32", HERE)
    fit(Lines(), replace(PLAN, precision="bf16", compile=True), tmp_path / "bf16", HERE, said=said.append)
    assert said == ["no bf16 on cpu: training in float32"]
    assert lines_of(tmp_path / "bf16") == lines_of(tmp_path / "float32")


@pytest.mark.parametrize(
    "settings",
    [{"steps": 0}, {"lr": 0.0}, {"lr": math.nan}, {"ema": 1.0}, {"clip": -1.0}, {"seed": -1}, {"warmup_share": 1.0}],
)
def test_a_plan_that_cannot_be_followed_is_refused(settings: dict[str, Any]) -> None:
    """The setting that is wrong is named."""
    with pytest.raises(BadPlan, match=next(iter(settings))):
        Plan(**({"steps": 10, "batch": 4} | settings))


def test_more_micro_batches_than_examples_are_refused(tmp_path: Path) -> None:
    """Each micro-batch needs an example."""
    with pytest.raises(BadPlan, match="a batch of 2 cannot be shared"):
        fit(Lines(), replace(PLAN, batch=2, accumulate=3), tmp_path, HERE)
