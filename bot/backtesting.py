"""What `lacuna backtest`, `lookahead` and `parity` share: candles, range, model and settings, checked before any work."""

import contextlib
import difflib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct, to_builtins
from rich.console import Console
from rich.progress import Progress

from backtest.forecasts import Forecasts, history_hash, kept_ahead
from backtest.lookahead import Proof
from backtest.measure import judged
from backtest.result import Result
from backtest.run import play, rows_needed
from backtest.simulate import Progress as Told
from backtest.statistics import Statistics, as_dict
from backtest.summary import text_of
from backtest.trials import Trials
from bot.building import strategy_of
from bot.config import BadConfiguration, Settings
from bot.core.market import Panel
from bot.edge.candle_sources import EVER, source_of, timeframe_of
from bot.edge.candles import check_holes, covered, load_panel, utc
from bot.parity import compare
from bot.timerange import TimeRange
from models.checkpoint import digest, load
from models.model import Model

COVERAGE = 0.5
MINUTE_MS = 60_000
FEE_MAX = 0.01


class History(Struct, frozen=True, eq=False):
    """What is replayed: the rows from `first` on; those before warm up. `model_hash` is "" without a model."""

    settings: Settings
    panel: Panel
    first: int
    model: Model | None
    model_hash: str


def history_of(
    settings: Settings,
    candles: Path,
    model_folder: Path | None,
    span: TimeRange,
    hole_max_minutes: float,
    symbols: tuple[str, ...] = (),
) -> History:
    """The candles of a range with what comes before it as warm-up, for the model's coins, or `symbols`, or all.

    BadConfiguration and BadCandles say what does not fit before anything is computed.
    """
    model = _model(settings, model_folder)
    wanted = _universe(model, symbols)
    source = source_of(
        candles, wanted, settings.exchange.name if (candles / settings.exchange.name).is_dir() else None, None
    )
    settings = _at_interval(settings, source.interval_ms)
    _check_account(settings, source.symbols)
    if model and model.interval_ms != source.interval_ms:
        text = f"{timeframe_of(model.interval_ms)}, the candles of {candles} are of {timeframe_of(source.interval_ms)}"
        raise BadConfiguration([f"--model {model_folder}: made for candles of {text}: give the right ones"])
    whole = source.extent(*EVER)
    needed = rows_needed(settings, model.warmup if model else 0)
    start_ms = _start(span, model, whole[0] if whole else 0, needed * source.interval_ms)
    before_ms = start_ms - needed * source.interval_ms
    inside = whole is not None and whole[0] <= start_ms < whole[1]
    load_from_ms = max(before_ms, whole[0]) if whole is not None and inside else start_ms
    panel = load_panel(candles, wanted, load_from_ms, span.stop_ms, exchange=None, timeframe=None)
    first = max(int(np.searchsorted(panel.open_ms, start_ms)), needed)
    if wanted is None:
        panel = _listed(panel, first)
    check_holes(panel, int(hole_max_minutes * MINUTE_MS))
    if len(panel) - first < 2:
        text = f"{len(panel)} slices, of which {needed} are needed before the first decision"
        raise BadConfiguration([f"--timerange {span}: {text}: ask for a longer range"])
    return History(settings, panel, first, model, digest(model_folder) if model and model_folder else "")


def _listed(panel: Panel, first: int) -> Panel:
    """The coins that were there before the first decision: what comes later is not known then."""
    kept = covered(panel.rows(0, first), COVERAGE)
    left_out = [symbol for symbol in panel.symbols if symbol not in kept]
    if left_out:
        text = f"not played, for want of candles before {utc(int(panel.open_ms[min(first, len(panel) - 1)]))}: "
        Console(stderr=True).print(text + ", ".join(left_out), style="dim")
    if not kept:
        raise BadConfiguration(["--timerange: no coin has candles before the first decision: start later"])
    return panel.of(kept)


def _check_account(settings: Settings, symbols: tuple[str, ...]) -> None:
    """An account that could never trade is no backtest."""
    foreign = [symbol for symbol in symbols if not symbol.endswith(f"/{settings.market.quote}")]
    if foreign:
        text = f"{foreign[0]} and {len(foreign) - 1} more are not quoted in it"
        raise BadConfiguration([f"market.quote {settings.market.quote}: {text}: set it to theirs, or choose others"])
    if settings.planner.life_ms <= settings.account.latency_ms:
        text = "not above account.latency_ms: every order would be over before it is there"
        raise BadConfiguration([f"planner.life_ms {settings.planner.life_ms}: {text}"])


def _universe(model: Model | None, symbols: tuple[str, ...]) -> tuple[str, ...] | None:
    if model is None:
        return symbols or None
    if symbols and set(symbols) != set(model.symbols):
        raise BadConfiguration(
            [f"--symbols: the model infers {len(model.symbols)} coins together: leave this option out"]
        )
    return model.symbols


def _model(settings: Settings, folder: Path | None) -> Model | None:
    if not strategy_of(settings).wants_forecast:
        return None
    if folder is None:
        name = settings.strategy.name
        raise BadConfiguration([f"--model: the strategy {name} decides on forecasts: name a model folder"])
    if not folder.exists():
        near = difflib.get_close_matches(folder.name, _names_beside(folder), n=1)
        hint = f": did you mean {folder.with_name(near[0])}?" if near else ": `lacuna train gaussian` makes one"
        raise BadConfiguration([f"--model {folder}: there is no such folder{hint}"])
    return load(folder)


def _names_beside(folder: Path) -> list[str]:
    return [one.name for one in folder.parent.iterdir()] if folder.parent.is_dir() else []


