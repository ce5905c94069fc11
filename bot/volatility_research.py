"""`lacuna evaluate` of a model that forecasts volatility: hours in, scores beside every baseline out.

Range    what --timerange says; without it every hour after the last one that the model was fitted on.
Split    the model's own: baselines are fitted on its hours before validation, their factors on the validation. Of candles
         that begin later they have fewer, which is said, and the panel HAR that comes with lacuna stands beside them.
Coins    all of the candles that the model has an answer for, scored one by one; one of them in full.
Errors   BadConfiguration and BadCandles say what does not fit before anything is fitted.
"""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from bot.config import BadConfiguration
from bot.core.market import DAY_MS, HOUR_MS, BadSymbol, Floats, Integers, Panel, pair
from bot.edge.candles import lifeless, utc
from bot.history import say_remarks
from bot.progress import progress_bar
from bot.reporting import check_page
from bot.timerange import TimeRange
from bot.volatility_hours import hours_in
from models.checkpoint import Config, config_of, load_volatility
from models.evaluate_volatility import HOURS_MIN, Evaluation, Forecasts, Tested, forecasts_of, scored
from models.model import BadModel
from models.shipped_volatility import shipped_simple
from models.volatility_loading import NETWORKS
from models.volatility_model import VolatilityModel
from models.volatility_rivals import fit_rivals, left_out_remarks

FIRST = "BTC/USDT"
PANEL_HAR, SHIPPED = "har-panel", "har-shipped"
PICTURED_HOURS = 240


class Asked(Struct, frozen=True):
    """What is to be evaluated on which candles. `coin` None: bitcoin, or the first; `report`: an HTML page to write."""

    folder: Path
    candles: Path
    coin: str | None = None
    span: TimeRange = TimeRange()
    report: Path | None = None


class Attention(Struct, frozen=True, eq=False):
    """How much each hour of the window counted, oldest first: `shares` [R, W] of the forecasts of hours `open_ms` [R].

    W is 0 for a model without windows; NaN where the network was not asked.
    """

    open_ms: Integers
    shares: Floats


class Quality(Struct, frozen=True, eq=False):
    """The scores of every coin, and one coin in full: `attention` is of its last hours.

    `own_split`: whether the candles hold the hours that the model was fitted on, for the baselines. `left_out`: those
    that could not be fitted, by coin, and why.
    """

    architecture: str
    fitted_ms: int
    symbol: str
    coins: dict[str, Evaluation]
    tested: dict[str, Tested]
    attention: Attention
    own_split: bool
    left_out: dict[str, dict[str, str]]
    remarks: tuple[str, ...]
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """For programs: the coin in full on top, all of them below `coins`; what has no meaning is None."""
        told = msgspec.to_builtins(self.coins[self.symbol]) | {
            "architecture": self.architecture,
            "fitted_ms": self.fitted_ms,
            "coins": msgspec.to_builtins(self.coins),
            "own_split": self.own_split,
            "left_out": self.left_out,
            "remarks": list(self.remarks),
            "seconds": self.seconds,
        }
        return dict(msgspec.json.decode(msgspec.json.encode(told)))


