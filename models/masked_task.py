"""What a network of hidden coins is trained for: the scaled return of a hidden coin; scored by correlation.

Loss    the squared error on scaled, clipped returns of the train rows, every coin that was known and has a base.
Score   the mean over coins of the correlation of inferred and actual raw returns on validation rows, lag 0: a falling
        loss proves nothing.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from bot.core.market import Floats, Mask
from models.network import Architecture, Network
from models.scores import correlations, explained
from models.table import Table

BATCH = 128
SCORED_MAX = 2_000  # rows of the validation split, evenly spaced


class HiddenCoins:
    """A `Task` of the training loop. Rows `train` to `validation` of the table are scored, those before train."""

    def __init__(
        self,
        network: Network,
        kind: Architecture,
        table: Table,
        scale: Floats,
        actual: Floats,
        real: Mask,
        train: int,
        settings: Mapping[str, Any],
    ) -> None:
        self.module: nn.Module = network.module
        self.settings = {**settings, "network": msgspec.to_builtins(network.config)}
        self._config, self._kind, self._table = network.config, kind, table
        taught_TN = table.known_TN & (table.base_TN != 0.0)
        coins = taught_TN.shape[1]
        usable = taught_TN[:train].sum(1) > coins // 2
        usable[: network.config.window] = False
        self._rows_R = usable.nonzero()[:, 0]
        self._taught_TN = taught_TN
        step = max(1, (len(table) - train) // SCORED_MAX)
        self._scored = np.arange(train, len(table), step)
        self._scale, self._actual = scale[self._scored], actual[self._scored]
        self._real = real[self._scored] & taught_TN.cpu().numpy()[self._scored]

    @property
    def rows(self) -> int:
        """The rows that teach."""
        return len(self._rows_R)

    def loss(self, module: nn.Module, step: int, size: int, generator: torch.Generator) -> Tensor:
        """The mean squared error of `size` rows drawn with the generator."""
        at = torch.randint(len(self._rows_R), (size,), generator=generator, device=generator.device)
        rows_B = self._rows_R[at]
        missed_BN = self._kind.infer(module, self._config, self._table, rows_B) - self._table.returns(rows_B)[0]
        taught_BN = self._taught_TN[rows_B]
        loss: Tensor = (missed_BN.square() * taught_BN).sum() / taught_BN.sum().clamp(min=1)
        return loss

    def validate(self, module: nn.Module) -> dict[str, float]:
        """The score, and the share of squared error saved against inferring zero."""
        rows = torch.from_numpy(self._scored).to(self._table.device)
        parts = [
            self._kind.infer(module, self._config, self._table, rows[at : at + BATCH])
            for at in range(0, len(rows), BATCH)
        ]
        inferred = torch.cat(parts).double().cpu().numpy() * self._scale
        found = correlations(inferred, self._actual, self._real)
        saved = explained(inferred, self._actual, self._real)
        return {"score": float(np.nanmean(found)), "r2": float(np.nanmean(saved))}
