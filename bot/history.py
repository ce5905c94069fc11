"""The history a verb of research replays: which coins, which candles, from which slice on, checked before any work.

Coins     the model's; else those named on the command line; else those of market.symbols that the candles have; else all.
          Of coins that the command line does not name those are left out that have candles in less than half of the
          warm-up: that they would come was not known at the first decision.
Warm-up   the rows before the first decision come from before the range where the candles reach that far; where they do not,
          the first decision is later than asked for, and a remark says so.
Volatility  where decisions depend on forecasts of it, its model is part of the history, and its warm-up of the rows before.
Remarks   what is played otherwise than it may have been meant: a sentence each, on stderr and in the results.
"""

import difflib
from pathlib import Path

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from rich.console import Console

from backtest.forecasts import history_hash
from backtest.run import rows_needed
from bot.building import remarks_on, strategy_of
from bot.config import BadConfiguration, Settings
from bot.core.market import HOUR_MS, Panel
from bot.edge.candle_sources import EVER, source_of, timeframe_of
from bot.edge.candles import check_holes, covered, lifeless, load_panel, utc
from bot.edge.columns import CoinsMissing
from bot.edge.forecaster import check_universe
from bot.edge.manifest import Range
from bot.timerange import TimeRange
from bot.warming import Volatility, volatility_of
from models.checkpoint import digest, load
from models.intersection import Intersection
from models.model import BadModel, Model

COVERAGE = 0.5
MINUTE_MS = 60_000
SHARED = "--intersect takes the coins that both the model and the candles have"


class Asked(Struct, frozen=True):
    """What a verb of research is asked to replay. `symbols` are those of the command line, () for none.

    `intersect`: a model for another universe is played on the coins that it shares with the candles. `hours` is a folder
    that warms a volatility model up where the candles do not reach back far enough.
    """

    settings: Settings
    candles: Path
    model: Path | None
    span: TimeRange
    symbols: tuple[str, ...] = ()
    hole_max_minutes: float = 1_440.0
    intersect: bool = False
    hours: Path | None = None

    @property
    def exchange(self) -> str | None:
        """The settings' exchange, where the candles are a store that has it."""
        name: str = self.settings.exchange.name
        return name if (self.candles / name).is_dir() else None


class History(Struct, frozen=True, eq=False):
    """What is replayed: the rows from `first` on; those before warm up. `model_hash` is "" without a model.

    `volatility` is None where nothing decides on it.
    """

    settings: Settings
    panel: Panel
    first: int
    model: Model | None
    model_hash: str
    volatility: Volatility | None
    remarks: tuple[str, ...]

    @property
    def tried(self) -> dict[str, object]:
        """The models, by their hashes, for the list of trials."""
        return tried_models(self.model_hash, self.volatility)


def history_of(asked: Asked) -> History:
    """The candles of a range with what comes before it as warm-up.

    BadConfiguration and BadCandles say what does not fit before anything is computed.
    """
    model = _model(asked)
    symbols, remarks = universe_of(asked, model)
    if model:
        remarks += remarks_on(asked.settings, model)
    try:
        source = source_of(asked.candles, symbols, asked.exchange, None)
    except CoinsMissing as why:
        if model is None:
            raise
        raise CoinsMissing(f"{why}; {SHARED}") from None
    interval_ms = source.interval_ms
    settings = as_played(asked.settings, source.symbols, interval_ms)
    _check_account(settings)
    if model:
        _check_interval(asked, model, interval_ms)
    whole = source.extent(*EVER) or (0, 0)
    volatility, said = volatility_of(settings, source.symbols, interval_ms, whole[0], asked.hours)
    remarks += said
    reach = needed = rows_needed(settings, model.warmup if model else 0)
    if volatility:
        reach = max(needed, volatility.rows(interval_ms))
        needed = max(needed, volatility.rows_lacking(interval_ms))
    start_ms = _start(asked.span, fitted_on(model, volatility, interval_ms), whole, interval_ms, needed)
    inside = asked.span.start_ms is None or whole[0] <= start_ms < whole[1]
    load_from_ms = max(start_ms - reach * interval_ms, whole[0]) if inside else start_ms
    if volatility:
        load_from_ms = max(load_from_ms - load_from_ms % HOUR_MS, whole[0])  # an hour that begins before is none
        if load_from_ms > whole[0]:
            volatility = replace(volatility, before=None)
    panel = load_panel(asked.candles, symbols, load_from_ms, asked.span.stop_ms, exchange=asked.exchange)
    first = max(int(np.searchsorted(panel.open_ms, start_ms)), needed)
    _check_length(asked.span, len(panel) - first, needed, volatility is not None)
    if asked.span.start_ms is not None and panel.open_ms[first] > asked.span.start_ms:
        late = f"decided from {utc(int(panel.open_ms[first]))} on, not from {utc(asked.span.start_ms)}"
        remarks += (f"{late}: {needed} slices warm up, and the candles begin at {utc(whole[0])}",)
    if model is None and not asked.symbols:
        panel, left_out = _listed(panel, first)
        remarks += left_out
    check_holes(panel, int(asked.hole_max_minutes * MINUTE_MS))
    remarks += lifeless(panel)
    say_remarks(remarks)
    name = digest(asked.model) if model and asked.model else ""
    played = as_played(settings, panel.symbols, interval_ms)
    return History(played, panel, first, model, name, volatility and volatility.of(panel.symbols), remarks)


