"""The training loop as real processes: killed and started again, and two that train one module together."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import torch
from msgspec.structs import replace
from safetensors.torch import load_file
from torch import Tensor, nn

from models import training_log, training_state
from models.processes import alone
from models.training import fit
from models.training_log import Line
from tests.models.lines import PLAN, Lines, Run

ROOT = Path(__file__).parents[2]
ALONE = [sys.executable, "-m", "tests.models.lines"]
TWO = [
    sys.executable,
    "-m",
    "torch.distributed.run",
    "--standalone",
    "--nproc-per-node",
    "2",
    "-m",
    "tests.models.lines",
]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def trained(command: list[str], run: Run) -> list[dict[str, Tensor]]:
    """Runs to the end; what each process left."""
    done = launched(command, run)
    assert done.returncode == 0, done.stderr.decode()
    return [load_file(path) for path in sorted(Path(run.folder).glob("rank*.safetensors"))]


def launched(command: list[str], run: Run) -> subprocess.CompletedProcess[bytes]:
    full = [*command, text(run)]
    return subprocess.run(full, check=False, cwd=ROOT, env=ENVIRONMENT, capture_output=True, timeout=300)


def text(run: Run) -> str:
    return msgspec.json.encode(run).decode()


def killed_at(step: int, folder: Path) -> int:
    """Starts, kills when this many steps are printed, and tells the step of the last one that was."""
    last = 0
    with subprocess.Popen(
        [*ALONE, text(Run(str(folder)))], cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            last = int(line)
            if last >= step:
                process.send_signal(signal.SIGKILL)
                break
        last = max([last, *map(int, process.stdout.read().split())])
    assert process.returncode == -signal.SIGKILL
    return last


def weights_of(found: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in found.items() if name not in ("sizes", "rows")}


def lines_of(folder: Path) -> list[Line]:
    return [replace(line, seconds=0.0) for line in training_log.read(folder)]


class Replayed(Lines):
    """Draws what two processes drew."""

    def __init__(self, *rows: Tensor) -> None:
        super().__init__(dropout=0.0)
        self._rows = torch.cat([one.reshape(-1, PLAN.batch // 2) for one in rows], dim=1)

    def loss(self, module: nn.Module, step: int, size: int, generator: torch.Generator) -> Tensor:
        rows = self._rows[step]
        return nn.functional.mse_loss(module(self._x[rows]), self._y[rows])


@pytest.mark.slow
def test_five_kills_leave_the_loss_curve_as_it_is(tmp_path: Path) -> None:
    """SIGKILL at five random steps: every line of the log and the weights are, bit for bit, those of a run left alone."""
    whole = trained(ALONE, Run(str(tmp_path / "whole")))[0]
    seed = random.Random(11)
    for part in range(5):
        killed_at(seed.randrange(55 * part + 1, 55 * part + 50), tmp_path / "killed")
    rest = trained(ALONE, Run(str(tmp_path / "killed")))[0]
    assert len(rest["sizes"]) < len(whole["sizes"]) / 2, "little was resumed"
    assert lines_of(tmp_path / "killed") == lines_of(tmp_path / "whole")
    assert [line.step for line in lines_of(tmp_path / "whole")] == list(range(1, PLAN.steps + 1))
    assert all(torch.equal(whole[name], tensor) for name, tensor in weights_of(rest).items())


@pytest.mark.slow
def test_two_processes_train_one_module(tmp_path: Path) -> None:
    """Each draws half of every batch; both end with the weights of one process on the same examples, killed or not."""
    plan = replace(PLAN, steps=120)
    first, second = trained(TWO, Run(str(tmp_path / "two"), plan, dropout=0.0))
    assert all(torch.equal(tensor, second[name]) for name, tensor in weights_of(first).items())
    assert int(first["sizes"].sum()) == int(second["sizes"].sum()) == plan.steps * plan.batch / 2
    assert not torch.equal(first["rows"], second["rows"])
    one = Replayed(first["rows"], second["rows"])
    fit(one, replace(plan, accumulate=1), tmp_path / "one", alone("cpu"))
    for name, tensor in one.module.state_dict().items():
        torch.testing.assert_close(tensor, first[name], rtol=1e-3, atol=1e-5)

    killed = Run(str(tmp_path / "killed"), plan, dropout=0.0, die_at=50)
    died = launched(TWO, killed)
    assert died.returncode != 0 and (tmp_path / "killed" / training_state.FILE).is_file()
    for found in trained(TWO, replace(killed, die_at=0)):
        assert all(torch.equal(tensor, first[name]) for name, tensor in weights_of(found).items())
    assert lines_of(tmp_path / "killed") == lines_of(tmp_path / "two")


@pytest.mark.slow
def test_two_processes_stop_together(tmp_path: Path) -> None:
    """The leader alone validates; when its patience ends both end, at the same step, with the same weights."""
    plan = replace(PLAN, lr=0.3, ema=0.0, validate_every=5, patience=2)
    first, second = trained(TWO, Run(str(tmp_path), plan))
    assert len(first["sizes"]) == len(second["sizes"]) < plan.steps * plan.accumulate
    assert all(torch.equal(tensor, second[name]) for name, tensor in weights_of(first).items())
