"""`lacuna train` and `lacuna evaluate`: candles in, a model folder or a report out."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from bot.config import BadConfiguration
from bot.core.market import BadSymbol, Panel, pair
from bot.edge.candle_sources import source_of
from bot.edge.candles import BadCandles, covered, lifeless, load_panel
from bot.edge.columns import CoinsMissing
from bot.history import SHARED, intersected, say_remarks
from bot.progress import progress_bar
from bot.reporting import check_page
from models.checkpoint import load
from models.evaluate import evaluate
from models.intersection import Intersection
from models.train import train

SLICES_MIN = 200  # of fewer no deviation is known


def train_model(name: str, candles: Path, out: Path, coverage: float) -> dict[str, Any]:
    """Fits a model on the first 70 % of a candle folder, for the coins with enough candles, and saves it."""
    return dict(msgspec.to_builtins(train(name, enough_coins(candles, coverage), out)))


def enough_coins(candles: Path, coverage: float) -> Panel:
    """The coins of a candle folder with candles in at least this share of the slices; those that never move are said.

    BadCandles under two coins, or under SLICES_MIN slices.
    """
    panel = load_panel(candles)
    if len(panel) < SLICES_MIN:
        raise BadCandles(
            f"{candles}: {len(panel)} slices are too few to fit on, {SLICES_MIN} are the least: fetch more"
        )
    symbols = covered(panel, coverage)
    if len(symbols) < 2:
        raise BadCandles(
            f"{candles}: {len(symbols)} coins have candles in {coverage:.0%} of the slices: lower --coverage"
        )
    panel = panel.of(symbols)
    say_remarks(lifeless(panel))
    return panel


def evaluate_model(
    folder: Path,
    candles: Path,
    steps: int | None = None,
    coin: str | None = None,
    report: Path | None = None,
    intersect: bool = False,
) -> dict[str, Any]:
    """Scores a model folder on the last 15 % of a candle folder, beside the closed forms fitted on its first 70 %.

    `report` is an HTML page to write, with its pictures beside it; `intersect` scores a model for other coins on those
    that both have.
    """
    if report is not None:
        check_page(report)
    named = None if coin is None else _pair(coin)
    model = load(folder)
    if intersect:
        model = intersected(model, source_of(candles, None, None, None).symbols)
    try:
        panel = load_panel(candles, model.symbols)
    except CoinsMissing as why:
        raise CoinsMissing(f"{why}; {SHARED}") from None
    remarks = (model.remarks if isinstance(model, Intersection) else ()) + lifeless(panel)
    say_remarks(remarks)
    with progress_bar("evaluate") as told:
        found = evaluate(model, panel, steps, named, told)
    if report is not None:
        from bot.quality import write_quality  # matplotlib takes a second

        write_quality(found, report)
    return found.as_dict() | {"remarks": remarks}


def _pair(coin: str) -> str:
    try:
        return pair(coin)
    except BadSymbol as why:
        raise BadConfiguration([f"--coin: {why}"]) from why


def table(result: dict[str, Any]) -> str:
    """The report for people: the model and the baselines, lag 0 and lag 1; what follows a divergence; one coin."""
    named = [(result["architecture"] + " *", result), *result["baselines"].items()]
    reach = [one["steps"] for one in result["horizons"]]
    return "\n".join(
        (
            f"{result['coins']} coins, {result['steps']} slices never fitted on, {result['seconds']:.1f} s; * the model",
            "",
            f"{'':15}{'lag 0':>8}{'median':>8}{'min':>8}{'max':>8}{'strong':>8}{'weak':>6}{'lag 1':>8}{'R2':>8}{'inferred':>10}",
            *(_inference(name, scores) for name, scores in named),
            "",
            f"{'gap, then':15}"
            + "".join(f"{f'raw {steps}':>9}" for steps in reach)
            + "".join(f"{f'market {steps}':>11}" for steps in reach),
            *(_prediction(name, scores) for name, scores in named),
            "",
            f"{'|gap| above':15}{'side':>9}{'events':>9}{'days':>6}"
            + "".join(f"{f'after {steps}, % (t)':>18}" for steps in reach),
            *_events(result["event_study"]),
            "",
            _compared(result["comparison"]),
            "lag 0: correlation of the inferred with the actual return of the same slice; lag 1: with the next one;",
            "gap: inferred - actual, and its correlation with the return over the next slices, raw and less the market's;",
            "lagging: gap above, leading: gap below minus the threshold, then the return less the market's; t: by day;",
            "R2: error saved against inferring zero",
        )
    )


def _inference(name: str, scores: dict[str, Any]) -> str:
    lag0 = scores["lag0"]
    figures = "".join(_figure(lag0[key]) for key in ("mean", "median", "min", "max"))
    counts = f"{lag0['strong']:>8}{lag0['weak']:>6}"
    last = f"{_figure(scores['lag1']['mean'])}{_figure(scores['r2'])}{scores['inferred']:>10.1%}"
    return f"{name:15}{figures}{counts}{last}"


def _prediction(name: str, scores: dict[str, Any]) -> str:
    raw = "".join(_figure(one["raw"]["mean"], 9) for one in scores["horizons"])
    return f"{name:15}{raw}" + "".join(_figure(one["relative"]["mean"], 11) for one in scores["horizons"])


def _events(events: list[dict[str, Any]]) -> Iterator[str]:
    """A line for each threshold and side, what followed over every number of slices in it."""
    for (threshold, side), of in itertools.groupby(events, key=lambda one: (one["threshold"], one["side"])):
        found = [one for one in of if one["count"]]
        if found:
            after = "".join(_after(one) for one in found)
            yield f"{threshold:<15.1%}{side:>9}{found[0]['count']:>9,}{found[0]['days']:>6}{after}"


def _after(one: dict[str, Any]) -> str:
    relative = one["relative"]
    return f"{100 * relative['mean']:>10.4f} ({_figure(relative['t'], 5, 1)})"


def _compared(found: dict[str, Any]) -> str:
    accuracy, correlation = _figure(found["direction_accuracy"]), _figure(found["correlation"])
    rows = len(found["rows"])
    return f"{found['symbol']}, its last {rows} slices: direction accuracy{accuracy}, correlation{correlation} (--json has them)"


def _figure(value: float | None, width: int = 8, digits: int = 4) -> str:
    return f"{value:>{width}.{digits}f}" if value is not None else f"{'-':>{width}}"
