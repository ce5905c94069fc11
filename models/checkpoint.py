"""Model folders: config.json, model.safetensors, README.md. Arrays and JSON alone: loading one runs nothing from it.

config.json  format, architecture, symbols, interval_ms, fitted_ms, settings, inputs, data, metrics, weights_sha256.
Two kinds    models that infer returns, and models that forecast volatility; each is asked for by its own `load`.
Written      into a folder beside the target, synced, then renamed over it (P30): there is a whole folder or the old one.
Refused      as BadModel: a missing, cut or changed file, weights that are not finite or of another shape, an unknown
             architecture or format, a universe that is none, a path that leaves the folder (C7, S7, S8).
"""

import difflib
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as read_tensors
from safetensors.numpy import save as write_tensors

from bot.core.market import BadSymbol, pair
from models.baselines import Gaussian, Market, Ridge
from models.model import BadModel, Model
from models.volatility_loading import ARCHITECTURES as FORECASTERS
from models.volatility_loading import volatility_model
from models.volatility_model import VolatilityModel

__all__ = [
    "ARCHITECTURES",
    "BadModel",
    "Card",
    "Config",
    "Unwritable",
    "check_target",
    "config_of",
    "digest",
    "load",
    "load_volatility",
    "save",
]

FORMAT = 1
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
CONFIG_BYTES_MAX, WEIGHTS_BYTES_MAX = 4 << 20, 4 << 30
SYMBOLS_MAX = 4_096
SETTING_SHOWN_MAX = 1_000  # characters
GAUSSIAN, VOLATILITY = "lacuna train gaussian", "lacuna train volatility"
EITHER = f"{GAUSSIAN} (or volatility)"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

Tensors = Mapping[str, NDArray[Any]]
Loader = Callable[[tuple[str, ...], int, int, Mapping[str, Any], Tensors], Model]
CLOSED_FORMS: dict[str, Loader] = {"market": Market.load, "ridge": Ridge.load, "gaussian": Gaussian.load}
NETWORKS = ("coin-query", "masked")
ARCHITECTURES = (*CLOSED_FORMS, *NETWORKS, *FORECASTERS)
RETURNS = "one-step returns of closes; absent where no candle traded"
HOURS = "hours: open, high, low, close, volume; absent where no candle traded"


class Card(Struct, frozen=True):
    """What the folder tells people: the candles fitted on, scores by name, and the command that made it.

    `validation_ms` is the open of the first slice that chose and no longer taught; 0 where that is a share of them.
    """

    start_ms: int
    stop_ms: int
    slices: int
    metrics: dict[str, float | None] = {}
    limits: str = ""
    command: str = ""
    validation_ms: int = 0


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """config.json."""

    format: int
    architecture: str
    symbols: tuple[str, ...]
    interval_ms: int
    fitted_ms: int
    settings: dict[str, Any]
    inputs: str
    data: dict[str, int]
    metrics: dict[str, float | None]
    weights_sha256: str
    limits: str = ""
    command: str = ""


class Unwritable(BadModel):
    """A model folder cannot be made; the text says why not, and what to do."""

    exit_code = 74


def check_target(folder: Path) -> None:
    """Whether a model may and can be written there, to be asked before the work. BadModel, Unwritable say why not."""
    _check_name(folder)
    try:
        if folder.exists() and not (folder / CONFIG).is_file() and (not folder.is_dir() or any(folder.iterdir())):
            raise BadModel(f"{folder} holds something that is no model: name a new folder")
        above = next(one for one in folder.absolute().parents if os.path.lexists(one))
        with tempfile.TemporaryFile(dir=above):  # what is missing below it is made when the model is
            pass
    except OSError as why:
        raise Unwritable(f"{folder} cannot be written: {why.strerror}: name another folder") from why


