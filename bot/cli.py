"""The command line. People's text goes to stderr, `--json` puts one object on stdout.

Exit codes  0 done, 1 a check or a run failed, 2 wrong usage, 78 bad configuration, 75 try later, 74 input or
output. Everything heavy is imported inside the verb that needs it: `--help` answers at once.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from bot.command import Positive, Verb, as_json, config, say, sets, settings_of
from bot.research_verbs import backtest, lookahead, parity, sweep, walk_forward
from bot.train_verbs import train

# matrices of a hundred coins: BLAS threads would only fight the other threads for the cores
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

SPEED_MAX = 100_000.0
MINUTES_MAX = 1e6


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="lacuna-trader")
def main() -> None:
    """lacuna: infers each coin from all the others and trades the gap. Paper trading, no keys needed.

    \b
    lacuna demo                 watch it trade, offline, on a synthetic market
    lacuna run                  paper trading on Binance's public streams
    """


@main.command(cls=Verb)
@click.option("--candles", type=click.Path(path_type=Path), help="A candle folder; without it a synthetic market.")
@click.option(
    "--speed", type=Positive(SPEED_MAX), default=60.0, show_default=True, help="Minutes of market per minute."
)
@click.option(
    "--minutes",
    type=Positive(MINUTES_MAX, zero=True),
    default=0.0,
    help="Stop after this many minutes of wall time; 0: at Ctrl-C.",
)
@click.option(
    "--coins", type=click.IntRange(2, 2_000), default=30, show_default=True, help="Coins of the synthetic market."
)
@click.option("--seed", type=click.IntRange(0), default=7, show_default=True, help="Of the synthetic market.")
@click.option("--fault", "faults", multiple=True, metavar="F1@+120s/30s", help="A fault by its number, at a time.")
@click.option("--model", type=click.Path(path_type=Path), help="A model folder; without it one is fitted first.")
@config
@sets
@as_json
def demo(path: Path | None, sets: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Simulated exchange, paper daemon and status page in one process, offline.

    Example: lacuna demo --candles ../candles --speed 60 --minutes 30
    """
    from bot.demo import run_demo

    say(run_demo(settings_of(path, sets), live_table=not as_json, **options), as_json)


@main.command(cls=Verb)
@config
@sets
@as_json
def run(path: Path | None, sets: tuple[str, ...], as_json: bool) -> None:
    """The daemon: paper trading until it is told to stop (Ctrl-C or SIGTERM).

    Example: lacuna run --set storage.folder=data --set strategy.name=hold
    """
    from bot.run import run_daemon

    say(run_daemon(settings_of(path, sets)), as_json)


@main.command(cls=Verb)
@click.option("--port", type=click.IntRange(0, 65_535), default=9450, show_default=True)
@click.option("--candles", type=click.Path(path_type=Path), help="A candle folder; without it a synthetic market.")
@click.option(
    "--coins", type=click.IntRange(2, 2_000), default=30, show_default=True, help="Coins of the synthetic market."
)
@click.option("--seed", type=click.IntRange(0), default=7, show_default=True, help="Of the synthetic market.")
@click.option("--speed", type=Positive(SPEED_MAX), default=1.0, show_default=True, help="Minutes of market per minute.")
@click.option("--fault", "faults", multiple=True, metavar="F1@+120s/30s", help="A fault by its number, at a time.")
@as_json
def exchange(as_json: bool, **options: Any) -> None:
    """The simulated exchange alone: REST and websockets as Binance speaks them, on localhost.

    Example: lacuna exchange --port 9450 --speed 10 --fault F1@+120s/30s
    """
    from bot.demo import run_exchange

    say(run_exchange(**options), as_json)


