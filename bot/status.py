"""What a data folder says about its bot, read without disturbing it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bot.core.snapshot import Snapshot
from bot.edge.store import Store
from bot.session import recover_state

NOTES, ORDERS, FILLS = 10, 10, 10


def status_of(folder: Path) -> dict[str, Any]:
    """The newest session, the equity, what came last. Raises NoJournal for a folder without one."""
    with Store(folder) as store:
        sessions = store.sessions()
        equity = store.newest("equity", 1)
        newest = sessions[-1] if sessions else None
        state = recover_state(store)
        return {
            "folder": str(folder),
            "sessions": len(sessions),
            "session": newest.id if newest else None,
            "started_ms": newest.started_ms if newest else None,
            "ended": newest.exit if newest else None,
            "coins": len(newest.symbols) if newest else 0,
            "equity": equity[0] if equity else None,
            "positions": positions_of(state) if state else {},
            "orders": store.newest("orders", ORDERS),
            "fills": store.newest("fills", FILLS),
            "notes": store.newest("notes", NOTES),
        }


def positions_of(state: Snapshot) -> dict[str, dict[str, Any]]:
    """What is held, the largest first: quantity in coins, exact; value, entry price and gain in the quote asset."""
    marks = dict(zip(state.symbols, state.marks.tolist(), strict=True))
    rows = {}
    for held in state.holdings:
        quantity, cost = float(held.quantity), float(held.cost)
        value = quantity * marks[held.symbol]
        rows[held.symbol] = {
            "quantity": str(held.quantity),
            "value": value,
            "entry": cost / quantity,
            "gain": value - cost,
        }
    return dict(sorted(rows.items(), key=lambda row: -float(row[1]["value"])))


def text_of(status: dict[str, Any]) -> str:
    """The same for people."""
    if status["session"] is None:
        return f"{status['folder']}: nothing has run here yet"
    ended = status["ended"] or "running, or died"
    since = _time(status["started_ms"])
    lines = [f"{status['folder']}: session {status['session']} since {since}, {ended}, {status['coins']} coins"]
    if status["equity"]:
        point = status["equity"]
        lines.append(
            f"equity {point['equity']:,.2f} at {_time(point['open_ms'])}, cash {point['cash']:,.2f},"
            f" exposure {point['exposure']:.0%}, drawdown {point['drawdown']:.2%}, {point['risk']}"
        )
    for symbol, held in status["positions"].items():
        lines.append(
            f"{symbol:12} {held['quantity']:>18}  worth {held['value']:>12,.2f}  entered at {held['entry']:<12.6g}"
            f" gain {held['gain']:+,.2f}"
        )
    for order in status["orders"]:
        filled = f"{order['filled']} of {order['quantity']}"
        lines.append(
            f"{_time(order['created_ms'])}  {order['side']:4} {order['symbol']:12} {filled:>24}  {order['state']:9}"
            f" {order['reason']}"
        )
    lines += [
        f"{_time(note['now_ms'])}  {note['fault'] or '':4} {note['code']}: {note['text']}" for note in status["notes"]
    ]
    return "\n".join(lines)


def _time(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
