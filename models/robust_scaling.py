"""Features in units that training has seen: less their median, over their interquartile range, coin by coin.

Shapes  T slices, N symbols, F features by name.
Fitted  on the train split alone; what is not known (NaN) is left out. A coin that training has not seen gets the
        median of the coins' medians and ranges. A feature without a range (constant, never known) is divided by 1.
"""

import msgspec
import numpy as np
from msgspec import Struct

from bot.core.market import Floats
from models.model import BadModel

CLIP = 6.0

Rows = tuple[tuple[float, ...], ...]


class RobustScaling(Struct, frozen=True, forbid_unknown_fields=True):
    """`centre` and `spread` have a row for each of `symbols`, with a number for each of `features`."""

    symbols: tuple[str, ...]
    features: tuple[str, ...]
    centre: Rows
    spread: Rows

    def scaler(self, symbols: tuple[str, ...], features: tuple[str, ...]) -> "Scaler":
        """Scales these coins. BadModel when the features are others than those fitted on."""
        if features != self.features:
            other = next((pair for pair in zip(features, self.features, strict=False) if pair[0] != pair[1]), None)
            told = f"{other[0]} where it has {other[1]}" if other else f"{len(features)}, it has {len(self.features)}"
            raise BadModel(f"the scaling was fitted on other features ({told}): fit the model again")
        at = {symbol: row for row, symbol in enumerate(self.symbols)}
        rows = [at.get(symbol, len(self.symbols)) for symbol in symbols]
        centre, spread = (_with_typical(np.array(values))[rows] for values in (self.centre, self.spread))
        return Scaler(centre, spread)

    def to_json(self) -> bytes:
        return msgspec.json.encode(self)


class Scaler(Struct, frozen=True, eq=False):
    """Centre and spread [N, F] of some coins."""

    centre: Floats
    spread: Floats

    def scaled(self, values: Floats) -> Floats:
        """Values [..., N, F] within +-CLIP; what is not known is 0, the middle."""
        found = np.clip((values - self.centre) / self.spread, -CLIP, CLIP)
        known: Floats = np.where(np.isfinite(values), found, 0.0)
        return known


def fit(symbols: tuple[str, ...], features: tuple[str, ...], train: Floats) -> RobustScaling:
    """The scaling of train features [T, N, F]."""
    shape = (len(symbols), len(features))
    if train.shape[1:] != shape:
        raise ValueError(f"features are {list(train.shape[1:])} where symbols and names are {list(shape)}")
    lower, centre, upper = (np.empty(shape) for _ in range(3))
    for coin, column in np.ndindex(shape):
        values = train[:, coin, column]
        values = values[np.isfinite(values)]
        quartiles = np.percentile(values, (25, 50, 75)) if len(values) else np.zeros(3)
        lower[coin, column], centre[coin, column], upper[coin, column] = quartiles
    spread = np.where(upper > lower, upper - lower, 1.0)
    return RobustScaling(symbols, features, _rows(centre), _rows(spread))


def from_json(text: bytes) -> RobustScaling:
    """BadModel when it is no scaling, or one that cannot be divided by."""
    try:
        found = msgspec.json.decode(text, type=RobustScaling)
    except msgspec.DecodeError as why:
        raise BadModel(f"the scaling cannot be read ({why}): fit the model again") from why
    for rows in (found.centre, found.spread):
        if len(rows) != len(found.symbols) or any(len(row) != len(found.features) for row in rows):
            raise BadModel("the scaling has not one number for each coin and feature: fit the model again")
    if not found.symbols or not all(number > 0 for row in found.spread for number in row):
        raise BadModel("the scaling has no coins, or a spread that is not above 0: fit the model again")
    return found


def _with_typical(values: Floats) -> Floats:
    """The rows and, below them, their median."""
    return np.vstack((values, np.median(values, axis=0)))


def _rows(values: Floats) -> Rows:
    return tuple(tuple(row) for row in values.tolist())
