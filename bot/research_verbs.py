"""The verbs of research: replays of history, and proofs that they can be believed."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bot.command import Positive, Verb, as_json, config, say, sets, settings_of

if TYPE_CHECKING:
    from bot.config import Settings
    from bot.history import Asked

UNIVERSE = "market.symbols"
BESIDE = "An HTML file; trades.csv, fills.csv and results.json in its folder, in place of an earlier report's."

ASKED = (
    click.option("--strategy", help="Its name; without it the settings' own."),
    click.option("--candles", required=True, type=click.Path(path_type=Path), help="A candle folder or store."),
    click.option(
        "--symbols",
        default="",
        metavar="BTC/USDT,ETH/USDT",
        help=f"Of the candles; without it the model's, else those of {UNIVERSE} that are there, else all.",
    ),
    click.option(
        "--timerange",
        default="-",
        metavar="20240101-20240201",
        help="UTC days, the second not included; ends may be open.",
    ),
    click.option(
        "--hole-max",
        type=Positive(1e7),
        default=1_440.0,
        show_default=True,
        help="Minutes a coin's candles may break off.",
    ),
    config,
    sets,
)
ACCOUNT = (
    click.option("--capital", type=Positive(1e12), help="What the account begins with."),
    click.option("--fee", metavar="0.1%", help="Of every trade: 0.1% or 0.001."),
)
MODEL = (
    click.option("--model", type=click.Path(path_type=Path), help="A model folder, where the strategy needs one."),
    click.option("--intersect", is_flag=True, help="A model for other coins: play those that both have, at least 3."),
)
HOURS = (
    click.option(
        "--hours",
        type=click.Path(path_type=Path),
        help="Candles of 1h or less from before those, to warm a volatility model up where they do not reach back.",
    ),
)
report = click.option("--report", type=click.Path(path_type=Path), help=BESIDE)
research = click.option(
    "--research",
    type=click.Path(path_type=Path),
    default=Path("research"),
    show_default=True,
    help="Where trials and forecasts are kept.",
)


def asks(verb: Callable[..., None]) -> Callable[..., None]:
    """Gives a verb the options that say what is replayed, and hands it their `Asked` in place of them."""

    @functools.wraps(verb)
    def asking(
        path: Path | None,
        sets: tuple[str, ...],
        strategy: str | None,
        candles: Path,
        symbols: str,
        timerange: str,
        hole_max: float,
        model: Path | None = None,
        intersect: bool = False,
        hours: Path | None = None,
        capital: float | None = None,
        fee: str | None = None,
        **own: Any,
    ) -> None:
        from bot.history import Asked
        from bot.timerange import parse

        settings = _chosen(path, sets, strategy, capital, fee)
        set_here = any(text.partition("=")[0] == UNIVERSE for text in sets)  # as good as --symbols: it must be there
        named = _pairs(symbols) or (settings.market.symbols if set_here else ())
        verb(Asked(settings, candles, model, parse(timerange), named, hole_max, intersect, hours), **own)

    return _with(asking, ASKED)


def on_account(verb: Callable[..., None]) -> Callable[..., None]:
    """Gives a verb that `asks` the options of the account it replays with."""
    return _with(verb, ACCOUNT)


def on_model(verb: Callable[..., None]) -> Callable[..., None]:
    """Gives a verb that `asks` the options of the model it replays with."""
    return _with(verb, MODEL)


def on_hours(verb: Callable[..., None]) -> Callable[..., None]:
    """Gives a verb that `asks` the option of the hours that warm up what it replays with."""
    return _with(verb, HOURS)


def _with(verb: Callable[..., None], options: tuple[Callable[..., Any], ...]) -> Callable[..., None]:
    for option in reversed(options):
        verb = option(verb)
    return verb


def _chosen(
    path: Path | None, sets: tuple[str, ...], strategy: str | None, capital: float | None, fee: str | None
) -> "Settings":
    """The settings with what the options say, above all others."""
    from bot.backtesting import fee_of

    above = []
    if strategy is not None:
        above.append(f"strategy.name={strategy}")
    if capital is not None:
        above.append(f"account.cash={capital}")
    if fee is not None:
        above.append(f"account.fee_bps={fee_of(fee) * 1e4!r}")
    settings: Settings = settings_of(path, (*sets, *above))
    return settings


def _pairs(text: str) -> tuple[str, ...]:
    """Pairs named with commas between."""
    from bot.core.market import BadSymbol, pair

    try:
        named = tuple(pair(name) for name in text.split(",") if name.strip())
    except BadSymbol as why:
        raise click.UsageError(f"--symbols: {why}") from why
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        raise click.UsageError(f"--symbols: named twice: {', '.join(twice)}")
    return named


@click.command(cls=Verb)
@asks
@on_account
@on_model
@on_hours
@report
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of bootstrap and random entries.")
@research
@as_json
def backtest(asked: "Asked", report: Path | None, seed: int, research: Path, as_json: bool) -> None:
    """Replay history through the daemon's own engine and judge the result beside hold and chance.

    Example: lacuna backtest --strategy masked-divergence --model models/mine --candles candles --report report.html
    """
    from bot.backtesting import run_backtest

    result, text = run_backtest(asked, report, research, seed)
    say(result, as_json, text)


@click.command(cls=Verb)
@asks
@on_model
@on_hours
@click.option("--cuts", type=click.IntRange(2, 1_000), default=10, show_default=True, help="Slices to cut at.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the other futures.")
@as_json
def lookahead(asked: "Asked", cuts: int, seed: int, as_json: bool) -> None:
    """Replace everything after a slice: no decision at or before it may move (exit 1, with the first that does).

    Example: lacuna lookahead --model models/mine --candles candles --timerange 20240101-20240102
    """
    from bot.backtesting import run_lookahead

    result, text = run_lookahead(asked, cuts, seed)
    say(result, as_json, text)
    sys.exit(0 if result["identical"] else 1)


@click.command(cls=Verb)
@asks
@on_model
@click.option("--speed", type=Positive(1_000.0), default=60.0, show_default=True, help="Minutes of market per minute.")
@as_json
def parity(asked: "Asked", speed: float, as_json: bool) -> None:
    """The paper daemon and the backtester on the same candles, compared decision by decision (exit 1 at a difference).

    Example: lacuna parity --model models/mine --candles candles --timerange 20240101-20240102
    """
    from bot.backtesting import run_parity

    result, text = run_parity(asked, speed)
    say(result, as_json, text)
    sys.exit(0 if result["identical"] else 1)


@click.command("walk-forward", cls=Verb)
@asks
@on_account
@on_hours
@click.option(
    "--train",
    type=click.Choice(("gaussian", "ridge", "market")),
    help="The model fitted in every fold; without it the gaussian, where the strategy needs one.",
)
@click.option("--train-days", type=Positive(1e5), default=30.0, show_default=True, help="Fitted on, in every fold.")
@click.option("--test-days", type=Positive(1e5), default=7.0, show_default=True, help="Traded after it; also the step.")
@click.option(
    "--embargo",
    type=click.IntRange(0, 1_000_000),
    help="Slices between the two; without it what the strategy and the model look back.",
)
@click.option("--anchored", is_flag=True, help="Fit on all that came before, not on the last days alone.")
@report
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of bootstrap and random entries.")
@click.option("--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="Processes that fit folds.")
@research
@as_json
def walk_forward(
    asked: "Asked", report: Path | None, seed: int, workers: int, research: Path, as_json: bool, **cut: Any
) -> None:
    """Fit on the past, trade what follows, move on: one account over all test parts, judged as a backtest is.

    The model of a fold sees its train part alone. At a fold's end the model is changed and nothing is sold.

    Example: lacuna walk-forward --train gaussian --train-days 30 --test-days 7 --candles candles --workers 2
    """
    from bot.walking import Plan, run_walk_forward

    result, text = run_walk_forward(asked, Plan(**cut), report, research, seed, workers)
    say(result, as_json, text)


@click.command(cls=Verb)
@asks
@on_account
@on_model
@on_hours
@click.option(
    "--param",
    "parameters",
    multiple=True,
    metavar="SECTION.KEY=LOW:HIGH",
    help="Also LOW:HIGH:log, LOW:HIGH:int, A,B,C.",
)
@click.option(
    "--trials", type=click.IntRange(1, 100_000), default=100, show_default=True, help="In all, with those done before."
)
@click.option("--name", help="The study's, to go on with it; without it the strategy's.")
@click.option(
    "--validate",
    "held_out",
    type=click.FloatRange(0.05, 0.9),
    default=0.3,
    show_default=True,
    help="The last share of the range, held out of the search.",
)
@click.option(
    "--best", type=click.IntRange(1, 100), default=5, show_default=True, help="Trials that are replayed on it."
)
@click.option(
    "--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the draws, and of the bootstrap."
)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Processes. Draws depend on how many, since fewer results are known at each; not on timing.",
)
@research
@as_json
def sweep(asked: "Asked", research: Path, as_json: bool, **wanted: Any) -> None:
    """Search for better settings, then ask what the search was worth: a held-out part, trials counted, overfitting.

    The study is kept in the research folder: the same command goes on where it was stopped, or killed.

    Example: lacuna sweep --model models/mine --candles candles
    --param strategies.masked-divergence.divergence_threshold=0.004:0.02:log --trials 100 --workers 2
    """
    from bot.sweeping import Search, run_sweep

    result, text = run_sweep(asked, Search(**wanted), research)
    say(result, as_json, text)
