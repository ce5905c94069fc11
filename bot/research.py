"""`lacuna train` and `lacuna evaluate`: candles in, a model folder or a report out."""

from pathlib import Path
from typing import Any

import msgspec

from bot.edge.candles import BadCandles, covered, load_panel
from models.checkpoint import load
from models.evaluate import evaluate
from models.train import train


def train_model(name: str, candles: Path, out: Path, coverage: float) -> dict[str, Any]:
    """Fits a model on the first 70 % of a candle folder, for the coins with enough candles, and saves it."""
    panel = load_panel(candles)
    symbols = covered(panel, coverage)
    if len(symbols) < 2:
        raise BadCandles(
            f"{candles}: {len(symbols)} coins have candles in {coverage:.0%} of the slices: lower --coverage"
        )
    return dict(msgspec.to_builtins(train(name, panel.of(symbols), out)))


def evaluate_model(folder: Path, candles: Path) -> dict[str, Any]:
    """Scores a model folder on the last 15 % of a candle folder, beside the closed forms fitted on its first 70 %."""
    model = load(folder)
    return evaluate(model, load_panel(candles, model.symbols)).as_dict()


def table(result: dict[str, Any]) -> str:
    """The report for people: the model and the baselines, lag 0 and lag 1."""
    lines = [
        f"{result['coins']} coins, {result['steps']} slices never fitted on, {result['seconds']:.1f} s",
        f"{'':12}{'lag 0':>8}{'median':>8}{'min':>8}{'max':>8}{'strong':>8}{'lag 1':>8}{'gap, next':>11}{'R2':>8}",
    ]
    rows = [(result["architecture"] + " *", result), *result["baselines"].items()]
    for name, scores in rows:
        lag0, lag1, after = scores["lag0"], scores["lag1"], scores["divergence_next"]
        figures = "".join(_figure(lag0[key]) for key in ("mean", "median", "min", "max"))
        r2 = _figure(scores["r2"])
        lines.append(f"{name:12}{figures}{lag0['strong']:>8}{_figure(lag1['mean'])}{_figure(after['mean'], 11)}{r2}")
    lines.append(
        "lag 0: correlation of the inferred with the actual return of the same slice; lag 1: with the next one;"
    )
    lines.append(
        "gap, next: of inferred - actual with the next return; R2: error saved against inferring zero; * the model"
    )
    return "\n".join(lines)


def _figure(value: float | None, width: int = 8) -> str:
    return f"{value:>{width}.4f}" if value is not None else f"{'-':>{width}}"
