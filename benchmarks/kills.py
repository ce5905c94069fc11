"""SIGKILL at random moments of a trading run, again and again; after each death the books must be right.

    python -m benchmarks.kills [--kills 200] [--speed 120] [--seed 1] [--json]

Two real processes: `lacuna exchange` stays up, `lacuna run` trades on it, is killed between 0.5 and 9 s after its start
and started again on the same folder. After every kill the journal is audited (bot/audit.py): the ledger is the sum of
the fills, no slice is decided twice, nothing is ordered twice; at the end every session is replayed.
"""

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from msgspec import Struct

from benchmarks.tables import Row, table
from bot.audit import audit
from bot.edge.store import Store
from bot.edge.trouble import NoJournal
from bot.session import recover_state, replay_all

START_S, LOOK_S = 120.0, 0.1
LIVELY: dict[str, dict[str, Any]] = {
    "strategies": {
        "masked-divergence": {
            "divergence_threshold": 0.001,
            "min_return_threshold": 0.0,
            "round_trip_cost": 0.0,
            "confidence_min": 0.0,
            "base_position_size": 0.02,
            "max_position_size": 0.05,
            "window": 20,
        }
    },
    "market": {"window": 20, "soft_limit_ms": 15_000, "hard_limit_ms": 40_000},
    "risk": {
        "stale_after_ms": 55_000,
        "forecast_age_max_ms": 55_000,
        "cooldown_ms": 0,
        "daily_loss_max": 0.9,
        "drawdown_max": 0.95,
        "volatility_max": 0.0,
    },
    "storage": {"reserve_mib": 0, "checkpoint_slices": 30},
    "feed": {"silence_s": 120.0, "ping_every_s": 120.0, "pong_within_s": 240.0},
}


class Deaths(Struct):
    """What a series of kills left behind."""

    kills: int
    problems: list[str]
    sessions: int
    orders: int
    fills: int
    slices: int
    identical: bool


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_exchange(port: int, speed: float, coins: int) -> tuple[subprocess.Popen[bytes], list[str]]:
    """The exchange's process and its symbols, once it answers."""
    command = [sys.executable, "-m", "bot.cli", "exchange", "--port", str(port), "--speed", str(speed)]
    exchange = subprocess.Popen([*command, "--coins", str(coins)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v3/exchangeInfo", timeout=5) as answer:
                return exchange, [entry["symbol"] for entry in json.load(answer)["symbols"]]
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    exchange.kill()
    raise RuntimeError("the simulated exchange did not start")


def settings_file(folder: Path, port: int, speed: float, symbols: list[str]) -> Path:
    """A TOML file (JSON values are TOML values for what stands here) of a lively bot."""
    sections: dict[str, dict[str, Any]] = {
        **LIVELY,
        "exchange": {"rest_url": f"http://127.0.0.1:{port}", "stream_url": f"ws://127.0.0.1:{port}", "speed": speed},
        "forecaster": {"model": "market", "budget_s": 55.0},
        "web": {"port": -1},
    }
    sections["market"] = {**LIVELY["market"], "symbols": symbols}
    sections["storage"] = {**LIVELY["storage"], "folder": str(folder / "data")}
    lines = []
    for section, values in sections.items():
        if section == "strategies":
            section, values = "strategies.masked-divergence", values["masked-divergence"]
        lines.append(f"[{section}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    path = folder / "config.toml"
    path.write_text("\n".join(lines))
    return path


def run_until_killed(path: Path, seconds: float, trading: bool) -> None:
    """The daemon, for so long from its start, or with `trading` from when it trades, however slow the machine is."""
    command = [sys.executable, "-m", "bot.cli", "run", "--config", str(path)]
    log = path.with_suffix(".log").open("ab")
    begins = log.tell()
    bot = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        if trading:
            _wait_until_trading(bot, path.with_suffix(".log"), begins)
        bot.wait(seconds)
    except subprocess.TimeoutExpired:
        os.kill(bot.pid, signal.SIGKILL)
        bot.wait()
    else:
        raise RuntimeError(f"the bot ended by itself with {bot.returncode}: see {path.with_suffix('.log')}")
    finally:
        log.close()


def _wait_until_trading(bot: subprocess.Popen[bytes], log: Path, begins: int) -> None:
    """Until the log says so behind this byte, the bot ended by itself, or START_S are over."""
    for _ in range(int(START_S / LOOK_S)):
        if b'"event": "trading"' in log.read_bytes()[begins:] or bot.poll() is not None:
            return
        time.sleep(LOOK_S)


def kill_again_and_again(folder: Path, kills: int, speed: float, seed: int, longest: float = 9.0) -> Deaths:
    """The whole series in one folder."""
    rng, port = random.Random(seed), free_port()
    exchange, symbols = start_exchange(port, speed, coins=12)
    problems: list[str] = []
    try:
        path = settings_file(folder, port, speed, symbols)
        for kill in range(kills):
            run_until_killed(path, rng.uniform(0.5, longest), trading=kill % 2 == 1)
            try:
                with Store(folder / "data") as store:
                    problems += [f"after kill {kill + 1}: {text}" for text in audit(store, recover_state(store))]
            except NoJournal:
                continue  # it died before it had made one
            print(f"\rkill {kill + 1} of {kills}, {len(problems)} problems", end="", file=sys.stderr, flush=True)
    finally:
        exchange.kill()
        exchange.wait()
    with Store(folder / "data") as store:
        replayed = dict(replay_all(store))
        slices = sum(
            1 for session in replayed for row in store.rows(session) if type(row.event).__name__ == "Forecasted"
        )
        orders, fills = len(store.newest("orders")), len(store.newest("fills"))
    identical = all(one.identical for one in replayed.values())
    return Deaths(kills, problems, len(replayed), orders, fills, slices, identical)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--speed", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        began = time.perf_counter()
        found = kill_again_and_again(Path(name), options.kills, options.speed, options.seed)
        took = time.perf_counter() - began
    row: Row = {
        "kills": found.kills,
        "problems": len(found.problems),
        "sessions": found.sessions,
        "slices decided": found.slices,
        "orders": found.orders,
        "fills": found.fills,
        "replays": "identical" if found.identical else "DIFFERENT",
        "seconds": round(took),
    }
    print(json.dumps(row) if options.json else table([row]))
    for problem in found.problems[:20]:
        print(problem)
    sys.exit(1 if found.problems or not found.identical else 0)


if __name__ == "__main__":
    main()
