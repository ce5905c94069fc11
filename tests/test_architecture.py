"""The shape of the code, read from its imports."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
IMPURE = {"asyncio", "logging", "os", "random", "socket", "sqlite3", "threading", "time", "torch", "structlog", "ccxt"}
UPWARD = {
    "bot/core": ("bot.exchanges", "bot.edge", "bot.simulator", "bot.config", "strategies", "models", "backtest"),
    "bot/exchanges": ("bot.edge", "bot.simulator", "bot.config", "strategies", "models", "backtest"),
    "strategies": ("bot.exchanges", "bot.edge", "bot.simulator", "bot.config", "models", "backtest"),
    "models": ("bot.exchanges", "bot.edge", "bot.simulator", "bot.config", "strategies", "backtest"),
    "backtest": ("bot.simulator", "bot.daemon", "bot.demo", "bot.pump", "bot.cli"),
    "bot/edge": ("bot.simulator", "bot.daemon", "bot.cli", "strategies", "backtest"),
}


def imports(folder: str) -> list[tuple[Path, str]]:
    """(file, module) of every import below a folder."""
    found: list[tuple[Path, str]] = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found += [(path, alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                found.append((path, node.module or ""))
    return found


@pytest.mark.parametrize("folder", ["bot/core", "bot/exchanges"])
def test_what_decides_and_what_translates_is_pure(folder: str) -> None:
    """Core and codecs import no I/O, no clock, no randomness, no torch."""
    guilty = [(path, module) for path, module in imports(folder) if module.partition(".")[0] in IMPURE]
    assert not guilty


@pytest.mark.parametrize("folder", list(UPWARD))
def test_no_import_runs_back_up(folder: str) -> None:
    """Floors, from the ground: core and models, exchanges and strategies, edge, daemon and the rest."""
    guilty = [
        (path, module)
        for path, module in imports(folder)
        if any(module == above or module.startswith(above + ".") for above in UPWARD[folder])
    ]
    assert not guilty


def test_approved_orders_are_made_by_risk_alone() -> None:
    """`Approved(` stands in risk.py, and where a rested order is put back; nowhere else in the product."""
    makers = set()
    for folder in ("bot", "strategies", "models", "backtest"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Approved":
                    makers.add(path.relative_to(ROOT).as_posix())
    assert makers == {"bot/core/risk.py", "bot/core/paper.py"}
