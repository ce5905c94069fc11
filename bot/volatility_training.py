"""`lacuna train volatility`: hours in, a volatility model's folder out, scored beside the baselines."""

import difflib
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bot.config import BadConfiguration
from bot.core.market import BadSymbol, Panel, pair
from bot.edge.candles import utc
from bot.history import say_remarks
from bot.timerange import BadRange, parse
from bot.volatility_hours import hours_in
from bot.volatility_results import table, write_forecasts
from models.checkpoint import check_target
from models.make_volatility import Wanted, make_volatility, training_of
from models.volatility_baselines import BASELINES, fit_baseline
from models.volatility_coverage import coverage
from models.walk_forward_volatility import Fit, Fitted, folds_of, walk_forward

VALIDATION_SHARE = 0.15
FORECASTS = "walk-forward.parquet"
MISSING_SAID = 5  # coins


class Asked(Struct, frozen=True):
    """The command's options. `symbols` empty: all; `validation` "": the last VALIDATION_SHARE; `folds` None: no walk."""

    candles: Path
    out: Path
    preset: str
    symbols: tuple[str, ...]
    tune: str | None
    timerange: str
    validation: str
    seeds: int
    seed: int
    walk_forward: int | None
    embargo: int
    device: str


class Trainer(Struct, frozen=True):
    """How a model is fitted here, and whether this is the process that writes."""

    fit: Fit
    leads: bool
    said: Callable[[str], None]


def train_volatility(asked: Asked) -> tuple[dict[str, Any], str] | None:
    """Fits on all that --timerange holds, and saves; the result and its table. What does not fit is said first.

    None in the processes of a torchrun that do not lead.
    """
    check_target(asked.out)
    trainer_of = _trainer(asked)
    asked = msgspec.structs.replace(asked, symbols=_named(asked.symbols))
    hours = hours_in(asked.candles, asked.symbols, parse(asked.timerange))
    tune = _tuned(asked, hours)
    validation_ms = _validation_ms(asked.validation, hours)
    panel = _usable(hours, validation_ms, asked.symbols, tune)
    wanted = Wanted(asked.preset, panel, validation_ms, tune, _command(asked))
    count, embargo = asked.walk_forward, asked.embargo
    folds = folds_of(panel, validation_ms, count, embargo, tune) if count else ()
    folder, walked = training_of(asked.out), None
    with trainer_of(tune) as trainer:
        if folds:
            fit, beside = trainer.fit, wanted.beside
            walked = walk_forward(panel, folds, embargo, fit, beside, folder, tune, trainer.said)
            if trainer.leads:
                write_forecasts(walked, panel, folder / FORECASTS)
        made = make_volatility(wanted, trainer.fit, asked.out, walked, trainer.leads, trainer.said)
    return None if made is None else (dict(msgspec.to_builtins(made)), table(made))


def _named(symbols: tuple[str, ...]) -> tuple[str, ...]:
    """Those that are not blank. BadConfiguration where all of them are, as in `--symbols ,`."""
    named = tuple(symbol for symbol in symbols if symbol.strip())
    if symbols and not named:
        raise BadConfiguration(["--symbols names no coin: write them as BTC/USDT,ETH/USDT, or leave it out for all"])
    return named


def _validation_ms(text: str, hours: Panel) -> int:
    """Where validation begins. BadRange, BadConfiguration."""
    if not text:
        return int(hours.open_ms[int((1.0 - VALIDATION_SHARE) * len(hours))])
    if "-" in text:
        raise BadRange(f"--validation {text} is no day: write the first one as 20240801")
    found = parse(text).start_ms
    first_ms, last_ms = int(hours.open_ms[0]), int(hours.open_ms[-1])
    if found is None or not first_ms < found <= last_ms:
        raise BadConfiguration(
            [f"--validation {text} is outside of the hours, {utc(first_ms)} to {utc(last_ms)}: name a day inside"]
        )
    return found


def _tuned(asked: Asked, hours: Panel) -> str | None:
    """The coin to end on, as pairs are written. BadConfiguration where it has no candles."""
    if asked.tune is None:
        return None
    try:
        symbol = pair(asked.tune)
    except BadSymbol as why:
        raise BadConfiguration([f"--tune: {why}"]) from why
    if symbol not in hours.symbols:
        near = difflib.get_close_matches(symbol, hours.symbols, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(hours.symbols[:5])}"
        raise BadConfiguration([f"--tune {symbol} is not among the candles: {hint}"])
    return symbol


