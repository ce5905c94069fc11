"""The verbs that fit a model on a folder of candles."""

from pathlib import Path

import click

from bot.command import Positive, Verb, as_json, say

candles = click.option("--candles", required=True, type=click.Path(path_type=Path), help="A candle folder.")
out = click.option("--out", required=True, type=click.Path(path_type=Path), help="The model folder to write.")
coverage = click.option(
    "--coverage", type=Positive(1.0), default=0.9, show_default=True, help="Coins with candles in at least this share."
)
seed = click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of weights and draws.")
device = click.option(
    "--device",
    type=click.Choice(("auto", "cpu", "cuda")),
    default="auto",
    show_default=True,
    help="auto is the GPU where there is one.",
)


@click.group()
def train() -> None:
    """Fit a model on a folder of candles."""


@train.command(cls=Verb)
@candles
@out
@coverage
@as_json
def gaussian(candles: Path, out: Path, coverage: float, as_json: bool) -> None:
    """The exponentially weighted Gaussian conditional: each coin from all the others, in closed form.

    Example: lacuna train gaussian --candles ../candles --out models/my-gaussian
    """
    from bot.research import train_model

    say(train_model("gaussian", candles, out, coverage), as_json)


@train.command(cls=Verb)
@candles
@out
@click.option(
    "--preset",
    default="coin-query",
    show_default=True,
    help="Kind and size: coin-query, coin-query-wide, small, base, published, published-past, published-raw.",
)
@click.option(
    "--scheme",
    type=click.Choice(("entries", "coins", "newest", "span", "blocks")),
    help="What is hidden in training; without it the preset's.",
)
@click.option("--steps", type=click.IntRange(1, 10_000_000), default=2_000, show_default=True, help="Of the optimiser.")
@click.option("--batch", type=click.IntRange(1, 1 << 20), help="Windows a step; without it the preset's.")
@click.option("--lr", type=Positive(1.0), help="The highest learning rate; without it the preset's.")
@seed
@click.option(
    "--also",
    multiple=True,
    metavar="DIR|synthetic",
    help="Earlier candles of any coins that teach the same weights (coin-query), or a synthetic market; again for more.",
)
@device
@coverage
@as_json
def masked(
    candles: Path,
    out: Path,
    preset: str,
    scheme: str | None,
    steps: int,
    batch: int | None,
    lr: float | None,
    seed: int,
    also: tuple[str, ...],
    device: str,
    coverage: float,
    as_json: bool,
) -> None:
    """A network that infers hidden coins; the same command goes on after a kill.

    What it writes on the way is in OUT.training: checkpoints, training.jsonl, TensorBoard. Under torchrun several
    processes train together.

    Example: lacuna train masked --candles ../candles --out models/my-masked --steps 2000
    """
    from bot.training import Asked, train_masked

    asked = Asked(candles, out, coverage, also, preset, scheme, steps, batch, lr, seed, device)
    result = train_masked(asked)
    if result is not None:
        say(result, as_json)


@train.command(cls=Verb)
@candles
@out
@click.option(
    "--preset",
    default="sph-net",
    show_default=True,
    help="sph-net, direct, published; or a baseline: har, har-clock, har-plus, har-panel, garch, egarch, ewma, ...",
)
@click.option("--symbols", default="", metavar="BTC/USDT,ETH/USDT", help="Of the candles; without it all with enough.")
@click.option("--tune", metavar="BTC/USDT", help="The coin that training ends on and that is scored; without it all.")
@click.option(
    "--timerange",
    default="-",
    metavar="20170801-20241101",
    help="UTC days, the second not included: nothing else is looked at.",
)
@click.option("--validation", default="", metavar="20240801", help="Its first day; without it the last 15 % of hours.")
@click.option(
    "--seeds", type=click.IntRange(1, 32), default=1, show_default=True, help="Networks that answer with their mean."
)
@seed
@click.option(
    "--walk-forward",
    type=click.IntRange(1, 1_000),
    metavar="FOLDS",
    help="First fit anew before each of so many stretches of the validation hours, and score what was never seen.",
)
@click.option(
    "--embargo",
    type=click.IntRange(0, 100_000),
    default=168,
    show_default=True,
    help="Hours between what a fold is fitted on and what it forecasts.",
)
@device
@as_json
def volatility(
    candles: Path,
    out: Path,
    preset: str,
    symbols: str,
    tune: str | None,
    timerange: str,
    validation: str,
    seeds: int,
    seed: int,
    walk_forward: int | None,
    embargo: int,
    device: str,
    as_json: bool,
) -> None:
    """A model of the next hour's volatility, of one coin or many; the same command goes on after a kill.

    Hours before validation teach, those of validation choose; both are said to have been seen. Of shorter candles the
    complete hours are made. What it writes on the way is in OUT.training: checkpoints, training.jsonl, TensorBoard, the
    forecasts of a walk forward. Under torchrun several processes train together.

    Example: lacuna train volatility --candles ../candles --out models/my-volatility --timerange -20241101
    """
    from bot.volatility_training import Asked, train_volatility

    named = tuple(symbols.split(",")) if symbols else ()
    asked = Asked(candles, out, preset, named, tune, timerange, validation, seeds, seed, walk_forward, embargo, device)
    found = train_volatility(asked)
    if found is not None:
        result, text = found
        say(result, as_json, text)