def tried_models(model_hash: str, volatility: Volatility | None) -> dict[str, object]:
    """What makes a trial another one beside its settings: the models, and the hours that warmed one up."""
    tried: dict[str, object] = {"model": model_hash}
    if volatility is not None:
        tried["volatility"] = volatility.model_hash
        if volatility.before is not None:
            tried["hours"] = history_hash(volatility.before)
    return tried


def universe_of(asked: Asked, model: Model | None) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """The coins to be loaded, None for all there are, and remarks.

    market.symbols say what the bot trades, not what a folder has: they are played as far as they are there.
    """
    if model is not None:
        if asked.symbols and not asked.intersect:
            _check_universe(asked.symbols, model)
        return model.symbols, ()
    wanted = asked.symbols or asked.settings.market.symbols
    if asked.symbols or not wanted:
        return wanted or None, ()
    there = source_of(asked.candles, None, asked.exchange, None).symbols
    kept = tuple(symbol for symbol in wanted if symbol in there)
    if not kept:
        text = f"none of the {len(wanted)} coins of market.symbols is among the candles"
        return None, (f"{text}: all {len(there)} of the candles are played",)
    remarks = []
    if len(kept) < len(there):
        remarks.append(f"played: {len(kept)} of {len(there)} coins, those of market.symbols; --symbols names others")
    if len(kept) < len(wanted):
        missing = ", ".join(symbol for symbol in wanted if symbol not in there)
        remarks.append(f"of market.symbols not among the candles: {missing}")
    return kept, tuple(remarks)


def intersected(model: Model, symbols: tuple[str, ...]) -> Model:
    """The model on the coins that it shares with these; itself where those are all of its own. BadModel under three."""
    return model if set(model.symbols) <= set(symbols) else Intersection(model, symbols)


def as_played(settings: Settings, symbols: tuple[str, ...], interval_ms: int) -> Settings:
    """The settings with the market that is replayed."""
    market = settings.market.model_copy(update={"symbols": symbols, "timeframe": timeframe_of(interval_ms)})
    return settings.model_copy(update={"market": market})


def say_remarks(remarks: tuple[str, ...]) -> None:
    """Remarks for people."""
    for remark in remarks:
        Console(stderr=True).print(remark, style="dim", markup=False, highlight=False, soft_wrap=True)


def _listed(panel: Panel, first: int) -> tuple[Panel, tuple[str, ...]]:
    """The coins that were there before the first decision: what comes later is not known then."""
    kept = covered(panel.rows(0, first), COVERAGE)
    if not kept:
        raise BadConfiguration(["--timerange: no coin has candles before the first decision: start later"])
    left_out = ", ".join(symbol for symbol in panel.symbols if symbol not in kept)
    text = f"not played, for want of candles before {utc(int(panel.open_ms[first]))}: {left_out}"
    return panel.of(kept), (text,) if left_out else ()


def _check_account(settings: Settings) -> None:
    """An account that could never trade is no backtest."""
    market = settings.market
    foreign = [symbol for symbol in market.symbols if not symbol.endswith(f"/{market.quote}")]
    if foreign:
        text = f"{foreign[0]} and {len(foreign) - 1} more are not quoted in it"
        raise BadConfiguration([f"market.quote {market.quote}: {text}: set it to theirs, or choose others"])
    if settings.planner.life_ms <= settings.account.latency_ms:
        text = "not above account.latency_ms: every order would be over before it is there"
        raise BadConfiguration([f"planner.life_ms {settings.planner.life_ms}: {text}"])