def _at_interval(settings: Settings, interval_ms: int) -> Settings:
    market = settings.market.model_copy(update={"timeframe": timeframe_of(interval_ms)})
    return settings.model_copy(update={"market": market})


def _start(span: TimeRange, model: Model | None, first_ms: int, warm_up_ms: int) -> int:
    """The first slice to be decided. Candles the model was fitted on prove nothing, so none of them is."""
    fitted_ms = model.fitted_ms if model else 0
    if span.start_ms is None:
        return max(first_ms + warm_up_ms, fitted_ms + 1)
    if span.start_ms <= fitted_ms:
        text = f"the model was fitted on candles up to {utc(fitted_ms)}: what it earned on those says nothing"
        raise BadConfiguration([f"--timerange {span}: {text}; start later, or fit it on earlier candles"])
    return span.start_ms


def fee_of(text: str) -> float:
    """A fee as a share of a trade's value: "0.001" and "0.1%" are the same. BadConfiguration above one percent."""
    number, percent, rest = text.strip().partition("%")
    try:
        fee = float(number) / (100 if percent else 1)
    except ValueError:
        fee = float("nan")
    if rest or not 0 <= fee <= FEE_MAX:
        found = f"{fee:.0%} of every trade" if fee > FEE_MAX else "no fee"
        raise BadConfiguration([f"--fee {text}: is {found}: write it as a share, 0.0005, or as a percentage, 0.05%"])
    return fee


def run_backtest(
    settings: Settings,
    candles: Path,
    model: Path | None,
    span: TimeRange,
    report: Path | None,
    research: Path,
    seed: int,
    hole_max_minutes: float,
    symbols: tuple[str, ...],
) -> tuple[dict[str, Any], str]:
    """Replays, judges, writes the report; the figures for programs and for people."""
    check_report(report)
    history = history_of(settings, candles, model, span, hole_max_minutes, symbols)
    name = history_hash(history.panel)
    trials = Trials(research / "trials.sqlite")
    try:
        forecasts = forecasts_of(history, name, research)
        with progress_bar("replay") as progress:
            tried: dict[str, object] = {"model": history.model_hash}
            result = play(history.settings, history.panel, history.first, forecasts, tried=tried, progress=progress)
        figures = judged(result, name, trials, int(time.time() * 1000), np.random.default_rng(seed))
    finally:
        trials.close()
    if report is not None:
        write(result, figures, report)
    told = {"report": str(report) if report else None, "notes": result.notes}
    return as_dict(figures) | told, text_of(figures)


def run_lookahead(
    settings: Settings,
    candles: Path,
    model: Path | None,
    span: TimeRange,
    cuts: int,
    seed: int,
    hole_max_minutes: float,
    symbols: tuple[str, ...],
) -> tuple[dict[str, Any], str]:
    """The proof that nothing looks ahead, for programs and for people."""
    history = history_of(settings, candles, model, span, hole_max_minutes, symbols)
    proof = Proof(history.settings, history.panel, history.first, history.model, lambda: strategy_of(history.settings))
    with progress_bar("lookahead") as progress:
        found = proof.look(cuts, np.random.default_rng(seed), progress)
    lines = [f"{found.compared:,} forecasts, targets and orders compared at {found.cuts} cuts:"]
    lines.append("nothing looks ahead" if found.identical else found.first_difference)
    if found.restarted is not None:
        lines.append(
            f"a model started only as late as needed infers the same to a correlation of {found.restarted:.3f}"
        )
    return to_builtins(found), "\n".join(lines)


def run_parity(
    settings: Settings,
    candles: Path,
    model: Path | None,
    span: TimeRange,
    speed: float,
    hole_max_minutes: float,
    symbols: tuple[str, ...],
) -> tuple[dict[str, Any], str]:
    """Both worlds on the same candles, for programs and for people."""
    history = history_of(settings, candles, model, span, hole_max_minutes, symbols)
    if history.panel.interval_ms != MINUTE_MS:
        raise BadConfiguration([f"--candles {candles}: parity plays candles of 1m; give those"])
    hours = (len(history.panel) - history.first) / 60
    Console(stderr=True).print(f"the daemon trades {hours:.1f} hours at {speed:g} times real time ...", style="dim")
    found = compare(history.settings, history.panel, history.first, history.model, speed)
    counted = f"{found.slices:,} slices, {found.forecasts:,} forecasts, {found.targets:,} decisions"
    said = "paper and backtest are identical" if found.identical else found.first_difference
    return to_builtins(found), f"{counted}, {found.orders:,} orders, {found.fills:,} fills compared:\n{said}"


def forecasts_of(history: History, name: str, research: Path) -> Forecasts | None:
    """The model's forecasts for the whole history, made once and kept."""
    if history.model is None:
        return None
    with Console(stderr=True).status("forecasts ..."):
        return kept_ahead(history.model, history.model_hash, history.panel, name, research / "forecasts")


def write(result: Result, figures: Statistics, report: Path) -> None:
    """The report, and beside it the trades and the figures as files."""
    from backtest.report import write_report, write_results, write_trades  # plotly takes a second

    write_report(result, figures, report)
    write_trades(result, figures, report.with_name("trades.csv"))
    write_results(figures, report.with_name("results.json"))


def check_report(report: Path | None) -> None:
    if report is not None and (report.is_dir() or report.suffix != ".html" or not report.parent.is_dir()):
        raise BadConfiguration([f"--report {report}: name a file like report.html in a folder that exists"])


@contextlib.contextmanager
def progress_bar(what: str) -> Iterator[Told]:
    """A bar with the time left, on stderr; yields what is told (done, of)."""
    with Progress(console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=None)
        yield lambda done, of: shown.update(task, completed=done, total=of)