def _usable(hours: Panel, validation_ms: int, named: Sequence[str], tune: str | None) -> Panel:
    """The coins with enough hours; others are named. BadConfiguration where none is left, or one that was asked for."""
    found = coverage(hours, validation_ms)
    needed = hours.symbols if named or not found.enough else (tune,)
    wrong = [f"{symbol}: {why}" for symbol, why in found.wrong.items() if symbol in needed]
    if wrong:
        raise BadConfiguration(wrong)
    lacking = sorted(found.missing, key=lambda symbol: -found.missing[symbol])
    some = ", ".join(f"{symbol} {found.missing[symbol]}" for symbol in lacking[:MISSING_SAID])
    others = f" and {len(lacking) - MISSING_SAID} coins more" if len(lacking) > MISSING_SAID else ""
    say_remarks(
        (
            *(f"left out: {symbol}: {why}" for symbol, why in found.wrong.items()),
            *((f"hours missing inside, which teach nothing: {some}{others}",) if lacking else ()),
        )
    )
    return hours.of(found.enough)


def _trainer(asked: Asked) -> Callable[[str | None], AbstractContextManager[Trainer]]:
    """How the preset is fitted, given the coin to end on. BadConfiguration where it is none, or cannot be fitted here."""
    if asked.preset in BASELINES:
        if "TORCHELASTIC_RUN_ID" in os.environ:
            raise BadConfiguration([f"--preset {asked.preset} is fitted by one process: leave out torchrun"])
        if asked.seeds > 1:
            raise BadConfiguration([f"--preset {asked.preset} draws nothing: leave out --seeds"])
        return lambda tune: nullcontext(Trainer(_fit_baseline(asked.preset), True, lambda line: None))
    try:
        from models.volatility_kinds import PRESETS
    except ModuleNotFoundError as why:
        if why.name != "torch":
            raise
        text = f"--preset {asked.preset}: networks need PyTorch: pip install 'lacuna-trader[torch]'"
        raise BadConfiguration([f"{text}; without it there are {', '.join(BASELINES)}"]) from why
    names = (*PRESETS, *BASELINES)
    if asked.preset not in names:
        near = difflib.get_close_matches(asked.preset, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
        raise BadConfiguration([f"no preset {asked.preset!r}: {hint}"])
    if asked.tune is not None and PRESETS[asked.preset].tune is None:
        raise BadConfiguration(
            [f"--preset {asked.preset} does not end on one coin: name it with --symbols, not --tune"]
        )
    return partial(_network, asked)


def _fit_baseline(name: str) -> Fit:
    return lambda seen, validation_ms, folder: Fitted(fit_baseline(name, seen, validation_ms))


@contextmanager
def _network(asked: Asked, tune: str | None) -> Iterator[Trainer]:
    """Fits networks on the device, with a bar that says how long it still takes."""
    import torch

    from models.processes import joined
    from models.train_volatility import train_volatility as train_network
    from models.volatility_kinds import preset

    name, given, seeds = asked.preset, preset(asked.preset), tuple(range(asked.seed, asked.seed + asked.seeds))
    console = Console(stderr=True)
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[loss]}"))
    with (
        joined(asked.device) as place,
        Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar,
    ):
        task = bar.add_task("", total=None, loss="", visible=place.leads)

        def told(step: int, of: int, loss: float) -> None:
            bar.update(task, completed=step, total=of, loss=f"loss {loss:.4g}")

        def said(line: str) -> None:
            if place.leads:
                console.print(line, style="dim", highlight=False)

        def fit(seen: Panel, validation_ms: int, folder: Path) -> Fitted:
            found = train_network(
                name, given, seen, validation_ms, folder, place, tune=tune, seeds=seeds, told=told, said=said
            )
            return Fitted(found.model, found.steps)

        try:
            yield Trainer(fit, place.leads, said)
        except torch.cuda.OutOfMemoryError as why:
            raise BadConfiguration([f"--device {asked.device}: out of memory: use cpu, or fewer coins"]) from why


def _command(asked: Asked) -> str:
    """The command that makes the same again."""
    words = ["lacuna", "train", "volatility"]
    for field in asked.__struct_fields__:
        value = getattr(asked, field)
        text = ",".join(value) if isinstance(value, tuple) else value
        if text not in (None, ""):
            words += [f"--{field.replace('_', '-')}", str(text)]
    return shlex.join(words)
