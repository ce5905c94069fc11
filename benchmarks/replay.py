"""The replay's speed and its exactness: the reference rule through the real engine, beside the numpy floor.

    python -m benchmarks.replay --data DIR --workload w2|w3 [--json]

DIR holds w2/ or w3/ with {ts,open,high,low,close,volume}.npy: ts seconds of the candle's open [T], the others [T, N].
The rule: at each close, d = a coin's one-slice return minus the mean of the others'. Buy 6 % of equity where d < -0.4 %
and nothing is held, sell all where d > 0.2 %. Orders fill at the next open, sells first, then buys in order of coin;
a buy that the cash does not cover with its fee of 0.1 % is refused. Quantities are on steps of 1e-8.
Load and conversion of the data are not counted. Stepping visits every slice, skipping passes over those the rule with
wide limits (buy below -0.5 %, sell above 0.5 %: it trades on less than one slice in a hundred) has no opinion on.
"""

import argparse
import json
import resource
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from backtest.simulate import Delays, Replay, Venue
from benchmarks.tables import Row, table
from bot.core.engine import Setup
from bot.core.fills import FillModel
from bot.core.market import MINUTE_MS, Floats, Instrument, Mask, Panel
from bot.core.planner import Planner
from bot.core.risk import Limits
from bot.core.strategy import Block, View

CASH, FEE, SHARE = 1_000_000.0, 0.001, 0.06
WIDE = -0.005, 0.005
NOBODY = np.zeros(0, dtype=np.int64)
NO_LIMITS = Limits(
    exposure_max=10.0,
    daily_loss_max=1.0,
    drawdown_max=1.0,
    volatility_max=0.0,
    stop_loss=0.0,
    sane_candles_min=1,
    orders_per_day_max=1_000_000,
)


class Rule:
    """Buys what fell behind the others, sells what ran ahead."""

    wants_forecast = False
    wants_volatility = False
    warmup = 2
    rows = 2

    def __init__(self, coins: int, buy_below: float = -0.004, sell_above: float = 0.002) -> None:
        share = (coins - 1) / coins  # own return minus the mean of the others' = (own - mean of all) / share
        self._buy_below, self._sell_above = buy_below * share, sell_above * share
        self._moved = np.empty(coins)
        self._part = np.full(coins, 1.0 / coins)
        self._coins = coins

    def targets(self, view: View) -> Floats | None:
        close = view.window.close
        moved = np.divide(close[-1], close[-2], out=self._moved)
        mean, held = moved.dot(self._part), view.held
        buys = sells = NOBODY
        if moved[moved.argmin()] < mean + self._buy_below:
            falls = (moved < mean + self._buy_below).nonzero()[0]
            buys = falls[(falls[:, None] != held).all(axis=1)]
        if len(held):
            sells = held[moved[held] > mean + self._sell_above]
        if not len(buys) and not len(sells):
            return None
        targets = np.full(self._coins, np.nan)
        targets[buys] = SHARE
        targets[sells] = 0.0
        return targets

    def quiet(self, block: Block) -> Mask:
        """No coin beyond either threshold."""
        mean = block.returns.mean(axis=1)
        falls = block.returns.min(axis=1) < mean + self._buy_below
        found: Mask = ~(falls | (block.returns.max(axis=1) > mean + self._sell_above))
        return found

    def explain(self, view: View, at: int) -> str:
        return "deviation"


def load(folder: Path) -> Panel:
    """A workload as a panel; the fields are mapped, not copied."""
    fields = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("open", "high", "low", "close", "volume")]
    opened, high, low, close, volume = (np.ascontiguousarray(field) for field in fields)
    symbols = tuple(f"A{at:03}/USDT" for at in range(close.shape[1]))
    open_ms = np.load(folder / "ts.npy") * 1000
    return Panel(symbols, MINUTE_MS, open_ms, opened, high, low, close, volume, np.ones(close.shape, dtype=np.bool_))


def replay(panel: Panel, rule: Rule) -> Replay:
    """The rule on an exchange that fills at the open, for 0.1 %."""
    step = Decimal("1e-8")
    rules = tuple(Instrument(symbol, Decimal("1e-5"), step, step, Decimal(0), Decimal(0)) for symbol in panel.symbols)
    costs = FillModel(Decimal(10), "quote", Decimal(0), Decimal(0), Decimal(1))
    planner = Planner(trade_min=0.0, notional_margin=1.0, funding="exchange")
    setup = Setup(panel.symbols, panel.interval_ms, "USDT", 5_000, 20_000, 2, NO_LIMITS, planner)
    return Replay(panel, 1, setup, rule, Venue(rules, costs, Delays()), Decimal(int(CASH)))


def floor(panel: Panel) -> tuple[int, float]:
    """The rule straight on arrays, no work on quiet slices: fills and final equity."""
    opens, closes = list(panel.open), list(panel.close)
    coins = len(panel.symbols)
    share = (coins - 1) / coins
    cash, held, fills = CASH, np.zeros(coins), 0
    orders: list[tuple[int, float]] = []
    for opened, before, close in zip(opens[1:], closes[:-1], closes[1:], strict=True):
        for at, quantity in orders:
            price = float(opened[at])
            cost = quantity * price * (1 + FEE)
            if quantity < 0:
                cash, held[at], fills = cash - quantity * price * (1 - FEE), 0.0, fills + 1
            elif cost <= cash:
                cash, held[at], fills = cash - cost, quantity, fills + 1
        moved = close / before
        mean = np.add.reduce(moved) / coins
        low, high = mean - 0.004 * share, mean + 0.002 * share
        orders = []
        if np.maximum.reduce(moved) > high:
            orders = [(at, -float(held[at])) for at in np.flatnonzero((moved > high) & (held > 0)).tolist()]
        if np.minimum.reduce(moved) < low:
            equity = cash + float(held @ close)
            wanted = np.flatnonzero((moved < low) & (held == 0)).tolist()
            orders += [(at, SHARE * equity / float(close[at])) for at in wanted]
    return fills, cash + float(held @ closes[-1])


def measure(panel: Panel, rule: Rule, skipping: str = "") -> dict[str, Any]:
    """One run of a rule, slice by slice unless it is to be skipping."""
    run = replay(panel, rule)
    began = time.perf_counter()
    if skipping:
        run.run_skipping()
    else:
        run.run()
    seconds = time.perf_counter() - began
    return {
        "candles": panel.close.size,
        "seconds": round(seconds, 3),
        "candles_per_second": round(panel.close.size / seconds),
        "fills": len(run.fills),
        "final_equity": round(run.engine.equity, 2),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--workload", default="w2", choices=["w2", "w3"])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    panel = load(options.data / options.workload)
    coins = len(panel.symbols)
    found = measure(panel, Rule(coins))
    if options.json:
        print(json.dumps(found))
        return
    began = time.perf_counter()
    fills, equity = floor(panel)
    seconds = time.perf_counter() - began
    rows: list[Row] = [
        {"what": "the rule, slice by slice", **found},
        {"what": "wide limits, slice by slice", **measure(panel, Rule(coins, *WIDE))},
        {"what": "wide limits, skipping ahead", **measure(panel, Rule(coins, *WIDE), "skipping")},
        {
            "what": "the rule, numpy alone",
            "candles": panel.close.size,
            "seconds": round(seconds, 3),
            "candles_per_second": round(panel.close.size / seconds),
            "fills": fills,
            "final_equity": round(equity, 2),
            "peak_mb": "",
        },
    ]
    print(table(rows))


if __name__ == "__main__":
    main()
