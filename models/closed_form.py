"""What the closed forms share: slices in, one row of inferred returns out, by whatever formula the subclass holds.

A subclass says how it advances over returns, what it was fitted with (`tensors`) and what it remembers beside the
newest slice's closes (`_memory`, `_recall`). Everything runs in numpy on the CPU.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bot.core.market import Floats, Panel
from models.dataset import Returns, Tape
from models.model import Arrays, BadModel, Inferred, taken


class ClosedForm(ABC):
    """A `Model` whose inference is a formula."""

    architecture: ClassVar[str]
    warmup = 2  # a return needs two closes

    def __init__(self, symbols: tuple[str, ...], interval_ms: int, gain: Floats | None = None, fitted_ms: int = 0):
        self.symbols = symbols
        self.interval_ms = interval_ms
        self.gain = gain
        self.fitted_ms = fitted_ms
        self._tape = Tape(symbols, interval_ms)
        self._newest = np.full(len(symbols), np.nan)

    def observe(self, panel: Panel) -> None:
        """Absorbs the next slices; those not newer than the newest seen are ignored."""
        self.absorb(panel)

    def absorb(self, panel: Panel) -> Floats:
        """`observe`, and the inferred returns [T, N] of each slice on the way; NaN in rows that were ignored."""
        returns = self._tape.take(panel)
        inferred = np.full((len(panel), len(self.symbols)), np.nan)
        if len(returns):
            inferred[len(panel) - len(returns) :] = self._advance(returns)
            self._newest = inferred[-1].copy()
        return inferred

    def infer(self) -> Inferred:
        """The answer for the newest slice seen."""
        return Inferred(self._tape.newest_ms, self._newest.copy(), self.gain)

    def infer_panel(self, panel: Panel) -> Floats:
        """The inferred returns [T, N] that observing slice by slice would give; changes nothing here."""
        return copy.deepcopy(self).absorb(panel)

    def state(self) -> Arrays:
        """The running state: the place in time and what the formula remembers. NaN in `close` is an absent coin."""
        place = {"newest_ms": np.array([self._tape.newest_ms], dtype=np.int64), "close": self._tape.close.copy()}
        return place | {"newest": self._newest.copy()} | self._memory()

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Takes a running state back. BadModel when it is of another shape; then nothing is changed."""
        coins = (len(self.symbols),)
        for name, shape in (("newest_ms", (1,)), ("close", coins), ("newest", coins)):
            if name not in state or state[name].shape != shape:
                raise BadModel(f"the state's {name} does not fit {coins[0]} symbols: it is another model's state")
        self._recall(state)
        self._tape.newest_ms = int(state["newest_ms"][0])
        self._tape.close = np.array(state["close"], dtype=np.float64)
        self._newest = np.array(state["newest"], dtype=np.float64)

    def tensors(self) -> Arrays:
        """What fitting found."""
        gain = {} if self.gain is None else {"gain": self.gain.copy()}
        return gain | self._fitted()

    def settings(self) -> dict[str, Any]:
        """The hyperparameters; none unless the subclass has some."""
        return {}

    @abstractmethod
    def _advance(self, returns: Returns) -> Floats:
        """Absorbs these returns and gives each row's inference [T, N], made before the row was absorbed."""

    @abstractmethod
    def _fitted(self) -> Arrays:
        """What fitting found, the gain aside."""

    def _memory(self) -> Arrays:
        return {}

    def _recall(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Takes what `_memory` gave. BadModel, and nothing changed, when it does not fit."""


def taken_gain(tensors: Mapping[str, NDArray[Any]], coins: int) -> Floats | None:
    """The gain [N] of a folder, None where it has none."""
    return taken(tensors, "gain", (coins,)) if "gain" in tensors else None
