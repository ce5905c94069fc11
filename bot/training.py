"""`lacuna train masked`: candles in, a network's model folder out, with a bar that says how long it still takes."""

import shlex
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bot.config import BadConfiguration
from bot.core.market import MINUTE_MS, Panel
from bot.research import enough_coins
from bot.simulator.synthetic import WILD, synthetic_panel

SYNTHETIC = "synthetic"
SYNTHETIC_COINS, SYNTHETIC_MINUTES, SYNTHETIC_SEED = 30, 14_400, 101  # a seed of its own: a demo's market is another


class Asked(Struct, frozen=True):
    """The command's options. `also`: candle folders, or SYNTHETIC. `scheme`, `batch` and `lr`: None is the preset's."""

    candles: Path
    out: Path
    coverage: float
    also: tuple[str, ...]
    preset: str
    scheme: Any
    steps: int
    batch: int | None
    lr: float | None
    seed: int
    device: str


def train_masked(asked: Asked) -> dict[str, Any] | None:
    """Trains on the first 70 % of a candle folder, chooses on the next 15 %, and saves what was chosen.

    None in the processes of a torchrun that do not lead.
    """
    try:
        import torch

        from models.presets import preset as preset_of
        from models.processes import joined
        from models.train_network import Wanted, plan_of, train_network, with_scheme
    except ImportError as why:
        raise BadConfiguration(["networks need PyTorch: pip install 'lacuna-trader[torch]'"]) from why
    preset = with_scheme(asked.preset, preset_of(asked.preset), asked.scheme)
    panel = enough_coins(asked.candles, asked.coverage)
    also = tuple(_further(name, asked.coverage, panel) for name in asked.also)
    wanted = Wanted(asked.preset, preset, panel, also, _command(asked))
    console = Console(stderr=True)
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[loss]}"))
    with (
        joined(asked.device) as place,
        Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar,
    ):
        task = bar.add_task("", total=asked.steps, loss="", visible=place.leads)

        def told(step: int, of: int, loss: float) -> None:
            bar.update(task, completed=step, total=of, loss=f"loss {loss:.4g}")

        def said(line: str) -> None:
            if place.leads:
                console.print(line, style="dim", highlight=False)

        try:
            plan = plan_of(preset, asked.steps, asked.batch, asked.lr, asked.seed, place.device)
            found = train_network(wanted, asked.out, plan, place, told, said)
        except torch.cuda.OutOfMemoryError as why:
            raise BadConfiguration(
                [f"--device {asked.device}: out of memory: choose a smaller --batch, or cpu"]
            ) from why
    return None if found is None else dict(msgspec.to_builtins(found))


def _further(name: str, coverage: float, panel: Panel) -> Panel:
    """Candles of other coins, or of no coins at all: a synthetic market that ends where the panel begins."""
    if name != SYNTHETIC:
        return enough_coins(Path(name), coverage)
    if panel.interval_ms != MINUTE_MS:
        minutes = panel.interval_ms // MINUTE_MS
        text = f"that market is of one-minute candles, these are of {minutes} minutes: leave it out"
        raise BadConfiguration([f"--also {SYNTHETIC}: {text}"])
    start_ms = int(panel.open_ms[0]) - SYNTHETIC_MINUTES * MINUTE_MS
    return synthetic_panel(SYNTHETIC_COINS, SYNTHETIC_MINUTES, SYNTHETIC_SEED, start_ms, WILD)


def _command(asked: Asked) -> str:
    """The command that trains the same again."""
    words = ["lacuna", "train", "masked"]
    for field in asked.__struct_fields__:
        value = getattr(asked, field)
        for one in value if isinstance(value, tuple) else (value,):
            if one is not None:
                words += [f"--{field}", str(one)]
    return shlex.join(words)
