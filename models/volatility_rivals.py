"""The baselines that a volatility model is scored beside: fitted on the same split, as far as the candles reach.

Plain    persistence and EWMA have nothing to fit: they are there for every coin, unbounded, whatever the candles.
Fitted   the others are fitted for every coin that has the hours; the coins a baseline is left out for are named.
"""

from collections.abc import Mapping

import numpy as np
from msgspec import Struct

from bot.core.market import Panel
from models.model import BadModel
from models.volatility_baselines import FITTED, PLAIN, fit_baseline
from models.volatility_model import VALIDATION_MIN, Factors, VolatilityModel


class Rivals(Struct, frozen=True, eq=False):
    """The baselines by name. `left_out`: which were not fitted for which coins, and why."""

    models: dict[str, VolatilityModel]
    left_out: dict[str, dict[str, str]]


def fit_rivals(seen: Panel, validation_ms: int) -> Rivals:
    """All baselines, on hours before `validation_ms`, their factors from the later ones of `seen`."""
    models = {name: _as_it_is(name, seen) for name in PLAIN}
    left_out: dict[str, dict[str, str]] = {}
    short = _too_short(seen, validation_ms)
    for name in FITTED:
        model, why = (None, dict.fromkeys(seen.symbols, short)) if short else _fitted(name, seen, validation_ms)
        if model is not None:
            models[name] = model
        if why:
            left_out[name] = why
    return Rivals(models, left_out)


def left_out_remarks(left_out: Mapping[str, Mapping[str, str]], coins: int) -> tuple[str, ...]:
    """A sentence for each reason, of `coins` in all."""
    told: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for name, reasons in left_out.items():
        for why in dict.fromkeys(reasons.values()):
            symbols = tuple(symbol for symbol, reason in reasons.items() if reason == why)
            told.setdefault((why, symbols), []).append(name)
    return tuple(
        f"left out: {', '.join(names)}{'' if len(symbols) == coins else ' of ' + ', '.join(symbols)}: {why}"
        for (why, symbols), names in told.items()
    )


def _as_it_is(name: str, seen: Panel) -> VolatilityModel:
    one, far = np.ones(len(seen.symbols)), np.full(len(seen.symbols), np.inf)
    return VolatilityModel(PLAIN[name](seen), Factors(one, one, one, -far, far), 0)


def _too_short(seen: Panel, validation_ms: int) -> str:
    """Why nothing at all can be fitted, "" where that is not so."""
    train = int(seen.open_ms.searchsorted(validation_ms))
    if min(train, len(seen) - train) >= VALIDATION_MIN:
        return ""
    return (
        f"the candles hold {train} hours that the model was trained on and {len(seen) - train} that it was validated on,"
        f" {VALIDATION_MIN} of each are the least to fit on: give earlier candles too"
    )


def _fitted(name: str, seen: Panel, validation_ms: int) -> tuple[VolatilityModel | None, dict[str, str]]:
    """The baseline for the coins that it can be fitted for, and why not for the others.

    Each coin is asked alone only where not all fit together.
    """
    try:
        return fit_baseline(name, seen, validation_ms), {}
    except BadModel as why:
        if len(seen.symbols) == 1:
            return None, {seen.symbols[0]: str(why)}
    refused: dict[str, str] = {}
    for symbol in seen.symbols:
        refused |= _fitted(name, seen.of((symbol,)), validation_ms)[1]
    fitting = tuple(symbol for symbol in seen.symbols if symbol not in refused)
    return fit_baseline(name, seen.of(fitting), validation_ms) if fitting else None, refused
