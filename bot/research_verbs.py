"""The verbs of research: replays of history, and proofs that they can be believed."""

import sys
from pathlib import Path
from typing import Any

import click

from bot.command import Positive, Verb, as_json, config, say, sets, settings_of

candles = click.option("--candles", required=True, type=click.Path(path_type=Path), help="A candle folder or store.")
model = click.option("--model", type=click.Path(path_type=Path), help="A model folder, where the strategy needs one.")
timerange = click.option(
    "--timerange", default="-", metavar="20240101-20240201", help="UTC days, the second not included; ends may be open."
)
symbols = click.option(
    "--symbols", default="", metavar="BTC/USDT,ETH/USDT", help="Of the candles; without it all, or the model's."
)
strategy = click.option("--strategy", help="Its name; without it the settings' own.")
capital = click.option("--capital", type=Positive(1e12), help="What the account begins with.")
fee = click.option("--fee", metavar="0.1%", help="Of every trade: 0.1% or 0.001.")
hole_max = click.option(
    "--hole-max", type=Positive(1e7), default=1_440.0, show_default=True, help="Minutes a coin's candles may break off."
)
research = click.option(
    "--research",
    type=click.Path(path_type=Path),
    default=Path("research"),
    show_default=True,
    help="Where trials and forecasts are kept.",
)


def chosen(
    path: Path | None, sets: tuple[str, ...], strategy: str | None, capital: float | None, fee: str | None
) -> Any:
    """The settings with what the options say, above all others."""
    from bot.backtesting import fee_of

    above = []
    if strategy is not None:
        above.append(f"strategy.name={strategy}")
    if capital is not None:
        above.append(f"account.cash={capital}")
    if fee is not None:
        above.append(f"account.fee_bps={fee_of(fee) * 1e4!r}")
    return settings_of(path, (*sets, *above))


def pairs(text: str) -> tuple[str, ...]:
    """Pairs named with commas between."""
    from bot.core.market import BadSymbol, pair

    try:
        return tuple(pair(name) for name in text.split(",") if name.strip())
    except BadSymbol as why:
        raise click.UsageError(f"--symbols: {why}") from why


@click.command(cls=Verb)
@strategy
@model
@candles
@symbols
@timerange
@capital
@fee
@click.option("--report", type=click.Path(path_type=Path), help="An HTML file; trades.csv and results.json beside it.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of bootstrap and random entries.")
@hole_max
@research
@config
@sets
@as_json
def backtest(
    path: Path | None,
    sets: tuple[str, ...],
    strategy: str | None,
    capital: float | None,
    fee: str | None,
    model: Path | None,
    candles: Path,
    symbols: str,
    timerange: str,
    report: Path | None,
    seed: int,
    hole_max: float,
    research: Path,
    as_json: bool,
) -> None:
    """Replay history through the daemon's own engine and judge the result beside hold and chance.

    Example: lacuna backtest --strategy masked-divergence --model models/mine --candles candles --report report.html
    """
    from bot.backtesting import run_backtest
    from bot.timerange import parse

    settings = chosen(path, sets, strategy, capital, fee)
    result, text = run_backtest(
        settings, candles, model, parse(timerange), report, research, seed, hole_max, pairs(symbols)
    )
    say(result, as_json, text)


@click.command(cls=Verb)
@strategy
@model
@candles
@symbols
@timerange
@click.option("--cuts", type=click.IntRange(1, 1_000), default=10, show_default=True, help="Slices to cut at.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the other futures.")
@hole_max
@config
@sets
@as_json
def lookahead(
    path: Path | None,
    sets: tuple[str, ...],
    strategy: str | None,
    model: Path | None,
    candles: Path,
    symbols: str,
    timerange: str,
    cuts: int,
    seed: int,
    hole_max: float,
    as_json: bool,
) -> None:
    """Replace everything after a slice: no decision at or before it may move (exit 1, with the first that does).

    Example: lacuna lookahead --model models/mine --candles candles --timerange 20240101-20240102
    """
    from bot.backtesting import run_lookahead
    from bot.timerange import parse

    settings = chosen(path, sets, strategy, None, None)
    result, text = run_lookahead(settings, candles, model, parse(timerange), cuts, seed, hole_max, pairs(symbols))
    say(result, as_json, text)
    sys.exit(0 if result["identical"] else 1)


@click.command(cls=Verb)
@strategy
@model
@candles
@symbols
@timerange
@click.option("--speed", type=Positive(1_000.0), default=60.0, show_default=True, help="Minutes of market per minute.")
@hole_max
@config
@sets
@as_json
def parity(
    path: Path | None,
    sets: tuple[str, ...],
    strategy: str | None,
    model: Path | None,
    candles: Path,
    symbols: str,
    timerange: str,
    speed: float,
    hole_max: float,
    as_json: bool,
) -> None:
    """The paper daemon and the backtester on the same candles, compared decision by decision (exit 1 at a difference).

    Example: lacuna parity --model models/mine --candles candles --timerange 20240101-20240102
    """
    from bot.backtesting import run_parity
    from bot.timerange import parse

    settings = chosen(path, sets, strategy, None, None)
    result, text = run_parity(settings, candles, model, parse(timerange), speed, hole_max, pairs(symbols))
    say(result, as_json, text)
    sys.exit(0 if result["identical"] else 1)
