"""What `lacuna train volatility` shows and leaves: tables for people, a walk forward's forecasts as Parquet."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bot.core.market import Panel
from bot.edge.candles import BadCandles, utc
from models.evaluate_volatility import Score
from models.make_volatility import Made
from models.volatility_hindcast import outcome
from models.volatility_model import QUANTILES
from models.walk_forward_volatility import WalkedForward


def table(made: Made) -> str:
    """The scores on the validation hours, and those of the walk."""
    hours = f"{made.hours:,} hours from {utc(made.start_ms)} to {utc(made.stop_ms)}"
    coins = made.symbols[0] if len(made.symbols) == 1 else f"{len(made.symbols)} coins"
    head = f"{made.folder}: {made.architecture} of {coins}, {hours}, {made.steps:,} steps, {made.seconds:.1f} s"
    validation = f"validation from {utc(made.validation_ms)}"
    lines = [head, *_scores(validation, made.preset, made.validation, made.baselines)]
    walk = made.walk_forward
    if walk is not None:
        what = f"{walk.folds} fold{'s' * (walk.folds > 1)} from {utc(walk.start_ms)}, {walk.hours:,} hours never seen"
        lines += _scores(what, made.preset, walk.model, walk.baselines)
    return "\n".join((*lines, "", f"scores are of {made.scored}; * the model; digest {made.digest}"))


def _scores(what: str, name: str, own: Score, others: Mapping[str, Score]) -> list[str]:
    head = f"{'':16}{'QLIKE':>8}{'RMSE':>10}{'MAE':>10}{'MAPE':>8}{'R2':>8}{'direction':>11}"
    several = {f"{name} *": own} | dict(others)
    rows = (
        f"{key:16}{one.qlike:>8.4f}{one.rmse:>10.6f}{one.mae:>10.6f}{one.mape:>8.3f}{one.r2:>8.4f}{one.direction:>11.4f}"
        for key, one in several.items()
    )
    return ["", what, head, *rows]


def write_forecasts(walked: WalkedForward, panel: Panel, path: Path) -> None:
    """A row an hour and coin: what was forecast for it, by which fold, and what happened. BadCandles: no room."""
    own, coins = walked.hindcasts[""], len(panel.symbols)
    happened = outcome(panel, own.open_ms)
    columns = {
        "open_ms": np.repeat(own.open_ms, coins),
        "symbol": np.tile(panel.symbols, len(own)),
        "fold": np.repeat(walked.folds, coins),
        "actual": happened.actual.ravel(),
        "now": happened.now.ravel(),
    }
    columns |= {name: getattr(own, name).ravel() for name in ("volatility", "mean", "median")}
    columns |= {f"q{share:g}": own.quantiles[..., at].ravel() for at, share in enumerate(QUANTILES)}
    columns |= {f"volatility_{name}": one.volatility.ravel() for name, one in walked.hindcasts.items() if name}
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), unfinished)
        unfinished.replace(path)
    except OSError as why:
        raise BadCandles(f"{path} cannot be written: {why.strerror}: make room, then start again") from why
