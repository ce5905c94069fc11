"""What inferring every coin costs: the masked networks live, in bulk, and for the quality report.

    python -m benchmarks.inference [--coins 111] [--block 8] [--times 5] [--threads 2] [--json]

Every coin is inferred once of one window, by rotating blocks; beside it stands the naive way in the same run: float32,
one coin at a time, a full pass for each, timed on every tenth coin. Weights are random: they cost what trained ones
cost. Each figure is the best of several runs, the naive way's of one. Where a GPU is at hand its rows follow: the same live step, windows a second in bulk (a window is one
hidden set's), and the published quality report, 111 coins each hidden alone over 499 steps. `error` is the largest
difference from the naive figures, in units of a coin's scale.
"""

import argparse
import json
import time
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.tables import Row, table
from models.masked import Masked, hidden, infer_blocks, infer_rows, preset, rotating

PRESETS = ("published", "base", "small")
NAIVE_EVERY = 10
REPORT_STEPS = 499
BULK_WINDOWS = 20_000
BULK_PASS, REPORT_PASS = 448, 444  # windows of one pass on a GPU: whole rows of 14 and of 111 sets


def seconds(work: Callable[[], object], times: int, device: str = "cpu") -> float:
    """The best of several runs, after one that warms up."""
    found = []
    for _ in range(times + 1):
        began = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - began)
    return min(found[1:])


def market(rows: int, coins: int, device: str) -> tuple[Tensor, Tensor]:
    """Seeded returns in scaled units, one entry in a hundred not known."""
    generator = torch.Generator().manual_seed(1)
    known = torch.rand(rows, coins, generator=generator) > 0.01
    return torch.randn(rows, coins, generator=generator).where(known, 0.0).to(device), known.to(device)


def naive(module: Masked, x_WN: Tensor, known_WN: Tensor, coin: int) -> Tensor:
    """One coin's inferred return by a full pass of its own."""
    config = module.config
    mask = hidden((torch.arange(config.coins, device=x_WN.device) == coin)[None], config.window, config.hide)
    with torch.inference_mode():
        inferred: Tensor = module(x_WN[None], known_WN[None], mask)
    return inferred[0, -1, coin]


def live(name: str, coins: int, block: int, times: int, device: str) -> Row:
    """One window of a preset: blocks, and one coin at a time."""
    module = Masked(preset(name, coins), torch.Generator().manual_seed(2)).eval().to(device)
    x, known = market(module.config.window, coins, device)
    best = seconds(lambda: infer_blocks(module, x, known, block), times, device)
    sample = torch.arange(0, coins, NAIVE_EVERY)
    naive(module, x, known, 0)
    began = time.perf_counter()
    slowly = torch.stack([naive(module, x, known, coin) for coin in sample.tolist()]).cpu()
    slow = (time.perf_counter() - began) * coins / len(sample)
    newest = torch.tensor([len(x) - 1])
    alone = next(infer_rows(module, x, known, newest, rotating(coins, 1)[sample]))[0].cpu()[sample]
    return {
        "preset": name,
        "device": device,
        "window": module.config.window,
        "parameters": sum(weight.numel() for weight in module.parameters()),
        "ms": round(best * 1e3, 2),
        "naive ms": round(slow * 1e3, 1),
        "ratio": round(slow / best, 1),
        "error": float(f"{float((alone - slowly).abs().max()):.1e}"),
    }


def bulk(coins: int, block: int, times: int) -> list[Row]:
    """The published size on a GPU: windows a second by rotating blocks, and the seconds of the quality report."""
    module = Masked(preset("published", coins), torch.Generator().manual_seed(2)).eval().to("cuda")
    plans = (
        ("bulk, rotating blocks", rotating(coins, block), BULK_WINDOWS, BULK_PASS),
        ("quality report, each coin alone", rotating(coins, 1), REPORT_STEPS * coins, REPORT_PASS),
    )
    rows: list[Row] = []
    for what, plan, windows, in_pass in plans:
        steps = max(1, round(windows / len(plan)))
        x, known = market(module.config.window + steps - 1, coins, "cuda")
        ends = torch.arange(module.config.window - 1, len(x))
        batch = max(1, in_pass // len(plan))

        def work(
            x: Tensor = x, known: Tensor = known, ends: Tensor = ends, plan: Tensor = plan, batch: int = batch
        ) -> None:
            for _ in infer_rows(module, x, known, ends, plan, batch):
                pass

        best = seconds(work, times, "cuda")
        rows.append(
            {
                "what": what,
                "steps": steps,
                "windows": steps * len(plan),
                "seconds": round(best, 2),
                "windows/s": round(steps * len(plan) / best),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coins", type=int, default=111)
    parser.add_argument("--block", type=int, default=8)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    coins, block, times = options.coins, options.block, options.times
    parts = [[live(name, coins, block, times, "cpu") for name in PRESETS]]
    if torch.cuda.is_available():
        parts += [[live(name, coins, block, 10 * times, "cuda") for name in PRESETS], bulk(coins, block, times)]
    print(json.dumps(parts) if options.json else "\n\n".join(table(part) for part in parts))


if __name__ == "__main__":
    main()
