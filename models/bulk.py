"""Bulk inference: a long panel stretch by stretch, so that little of it is worked on at once and progress can be told.

The bits are those of `Model.infer_panel` on the whole panel, since that is what observing slice by slice would give.
"""

import copy
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np

from bot.core.market import Floats, Panel
from models.model import Model

STRETCH = 2_048
Told = Callable[[int, int], None]  # slices done, of how many


@runtime_checkable
class Absorbing(Protocol):
    """A model that observes a panel and gives the inferred returns [T, N] on the way, for the price of one."""

    def absorb(self, panel: Panel) -> Floats: ...


def nobody(done: int, of: int) -> None:
    """Is told, and does nothing."""


def infer_in_bulk(model: Model, panel: Panel, told: Told = nobody, stretch: int = STRETCH) -> Floats:
    """The inferred returns [T, N] that observing the panel slice by slice would give; the model is left as it was."""
    at_work = copy.deepcopy(model)
    found = np.empty((len(panel), len(model.symbols)))
    for start in range(0, len(panel), stretch):
        stop = min(start + stretch, len(panel))
        rows = panel.rows(start, stop)
        if isinstance(at_work, Absorbing):
            found[start:stop] = at_work.absorb(rows)
        else:
            found[start:stop] = at_work.infer_panel(rows)
            if stop < len(panel):
                at_work.observe(rows)
        told(stop, len(panel))
    return found


def observe_in_bulk(model: Model, panel: Panel, stretch: int = STRETCH) -> None:
    """`Model.observe`, stretch by stretch."""
    for start in range(0, len(panel), stretch):
        model.observe(panel.rows(start, min(start + stretch, len(panel))))