def _check_universe(symbols: tuple[str, ...], model: Model) -> None:
    try:
        check_universe(model.symbols, symbols)
    except BadModel as why:
        text = "leave this option out, or let --intersect play what both have"
        raise BadConfiguration([f"--symbols: {why}; {text}"]) from why


def _model(asked: Asked) -> Model | None:
    """The model that is played on, on the coins it shares with the candles where that is asked for."""
    folder = asked.model
    if not strategy_of(asked.settings).wants_forecast:
        return None
    if folder is None:
        name = asked.settings.strategy.name
        raise BadConfiguration([f"--model: the strategy {name} decides on forecasts: name a model folder"])
    if not folder.exists():
        near = difflib.get_close_matches(folder.name, _names_beside(folder), n=1)
        hint = f": did you mean {folder.with_name(near[0])}?" if near else ": `lacuna train gaussian` makes one"
        raise BadConfiguration([f"--model {folder}: there is no such folder{hint}"])
    model = load(folder, "cpu")  # live and in bulk the same to the bit; a bot on a GPU rounds otherwise
    if not asked.intersect:
        return model
    if asked.symbols:
        return model if set(model.symbols) == set(asked.symbols) else Intersection(model, asked.symbols)
    return intersected(model, source_of(asked.candles, None, asked.exchange, None).symbols)


def _names_beside(folder: Path) -> list[str]:
    return [one.name for one in folder.parent.iterdir()] if folder.parent.is_dir() else []


def _check_interval(asked: Asked, model: Model, interval_ms: int) -> None:
    if model.interval_ms != interval_ms:
        text = f"{timeframe_of(model.interval_ms)}, the candles of {asked.candles} are of {timeframe_of(interval_ms)}"
        raise BadConfiguration([f"--model {asked.model}: made for candles of {text}: give the right ones"])


class FittedOn(Struct, frozen=True):
    """What a replay's models know: candles up to the one opened at `until_ms`, as `said`; `todo` gives other models."""

    until_ms: int
    said: str
    todo: str


def fitted_on(model: Model | None, volatility: Volatility | None, interval_ms: int) -> FittedOn:
    """Of the two models what the one knows that was fitted on the later candles."""
    ours = model.fitted_ms if model else -1
    theirs = volatility.known_ms(interval_ms) if volatility else -1
    if theirs > ours:
        todo = "fit one on earlier hours (`lacuna train volatility --timerange`) and name it with forecaster.volatility"
        return FittedOn(theirs, f"the volatility model was fitted on candles up to {utc(theirs)}", todo)
    return FittedOn(ours, f"the model was fitted on candles up to {utc(ours)}", "fit it on earlier ones")


def _start(span: TimeRange, fitted_on: FittedOn, whole: Range, interval_ms: int, needed: int) -> int:
    """The first slice to be decided. Candles a model was fitted on prove nothing, so none of them is."""
    fitted_ms, fitted = fitted_on.until_ms, fitted_on.said
    stop_ms = whole[1] if span.stop_ms is None else min(span.stop_ms, whole[1])
    if stop_ms and stop_ms - interval_ms <= fitted_ms:
        ends = f"the candles end at {utc(stop_ms)}" if stop_ms == whole[1] else f"the range ends at {utc(stop_ms)}"
        text = f"{fitted} and {ends}, so that it knows all of them: give later candles, or {fitted_on.todo}"
        raise BadConfiguration([f"{span.option}: {text}"])
    if span.start_ms is None:
        return max(whole[0] + needed * interval_ms, fitted_ms + 1)
    if span.start_ms <= fitted_ms:
        text = f"{fitted}: what it earned on those says nothing; start later, or {fitted_on.todo}"
        raise BadConfiguration([f"{span.option}: {text}"])
    return span.start_ms


def _check_length(span: TimeRange, decided: int, needed: int, hours: bool) -> None:
    if decided < 2:
        more = "fetch more candles" if span == TimeRange() else "ask for a longer range, or for a later one"
        if hours:
            more += ", warm volatility up with --hours DIR, or set forecaster.volatility=har, which needs a week"
        text = f"{max(decided, 0)} slices are left to decide behind the {needed} that warm up, 2 are the least: {more}"
        raise BadConfiguration([f"{span.option}: {text}"])
