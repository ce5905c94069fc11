"""The settings: read once from a TOML file and LACUNA__SECTION__KEY, checked, never changed after.

Every part receives its own section. An unknown key, a wrong type or two settings that contradict each
other stop the start with every error at once, each with its path (fault P17). `config.toml` in the
repository root shows every setting with its unit and reason.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from bot.core.market import TIMEFRAMES, BadSymbol, pair
from bot.core.planner import Planner
from bot.core.risk import Limits
from strategies import SETTINGS as STRATEGY_SETTINGS
from strategies import STRATEGIES

PREFIX = "LACUNA__"


class BadConfiguration(ValueError):
    """The settings cannot be used; `errors` says what to change, one line each."""

    exit_code = 78

    def __init__(self, errors: list[str]) -> None:
        self.errors = errors
        super().__init__("\n".join(errors))


class Section(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """A part's settings."""


class Exchange(Section):
    """Where candles come from. `speed` above 1 only against a simulated exchange."""

    name: Literal["binance"] = "binance"
    rest_url: str = Field("https://api.binance.com", pattern=r"^https?://[^/\s]+")
    stream_url: str = Field("wss://stream.binance.com:9443", pattern=r"^wss?://[^/\s]+")
    speed: float = Field(1.0, gt=0, le=10_000)

    @model_validator(mode="after")
    def _real_time_is_real(self) -> Self:
        if self.speed != 1.0 and "binance." in self.rest_url:
            raise ValueError("exchange.speed is for a simulated exchange: set it to 1, or rest_url to a local one")
        return self


