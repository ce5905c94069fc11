"""What a sweep may vary: settings by their dotted path, each within a range or among choices, checked against the settings.

Written   KEY=LOW:HIGH, with :log or :int or both behind it, or KEY=A,B,C. A choice is JSON where it can be read as such.
Allowed   the chosen strategy's own settings, those of one that it sizes, and those of risk and planner. A search over what
          trading costs, or over the account, would find the cheapest world, and other candles are another study.
Errors    BadConfiguration, a line for each: an unknown key with the nearest one, a bound outside the setting's own.
"""

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from backtest.run import rows_needed
from bot.building import volatility_wanted
from bot.config import BadConfiguration, Settings, load
from strategies import involved

SECTIONS = ("risk", "planner")
SPECIMENS_MAX = 500
SIZED = "strategies.volatility-target.of"
INSIDE = 0.382  # of the way from low to high: a place that is no whole number where the ends are

Value = bool | int | float | str


class Range(Struct, frozen=True, tag="range"):
    """From `low` to `high`, both included; `log` draws in proportion, `whole` whole numbers alone."""

    key: str
    low: float
    high: float
    log: bool = False
    whole: bool = False


class Choice(Struct, frozen=True, tag="choice"):
    """One of these values."""

    key: str
    values: tuple[Value, ...]


Parameter = Range | Choice


def parse_all(texts: Sequence[str]) -> tuple[Parameter, ...]:
    """The parameters of a command line, by key. BadConfiguration with a line for each that cannot be read."""
    found: dict[str, Parameter] = {}
    errors: list[str] = []
    for text in texts:
        try:
            parameter = _parse(text)
        except ValueError as why:
            errors.append(f"--param {text}: {why}")
            continue
        if parameter.key in found:
            errors.append(f"--param {text}: {parameter.key} is given twice")
        found[parameter.key] = parameter
    if not texts:
        errors.append("--param: name what to vary, as strategies.masked-divergence.divergence_threshold=0.004:0.02:log")
    if errors:
        raise BadConfiguration(errors)
    return tuple(found[key] for key in sorted(found))


def _parse(text: str) -> Parameter:
    key, equals, rest = text.partition("=")
    if not equals or not key or not rest:
        raise ValueError("write it as SECTION.KEY=LOW:HIGH, with :log or :int behind it, or as SECTION.KEY=A,B,C")
    if "," in rest:
        values = tuple(_value(part.strip()) for part in rest.split(","))
        if len(set(map(repr, values))) < len(values):
            raise ValueError("a choice is there twice")
        return Choice(key, values)
    low, *others = rest.split(":")
    if not others:
        raise ValueError("one value is nothing to choose from: give LOW:HIGH or A,B, or use --set")
    high, *ways = others
    if unknown := [way for way in ways if way not in ("log", "int")]:
        raise ValueError(f"{unknown[0]!r} is neither log nor int")
    return _range(Range(key, _number(low), _number(high), "log" in ways, "int" in ways))


def _range(found: Range) -> Range:
    if not found.low < found.high:
        raise ValueError(f"{found.low:g} is not below {found.high:g}")
    if found.log and found.low <= 0:
        raise ValueError("a range drawn in proportion (log) begins above 0")
    if found.whole and not (found.low.is_integer() and found.high.is_integer()):
        raise ValueError("whole numbers (int) lie between whole numbers")
    return found


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is no number")
    return number


def _value(text: str) -> Value:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, (bool, int, float)) else text


def with_values(base: Mapping[str, Any], values: Mapping[str, Value]) -> Settings:
    """The settings `base` (all sections, as `model_dump` gives them) with some changed. BadConfiguration says what is wrong."""
    sections: dict[str, Any] = {name: _copied(section) for name, section in base.items()}
    for dotted, value in values.items():
        *path, key = dotted.split(".")
        at = sections
        for name in path:
            inner = at.setdefault(name, {})
            if not isinstance(inner, dict):
                raise BadConfiguration([f"{dotted}: no such setting, {name} is not a section"])
            at = inner
        at[key] = value
    return load(None, sections)


def _copied(section: Any) -> Any:
    return {key: _copied(value) for key, value in section.items()} if isinstance(section, dict) else section


def check(parameters: Sequence[Parameter], settings: Settings) -> None:
    """Raises BadConfiguration where a parameter is no setting, may not be varied, or leaves what the setting allows."""
    base = settings.model_dump(mode="json")
    errors: list[str] = []
    for parameter in parameters:
        strategies = involved(settings.strategy.name, settings.strategies)
        errors += [f"--param {line}" for line in _wrong(parameter, base, strategies)]
    if not errors and not any(True for _ in _specimens(parameters, base)):
        errors.append("--param: no combination of these values is allowed by the settings: they contradict each other")
    if errors:
        raise BadConfiguration(errors)


def _wrong(parameter: Parameter, base: Mapping[str, Any], strategies: tuple[str, ...]) -> list[str]:
    """What the settings say against a parameter, in a line or none.

    What they say of two settings together is left to the trials, where the other may have another value.
    """
    if parameter.key == SIZED:
        return [f"{SIZED}: names another strategy, which would be another study: choose it with --set"]
    key, own = parameter.key, tuple(f"strategies.{name}." for name in strategies)
    allowed = key.startswith((*own, *(f"{section}." for section in SECTIONS)))
    for value in (*_ends(parameter), *_inside(parameter)):
        try:
            with_values(base, {key: value})
        except BadConfiguration as why:
            lines = [line for line in why.errors if line.startswith(f"{key}:") or not allowed]
            if lines:
                hint = "; for whole numbers write :int" if "valid integer" in lines[0] else ""
                return [f"{lines[0]} (at {value}){hint}"]
    if allowed:
        return []
    may = ", ".join(f"{section}*" for section in (*own, *(f"{section}." for section in SECTIONS)))
    return [f"{key}: a sweep varies {may} and nothing else"]


def _ends(parameter: Parameter) -> tuple[Value, ...]:
    match parameter:
        case Choice(values=values):
            return values
        case Range(low=low, high=high, whole=whole):
            return (int(low), int(high)) if whole else (low, high)


def _inside(parameter: Parameter) -> tuple[Value, ...]:
    match parameter:
        case Range(low=low, high=high, whole=False):
            return (low + INSIDE * (high - low),)
        case _:
            return ()


def _specimens(parameters: Sequence[Parameter], base: Mapping[str, Any]) -> Iterator[Settings]:
    """Settings at the ends of all ranges and with all choices, those that are allowed; SPECIMENS_MAX at most."""
    names = [parameter.key for parameter in parameters]
    corners = itertools.product(*(reversed(_ends(parameter)) for parameter in parameters))
    for values in itertools.islice(corners, SPECIMENS_MAX):
        try:
            yield with_values(base, dict(zip(names, values, strict=True)))
        except BadConfiguration:
            continue


def deepest(parameters: Sequence[Parameter], settings: Settings) -> Settings:
    """Of the combinations, one that looks back furthest: all trials begin where it can. First those that want volatility."""
    found = [settings, *_specimens(parameters, settings.model_dump(mode="json"))]
    return max(found, key=lambda one: (volatility_wanted(one), rows_needed(one, 2)))
