"""What inferring every coin costs: the networks live, in bulk, and for the quality report.

    python -m benchmarks.inference [--coins 111] [--times 30] [--threads 2] [--device auto] [--json]

Every coin is inferred once of one window, as its preset does: blocks of 8 hidden together, or a coin query's one pass.
`p50 ms`, `p99 ms`: one live step, on one thread where the preset has one. `floor ms`: one matrix product of the same
number of operations, on the same threads. `naive ms` stands beside the published size: float32, one coin at a time, a
full pass for each, timed on every tenth coin in the same run; `ratio` is naive over p50. Weights are random: they cost
what trained ones cost. On a GPU follow slices and windows a second in bulk (a window is one hidden set's) and the
published quality report, 111 coins each hidden alone over 499 steps.
"""

import argparse
import json
import time

import torch
from msgspec.structs import replace

from benchmarks.flops import flops_of, product_seconds, seconds, wait
from benchmarks.market import network_of, table_of
from benchmarks.tables import Row, table
from models.architectures import NETWORKS, masked_windows
from models.masked import Config, Masked, hidden, in_bf16, plan_of
from models.network import Network
from models.presets import PRESETS, Preset
from models.processes import alone

LIVE = ("coin-query", "coin-query-wide", "small", "base", "published", "published-past")
SLOW = ("published",)  # seconds a step on a CPU
SLOW_TIMES = 3
NAIVE_EVERY = 10
BULK_SLICES, REPORT_SLICES = 2_000, 499


def live(name: str, preset: Preset, coins: int, times: int, threads: int, device: str) -> Row:
    """One window of a preset."""
    network, kind = network_of(preset, coins, device), NETWORKS[preset.architecture]
    rows = table_of(preset.config.window, coins, device)
    newest = torch.tensor([len(rows) - 1], device=device)
    used = threads if device == "cuda" or kind.is_slow(preset.config) else 1
    torch.set_num_threads(used)

    def step() -> None:
        kind.infer(network.module, preset.config, rows, newest).cpu()

    found = seconds(step, SLOW_TIMES if name in SLOW and device == "cpu" else times, device)
    middle = found[len(found) // 2]
    apart = network_of(preset, coins, "cpu")  # a compiled pass tells no operations
    on_cpu = table_of(preset.config.window, coins, "cpu")
    flops = flops_of(lambda: kind.infer(apart.module, preset.config, on_cpu, newest.cpu()))
    halved = isinstance(preset.config, Config) and in_bf16(preset.config, device)
    dtype = torch.bfloat16 if halved else torch.float32
    row: Row = {
        "preset": name,
        "device": device,
        "threads": used,
        "parameters": sum(weight.numel() for weight in network.module.parameters()),
        "GFLOP": round(flops / 1e9, 2),
        "p50 ms": round(middle * 1e3, 2),
        "p99 ms": round(found[min(len(found) - 1, int(0.99 * len(found)))] * 1e3, 2),
        "floor ms": round(product_seconds(flops, dtype, device) * 1e3, 2),
        "naive ms": "",
        "ratio": "",
    }
    if name.startswith("published"):
        slow = naive(network, coins, device)
        row |= {"naive ms": round(slow * 1e3, 1), "ratio": round(slow / middle, 1)}
    return row


def naive(network: Network, coins: int, device: str) -> float:
    """Seconds for every coin by a full pass of its own."""
    module, config = network.module, network.config
    assert isinstance(module, Masked)
    rows = table_of(config.window, coins, device)
    x_BWN, known_BWN = masked_windows(config, rows, torch.tensor([len(rows) - 1], device=device))
    sample = range(0, coins, NAIVE_EVERY)
    each = torch.eye(coins, dtype=torch.bool, device=device)

    def one(coin: int) -> None:
        module(x_BWN, known_BWN, hidden(each[coin : coin + 1], config.window, config.hide))

    one(0)
    wait(device)
    began = time.perf_counter()
    for coin in sample:
        one(coin)
    wait(device)
    return (time.perf_counter() - began) * coins / len(sample)


def bulk(name: str, coins: int, block: int, slices: int, times: int, device: str) -> Row:
    """Many slices of a preset, `block` coins hidden at a time, as a backtest infers them."""
    preset = PRESETS[name]
    preset = replace(preset, config=replace(preset.config, block=block))
    network, kind = network_of(preset, coins, device), NETWORKS[preset.architecture]
    rows = table_of(preset.config.window + slices, coins, device)
    asked = torch.arange(preset.config.window, len(rows), device=device)
    batches = network.batches

    def work() -> None:
        batches.run(lambda some: kind.infer(network.module, preset.config, rows, some), asked).cpu()

    best = seconds(work, times, device)[0]
    sets = len(plan_of(preset.config, coins, torch.device("cpu")))
    return {
        "preset": name,
        "hidden at a time": block,
        "slices": slices,
        "seconds": round(best, 3),
        "slices/s": round(slices / best),
        "windows/s": round(slices * sets / best),
    }


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coins", type=int, default=111)
    parser.add_argument("--times", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    device = alone(options.device).device.type
    coins, times = options.coins, options.times
    parts = [[live(name, PRESETS[name], coins, times, options.threads, device) for name in LIVE]]
    if device == "cuda":
        parts.append([bulk(name, coins, 8, BULK_SLICES, 3, device) for name in LIVE[2:]])
        parts.append([bulk("published", coins, 1, REPORT_SLICES, 3, device)])
    print(json.dumps(parts) if options.json else "\n\n".join(table(part) for part in parts))


if __name__ == "__main__":
    main()
