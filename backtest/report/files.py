"""The report for programs: round trips and fills as CSV, every figure as strict JSON.

trades.csv  a line a round trip, `state` closed or open; then a line a coin whose trips leave something over (`state` rest: dust
            that a trip could not sell, see backtest/trips.py). `profit` over all lines is the account's profit.
fills.csv   beside it, a line a fill, in the order they came, with the exact decimals and the reason of its order.
Text        of exchanges and strategies never begins a formula when a spreadsheet opens the file.
Times       ISO 8601, UTC, milliseconds. Money in the quote asset.
Marks       each file begins as only ours do, so that a file of the same name that somebody else wrote can be told.
"""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from backtest.report.saving import save
from backtest.result import Result
from backtest.statistics import Statistics, Trip, as_dict
from bot.core.market import MONEY

TRADES = [
    "state",
    "symbol",
    "entered",
    "exited",
    "holding_s",
    "quantity",
    "entry",
    "exit",
    "stake",
    "fees",
    "slippage",
    "profit",
    "gain",
    "reason",
    "exit_reason",
]
FILLS = [
    "time",
    "decided",
    "symbol",
    "side",
    "quantity",
    "price",
    "value",
    "fee",
    "fee_asset",
    "order",
    "trade",
    "reason",
]
MADE_BY = {"made_by": "lacuna"}
MARKS = {
    "trades.csv": ",".join(TRADES) + "\n",
    "fills.csv": ",".join(FILLS) + "\n",
    "results.json": '{\n  "made_by": "lacuna",\n',
}
FORMULA = ("=", "+", "-", "@", "\t", "\r")
PENNY = 1e-9  # of the capital: what is left over below it is rounding


def foreign(folder: Path) -> list[str]:
    """The names among MARKS that stand in a folder and were not written by us."""
    return [name for name, mark in MARKS.items() if not _ours(folder / name, mark.encode())]


def _ours(path: Path, mark: bytes) -> bool:
    """Whether what is at `path` may be replaced: nothing, or a file that begins with our mark."""
    try:
        with path.open("rb") as file:
            return file.read(len(mark)) == mark
    except FileNotFoundError:
        return True
    except OSError:
        return False


def write_results(statistics: Statistics, path: Path) -> None:
    """The results file: `as_dict`, where a figure without a meaning is null."""
    told = msgspec.json.encode(MADE_BY | as_dict(statistics))
    save(path, msgspec.json.format(told, indent=2).decode() + "\n")


def write_trades(result: Result, statistics: Statistics, path: Path) -> None:
    """The round trips at `path`, and every fill in fills.csv beside it."""
    save(path, _csv(TRADES, [*map(_trip, statistics.trips), *_rests(statistics)]))
    save(path.with_name("fills.csv"), _csv(FILLS, _fills(result)))


def _trip(trip: Trip) -> list[object]:
    return [
        "closed" if trip.closed else "open",
        _text(trip.symbol),
        _iso(trip.entered_ms),
        _iso(trip.exited_ms) if trip.closed else "",
        trip.holding_ms / 1000,
        trip.quantity,
        trip.entry,
        trip.exit,
        trip.stake,
        trip.fees,
        trip.slippage,
        trip.profit,
        trip.gain,
        _text(trip.reason),
        _text(trip.exit_reason),
    ]


def _rests(statistics: Statistics) -> Iterable[list[object]]:
    told: dict[str, float] = defaultdict(float)
    for trip in statistics.trips:
        told[trip.symbol] += trip.profit
    for coin in statistics.coins:
        rest = coin.profit - told[coin.symbol]
        if abs(rest) > PENNY * statistics.capital:
            yield ["rest", _text(coin.symbol), *[""] * 9, rest, "", "", ""]


def _fills(result: Result) -> Iterable[list[object]]:
    orders = {order.client_id: order for order in result.orders}
    for fill in result.fills:
        order = orders.get(fill.client_id)
        yield [
            _iso(fill.time_ms),
            _iso(order.open_ms + result.panel.interval_ms) if order else "",
            _text(fill.symbol),
            str(fill.side),
            format(fill.quantity, "f"),
            format(fill.price, "f"),
            format(MONEY.multiply(fill.quantity, fill.price), "f"),
            format(fill.fee, "f"),
            _text(fill.fee_asset),
            _text(fill.client_id),
            _text(fill.trade_id),
            _text(order.reason) if order else "",
        ]


def _csv(columns: Iterable[str], rows: Iterable[list[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def _text(foreign: str) -> str:
    """Text that stays text: a spreadsheet would compute what begins like a formula."""
    return f"'{foreign}" if foreign.startswith(FORMULA) else foreign


def _iso(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
