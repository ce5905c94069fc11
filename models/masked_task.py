"""What a network of hidden coins is trained for: the return of a hidden coin; scored by correlation.

Lesson  what is minimised on some rows: the squared error on hidden entries that are known. A lesson is of one kind of
        network: a coin query hides every coin alone, a masked network what its scheme says.
Also    other tables may teach the same weights, a step in ALSO_SHARE each, where no weight belongs to a coin.
Score   the mean over coins of the correlation of inferred and actual raw returns on validation rows, lag 0: a falling
        loss proves nothing.
Loss    a network of raw returns also tells the published one and that of inferring zero, and is chosen by their ratio:
        long before it beats zero its correlations are noise.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from bot.core.market import Floats, Integers, Mask
from models import masked, schemes
from models.architectures import NETWORKS, masked_windows
from models.masked import versions
from models.network import Network
from models.schemes import Scheme
from models.scores import correlations, explained
from models.table import Table

BATCH_MAX = 128
ALSO_SHARE = 0.07
CPU_SHARE = 8  # a CPU is asked for so many times fewer rows at once than a GPU: its caches are small

Lesson = Callable[[nn.Module, Tensor, torch.Generator], Tensor]


class Source(NamedTuple):
    """Rows of a table that teach, and what they teach."""

    rows_R: Tensor
    lesson: Lesson


class HiddenCoins:
    """A `Task` of the training loop. Rows `scored` of the table are for validation; those before `train` teach."""

    def __init__(
        self,
        network: Network,
        scheme: Scheme | None,
        table: Table,
        scale: Floats,
        actual: Floats,
        real: Mask,
        train: int,
        scored: Integers,
        settings: Mapping[str, Any],
        also: Sequence[Table] = (),
    ) -> None:
        self.module: nn.Module = network.module
        self.settings = {**settings, "network": msgspec.to_builtins(network.config), "scheme": scheme}
        self._network, self._table, self._scored = network, table, scored
        self._sources = [_source(network, table, scheme, train)]
        self._sources += [_source(network, one, scheme, len(one)) for one in also]
        self._scale, self._actual = scale[scored], actual[scored]
        self._real = real[scored] & _taught(table).cpu().numpy()[scored]

    @property
    def rows(self) -> int:
        """The rows that teach, of the table with the fewest."""
        return min(len(source.rows_R) for source in self._sources)

    def loss(self, module: nn.Module, step: int, size: int, generator: torch.Generator) -> Tensor:
        """The mean squared error of `size` rows drawn with the generator."""
        source = self._drawn(generator)
        at = torch.randint(len(source.rows_R), (size,), generator=generator, device=generator.device)
        return source.lesson(module, source.rows_R[at], generator)

    def _drawn(self, generator: torch.Generator) -> Source:
        """The first table, or in a share of the steps one of the others."""
        others = len(self._sources) - 1
        if not others:
            return self._sources[0]
        drawn = float(torch.rand((), generator=generator, device=generator.device)) / ALSO_SHARE
        return self._sources[int(drawn) + 1 if drawn < others else 0]

    def validate(self, module: nn.Module) -> dict[str, float]:
        """The score, the correlation, and the share of squared error saved against inferring zero."""
        network, kind = self._network, NETWORKS[self._network.architecture]
        rows = torch.from_numpy(self._scored).to(self._table.device)
        size = self._at_once()
        parts = [kind.infer(module, network.config, self._table, some).clone() for some in torch.split(rows, size)]
        inferred = kind.returns(network.config, torch.cat(parts).double().cpu().numpy(), self._scale)
        found = correlations(inferred, self._actual, self._real)
        saved = explained(inferred, self._actual, self._real)
        lag0 = _mean(found)
        scores = {"score": lag0, "lag0": lag0, "r2": _mean(saved)}
        if isinstance(network.config, masked.Config) and network.config.raw:
            losses = published_losses(module, network.config, self._table, rows, size)
            scores |= losses | {"score": 1.0 - losses["published_loss"] / losses["published_loss_of_zero"]}
        return scores

    def _at_once(self) -> int:
        rows = NETWORKS[self._network.architecture].at_once(self._network.config, len(self._network.symbols))
        return min(BATCH_MAX, rows if self._table.device.type == "cuda" else max(1, rows // CPU_SHARE))


def _mean(found: Floats) -> float:
    """Over the coins that have one; NaN where none has."""
    found = found[np.isfinite(found)]
    return float(found.mean()) if len(found) else float("nan")


def _source(network: Network, table: Table, scheme: Scheme | None, rows: int) -> Source:
    """The first `rows` of a table, those with a whole window and half of the coins."""
    taught_TN = _taught(table)[:rows]
    usable = taught_TN.sum(1) > taught_TN.shape[1] // 2
    usable[: network.config.window] = False
    return Source(usable.nonzero()[:, 0], lesson_of(network, table, scheme))


def lesson_of(network: Network, table: Table, scheme: Scheme | None) -> Lesson:
    """What the network is taught by: the scheme's, or without one that of a network which hides each coin alone."""
    return _each_alone(network, table) if scheme is None else _by_scheme(network, table, scheme)


