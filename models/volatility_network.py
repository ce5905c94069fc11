"""Volatility networks as a predictor: hours in, the next hour's log volatility out. One wrapper for every kind.

Several  modules of the same config, trained from other seeds, answer with their mean.
Unseen   a coin that training has not seen is answered for as the typical one, as far as it moves like one: within
         REACH of the usual level. The others do not: a stablecoin is not a quiet bitcoin.
Fallback a coin beyond that reach, and an hour whose inputs are not all known, get what the panel HAR says; it fits any
         coin (models/har.py).
Bits     on a CPU hours are asked for one by one, so that an hour alone gets the same bits as in a whole panel.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np
import torch
from msgspec import Struct
from numpy.typing import NDArray
from torch import Tensor, nn

from bot.core.market import Floats, Integers, Panel
from models.batches import Batches
from models.har import WIDTHS, Form, Har
from models.hour_table import Batch, HourRows, HourStream, HourTable, Scalings
from models.model import Arrays, BadModel, taken
from models.robust_scaling import from_json
from models.seasonality import Seasonality
from models.sph_net import Trunk
from models.torch_threads import threads
from models.volatility_columns import INPUTS, LEAST
from models.volatility_inputs import LOOK_BACK
from models.volatility_kinds import KINDS
from models.volatility_model import Logs

GPU_ROWS = 256
REACH = 3.0  # spreads of the typical coin's month
LEVEL = INPUTS.index("log_mean_720")


class Units(Struct, frozen=True, eq=False):
    """Centre and width [C] of what each coin's network answers in."""

    centre: Floats
    width: Floats


class Learned(Struct, frozen=True, eq=False):
    """What training found, for the coins `symbols`; `simple` [K] are the panel HAR's weights, `surprise` its scale."""

    symbols: tuple[str, ...]
    season: Seasonality
    scalings: Scalings
    units: Units
    simple: Floats
    surprise: float

    def stream(self, symbols: tuple[str, ...]) -> HourStream:
        """A stream that has seen nothing, for any coins."""
        simple = Har(symbols, Form.PANEL, np.tile(self.simple, (len(symbols), 1)))
        return HourStream(symbols, self.season, self.scalings, simple)

    def units_of(self, symbols: tuple[str, ...]) -> Units:
        """Those of these coins; the medians for one that was not learned."""
        at = [self.symbols.index(symbol) if symbol in self.symbols else len(self.symbols) for symbol in symbols]
        return Units(*(np.append(part, np.median(part))[at] for part in (self.units.centre, self.units.width)))


