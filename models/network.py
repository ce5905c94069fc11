"""A network as a model: slices in, in order; each coin's inferred return out. One wrapper for every architecture.

State   the stream's (the Gaussian's scales, correlations, volumes) and the inputs of the last slices a window holds.
Bits    on a CPU rows are computed one by one, so that a slice alone gets the same bits as in a whole panel: a backtest
        infers what the bot does live. A small network gains nothing there from larger batches or from threads, which
        wait for each other at every layer; a large one has as many threads as torch has been given, live and in bulk.
        On a GPU rows go in batches, and bits may differ.
"""

import copy
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bot.core.market import Floats, Integers, Panel
from models.architectures import NETWORKS
from models.baselines import Gaussian, GaussianSettings
from models.batches import Batches
from models.closed_form import taken_gain
from models.coin_query import FEATURES
from models.inputs import Inputs, Stream
from models.model import Arrays, BadModel, Inferred, taken
from models.table import Table
from models.torch_threads import threads


class Network:
    """A `Model` whose inference is a network's."""

    def __init__(
        self,
        architecture: str,
        config: Any,
        module: nn.Module,
        stream: Stream,
        gain: Floats | None = None,
        fitted_ms: int = 0,
        device: torch.device | None = None,
        study: int = 0,
    ) -> None:
        self.architecture = architecture
        self.config = config
        self.gain = gain
        self.fitted_ms = fitted_ms
        self.device = device or torch.device("cpu")
        self.module = module.to(self.device).eval()
        on_gpu = self.device.type == "cuda"
        self.batches = Batches(NETWORKS[architecture].at_once(config, len(stream.gaussian.symbols)) if on_gpu else 1)
        self._study = study
        self._stream = stream
        self._recent: Inputs | None = None

    @property
    def symbols(self) -> tuple[str, ...]:
        return self._stream.gaussian.symbols

    @property
    def interval_ms(self) -> int:
        return self._stream.gaussian.interval_ms

    @property
    def warmup(self) -> int:
        """The Gaussian's scales need hours, its correlations `study` slices where none were fitted, the window some."""
        return max(self._stream.gaussian.warmup + int(self.config.window), self._study)

    def observe(self, panel: Panel) -> None:
        """Absorbs the next slices; those not newer than the newest seen are ignored."""
        self._take(panel)

    def absorb(self, panel: Panel) -> Floats:
        """`observe`, and the inferred returns [T, N] on the way; NaN where a slice is not new."""
        both, before = self._take(panel)
        found = np.full((len(panel), len(self.symbols)), np.nan)
        fresh = len(both) - before
        if fresh:
            found[len(panel) - fresh :] = self.infer_rows(both, np.arange(before, len(both)))
        return found

    def _take(self, panel: Panel) -> tuple[Inputs, int]:
        """The inputs of the last slices and the new ones, and how many of them are not new."""
        fresh = self._stream.absorb(panel)
        both = fresh if self._recent is None else _joined(self._recent, fresh)
        self._recent = _last(both, self.config.window)
        return both, len(both) - len(fresh)

    def infer(self) -> Inferred:
        """The answer for the newest slice seen."""
        if self._recent is None or not len(self._recent):
            return Inferred(0, np.full(len(self.symbols), np.nan), self.gain)
        inferred = self.infer_rows(self._recent, np.array([len(self._recent) - 1]))
        return Inferred(int(self._recent.open_ms[-1]), inferred[-1], self.gain)

    def infer_panel(self, panel: Panel) -> Floats:
        """The inferred returns [T, N] that observing slice by slice would give; changes nothing here."""
        return copy.deepcopy(self).absorb(panel)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Network":
        """With a stream of its own; the weights never change and are shared, and with them what was compiled of them."""
        made = copy.copy(self)
        made._stream = copy.deepcopy(self._stream, memo)
        return made

    @torch.inference_mode()
    def infer_rows(self, inputs: Inputs, rows: Integers) -> Floats:
        """Raw returns [R, N] of these rows; NaN where a coin is not known, not asked, or nothing was learned of it."""
        kind, table = NETWORKS[self.architecture], Table(inputs, self.device)
        with threads(None if kind.is_slow(self.config) else 1):
            found = self.batches.run(
                lambda rows_B: kind.infer(self.module, self.config, table, rows_B),
                torch.from_numpy(rows).to(self.device),
            )
        inferred = kind.returns(self.config, found.cpu().numpy().astype(np.float64), inputs.scale[rows])
        usable = inputs.known[rows] & (inputs.base[rows] != 0.0)
        return np.where(usable, inferred, np.nan)

    def state(self) -> Arrays:
        """The running state, to go on from after a restart."""
        recent = (
            {} if self._recent is None else {f"recent.{name}": array for name, array in _arrays(self._recent).items()}
        )
        return self._stream.state() | {name: np.ascontiguousarray(array) for name, array in recent.items()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Takes a running state back. BadModel when it is of another shape; then nothing is changed."""
        recent = _taken_inputs(state, len(self.symbols))
        self._stream.restore(state)
        self._recent = recent

    def settings(self) -> dict[str, Any]:
        """The hyperparameters."""
        return {"network": msgspec.to_builtins(self.config), "gaussian": self._stream.gaussian.settings()}

    def tensors(self) -> Arrays:
        """What fitting found."""
        gain = {} if self.gain is None else {"gain": self.gain.copy()}
        weights = {f"network.{name}": one.detach().cpu().numpy() for name, one in self.module.state_dict().items()}
        return gain | self._stream.tensors() | weights

    def unlearned(self, symbols: tuple[str, ...], gain: Floats | None, study: int) -> "Network":
        """The same network for other coins, of which it knows nothing until it has observed `study` slices.

        BadModel for one whose weights belong to its coins, if these are others.
        """
        if NETWORKS[self.architecture].owns_coins and symbols != self.symbols:
            missing, extra = sorted({*self.symbols} - {*symbols}), sorted({*symbols} - {*self.symbols})
            raise BadModel(
                f"the weights of {self.architecture} belong to its {len(self.symbols)} coins, in their order"
                f" (missing: {', '.join(missing) or 'none'}; extra: {', '.join(extra) or 'none'}): train it on these"
            )
        settings = msgspec.convert(self._stream.gaussian.settings(), GaussianSettings)
        stream = Stream(Gaussian(symbols, self.interval_ms, settings))
        return Network(
            self.architecture, self.config, self.module, stream, gain, self.fitted_ms, self.device, study=study
        )


def load(
    architecture: str,
    symbols: tuple[str, ...],
    interval_ms: int,
    fitted_ms: int,
    settings: Mapping[str, Any],
    tensors: Mapping[str, NDArray[Any]],
    device: torch.device,
) -> Network:
    """The network of a folder. BadModel when its arrays are not those of its settings."""
    kind = NETWORKS[architecture]
    try:
        config = msgspec.convert(settings.get("network", {}), kind.config)
    except msgspec.ValidationError as why:
        raise BadModel(f"settings: {why}") from why
    stream = Stream.load(symbols, interval_ms, fitted_ms, settings.get("gaussian", {}), tensors)
    module = kind.build(config, len(symbols))
    weights = {}
    for name, parameter in module.state_dict().items():
        found = taken(tensors, f"network.{name}", tuple(parameter.shape))
        weights[name] = torch.from_numpy(found).to(parameter.dtype)
    module.load_state_dict(weights)
    gain = taken_gain(tensors, len(symbols))
    try:
        return Network(architecture, config, module, stream, gain, fitted_ms, device)
    except torch.OutOfMemoryError as why:
        raise BadModel(
            "the GPU has no memory left for the weights: free some, or hide it (CUDA_VISIBLE_DEVICES=)"
        ) from why


def _arrays(inputs: Inputs) -> dict[str, NDArray[Any]]:
    return {name: getattr(inputs, name) for name in Inputs.__struct_fields__}


def _joined(before: Inputs, after: Inputs) -> Inputs:
    return Inputs(
        *(np.concatenate(pair) for pair in zip(_arrays(before).values(), _arrays(after).values(), strict=True))
    )


def _last(inputs: Inputs, rows: int) -> Inputs:
    return Inputs(*(array[-rows:].copy() for array in _arrays(inputs).values()))


def _taken_inputs(state: Mapping[str, NDArray[Any]], coins: int) -> Inputs | None:
    """What `state` kept of the last slices. BadModel when it does not fit."""
    found = {name: state.get(f"recent.{name}") for name in Inputs.__struct_fields__}
    if found["open_ms"] is None:
        return None
    rows = (len(found["open_ms"]),)
    shapes = {"open_ms": rows, "follows": rows, "candles": (*rows, coins, FEATURES)}
    for name, array in found.items():
        shape = shapes.get(name, (*rows, coins))
        if array is None or array.shape != shape:
            raise BadModel(f"the state's {name} does not fit {coins} symbols: it is another model's state")
    return Inputs(**{name: np.array(array) for name, array in found.items()})