def evaluate_folder(asked: Asked) -> Quality:
    """The scores of a model folder; with a report, its files as well."""
    began = time.perf_counter()
    if asked.report is not None:
        _check_report(asked.report)
    config, model = config_of(asked.folder), load_volatility(asked.folder)
    start_ms, validation_ms = _split(config, asked.folder)
    model, panel, remarks = _serving(model, hours_in(asked.candles, (), TimeRange(None, asked.span.stop_ms)))
    symbol = _named(asked, panel)
    test_ms = _test_start(asked, config.fitted_ms, panel, symbol)
    cut_short = _cut_short(start_ms, panel)
    remarks += cut_short + _warmed(model, panel, test_ms) + lifeless(panel)
    first, after = np.searchsorted(panel.open_ms, (start_ms, config.fitted_ms + 1)).tolist()
    seen = panel.rows(first, after)
    with progress_bar("evaluate") as told:
        told(0, 3)
        rivals = fit_rivals(seen, validation_ms)
        told(1, 3)
        bare = panel.symbols if cut_short else tuple(rivals.left_out.get(PANEL_HAR, ()))
        forecasts = forecasts_of(model, rivals.models | _shipped(bare, test_ms), panel, test_ms)
        told(2, 3)
        coins, tested, left = _scored(forecasts, symbol)
        attention = _attention(model, panel, symbol)
    remarks += left_out_remarks(rivals.left_out, len(panel.symbols)) + left
    say_remarks(remarks)
    found = Quality(
        config.architecture,
        config.fitted_ms,
        symbol,
        coins,
        tested,
        attention,
        not cut_short,
        rivals.left_out,
        remarks,
        time.perf_counter() - began,
    )
    if asked.report is not None:
        from bot.volatility_quality import write_quality  # matplotlib takes a second

        write_quality(found, asked.report)
    return found


def _check_report(report: Path) -> None:
    """Whether the page and its results.json can be written. BadConfiguration, ReportUnwritable."""
    check_page(report)
    from backtest.report import foreign  # plotly takes a second

    if "results.json" in foreign(report.parent):
        text = "results.json beside it would be replaced, and no report wrote that: name another folder"
        raise BadConfiguration([f"--report {report}: {text}"])


def _serving(model: VolatilityModel, panel: Panel) -> tuple[VolatilityModel, Panel, tuple[str, ...]]:
    """The model and the candles for the coins that it has an answer for. BadModel where there are none."""
    new = tuple(symbol for symbol in panel.symbols if symbol not in model.symbols)
    try:
        remarks = (f"not among the coins it was trained on: {_some(new)}",) if new else ()
        return model.of(panel.symbols), panel, remarks
    except BadModel:
        shared = tuple(symbol for symbol in panel.symbols if symbol in model.symbols)
        if not shared:
            raise
        return model.of(shared), panel.of(shared), (f"not scored, the model knows nothing of them: {_some(new)}",)


def _shipped(symbols: tuple[str, ...], test_ms: int) -> dict[str, VolatilityModel]:
    """The panel HAR that comes with lacuna, for coins without one of the model's own split; not if it has seen the test."""
    model = shipped_simple(symbols)
    return {SHIPPED: model} if model.symbols and model.fitted_ms < test_ms else {}


def _named(asked: Asked, panel: Panel) -> str:
    """The coin to be told of in full."""
    if asked.coin is None:
        return FIRST if FIRST in panel.symbols else panel.symbols[0]
    try:
        symbol = pair(asked.coin)
    except BadSymbol as why:
        raise BadConfiguration([f"--coin: {why}"]) from why
    if symbol not in panel.symbols:
        raise BadConfiguration([f"--coin {symbol}: not among the {len(panel.symbols)} coins: {_some(panel.symbols)}"])
    return symbol


def _some(symbols: tuple[str, ...]) -> str:
    return ", ".join(symbols[:10]) + (f" and {len(symbols) - 10} more" if len(symbols) > 10 else "")


