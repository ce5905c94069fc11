"""A model for another universe, on the coins that both have: its other coins are absent to it, always.

Bits    the same as those of the model on a panel of its own universe in which those coins never had a candle.
Worth   less than a model fitted on the coins that are there: it infers from fewer than it learned from.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from bot.core.market import FIELDS, Floats, Panel
from models.model import Arrays, BadModel, Inferred, Model

SHARED_MIN = 3


class Intersection:
    """A `Model` of those `symbols` [K], in their order, that `model` has too. BadModel under SHARED_MIN of them."""

    def __init__(self, model: Model, symbols: tuple[str, ...]) -> None:
        self.symbols = tuple(symbol for symbol in symbols if symbol in model.symbols)
        if len(self.symbols) < SHARED_MIN:
            shared = f" ({', '.join(self.symbols)})" if self.symbols else ""
            raise BadModel(
                f"the model infers {len(model.symbols)} coins and shares {len(self.symbols)}{shared} with the"
                f" {len(symbols)} wanted: {SHARED_MIN} are the least to infer from; train a model on the coins you want"
            )
        self.left_out = tuple(symbol for symbol in symbols if symbol not in model.symbols)
        self.absent = tuple(symbol for symbol in model.symbols if symbol not in self.symbols)
        self._model = model
        self._at = np.array([model.symbols.index(symbol) for symbol in self.symbols])

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is left out, by name, in a sentence each."""
        told = {
            "left out, for the model does not know them": self.left_out,
            "absent to the model, which was made with them": self.absent,
        }
        return tuple(f"{what}: {', '.join(symbols)}" for what, symbols in told.items() if symbols)

    @property
    def architecture(self) -> str:
        return self._model.architecture

    @property
    def interval_ms(self) -> int:
        return self._model.interval_ms

    @property
    def warmup(self) -> int:
        return self._model.warmup

    @property
    def fitted_ms(self) -> int:
        return self._model.fitted_ms

    def observe(self, panel: Panel) -> None:
        """Absorbs the next slices of the shared coins."""
        self._model.observe(self._widened(panel))

    def infer(self) -> Inferred:
        """The model's answer for the newest slice, the shared coins of it."""
        found = self._model.infer()
        return Inferred(found.open_ms, found.returns[self._at], None if found.gain is None else found.gain[self._at])

    def infer_panel(self, panel: Panel) -> Floats:
        """The inferred returns [T, K] that observing slice by slice would give; changes nothing here."""
        return np.ascontiguousarray(self._model.infer_panel(self._widened(panel))[:, self._at])

    def state(self) -> Arrays:
        """The model's running state."""
        return self._model.state()

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Takes the model's running state back."""
        self._model.restore(state)

    def settings(self) -> dict[str, Any]:
        """The model's own."""
        return self._model.settings()

    def tensors(self) -> Arrays:
        """The model's own, for all of its coins."""
        return self._model.tensors()

    def _widened(self, panel: Panel) -> Panel:
        """The same slices in the model's universe, its other coins without a candle."""
        if panel.symbols != self.symbols:
            raise BadModel("the candles are not of the shared coins, in their order")
        shape = (len(panel), len(self._model.symbols))
        fields = {}
        for name in FIELDS:
            fields[name] = np.full(shape, np.nan)
            fields[name][:, self._at] = getattr(panel, name)
        present = np.zeros(shape, dtype=np.bool_)
        present[:, self._at] = panel.present
        return structs.replace(panel, symbols=self._model.symbols, **fields, present=present)
