"""What every model is: slices in, in order; the inferred return of every coin out, as if it alone were hidden.

Units   returns as fractions of one interval; NaN where a coin is absent or not known well enough to be inferred.
Shapes  T slices, oldest first; N symbols, in the model's own order.
State   a function of the folder and of the slices observed since, nothing else.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from bot.core.market import Floats, Panel

Arrays = dict[str, NDArray[Any]]


class BadModel(ValueError):
    """A model that cannot be used; the text says what is wrong and what to do."""

    exit_code = 78


class Inferred(Struct, frozen=True, eq=False):
    """What a model says of one slice: `returns` [N], and `gain` [N] if it knows.

    `gain` is the expected next return per unit of divergence (inferred - actual). `open_ms` 0: nothing seen yet.
    """

    open_ms: int
    returns: Floats
    gain: Floats | None = None


class Model(Protocol):
    """One architecture with its weights and its running state."""

    @property
    def architecture(self) -> str: ...

    @property
    def symbols(self) -> tuple[str, ...]: ...

    @property
    def interval_ms(self) -> int: ...

    @property
    def warmup(self) -> int:
        """Slices to observe before the first inference is worth having."""
        ...

    @property
    def fitted_ms(self) -> int:
        """The open of the last slice that fitting has seen; 0 when nothing was fitted. Measure after it."""
        ...

    def observe(self, panel: Panel) -> None:
        """Absorbs the next slices. Those not newer than the newest seen are ignored; a hole in time breaks the chain.

        A folder's model may start anywhere in time: only slices observed since it was loaded count as seen.
        """
        ...

    def infer(self) -> Inferred:
        """The answer for the newest slice seen."""
        ...

    def infer_panel(self, panel: Panel) -> Floats:
        """The inferred returns [T, N] that observing the panel slice by slice would give; changes nothing here.

        NaN in rows that `observe` would ignore.
        """
        ...

    def state(self) -> Arrays:
        """The running state, to go on from after a restart."""
        ...

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Takes a running state back. BadModel when it is of another shape."""
        ...

    def settings(self) -> dict[str, Any]:
        """The hyperparameters, for the folder's config.json."""
        ...

    def tensors(self) -> Arrays:
        """What fitting found, for the folder's weights file."""
        ...


def taken(arrays: Mapping[str, NDArray[Any]], name: str, shape: tuple[int, ...]) -> Floats:
    """A float copy of one array. BadModel when it is missing, of another shape, or not finite (S7)."""
    if name not in arrays:
        raise BadModel(f"the array {name} is missing: fit the model again")
    found = np.array(arrays[name], dtype=np.float64)
    if found.shape != shape:
        raise BadModel(
            f"the array {name} is {list(found.shape)}, this universe needs {list(shape)}: fit the model again"
        )
    if not np.isfinite(found).all():
        raise BadModel(f"the array {name} holds numbers that are not finite: fit the model again")
    return found
