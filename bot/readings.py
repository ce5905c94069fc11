"""What the status page, the terminal and /readyz say of a running daemon, read from its parts."""

import math
from importlib.metadata import version
from typing import Any

import numpy as np

from bot.core.market import HOUR_MS, Side
from bot.daemon import Daemon
from bot.edge.forecaster import Forecaster
from bot.edge.volatility_work import VolatilityStatus
from bot.fates import Fate

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
        "model": settings.forecaster.model if daemon.architecture else "",
        "architecture": daemon.architecture,
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
        "divergences": _divergences(daemon),
        "divergences_ms": daemon.fates.open_ms or None,
        "faults": [
            {"fault": one.fault, "symbol": one.symbol, "text": one.text, "times": one.times}
            for one in daemon.faults.open
        ],
        "fault_counts": daemon.faults.counts,
        "notes": list(daemon.recent_notes)[::-1],
        "forecasts": _forecasts(daemon),
        "volatility": _volatility(daemon.forecaster, settings.forecaster.volatility),
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


def _forecasts(daemon: Daemon) -> dict[str, Any] | None:
    """Questions by what came of them, and the milliseconds that inferences take; None where nothing is asked."""
    forecaster = daemon.forecaster
    if forecaster is None or not (daemon.architecture or forecaster.asked):
        return None
    spent = forecaster.spent
    taken = {name: getattr(spent, name) * 1000 if spent else None for name in ("last", "p50", "p99")}
    return {
        "asked": forecaster.asked,
        "answered": forecaster.answered,
        "skipped": forecaster.skipped,
        "late": forecaster.late,
        "failed": forecaster.failed,
        "last_ms": taken["last"],
        "p50_ms": taken["p50"],
        "p99_ms": taken["p99"],
    }


def _volatility(forecaster: Forecaster | None, model: str) -> dict[str, Any] | None:
    """What is forecast of the running hour, the wildest coin first, and how such forecasts did; None without a model."""
    standing = forecaster.volatility if forecaster else None
    if standing is None:
        return None
    score = standing.score
    return {
        "model": model,
        "architecture": standing.architecture,
        "of_ms": standing.open_ms + HOUR_MS if standing.open_ms else None,
        "warm": standing.warm,
        "hours": standing.hours,
        "failed": standing.failed,
        "fallbacks": standing.fallbacks,
        "clamped": standing.clamped,
        "scored": score.hours,
        "qlike": _known(score.qlike),
        "qlike_har": _known(score.simple),
        "coverage": _known(score.coverage),
        "coins": _coins(standing),
    }


def _coins(standing: VolatilityStatus) -> list[dict[str, Any]]:
    order = np.argsort(-standing.forecast, kind="stable")  # those without a forecast come last, and are left out
    return [
        {
            "symbol": standing.symbols[at],
            "forecast": float(standing.forecast[at]),
            "realised": _known(float(standing.realised[at])),
            "fallback": bool(standing.fallback[at]),
        }
        for at in order.tolist()
        if math.isfinite(standing.forecast[at])
    ]


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _divergences(daemon: Daemon) -> list[dict[str, Any]]:
    """The strongest of the slice decided last, and what came of each."""
    return [
        {
            "symbol": one.symbol,
            "divergence": one.divergence,
            "inferred": one.inferred,
            "actual": one.actual,
            "expected": one.expected,
            "cost": one.cost,
            "fate": _fate(daemon, one),
            "why": one.why,
        }
        for one in daemon.fates.newest
    ]


def _fate(daemon: Daemon, one: Fate) -> str:
    """In a word: an order by how far it has come, else whether the coin is held."""
    order = daemon.engine.orders.get(one.client_id)
    if order is not None:
        buy = order.side is Side.BUY
        if order.filled:
            return "bought" if buy else "sold"
        if order.final:
            return f"{'buy' if buy else 'sell'} {order.state}"
        return "buying" if buy else "selling"
    if one.vetoed:
        return "vetoed"
    return "held" if one.symbol in daemon.engine.ledger.holdings else "left"