class VolatilityNetwork:
    """A predictor whose answer is a network's."""

    warmup = LOOK_BACK

    def __init__(
        self,
        architecture: str,
        config: Any,
        modules: tuple[nn.Module, ...],
        learned: Learned,
        symbols: tuple[str, ...],
        device: torch.device,
    ) -> None:
        self.architecture = architecture
        self.config = config
        self.modules = tuple(module.to(device).eval() for module in modules)
        self.learned = learned
        self.symbols = symbols
        self.device = device
        self._units = learned.units_of(symbols)
        self._learned = np.array([symbol in learned.symbols for symbol in symbols])
        self._stream = learned.stream(symbols)
        self._recent: HourRows | None = None
        self._batches = Batches(GPU_ROWS if device.type == "cuda" else 1)

    @property
    def window(self) -> int:
        """The hours of a window that the network reads."""
        return KINDS[self.architecture].window(self.config)

    def of(self, symbols: tuple[str, ...]) -> "VolatilityNetwork":
        """The same network for other coins, that has seen nothing."""
        return VolatilityNetwork(self.architecture, self.config, self.modules, self.learned, symbols, self.device)

    def pass_over(self, panel: Panel) -> None:
        """Absorbs hours that nothing is asked about."""
        self._absorb(panel)

    def absorb(self, panel: Panel) -> Logs:
        """What it says of the panel's rows that are new."""
        rows, before = self._absorb(panel)
        return self.say(rows, np.arange(before, len(rows)))

    def _absorb(self, panel: Panel) -> tuple[HourRows, int]:
        """The last rows and the new ones, and how many of them are not new."""
        fresh = self._stream.absorb(panel)
        rows = fresh if self._recent is None else HourRows.joined(self._recent, fresh)
        kept = max(self.window, 1)
        self._recent = rows.rows(max(0, len(rows) - kept), len(rows)).copied()
        return rows, len(rows) - len(fresh)

    def say(self, rows: HourRows, asked: Integers) -> Logs:
        """What the network, or the fallback, says of these rows."""
        answer = self._answers(rows, asked)
        units = self._units
        with np.errstate(invalid="ignore", divide="ignore"):
            location, scale = answer[..., 0] * units.width + units.centre, np.exp(answer[..., 1]) * units.width
            if KINDS[self.architecture].logs:
                location = location + rows.coming[asked]
            else:
                level = np.maximum(location, LEAST)
                location, scale = np.log(level), scale / level  # to first order
        near = self._learned | (np.abs(rows.inputs[asked][..., LEVEL]) <= REACH)
        own = rows.known[asked] & near & np.isfinite(location) & np.isfinite(scale)
        rising = 1.0 / (1.0 + np.exp(-answer[..., 2]))
        return Logs(
            rows.open_ms[asked],
            np.where(own, location, rows.simple[asked]),
            np.where(own, scale, self.learned.surprise),
            rows.logs[asked],
            ~own & np.isfinite(rows.simple[asked]),
            np.where(own, rising, np.nan),
        )

    def _answers(self, rows: HourRows, asked: Integers) -> Floats:
        """The network's answers [R, N, 3] in its own units."""
        return self._mean(rows, asked, KINDS[self.architecture].ask, 3)

    def attention(self, panel: Panel, first: int) -> Floats:
        """How much each hour of a window counted in the pooling [R, N, W], oldest first, for pictures; rows sum to 1.

        Of the panel's rows from `first` on, as a stream that begins with the panel would have it. NaN where not
        all inputs are known; W is 0 for a network without windows.
        """
        rows = self.learned.stream(self.symbols).absorb(panel)
        asked = np.arange(first, len(rows))
        if not self.window:
            return np.empty((len(asked), len(self.symbols), 0))
        found = self._mean(rows, asked, _attention, self.window)
        return np.where(rows.known[asked][..., None], found, np.nan)

    @torch.inference_mode()
    def _mean(self, rows: HourRows, asked: Integers, of: Callable[[nn.Module, Batch], Tensor], width: int) -> Floats:
        """The modules' mean of something of these rows [R, N, width], `of` a batch [B, width]."""
        coins = len(self.symbols)
        if not len(asked):
            return np.empty((0, coins, width))
        table = HourTable(rows, self.learned.scalings.tokens, self.symbols, self.device)
        at_N = torch.arange(coins, device=self.device)

        def ask(rows_B: Tensor) -> Tensor:
            batch = table.batch(rows_B.repeat_interleave(coins), at_N.repeat(len(rows_B)), self.window)
            found = torch.stack([of(module, batch) for module in self.modules])
            return found.mean(dim=0).view(len(rows_B), coins, width)

        with threads(1 if self.device.type == "cpu" else None):
            found = self._batches.run(ask, torch.from_numpy(asked).to(self.device))
        return found.double().cpu().numpy()

    def state(self) -> Arrays:
        """The running state, to go on from after a restart."""
        recent = {} if self._recent is None else self._recent.arrays()
        return {f"stream.{name}": one for name, one in self._stream.state().items()} | {
            f"recent.{name}": one for name, one in recent.items()
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Takes it back. BadModel when it is of another shape."""
        recent = HourRows.taken(_under("recent.", state), len(self.symbols))
        self._stream.restore(_under("stream.", state))
        self._recent = recent

    def settings(self) -> dict[str, Any]:
        """The hyperparameters, and the scalings."""
        scalings = self.learned.scalings
        return {
            "network": msgspec.to_builtins(self.config),
            "modules": len(self.modules),
            "coins": list(self.learned.symbols),
            "scaling_inputs": msgspec.to_builtins(scalings.inputs),
            "scaling_tokens": msgspec.to_builtins(scalings.tokens),
        }

    def tensors(self) -> Arrays:
        """What training found."""
        learned = self.learned
        weights = {
            f"network.{at}.{name}": one.detach().cpu().numpy()
            for at, module in enumerate(self.modules)
            for name, one in module.state_dict().items()
        }
        found = {
            "units.centre": learned.units.centre.copy(),
            "units.width": learned.units.width.copy(),
            "simple.weights": learned.simple.copy(),
            "simple.surprise": np.array([learned.surprise]),
        }
        return weights | found | learned.season.tensors()

    @classmethod
    def load(
        cls,
        architecture: str,
        symbols: tuple[str, ...],
        settings: Mapping[str, Any],
        tensors: Mapping[str, NDArray[Any]],
        device: torch.device,
    ) -> "VolatilityNetwork":
        """The predictor of a folder. BadModel when its arrays are not those of its settings."""
        kind = KINDS[architecture]
        try:
            config = msgspec.convert(settings.get("network"), kind.config)
            coins = msgspec.convert(settings.get("coins"), tuple[str, ...])
            count = msgspec.convert(settings.get("modules"), int)
        except msgspec.ValidationError as why:
            raise BadModel(f"settings: {why}: fit the model again") from why
        if count < 1:
            raise BadModel(f"settings: {count} modules: fit the model again")
        inputs, tokens = (
            from_json(msgspec.json.encode(settings.get(f"scaling_{name}"))) for name in ("inputs", "tokens")
        )
        shape = (len(coins),)
        units = Units(taken(tensors, "units.centre", shape), taken(tensors, "units.width", shape))
        learned = Learned(
            coins,
            Seasonality.load(coins, tensors),
            Scalings(inputs, tokens),
            units,
            taken(tensors, "simple.weights", (WIDTHS[Form.PANEL],)),
            float(taken(tensors, "simple.surprise", (1,))[0]),
        )
        modules = tuple(_loaded(kind.build(config), f"network.{at}.", tensors) for at in range(count))
        return cls(architecture, config, modules, learned, symbols, device)


def _attention(module: nn.Module, batch: Batch) -> Tensor:
    """The pooling's shares [B, W]."""
    trunk = module.trunk
    assert isinstance(trunk, Trunk)
    return trunk.attention(batch.prices_BWP, batch.engineered_BWE)


def _loaded(module: nn.Module, prefix: str, tensors: Mapping[str, NDArray[Any]]) -> nn.Module:
    weights = {}
    for name, parameter in module.state_dict().items():
        found = taken(tensors, prefix + name, tuple(parameter.shape))
        weights[name] = torch.from_numpy(found).to(parameter.dtype)
    module.load_state_dict(weights)
    return module


def _under(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """The arrays whose names begin so, without it."""
    return {name.removeprefix(prefix): one for name, one in arrays.items() if name.startswith(prefix)}