def _taught(table: Table) -> Tensor:
    """The coins of each slice [T, N] that were known and have a base."""
    return table.known_TN & (table.base_TN != 0.0)


def _each_alone(network: Network, table: Table) -> Lesson:
    """Every coin of the newest slice that was known and has a base."""
    infer, config, taught_TN = NETWORKS[network.architecture].infer, network.config, _taught(table)

    def lesson(module: nn.Module, rows_B: Tensor, generator: torch.Generator) -> Tensor:
        missed_BN = infer(module, config, table, rows_B) - table.returns(rows_B)[0]
        return _mean_square(missed_BN, taught_TN[rows_B])

    return lesson


def _by_scheme(network: Network, table: Table, scheme: Scheme) -> Lesson:
    """The entries of whole windows that the scheme hides and that are known."""
    config = network.config

    def lesson(module: nn.Module, rows_B: Tensor, generator: torch.Generator) -> Tensor:
        x_BWN, known_BWN = masked_windows(config, table, rows_B)
        hidden_BRN = schemes.drawn(scheme, config, len(rows_B), x_BWN.shape[-1], generator)
        rows = hidden_BRN.shape[1]
        asked = schemes.newest_rows(scheme, config, rows)
        inferred_BAN = module(x_BWN, known_BWN, hidden_BRN, asked).float()
        taught_BAN = (versions(known_BWN, rows) & hidden_BRN)[:, -asked:]
        return _mean_square(inferred_BAN - versions(x_BWN, rows)[:, -asked:], taught_BAN)

    return lesson


def _mean_square(missed: Tensor, taught: Tensor) -> Tensor:
    missed = torch.where(taught, missed, 0.0)
    return missed.square().sum() / taught.sum().clamp(min=1)


def published_losses(module: nn.Module, c: masked.Config, table: Table, rows_V: Tensor, batch: int) -> dict[str, float]:
    """The published loss of windows that end with these rows, and that of inferring zero on the same draws.

    The mean over all entries, hidden or not, of the squared error of hidden ones; 15 % of the coins hidden for the whole
    window, the same ones each time it is asked. Entries that are not known have no error.
    """
    generator = torch.Generator(table.device).manual_seed(0)
    missed = zero = entries = 0.0
    for some in torch.split(rows_V, batch):
        x_BWN, known_BWN = masked_windows(c, table, some)
        hidden_BWN = schemes.drawn("coins", c, len(some), x_BWN.shape[-1], generator)
        errors = module(x_BWN, known_BWN, hidden_BWN).float() - x_BWN
        counted = hidden_BWN & known_BWN
        missed += float(torch.where(counted, errors, 0.0).double().square().sum())
        zero += float(torch.where(counted, x_BWN, 0.0).double().square().sum())
        entries += x_BWN.numel()
    return {"published_loss": missed / entries, "published_loss_of_zero": zero / entries}
