"""What training costs: windows a second and operations a second of each preset, beside what the device could do.

    python -m benchmarks.training [--coins 111] [--steps 20] [--presets small,base] [--device auto] [--json]

The loop is that of `lacuna train masked`: windows cut on the device, the preset's scheme and batch, AdamW. Operations
are three times those of the matrix products of one forward pass; `peak` is the rate of one large matrix product on the
device, measured in the same run, in the precision that trains. Inputs are random: they cost what real ones cost.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from msgspec.structs import replace
from torch import Tensor, nn

from benchmarks.flops import flops_of, peak, wait
from benchmarks.market import network_of, table_of
from benchmarks.tables import Row, table
from models.masked_task import lesson_of
from models.presets import PRESETS, Preset
from models.processes import Place, alone
from models.train_network import plan_of
from models.training import fit

ROWS = 20_000
WARM = 3  # steps that are not counted: compiling, first allocations
ON_CPU = ("coin-query", "coin-query-wide", "small", "base")


class Lesson:
    """A `Task` that draws rows of a random table and is never scored."""

    def __init__(self, preset: Preset, coins: int, device: str) -> None:
        network = network_of(preset, coins, device)
        self.module, self.settings = network.module, dict[str, Any]()
        self._lesson = lesson_of(network, table_of(ROWS, coins, device), preset.scheme)

    def loss(self, module: nn.Module, step: int, size: int, generator: torch.Generator) -> Tensor:
        rows = torch.randint(500, ROWS, (size,), generator=generator, device=generator.device)
        return self._lesson(module, rows, generator)

    def validate(self, module: nn.Module) -> Mapping[str, float]:
        return {"score": 0.0}


def trained(name: str, preset: Preset, coins: int, steps: int, place: Place) -> Row:
    """Some steps of one preset."""
    plan = plan_of(preset, WARM + steps, None, None, 1, place.device)
    plan = replace(plan, validate_every=plan.steps, checkpoint_every=plan.steps, log_every=plan.steps)
    device = place.device.type
    at = {}

    def told(step: int, of: int, loss: float) -> None:
        if step in (WARM, plan.steps - 1):  # the last step saves
            wait(device)
            at[step] = time.perf_counter()

    with tempfile.TemporaryDirectory() as folder:
        fit(Lesson(preset, coins, device), plan, Path(folder), place, told)
    each = (at[plan.steps - 1] - at[WARM]) / (steps - 1)
    one = Lesson(preset, coins, "cpu")
    forward = flops_of(lambda: one.loss(one.module, 0, 4, torch.Generator().manual_seed(1))) / 4
    done = 3 * forward * plan.batch / each
    most = peak(torch.bfloat16 if plan.precision == "bf16" else torch.float32, device)
    return {
        "preset": name,
        "device": device,
        "precision": plan.precision,
        "batch": plan.batch,
        "ms/step": round(each * 1e3, 2),
        "windows/s": round(plan.batch / each, 1),
        "GFLOP/window": round(3 * forward / 1e9, 3),
        "TFLOP/s": round(done / 1e12, 3),
        "peak TFLOP/s": round(most / 1e12, 3),
        "share of peak": f"{done / most:.1%}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coins", type=int, default=111)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--presets", help="Names, between commas; without it the small ones, on a GPU all.")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    place = alone(options.device)
    names = options.presets.split(",") if options.presets else PRESETS if place.device.type == "cuda" else ON_CPU
    rows = [trained(name, PRESETS[name], options.coins, options.steps, place) for name in names]
    print(json.dumps(rows) if options.json else table(rows))


if __name__ == "__main__":
    main()
