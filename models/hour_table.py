"""What volatility networks read, hour by hour: summary inputs, the 39 features of a window's hours, what is to come.

T hours, oldest first  N coins  F summary inputs  K the 39 features  B pairs of an hour and a coin  W hours of a window
Stream  hours in pieces become rows, the same as those of the whole.
Table   rows as tensors: windows are gathered a batch at a time. A window is the last W hours there were; what is
        before the first, or not known, is 0, the middle of the scaling.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from msgspec import Struct
from numpy.typing import NDArray
from torch import Tensor

from bot.core.market import HOUR_MS, Floats, Integers, Mask, Panel
from models import robust_scaling
from models.candles import shaped
from models.feature_registry import AT, FEATURES, PRICES
from models.features import LOGS, Features, anchored
from models.har import Har
from models.model import Arrays
from models.robust_scaling import CLIP, RobustScaling
from models.seasonality import Seasonality
from models.volatility_columns import INPUTS
from models.volatility_inputs import Rows, VolatilityInputs

FITTED_WINDOWS = 300  # so many are enough for medians and quartiles

Singles = NDArray[np.float32]


class HourRows(Struct, frozen=True, eq=False):
    """T hours. `inputs` [T, N, F] scaled, `tokens` [T, N, K] raw; `close` [T, N] the last known log close.

    `known`, `logs` and `coming` as in volatility_inputs.Rows; `simple` [T, N]: what the panel HAR says.
    """

    open_ms: Integers
    inputs: Singles
    tokens: Singles
    close: Singles
    known: Mask
    logs: Floats
    coming: Floats
    simple: Floats

    def __len__(self) -> int:
        return len(self.open_ms)

    def rows(self, start: int, stop: int) -> "HourRows":
        """Rows start to stop, as views."""
        return HourRows(*(getattr(self, name)[start:stop] for name in self.__struct_fields__))

    def copied(self) -> "HourRows":
        """The same rows, which keep no larger array alive."""
        return HourRows(*(array.copy() for array in self.arrays().values()))

    def arrays(self) -> Arrays:
        """The arrays by name."""
        return {name: getattr(self, name) for name in self.__struct_fields__}

    @classmethod
    def taken(cls, arrays: Mapping[str, NDArray[Any]], coins: int) -> "HourRows | None":
        """What `arrays` gave, None where that was nothing. BadModel when it does not fit."""
        if "open_ms" not in arrays:
            return None
        rows = len(arrays["open_ms"])
        deeper = {"inputs": (len(INPUTS),), "tokens": (len(FEATURES),)}
        shapes = {name: (rows, coins, *deeper.get(name, ())) for name in cls.__struct_fields__} | {"open_ms": (rows,)}
        return cls(*(shaped(arrays, name, shape) for name, shape in shapes.items()))

    @classmethod
    def joined(cls, before: "HourRows", after: "HourRows") -> "HourRows":
        pairs = ((getattr(before, name), getattr(after, name)) for name in cls.__struct_fields__)
        return cls(*(np.concatenate(pair) for pair in pairs))


class Scalings(Struct, frozen=True, eq=False):
    """Of the summary inputs, and of the features of anchored windows; both fitted on train."""

    inputs: RobustScaling
    tokens: RobustScaling


class HourStream:
    """Turns hours that come in pieces into the rows that the whole would give."""

    def __init__(self, symbols: tuple[str, ...], season: Seasonality, scalings: Scalings, simple: Har) -> None:
        self.symbols = symbols
        self.scaler = scalings.inputs.scaler(symbols, INPUTS)
        self._inputs = VolatilityInputs(symbols, season)
        self._features = Features(symbols, HOUR_MS)
        self._simple = simple
        self._close = np.full(len(symbols), np.nan)

    def absorb(self, panel: Panel) -> HourRows:
        """The rows of the panel's hours that are new. ValueError as CandleTape.take."""
        found = self._inputs.absorb(panel)
        tokens = self._features.absorb(panel)
        simple = self._simple.absorb(panel)
        closes = np.vstack((self._close, tokens[..., AT["log_close"]]))
        at = np.maximum.accumulate(np.where(np.isfinite(closes), np.arange(len(closes))[:, None], 0), axis=0)
        closes = np.take_along_axis(closes, at, axis=0)
        self._close = closes[-1].copy()
        return HourRows(
            found.open_ms,
            self.scaler.scaled(found.values).astype(np.float32),
            tokens.astype(np.float32),
            closes[1:].astype(np.float32),
            found.known,
            found.logs,
            found.coming,
            simple.location,
        )

    def state(self) -> Arrays:
        arrays: Arrays = {"close": self._close.copy()}
        for name, part in self._parts():
            arrays |= {f"{name}.{key}": array for key, array in part.state().items()}
        return arrays

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Takes it back. BadModel when it is of another shape."""
        close: Floats = shaped(state, "close", self._close.shape)
        for name, part in self._parts():
            prefix = f"{name}."
            part.restore({key.removeprefix(prefix): one for key, one in state.items() if key.startswith(prefix)})
        self._close = close

    def _parts(self) -> tuple[tuple[str, VolatilityInputs | Features | Har], ...]:
        return ("inputs", self._inputs), ("features", self._features), ("simple", self._simple)


class Batch(NamedTuple):
    """What a network reads of B hours."""

    inputs_BF: Tensor
    coins_B: Tensor
    prices_BWP: Tensor
    engineered_BWE: Tensor


class HourTable:
    """Rows on the device that computes. `coins_N`: which of the network's coins each is, -1 for none of them."""

    def __init__(self, rows: HourRows, scaling: RobustScaling, symbols: tuple[str, ...], device: torch.device) -> None:
        scaler = scaling.scaler(symbols, FEATURES)
        known = [scaling.symbols.index(symbol) if symbol in scaling.symbols else -1 for symbol in symbols]
        self.coins_N = torch.tensor(known, device=device)
        self.inputs_TNF = torch.from_numpy(rows.inputs).to(device)
        self.tokens_TNK = torch.from_numpy(rows.tokens).to(device)
        self.close_TN = torch.from_numpy(rows.close).to(device)
        self._centre_NK = torch.from_numpy(scaler.centre.astype(np.float32)).to(device)
        self._spread_NK = torch.from_numpy(scaler.spread.astype(np.float32)).to(device)

    def batch(self, rows_B: Tensor, at_B: Tensor, window: int) -> Batch:
        """These hours of these coins, `at_B` among the table's; a window of 0 hours is empty."""
        tokens_BWK = self._tokens(rows_B, at_B, window)
        return Batch(
            self.inputs_TNF[rows_B, at_B],
            self.coins_N[at_B],
            tokens_BWK[..., :PRICES],
            tokens_BWK[..., PRICES:],
        )

    def _tokens(self, rows_B: Tensor, at_B: Tensor, window: int) -> Tensor:
        """The scaled features [B, W, K] of windows, prices against the last known close (spec 8.13)."""
        back_W = torch.arange(window - 1, -1, -1, device=rows_B.device)
        when_BW = rows_B[:, None] - back_W
        found = self.tokens_TNK[when_BW.clamp(min=0), at_B[:, None]]
        found[..., LOGS] -= self.close_TN[rows_B, at_B][:, None, None]
        found = (found - self._centre_NK[at_B][:, None]) / self._spread_NK[at_B][:, None]
        found = found.clamp(-CLIP, CLIP)
        return torch.where(torch.isfinite(found) & (when_BW >= 0)[..., None], found, 0.0)


def fit_scalings(found: Rows, panel: Panel, window: int) -> Scalings:
    """Fitted on these rows, and on windows spread over the same panel."""
    tokens = Features(panel.symbols, HOUR_MS).absorb(panel)
    width = max(1, window)
    ends = np.linspace(width, len(tokens), FITTED_WINDOWS).astype(int)
    windows = anchored(np.stack([tokens[end - width : end] for end in ends]))
    flat = windows.reshape(-1, *windows.shape[2:])
    return Scalings(
        robust_scaling.fit(panel.symbols, INPUTS, np.where(found.known[..., None], found.values, np.nan)),
        robust_scaling.fit(panel.symbols, FEATURES, flat),
    )
