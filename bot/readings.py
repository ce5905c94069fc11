"""What the status page, the terminal and /readyz say of a running daemon, read from its parts."""

from importlib.metadata import version
from typing import Any

import numpy as np

from bot.daemon import Daemon

STRONGEST = 8
ORDERS_SHOWN = 12
LATE_AFTER_INTERVALS = 2


def status_of(daemon: Daemon) -> dict[str, Any]:
    """The state of a run as plain values; the keys are those of the status page."""
    settings, engine = daemon.settings, daemon.engine
    about = {
        "mode": settings.mode,
        "version": version("lacuna-trader"),
        "exchange": settings.exchange.name,
        "strategy": settings.strategy.name,
        "model": settings.forecaster.model if daemon.has_model else "",
        "quote": settings.market.quote,
        "now_ms": daemon.clock.now_ms(),
        "ready": ready_of(daemon),
    }
    if not daemon.ready.is_set():
        return about
    return about | {
        "session": engine.session,
        "started_ms": daemon.started_ms,
        "equity": _equity(daemon),
        "risk": {
            "state": engine.risk.level.name,
            "causes": [
                {"code": one.code, "text": one.text, "symbol": one.symbol, "fault": one.fault}
                for one in engine.risk.causes
            ],
        },
        "feed": {
            "connections": int(daemon.feed.connected),
            "reconnects": max(0, daemon.feed.connections - 1),
            "last_candle_ms": daemon.feed.last_data_ms or None,
        },
        "positions": _positions(daemon),
        "orders": _orders(daemon),
        "slices": list(daemon.recent_slices)[::-1],
        "divergences": _strongest(daemon),
        "faults": [
            {"fault": one.fault, "symbol": one.symbol, "text": one.text, "times": one.times}
            for one in daemon.faults.open
        ],
        "fault_counts": daemon.faults.counts,
        "notes": list(daemon.recent_notes)[::-1],
        "inference_ms": daemon.forecaster.seconds * 1000 if daemon.forecaster else None,
        "decision_ms": daemon.pump.decision_seconds * 1000,
        "journal": {"rows": daemon.journal.rows, "waiting": daemon.journal.depth},
    }


def ready_of(daemon: Daemon) -> str:
    """Why the bot is not ready; "" when the last slice was decided in time."""
    if not daemon.ready.is_set():
        return "starting"
    engine = daemon.engine
    interval_ms = engine.setup.interval_ms
    behind = daemon.clock.now_ms() - engine.window.newest_ms - interval_ms
    if behind > LATE_AFTER_INTERVALS * interval_ms:
        return f"the newest slice closed {behind / 1000:.0f} s ago"
    if engine.risk.level:
        return engine.risk.reason()
    if len(engine.window) < engine.strategy.warmup:
        return f"{len(engine.window)} of {engine.strategy.warmup} slices of history"
    undecided = (engine.window.newest_ms - engine.decided_ms) // interval_ms
    return f"the last {undecided} slices were not decided" if undecided > 1 else ""


def _equity(daemon: Daemon) -> dict[str, Any]:
    ledger, risk = daemon.engine.ledger, daemon.engine.risk
    equity, cash = ledger.equity(), float(ledger.cash)
    return {
        "equity": equity,
        "cash": cash,
        "start": float(ledger.cash_start),
        "exposure": 1 - cash / equity if equity > 0 else 0.0,
        "drawdown": max(0.0, 1 - equity / risk.equity_peak) if risk.equity_peak > 0 else 0.0,
        "realised": float(ledger.realised),
        "fees": float(ledger.fees_value),
        "history": list(daemon.equity_curve),
    }


def _positions(daemon: Daemon) -> list[dict[str, Any]]:
    engine = daemon.engine
    at = {symbol: number for number, symbol in enumerate(engine.setup.symbols)}
    equity = engine.ledger.equity()
    rows = []
    for symbol, held in engine.ledger.holdings.items():
        mark, quantity, cost = float(engine.ledger.mark[at[symbol]]), float(held.quantity), float(held.cost)
        rows.append(
            {
                "symbol": symbol,
                "quantity": quantity,
                "entry": cost / quantity,
                "mark": mark,
                "weight": quantity * mark / equity if equity else 0.0,
                "profit": quantity * mark - cost,
                "opened_ms": held.opened_ms,
            }
        )
    return sorted(rows, key=lambda row: -float(row["weight"]))


def _orders(daemon: Daemon) -> list[dict[str, Any]]:
    newest = sorted(daemon.engine.orders, key=lambda order: -order.created_ms)[:ORDERS_SHOWN]
    return [
        {
            "symbol": one.symbol,
            "side": one.side,
            "quantity": float(one.quantity),
            "limit": float(one.limit) if one.limit is not None else None,
            "filled": float(one.filled),
            "state": one.state,
            "created_ms": one.created_ms,
            "reason": one.reason,
        }
        for one in newest
    ]


def _strongest(daemon: Daemon) -> list[dict[str, Any]]:
    """The largest divergences of the newest slice that has a forecast."""
    window = daemon.engine.window
    if len(window) < 3:
        return []
    rows, (returns, _) = window.divergences(2), window.returns(2)
    row = 1 if np.isfinite(rows[1]).any() else 0
    found = rows[row]
    order = np.argsort(-np.nan_to_num(np.abs(found)))[:STRONGEST]
    return [
        {
            "symbol": window.symbols[at],
            "divergence": float(found[at]),
            "inferred": float(found[at] + returns[row, at]),
            "actual": float(returns[row, at]),
        }
        for at in order
        if np.isfinite(found[at])
    ]