def _test_start(asked: Asked, fitted_ms: int, panel: Panel, symbol: str) -> int:
    """The open of the test's first hour; the hour before it must be there too."""
    span, start_ms = asked.span, asked.span.start_ms
    if start_ms is not None and start_ms <= fitted_ms:
        begin = datetime.fromtimestamp(-(-(fitted_ms + HOUR_MS) // DAY_MS) * DAY_MS / 1000, UTC)
        text = f"the model was fitted on hours up to {utc(fitted_ms)} UTC, which are no test: begin at {begin:%Y%m%d}"
        raise BadConfiguration([f"{span.option}: {text}"])
    if start_ms is not None and start_ms <= panel.open_ms[0]:
        text = f"the candles begin at {utc(int(panel.open_ms[0]))} UTC, and the test needs hours before it: begin later"
        raise BadConfiguration([f"{span.option}: {text}"])
    test_ms = max(fitted_ms + HOUR_MS, int(panel.open_ms[0]) + HOUR_MS) if start_ms is None else start_ms
    end_ms = int(panel.open_ms[-1]) + HOUR_MS
    if test_ms >= end_ms:
        text = f"the candles end at {utc(end_ms)} UTC, before the test begins at {utc(test_ms)}: give later candles"
        raise BadConfiguration([f"{span.option}: {text}"])
    hours = int(np.isfinite(panel.close[np.searchsorted(panel.open_ms, test_ms) :, panel.symbols.index(symbol)]).sum())
    if hours < HOURS_MIN:
        text = (
            f"{hours} hours of {symbol} from {utc(test_ms)} to {utc(end_ms)} UTC are too few for"
            f" a test, {HOURS_MIN} are the least (the model was fitted on hours up to {utc(fitted_ms)}): give later"
            " candles or a longer range"
        )
        raise BadConfiguration([f"{span.option}: {text}"])
    return test_ms


def _warmed(model: VolatilityModel, panel: Panel, test_ms: int) -> tuple[str, ...]:
    """A remark where the candles begin too late for a network, which lets a simpler rule answer first."""
    before = int(np.searchsorted(panel.open_ms, test_ms))
    if model.architecture not in NETWORKS or before >= model.warmup:
        return ()
    hours = f"{before} hour{'s' * (before != 1)}"
    return (f"{hours} of candles before the test, {model.warmup} warm the model up: a simpler rule answers first",)


def _split(config: Config, folder: Path) -> tuple[int, int]:
    """The opens of the first hours of train and of validation. BadModel where the folder does not say."""
    start_ms, validation_ms = (config.data.get(name, 0) for name in ("start_ms", "validation_ms"))
    if not 0 < start_ms < validation_ms <= config.fitted_ms:
        text = "config.json does not say from when on it was fitted and validated: copy the folder again, or train anew"
        raise BadModel(f"{folder}: {text}")
    return start_ms, validation_ms


def _cut_short(start_ms: int, panel: Panel) -> tuple[str, ...]:
    """A remark where the candles begin after the hours that the model was fitted on."""
    first_ms = int(panel.open_ms[0])
    if first_ms <= start_ms:
        return ()
    begin = f"the candles begin at {utc(first_ms)} UTC, the model was fitted on hours from {utc(start_ms)} on"
    return (
        f"{begin}: baselines are fitted on fewer hours than it was, give earlier candles to compare on its own split",
    )


def _scored(forecasts: Forecasts, symbol: str) -> tuple[dict[str, Evaluation], dict[str, Tested], tuple[str, ...]]:
    """The coins that can be scored; those that cannot are said. BadModel where `symbol` is one of them."""
    coins, tested = {}, {}
    remarks: tuple[str, ...] = ()
    for one in forecasts.panel.symbols:
        try:
            coins[one], tested[one] = scored(forecasts, one)
        except BadModel as why:
            if one == symbol:
                raise
            remarks += (f"{one} is not scored: {why}",)
    return coins, tested, remarks


def _attention(model: VolatilityModel, panel: Panel, symbol: str) -> Attention:
    """What a network attended to for the coin's last hours; nothing for other models."""
    if model.architecture not in NETWORKS:
        return Attention(panel.open_ms[:0], np.empty((0, 0)))
    from models.volatility_network import VolatilityNetwork

    assert isinstance(model.predictor, VolatilityNetwork)
    begin = max(0, len(panel) - PICTURED_HOURS - model.warmup - 1)
    asked = panel.of((symbol,)).rows(begin, len(panel) - 1)  # the last hour's forecast is of an hour to come
    first = max(0, len(asked) - PICTURED_HOURS)
    return Attention(asked.open_ms[first:] + HOUR_MS, model.predictor.of((symbol,)).attention(asked, first)[:, 0])
