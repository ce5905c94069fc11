"""What networks read: slices in, rows of inputs out, each from slices up to it alone.

Scale   a coin's return is divided by the Gaussian's scale, known before the slice; what is inferred is multiplied by it.
Base    the Gaussian's own inference of the coin, hidden alone: what a network corrects.
Volume  the logarithm of the quote volume over its mean of the trailing hours before.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from bot.core.market import HOUR_MS, Floats, Integers, Mask, Panel
from models.baselines import TRAILING_ROWS_MIN, Gaussian
from models.dataset import Mean
from models.model import Arrays, taken

VOLUME_CLIP = 5.0
WILDNESS_CLIP = 3.0
SINGLE = np.float32

Singles = NDArray[np.float32]


class Inputs(Struct, frozen=True, eq=False):
    """T slices of N symbols, ready for a network.

    `candles` [T, N, 3]: scaled returns, wicks, volume; `wildness` [T, N]: the scale against its long run; all 0 where
    unknown. `base` [T, N] is 0 where the Gaussian infers nothing, `known` [T, N] where there was a return whose `scale`
    [T, N] is known. `follows` [T]: the slice comes right after the one before. `raw` [T, N]: returns as they are, which
    no scaled and clipped return gives back.
    """

    open_ms: Integers
    candles: Singles
    wildness: Singles
    base: Singles
    known: Mask
    scale: Floats
    follows: Mask
    raw: Singles

    def __len__(self) -> int:
        return len(self.open_ms)


class Stream:
    """Turns slices that come in pieces into the inputs that the whole would give."""

    def __init__(self, gaussian: Gaussian) -> None:
        self.gaussian = gaussian
        trailing = gaussian.trailing_hours * HOUR_MS / gaussian.interval_ms
        self._volume = Mean(len(gaussian.symbols), max(TRAILING_ROWS_MIN, trailing))

    def absorb(self, panel: Panel) -> Inputs:
        """The inputs of the panel's rows that are new."""
        steps = self.gaussian.steps(panel)
        new = panel.rows(len(panel) - len(steps.returns), len(panel))
        base = np.divide(steps.inferred, steps.scale, out=np.zeros_like(steps.scale), where=np.isfinite(steps.inferred))
        return Inputs(
            steps.returns.open_ms,
            np.stack((steps.x, steps.wicks, self._levels(new)), axis=-1, dtype=SINGLE, casting="same_kind"),
            np.clip(steps.wildness, -WILDNESS_CLIP, WILDNESS_CLIP).astype(SINGLE),
            base.astype(SINGLE),
            steps.known,
            steps.scale,
            steps.returns.follows,
            steps.returns.values.astype(SINGLE),
        )

    def _levels(self, panel: Panel) -> Floats:
        """The volumes [T, N] against their means before; 0 where nothing was traded or nothing came before."""
        traded = panel.present & np.isfinite(panel.volume) & np.isfinite(panel.close)
        size = np.log1p(np.where(traded, panel.volume * panel.close, 0.0))
        found = np.zeros(size.shape)
        for row in range(len(panel)):
            usual = self._volume.value()
            seen = traded[row] & (self._volume.counts > 0)
            found[row, seen] = np.clip(size[row, seen] - usual[seen], -VOLUME_CLIP, VOLUME_CLIP)
            self._volume.absorb(size[row], traded[row])
        return found

    def state(self) -> Arrays:
        """The running state, to go on from after a restart."""
        return {f"gaussian.{name}": array for name, array in self.gaussian.state().items()} | self._volumes()

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Takes it back. BadModel when it is of another shape."""
        volumes = self._taken_volumes(state)
        self.gaussian.restore(_under("gaussian.", state))
        self._volume.sums, self._volume.counts = volumes

    def tensors(self) -> Arrays:
        """What fitting found."""
        return {f"gaussian.{name}": array for name, array in self.gaussian.tensors().items()} | self._volumes()

    @classmethod
    def load(
        cls,
        symbols: tuple[str, ...],
        interval_ms: int,
        fitted_ms: int,
        settings: Mapping[str, Any],
        tensors: Mapping[str, NDArray[Any]],
    ) -> "Stream":
        """That of a folder: it knows what it was fitted on and stands nowhere in time."""
        stream = cls(Gaussian.load(symbols, interval_ms, fitted_ms, settings, _under("gaussian.", tensors)))
        stream._volume.sums, stream._volume.counts = stream._taken_volumes(tensors)
        return stream

    def _volumes(self) -> Arrays:
        return {"volume.sums": self._volume.sums.copy(), "volume.counts": self._volume.counts.copy()}

    def _taken_volumes(self, arrays: Mapping[str, NDArray[Any]]) -> tuple[Floats, Floats]:
        coins = (len(self.gaussian.symbols),)
        return taken(arrays, "volume.sums", coins), taken(arrays, "volume.counts", coins)


def _under(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """The arrays whose names begin so, without it."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
