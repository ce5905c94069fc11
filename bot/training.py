"""`lacuna train masked`: candles in, a network's model folder out, with a bar that says how long it still takes."""

from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bot.config import BadConfiguration
from bot.research import enough_coins


def train_masked(
    candles: Path, out: Path, coverage: float, preset: str, steps: int, batch: int, seed: int, device: str
) -> dict[str, Any] | None:
    """Trains on the first 70 % of a candle folder, chooses on the next 15 %, and saves what was chosen.

    None in the processes of a torchrun that do not lead.
    """
    try:
        import torch

        from models.processes import joined
        from models.train_network import plan_of, train_network
    except ImportError as why:
        raise BadConfiguration(["networks need PyTorch: pip install 'lacuna-trader[torch]'"]) from why
    plan = plan_of(steps, batch, seed)
    panel = enough_coins(candles, coverage)
    console = Console(stderr=True)
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[loss]}"))
    with joined(device) as place, Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("", total=steps, loss="", visible=place.leads)

        def told(step: int, of: int, loss: float) -> None:
            bar.update(task, completed=step, total=of, loss=f"loss {loss:.4f}")

        def said(line: str) -> None:
            if place.leads:
                console.print(line, style="dim", highlight=False)

        try:
            found = train_network(preset, panel, out, plan, place, told, said)
        except torch.cuda.OutOfMemoryError as why:
            raise BadConfiguration([f"--device {device}: out of memory: choose a smaller --batch, or cpu"]) from why
    return None if found is None else dict(msgspec.to_builtins(found))