@main.command(cls=Verb)
@click.option("--exchange", required=True, help="binance, bybit, bybit-linear, or any other that ccxt knows.")
@click.option("--symbols", required=True, metavar="BTC/USDT,ETH/USDT", help="The pairs, between commas.")
@click.option("--timeframe", default="1m", show_default=True, help="Of the candles: 1m, 5m, 1h.")
@click.option("--timerange", default="-", metavar="20240101-20240301", help="Days UTC, the last not included.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("candles"), show_default=True, help="The store.")
@click.option(
    "--source",
    type=click.Choice(("auto", "rest", "archive")),
    default="auto",
    show_default=True,
    help="auto: Binance's archives for whole months and days, REST for the rest.",
)
@click.option("--url", help="Another address of the exchange's REST, as of a simulated one.")
@click.option("--archive-url", help="Another address of Binance's archives.")
@as_json
def fetch(as_json: bool, **options: Any) -> None:
    """Candles of an exchange into a store. What is there is not fetched again: after a break, the same command goes on.

    Example: lacuna fetch --exchange binance --symbols BTC/USDT,ETH/USDT --timerange 20240101-20240301
    """
    from bot.fetching import fetch as fetch_candles

    say(fetch_candles(**options), as_json)


@main.command(cls=Verb)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--candles", required=True, type=click.Path(path_type=Path), help="A candle folder.")
@click.option("--steps", type=click.IntRange(4), help="Score so many slices, evenly spaced; without it all of them.")
@click.option("--coin", metavar="BTC/USDT", help="The one reported in full; without it bitcoin, or the first.")
@click.option(
    "--timerange",
    default="-",
    metavar="20241101-20250501",
    help="Of the test, for volatility: days UTC, the last not included; without it all that was not fitted on.",
)
@click.option("--report", type=click.Path(path_type=Path), help="An HTML page to write, its pictures beside it as PNG.")
@click.option("--intersect", is_flag=True, help="A model for other coins: score those that both have, at least 3.")
@as_json
def evaluate(
    model: Path,
    candles: Path,
    steps: int | None,
    coin: str | None,
    timerange: str,
    report: Path | None,
    intersect: bool,
    as_json: bool,
) -> None:
    """How good a model is on candles it was not fitted on, beside simpler ones.

    \b
    infers returns        hidden coins (lag 0) and whether it predicts, beside market, ridge and the Gaussians
    forecasts volatility  QLIKE, errors, direction, intervals, beside persistence, EWMA, GARCH and HAR

    \b
    Example: lacuna evaluate models/my-gaussian --candles ../candles --report quality.html
             lacuna evaluate models/my-sph-net --candles ../hours --timerange 20241101-20250501
    """
    from bot.evaluating import evaluate_any

    result, text = evaluate_any(model, candles, steps, coin, timerange, report, intersect)
    say(result, as_json, text)


@main.group()
def data() -> None:
    """Look into a candle store, check it, fill and empty it, make longer candles."""


@data.command("list", cls=Verb)
@click.argument("folder", type=click.Path(path_type=Path))
@as_json
def list_(folder: Path, as_json: bool) -> None:
    """Every series of a candle store: range, candles, gaps.

    Example: lacuna data list candles
    """
    from bot.data import list_series, table

    result = list_series(folder)
    say(result, as_json, table(result))


@data.command(cls=Verb)
@click.argument("folder", type=click.Path(path_type=Path))
@as_json
def verify(folder: Path, as_json: bool) -> None:
    """Duplicates, holes, off-grid times, impossible candles, changed files: a line each, and exit 1.

    A hole is a break nobody ever asked the exchange about; where it was asked and had no candle, that is its own gap.

    Example: lacuna data verify candles
    """
    from bot.data import verify_store

    result = verify_store(folder)
    lines = [one["problem"] for one in result["problems"]]
    say(result, as_json, "\n".join(lines) or f"{result['series']} series, nothing wrong")
    sys.exit(1 if lines else 0)


exchange_name = click.option("--exchange", help="The exchange, as the store's folder is called: binance.")


@data.command(cls=Verb)
@click.argument("origin", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@exchange_name
@click.option("--timeframe", help="Which of a store's timeframes to write out: 1m.")
@click.option("--symbol", "symbols", multiple=True, metavar="BTC/USDT", help="Only this one; may be repeated.")
@as_json
def convert(
    origin: Path, target: Path, exchange: str | None, timeframe: str | None, symbols: tuple[str, ...], as_json: bool
) -> None:
    """A folder of SYMBOL.parquet files, or a table of closes, into a candle store; or a store into such files.

    \b
    Example: lacuna data convert ../candles store --exchange binance
             lacuna data convert store files --exchange binance --timeframe 1m
    """
    from bot.data import convert as convert_candles

    say(convert_candles(origin, target, symbols or None, exchange, timeframe), as_json)


@data.command(cls=Verb)
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("timeframe")
@click.option("--from", "shorter", help="The timeframe to make it from; without it the shortest that fits.")
@exchange_name
@as_json
def resample(folder: Path, timeframe: str, shorter: str | None, exchange: str | None, as_json: bool) -> None:
    """5m, 15m, 1h or 1d candles from shorter ones in a store, beside them. They replace what is there.

    First open, highest high, lowest low, last close, sums. A candle with absent parts is made of the others if one of
    them traded, and is counted as partial; else it is left out, and so is one that reaches beyond what was fetched.

    Example: lacuna data resample candles 1h
    """
    from bot.data import resample_store

    say(resample_store(folder, timeframe, shorter, exchange), as_json)


@main.command(cls=Verb)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--session", type=int, help="One session; without it all of them.")
@as_json
def replay(folder: Path, session: int | None, as_json: bool) -> None:
    """Feed a recorded journal to a fresh engine: identical, or the first difference (exit 1); and check its books.

    Example: lacuna replay data
    """
    from bot.audit import audit
    from bot.edge.store import Store
    from bot.session import recover_state, replay_all

    with Store(folder) as store:
        found = dict(replay_all(store, session))
        problems = audit(store, recover_state(store)) if session is None else []
    if session is not None and not found:
        raise click.UsageError(f"{folder} has no session {session}")
    different = [one.first_difference for one in found.values() if not one.identical]
    result = {
        "compared": sum(one.compared for one in found.values()),
        "identical": not different,
        "first_difference": different[0] if different else None,
        "sessions": len(found),
        "problems": problems,
    }
    say(result, as_json)
    sys.exit(1 if different or problems else 0)


@main.command(cls=Verb)
@click.argument("folder", type=click.Path(path_type=Path), default=Path("data"))
@as_json
def status(folder: Path, as_json: bool) -> None:
    """What a data folder says: the last session, equity, positions, orders, notes. Reads, never writes.

    Example: lacuna status data
    """
    from bot.status import status_of, text_of

    found = status_of(folder)
    say(found, as_json, text_of(found))


@main.command("show-config", cls=Verb)
@config
@sets
@as_json
def show_config(path: Path | None, sets: tuple[str, ...], as_json: bool) -> None:
    """The settings in force: defaults, file, environment and command line together.

    Example: lacuna show-config --config config.toml
    """
    settings = settings_of(path, sets).model_dump(mode="json")
    lines = []
    for section, values in settings.items():
        pairs = values.items() if isinstance(values, dict) else [("", values)]
        lines += [f"{section}{'.' if key else ''}{key} = {json.dumps(value)}" for key, value in pairs]
    say(settings, as_json, "\n".join(lines))


for verb in (train, backtest, lookahead, parity, walk_forward, sweep):
    main.add_command(verb)


@main.command(cls=Verb)
@click.argument("verb", type=click.Choice(("pause", "resume", "reduce", "flatten", "halt")))
@click.argument("folder", type=click.Path(path_type=Path), default=Path("data"))
@click.option("--who", help="Who says so, for the journal; without it the login name.")
@as_json
def tell(verb: str, folder: Path, who: str | None, as_json: bool) -> None:
    """Tell a bot what to do, through its data folder. One that does not run obeys when it is started again.

    \b
    pause     no new positions              reduce, flatten   sell what is held
    halt      no orders of any kind         resume            ends all of these, and what a limit has latched

    Example: lacuna tell halt data
    """
    import getpass
    import time

    from bot.core.events import Verb as Order
    from bot.edge.operator import tell as leave

    if who is None:
        try:
            who = getpass.getuser()
        except (KeyError, OSError):
            who = f"user {os.getuid()}"  # a container may know no names
    path = leave(folder, Order(verb), who, time.time_ns())
    result = {"verb": verb, "who": who, "file": str(path)}
    say(result, as_json, f"{verb} is left in {folder}: the bot obeys within seconds, or at its next start")


if __name__ == "__main__":
    main()
