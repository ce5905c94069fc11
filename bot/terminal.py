"""The live table of `lacuna demo`: equity, what is held, the strongest divergences, what was done and why."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bot.daemon import Daemon
from bot.readings import status_of

EVERY_S = 0.5
ROWS = 8
WILDEST = 5


async def show(daemon: Daemon, console: Console) -> None:
    """Redraws until cancelled."""
    with Live(console=console, auto_refresh=False, transient=False) as live:
        while True:
            live.update(picture(status_of(daemon)), refresh=True)
            await asyncio.sleep(EVERY_S)


def picture(status: dict[str, Any]) -> Group:
    """One frame."""
    if "equity" not in status:
        return Group(Text(f"lacuna {status['version']}: {status['ready']} …", style="dim"))
    return Group(_headline(status), _tables(status), _divergences(status), _last_words(status))


def _headline(status: dict[str, Any]) -> Text:
    account = status["equity"]
    change = account["equity"] / account["start"] - 1
    parts = [
        ("lacuna ", "bold"),
        (f"{_clock(status['now_ms'])}  ", "dim"),
        (f"{account['equity']:,.2f} {status['quote']} ", "bold"),
        (f"{change:+.2%}  ", "green" if change >= 0 else "red"),
        (f"exposure {account['exposure']:.0%}  fees {account['fees']:,.2f}  drawdown {account['drawdown']:.2%}  ", ""),
        (status["risk"]["state"], "green" if status["risk"]["state"] == "RUNNING" else "yellow"),
    ]
    if status["ready"]:
        parts.append((f"  not ready: {status['ready']}", "yellow"))
    return Text.assemble(*parts)


def _tables(status: dict[str, Any]) -> Table:
    grid = Table.grid(padding=(0, 3))
    positions = _table("held", "share", "profit")
    for row in status["positions"][:ROWS]:
        colour = "green" if row["profit"] >= 0 else "red"
        positions.add_row(row["symbol"], f"{row['weight']:.1%}", Text(f"{row['profit']:+.2f}", style=colour))
    orders = _table("orders", "side", "state", "why")
    for row in status["orders"][:ROWS]:
        orders.add_row(row["symbol"], row["side"], row["state"], row["reason"])
    slices = _table("slice", "coins", "decided in")
    for row in status["slices"][:ROWS]:
        coins = f"{row['present']}/{row['total']}"
        decided = "–" if row["decision_s"] is None else f"{row['decision_s'] * 1000:.2f} ms"
        slices.add_row(_clock(row["open_ms"]), coins, decided)
    grid.add_row(positions, orders, slices)
    return grid


def _divergences(status: dict[str, Any]) -> Table:
    """The strongest divergences of the newest decided slice, and what came of each."""
    table = _table("strongest divergences", "inferred", "actual", "gap", "expected", "cost", "fate", "why")
    for row in status["divergences"][:ROWS]:
        values = [f"{row[name]:+.2%}" for name in ("inferred", "actual", "divergence")]
        values.append("–" if row["expected"] is None else f"{row['expected']:+.2%}")
        values.append(f"{row['cost']:.2%}" if row["cost"] else "none")
        colour = {"bought": "green", "buying": "green", "sold": "red", "selling": "red", "vetoed": "yellow"}
        table.add_row(row["symbol"], *values, Text(row["fate"], style=colour.get(row["fate"], "dim")), row["why"])
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="dim")
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="left" if name in ("side", "state", "fate", "why") else "right", no_wrap=True)
    return table


def _last_words(status: dict[str, Any]) -> Text:
    spent = f"decision {status['decision_ms']:.2f} ms"
    faults = "  ".join(f"{fault} x{times}" for fault, times in status["fault_counts"].items()) or "none"
    lines = [
        f"{spent}   faults: {faults}   journal: {status['journal']['rows']} rows",
        *_model(status),
        *_volatility(status),
    ]
    lines += [f"{_clock(note['time_ms'])} {note['code']}: {note['text']}"[:160] for note in status["notes"][:3]]
    return Text("\n".join(lines), style="dim")


def _model(status: dict[str, Any]) -> Iterator[str]:
    """A line on the model that infers, where there is one."""
    asked = status["forecasts"]
    if asked is None:
        return
    yield (
        f"model {status['model']} ({status['architecture']})   inference {_ms(asked['last_ms'])},"
        f" p50 {_ms(asked['p50_ms'])}, p99 {_ms(asked['p99_ms'])}   {asked['answered']} answered,"
        f" {asked['skipped']} skipped, {asked['late']} late, {asked['failed']} failed"
    )


def _volatility(status: dict[str, Any]) -> Iterator[str]:
    """A line on the model that forecasts volatility, where there is one: the wildest coins, and how it did of late."""
    told = status["volatility"]
    if told is None:
        return
    name = f"volatility {told['model']} ({told['architecture']})"
    if not told["coins"]:
        yield f"{name}   {'nothing is known yet' if told['warm'] else 'waits for past hours'}, {told['failed']} failed"
        return
    wildest = "  ".join(f"{row['symbol']} {row['forecast']:.2%}" for row in told["coins"][:WILDEST])
    parts = [f"{name}   from {_clock(told['of_ms'])[6:11]}: {wildest}", *_score(told)]
    yield "   ".join([*parts, f"{told['failed']} failed"])


def _score(told: dict[str, Any]) -> Iterator[str]:
    if told["scored"]:
        yield (
            f"QLIKE {told['qlike']:.3f}, har {told['qlike_har']:.3f} over {told['scored']} h,"
            f" {told['coverage']:.0%} inside"
        )


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} ms"


def _clock(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%m-%d %H:%M:%S")