class Market(Section):
    """The universe and the slices. Empty symbols: the model's own universe."""

    symbols: tuple[str, ...] = ()
    quote: str = "USDT"
    timeframe: str = "1m"
    soft_limit_ms: int = Field(5_000, ge=500)  # also the pause between two questions to REST
    hard_limit_ms: int = Field(20_000, gt=0)
    window: int = Field(240, ge=2, le=1_000)

    @field_validator("symbols")
    @classmethod
    def _pairs(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        try:
            pairs = tuple(pair(name) for name in names)
        except BadSymbol as why:
            raise ValueError(str(why)) from why
        twice = sorted({name for name in pairs if pairs.count(name) > 1})
        if twice:
            raise ValueError(f"named twice: {', '.join(twice)}")
        return pairs

    @field_validator("timeframe")
    @classmethod
    def _known(cls, timeframe: str) -> str:
        if timeframe not in TIMEFRAMES:
            raise ValueError(f"must be one of {', '.join(TIMEFRAMES)}")
        return timeframe

    @property
    def interval_ms(self) -> int:
        return TIMEFRAMES[self.timeframe]

    @model_validator(mode="after")
    def _limits_in_order(self) -> Self:
        if self.soft_limit_ms >= self.hard_limit_ms:
            raise ValueError("market.soft_limit_ms is not below market.hard_limit_ms: ask REST before giving up")
        if self.hard_limit_ms >= self.interval_ms:
            raise ValueError("market.hard_limit_ms is not below the timeframe: a slice must close before the next")
        for symbol in self.symbols:
            if not symbol.endswith(f"/{self.quote}"):
                raise ValueError(f"{symbol} is not quoted in market.quote {self.quote}")
        return self


class Feed(Section):
    """The websocket's patience, in exchange seconds."""

    silence_s: float = Field(15.0, gt=0)
    ping_every_s: float = Field(10.0, ge=1)
    pong_within_s: float = Field(10.0, gt=0)
    open_within_s: float = Field(10.0, gt=0)
    backoff_s: float = Field(1.0, gt=0)
    backoff_max_s: float = Field(60.0, gt=0)
    attempts_max: int = Field(20, ge=1, le=250)
    attempts_window_s: float = Field(300.0, ge=1)
    rotate_after_s: float = Field(82_800.0, gt=0)
    rotate_spread_s: float = Field(1_800.0, ge=0)
    frame_bytes_max: int = Field(1_048_576, gt=0)
    book_ticker: bool = True
    resync_every_s: float = Field(60.0, ge=1)
    rest_weight_share: float = Field(0.5, gt=0, le=1)


class Account(Section):
    """The paper account and its fills. Fees and spreads in basis points of the notional."""

    cash: float = Field(10_000.0, gt=0)
    fee_bps: float = Field(10.0, ge=0, le=100)
    fee_in: Literal["received", "quote"] = "received"
    spread_bps: float = Field(2.0, ge=0, le=200)
    slippage_bps: float = Field(0.0, ge=0, le=200)
    latency_ms: int = Field(150, ge=0, le=60_000)
    participation: float = Field(0.5, gt=0, le=1)

    @property
    def round_trip(self) -> float:
        """What buying and selling again costs, as a fraction: two fees, the spread once, the slippage twice."""
        return (2 * self.fee_bps + self.spread_bps + 2 * self.slippage_bps) / 1e4


class Forecaster(Section):
    """The model and its time budget. Empty model: the strategy needs none.

    `intersect`: a model for another universe runs on the coins that it shares with market.symbols.
    `warm_within_s`: what past hours for it may delay the start; later ones are taken while trading.
    `volatility`: what forecasts the next hour's: `pretrained`, `har`, a model folder, or empty for none.
    """

    model: str = ""
    volatility: str = "pretrained"
    intersect: bool = False
    budget_s: float = Field(20.0, gt=0)
    warm_within_s: float = Field(20.0, gt=0)


class Storage(Section):
    """Where the bot remembers. `checkpoint_slices`: slices between two checkpoints of the whole state."""

    folder: str = "data"
    checkpoint_slices: int = Field(360, ge=1)
    keep_days: int = Field(30, ge=1)
    lock_wait_s: float = Field(5.0, gt=0)
    reserve_mib: int = Field(64, ge=0)


class Web(Section):
    """/metrics, /healthz, /readyz and the status page. Port 0 takes a free one; -1 serves nothing."""

    host: str = "127.0.0.1"
    port: int = Field(9464, ge=-1, le=65_535)


class Logs(Section):
    """`auto`: people's format on a terminal, JSON otherwise."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


class Strategy(Section):
    """Which strategy decides; its own settings stand in [strategies.<name>]."""

    name: str = "masked-divergence"

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in STRATEGIES:
            near = difflib.get_close_matches(name, STRATEGIES, n=1)
            hint = f": did you mean {near[0]}?" if near else f": there are {', '.join(STRATEGIES)}"
            raise ValueError(f"no strategy {name!r}{hint}")
        return name


class Settings(BaseSettings):
    """Everything, each section with its defaults. Made of what it is given: only `load` looks at the environment."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=PREFIX, env_nested_delimiter="__", validate_default=True
    )

    mode: Literal["paper"] = "paper"
    exchange: Exchange = Exchange()
    market: Market = Market()
    feed: Feed = Feed()
    account: Account = Account()
    forecaster: Forecaster = Forecaster()
    strategy: Strategy = Strategy()
    strategies: dict[str, dict[str, Any]] = {}
    risk: Limits = Limits()
    planner: Planner = Planner()
    storage: Storage = Storage()
    web: Web = Web()
    logs: Logs = Logs()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)

    @model_validator(mode="after")
    def _ceiling_has_forecasts(self) -> Self:
        if self.risk.forecast_volatility_max and not self.forecaster.volatility:
            raise ValueError(
                "risk.forecast_volatility_max: forecaster.volatility names nothing that forecasts it: name a model,"
                " or set the ceiling to 0"
            )
        return self

    @field_validator("strategies")
    @classmethod
    def _of_their_strategies(cls, sections: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Every strategy's own section, chosen or not, as its strategy reads it; a line for each error."""
        checked: dict[str, dict[str, Any]] = {}
        errors: list[str] = []
        for name, values in sections.items():
            if name not in STRATEGIES:
                near = difflib.get_close_matches(name, STRATEGIES, n=1)
                errors.append(f"strategies.{name}: no such strategy{f', did you mean {near[0]}?' if near else ''}")
                continue
            try:
                checked[name] = STRATEGY_SETTINGS[name](**values).model_dump(exclude_unset=True)
            except ValidationError as why:
                errors += [line for error in why.errors() for line in _lines(error, f"strategies.{name}")]
        if errors:
            raise ValueError("\n".join(errors))
        return checked


def load(path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """The settings of a file, the environment above it, the command line's `overrides` above both.

    `overrides` name a setting by its dotted path. BadConfiguration lists every error with its path.
    """
    file_values = _read(path) if path else {}
    over = _nested(overrides or {})
    errors = _unknown_variables()
    try:
        variables = _hyphenated(EnvSettingsSource(Settings)())
        settings = Settings(**_merged(_merged(file_values, variables), over))
    except SettingsError as why:
        raise BadConfiguration([*errors, str(why)]) from None
    except ValidationError as why:
        raise BadConfiguration(errors + [line for error in why.errors() for line in _lines(error)]) from None
    if errors:
        raise BadConfiguration(errors)
    return settings


def _merged(values: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """The values with those above them in their place, section by section."""
    both = {
        key: _merged(value, above[key])
        for key, value in values.items()
        if isinstance(value, dict) and isinstance(above.get(key), dict)
    }
    return values | above | both


def _nested(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Values by dotted path as sections of sections. BadConfiguration where one is both a value and a section."""
    over: dict[str, Any] = {}
    errors: list[str] = []
    for dotted, value in overrides.items():
        if any(other.startswith(f"{dotted}.") for other in overrides):
            errors.append(f"{dotted}: set as a whole and in part on the command line: leave one of them out")
            continue
        *sections, key = dotted.split(".")
        at = over
        for section in sections:
            at = at.setdefault(section, {})
        at[key] = value
    if errors:
        raise BadConfiguration(errors)
    return over


def _hyphenated(variables: dict[str, Any]) -> dict[str, Any]:
    """The environment's values, with strategies named as everywhere else: no shell exports a name with a hyphen."""
    sections = variables.get("strategies")
    if not isinstance(sections, dict):
        return variables
    return variables | {"strategies": {name.replace("_", "-"): values for name, values in sections.items()}}


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadConfiguration([f"{path}: no such file; copy config.toml from the repository"]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as why:
        raise BadConfiguration([f"{path}: not TOML: {why}"]) from None
    except OSError as why:
        raise BadConfiguration([f"{path}: cannot be read: {why.strerror}"]) from None


def _unknown_variables() -> list[str]:
    """LACUNA__ variables that name no section: a typing error there would be silent otherwise."""
    return [
        f"{name}: no such section; there are {', '.join(Settings.model_fields)}"
        for name in sorted(os.environ)
        if name.startswith(PREFIX) and name[len(PREFIX) :].partition("__")[0].lower() not in Settings.model_fields
    ]


def _lines(error: Any, prefix: str = "") -> list[str]:
    """One error as "path: what is wrong", without repeating what was given where that may be a secret."""
    path = ".".join(str(part) for part in ((prefix,) if prefix else ()) + tuple(error["loc"]))
    message = error["msg"].removeprefix("Value error, ")
    if path == "strategies" and error["type"] == "value_error":
        return list(message.splitlines())  # each with its path already
    if error["type"] == "extra_forbidden":
        near = _nearest(path)
        message = f"no such setting{f', did you mean {near}?' if near else ''}"
    return [f"{path}: {message}" if path else message]


def _nearest(path: str) -> str:
    """The setting whose whole path looks most like this one."""
    known = list(Settings.model_fields)
    for section, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            known += [f"{section}.{key}" for key in field.annotation.model_fields]
    for name, model in STRATEGY_SETTINGS.items():
        known += [f"strategies.{name}.{key}" for key in model.model_fields]
    return next(iter(difflib.get_close_matches(path, known, n=1)), "")