def save(model: Model | VolatilityModel, folder: Path, card: Card) -> Config:
    """Writes the folder, in place of the model folder there, if any. BadModel for a path that is something else."""
    check_target(folder)
    weights = write_tensors({name: np.ascontiguousarray(array) for name, array in model.tensors().items()})
    config = Config(
        FORMAT,
        model.architecture,
        model.symbols,
        model.interval_ms,
        model.fitted_ms,
        model.settings(),
        HOURS if model.architecture in FORECASTERS else RETURNS,
        _range(card),
        card.metrics,
        hashlib.sha256(weights).hexdigest(),
        card.limits,
        card.command,
    )
    text = json.dumps(msgspec.to_builtins(config), indent=1, sort_keys=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        fresh.chmod(0o755)
        for name, content in ((WEIGHTS, weights), (CONFIG, text.encode()), (CARD, _readme(config).encode())):
            _write(fresh / name, content)
        _sync(fresh)
        _put(fresh, folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return config


def load(folder: Path, device: str = "auto") -> Model:
    """The model of a folder, which infers returns. BadModel says what is wrong. The closed forms run on the CPU always.

    `device` "auto" is the GPU where there is one.
    """
    config, tensors = _opened(folder, GAUSSIAN)
    if config.architecture in FORECASTERS:
        raise BadModel(f"{folder} forecasts volatility and infers no returns: name it with forecaster.volatility")
    try:
        return _loader(config.architecture, device)(
            config.symbols, config.interval_ms, config.fitted_ms, config.settings, tensors
        )
    except (BadModel, np.linalg.LinAlgError) as why:
        raise BadModel(f"{folder}: {why}") from why


def load_volatility(folder: Path, device: str = "auto") -> VolatilityModel:
    """The model of a folder, which forecasts volatility. BadModel says what is wrong; `device` as for `load`."""
    config, tensors = _opened(folder, VOLATILITY)
    if config.architecture not in FORECASTERS:
        raise BadModel(
            f"{folder} infers returns and forecasts no volatility: `lacuna train volatility` makes one that does"
        )
    try:
        return volatility_model(
            config.architecture,
            config.symbols,
            config.interval_ms,
            config.fitted_ms,
            config.settings,
            tensors,
            device,
        )
    except BadModel as why:
        raise BadModel(f"{folder}: {why}") from why


def config_of(folder: Path) -> Config:
    """What the folder says of itself. BadModel says what is wrong."""
    return _opened(folder, EITHER)[0]


def _opened(folder: Path, makers: str) -> tuple[Config, Tensors]:
    """A configuration that can be used and its weights; `makers` are the commands that make what is wanted."""
    config, weights = _read(folder, makers)
    if config.architecture not in ARCHITECTURES:
        near = difflib.get_close_matches(config.architecture, ARCHITECTURES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(ARCHITECTURES)}"
        raise BadModel(f"{folder}: no architecture {config.architecture!r}: {hint}")
    _check_universe(folder, config)
    try:
        return config, read_tensors(weights)
    except (SafetensorError, ValueError, KeyError, TypeError) as why:
        raise BadModel(f"{folder / WEIGHTS} is no safetensors file: {why}") from why


def _loader(architecture: str, device: str) -> Loader:
    """What makes a model of this architecture. BadModel where a network needs PyTorch and there is none."""
    if architecture in CLOSED_FORMS:
        return CLOSED_FORMS[architecture]
    try:
        from models import network, processes  # torch takes a second
    except ImportError as why:
        raise BadModel(f"{architecture} is a network and needs PyTorch: pip install 'lacuna-trader[torch]'") from why
    return partial(network.load, architecture, device=processes.alone(device).device)


def digest(folder: Path) -> str:
    """A name for what the folder infers: the SHA-256 of its configuration and weights, whatever command made it."""
    config, weights = _read(folder, EITHER)
    named = msgspec.structs.replace(config, command="")
    return hashlib.sha256(msgspec.json.encode(named, order="sorted") + hashlib.sha256(weights).digest()).hexdigest()


def _read(folder: Path, makers: str) -> tuple[Config, bytes]:
    """The configuration, and weights that are the ones it names."""
    _check_name(folder)
    if not folder.is_dir():
        raise BadModel(f"{folder} is no folder: `{makers} --candles DIR --out {folder}` makes one")
    text = _content(folder, CONFIG, CONFIG_BYTES_MAX)
    try:
        config = msgspec.json.decode(text, type=Config)
    except msgspec.DecodeError as why:
        raise BadModel(f"{folder / CONFIG} cannot be used: {why}") from why
    if config.format != FORMAT:
        raise BadModel(f"{folder} is of format {config.format}, this program reads {FORMAT}: fit the model again")
    weights = _content(folder, WEIGHTS, WEIGHTS_BYTES_MAX)
    found = hashlib.sha256(weights).hexdigest()
    if found != config.weights_sha256:
        raise BadModel(
            f"{folder / WEIGHTS} has SHA-256 {found[:12]}, {CONFIG} says {config.weights_sha256[:12]}:"
            " it is cut or changed, copy the folder again"
        )
    return config, weights


def _content(folder: Path, name: str, bytes_max: int) -> bytes:
    path = folder / name
    if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
        raise BadModel(f"{path} leads out of the folder")
    try:
        if path.stat().st_size > bytes_max:
            raise BadModel(f"{path} is larger than {bytes_max} bytes")
        return path.read_bytes()
    except FileNotFoundError:
        raise BadModel(f"{path} is missing: copy the whole folder, or fit the model again") from None
    except OSError as why:
        raise BadModel(f"{path} cannot be read: {why.strerror}") from why


def _check_name(folder: Path) -> None:
    """Refuses a folder whose own name is not plain (S8)."""
    if not NAME.fullmatch(folder.name) or "\0" in str(folder):
        raise BadModel(f"{folder.name!r} is no name for a model folder: use a-z, 0-9, '.', '_' and '-', at most 64")


def _check_universe(folder: Path, config: Config) -> None:
    symbols = config.symbols
    least = 1 if config.architecture in FORECASTERS else 2
    if not least <= len(symbols) <= SYMBOLS_MAX or len(set(symbols)) != len(symbols):
        raise BadModel(f"{folder / CONFIG}: symbols must be {least} to {SYMBOLS_MAX} different pairs")
    if config.interval_ms <= 0:
        raise BadModel(f"{folder / CONFIG}: interval_ms must be above 0, not {config.interval_ms}")
    try:
        odd = [symbol for symbol in symbols if pair(symbol) != symbol or "/" not in symbol]
    except BadSymbol as why:
        raise BadModel(f"{folder / CONFIG}: {why}") from why
    if odd:
        raise BadModel(f"{folder / CONFIG}: {odd[0]!r} is not written as BTC/USDT")


def _range(card: Card) -> dict[str, int]:
    found = {"start_ms": card.start_ms, "stop_ms": card.stop_ms, "slices": card.slices}
    return found | {"validation_ms": card.validation_ms} if card.validation_ms else found


def _readme(config: Config) -> str:
    scores = "\n".join(f"- {name}: {value}" for name, value in config.metrics.items() if value is not None)
    if config.architecture in FORECASTERS:
        does = f"forecasts the volatility of the next hour, fitted on {len(config.symbols)} coins"
    else:
        coins = len(config.symbols)
        does = f"infers the return of each of {coins} coins from the others, {config.interval_ms // 1000} s candles"
    return (
        f"# {config.architecture}\n\n"
        f"A lacuna model: {does}.\n\n"
        f"Fitted on {config.data['slices']} slices, opens {config.data['start_ms']} to {config.data['stop_ms']}"
        " (ms, UTC). What it says about those is no test of it.\n\n"
        f"Settings: `{json.dumps(_told(config.settings), sort_keys=True)}`\n\n{scores or 'No scores.'}\n\n"
        f"{config.limits}{bool(config.limits) * chr(10) * 2}"
        f"{bool(config.command) * f'Made by `{config.command}`.{chr(10) * 2}'}"
        f"Coins: {', '.join(config.symbols)}\n"
    )


def _told(settings: dict[str, Any]) -> dict[str, Any]:
    """Those that a reader can take in: tables of numbers stay in config.json."""
    return {name: value for name, value in settings.items() if len(json.dumps(value)) <= SETTING_SHOWN_MAX}


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _put(fresh: Path, folder: Path) -> None:
    """Renames the fresh folder to its place; an older model there is moved aside first and then removed."""
    aside = fresh.with_name(fresh.name + ".old")
    try:
        fresh.rename(folder)
    except OSError as why:
        if why.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        folder.rename(aside)
        fresh.rename(folder)
        shutil.rmtree(aside)
