"""A task small enough to train in a second: a linear map hidden in noise, learned by a network with dropout.

Run as a program it trains as the `Run` it is given as JSON says, alone or under torchrun, and prints every step it has taken.
"""

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
from msgspec import Struct
from safetensors.torch import save_file
from torch import Tensor, nn

from models.processes import joined
from models.training import fit
from models.training_plan import Plan

PLAN = Plan(steps=300, batch=32, accumulate=2, ema=0.9, validate_every=25, checkpoint_every=7, log_every=1, seed=5)


class Lines:
    """Learns y = x w + noise, x [8]; the score is minus the squared error on examples never trained on.

    `sizes` are the micro-batches it was asked for, and `drawn` the examples in them.
    """

    def __init__(self, width: int = 16, dropout: float = 0.2, seed: int = 0) -> None:
        self.settings: Mapping[str, Any] = {"width": width}
        generator = torch.Generator().manual_seed(3)
        self._x = torch.randn(1024, 8, generator=generator)
        self._y = self._x @ torch.randn(8, 1, generator=generator) + 0.1 * torch.randn(1024, 1, generator=generator)
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            self.module: nn.Module = nn.Sequential(
                nn.Linear(8, width), nn.LayerNorm(width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, 1)
            )
        self.sizes: list[int] = []
        self.drawn: list[Tensor] = []

    def loss(self, module: nn.Module, step: int, size: int, generator: torch.Generator) -> Tensor:
        rows = torch.randint(0, 768, (size,), generator=generator)
        self.sizes.append(size)
        self.drawn.append(rows)
        return nn.functional.mse_loss(module(self._x[rows]), self._y[rows])

    def validate(self, module: nn.Module) -> dict[str, float]:
        error = nn.functional.mse_loss(module(self._x[768:]), self._y[768:]).item()
        return {"score": -error, "error": error}


class Run(Struct, frozen=True):
    """What the program is to do: train by this plan, and end itself by SIGKILL after step `die_at`, if any."""

    folder: str
    plan: Plan = PLAN
    dropout: float = 0.2
    die_at: int = 0


def main(run: Run) -> None:
    """Trains; each process leaves its weights and what it drew."""

    def told(step: int, steps: int, loss: float) -> None:
        print(step, flush=True)
        if step == run.die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    with joined("cpu") as place:
        task = Lines(dropout=run.dropout, seed=place.rank)
        fit(task, run.plan, Path(run.folder), place, told)
        found = dict(task.module.state_dict()) | {"sizes": torch.tensor(task.sizes), "rows": torch.cat(task.drawn)}
        save_file(found, Path(run.folder) / f"rank{place.rank}.safetensors")


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1], type=Run))
