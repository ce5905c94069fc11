"""The volatility networks there are: how each is made, asked and taught, behind one shape; and the presets.

B batch  An answer [B, 3] is location, log scale and the logit of rising (NaN where the network has none), in the coin's
         own units: of log volatilities less the curves, or of volatilities as they are.
"""

from collections.abc import Callable
from typing import Any, Literal

import msgspec
import torch
from msgspec import Struct
from torch import Tensor, nn

from models.hour_table import Batch
from models.model import BadModel
from models.sph_net import SphNet, TrunkConfig, published_loss
from models.summary_net import SummaryConfig, SummaryNet, student_loss
from models.volatility_columns import INPUTS


class Kind(Struct, frozen=True):
    """A network of one kind.

    `window`: the hours its config reads; `loss`: of a batch, its actual values and whether volatility rose (1 or 0);
    `logs`: what it is taught and says are logs less the curves.
    """

    config: type[Struct]
    build: Callable[[Any], nn.Module]
    window: Callable[[Any], int]
    ask: Callable[[nn.Module, Batch], Tensor]
    loss: Callable[[nn.Module, Batch, Tensor, Tensor], Tensor]
    logs: bool


def _ask_summary(module: nn.Module, batch: Batch) -> Tensor:
    found_B2: Tensor = module(*batch)
    return torch.cat((found_B2, torch.full_like(found_B2[:, :1], torch.nan)), dim=-1)


def _teach_summary(module: nn.Module, batch: Batch, actual_B: Tensor, rose_B: Tensor) -> Tensor:
    found_B2 = module(*batch)
    return student_loss(found_B2[:, 0], found_B2[:, 1], actual_B)


def _ask_published(module: nn.Module, batch: Batch) -> Tensor:
    answer = module(batch.prices_BWP, batch.engineered_BWE)
    return torch.stack((answer.volatility_B, 0.5 * answer.variance_B.log(), answer.rising_B), dim=-1)


def _teach_published(module: nn.Module, batch: Batch, actual_B: Tensor, rose_B: Tensor) -> Tensor:
    return published_loss(module(batch.prices_BWP, batch.engineered_BWE), actual_B, rose_B)


KINDS = {
    "sph-net": Kind(
        SummaryConfig,
        SummaryNet,
        lambda c: 0 if c.trunk is None else int(c.trunk.window),
        _ask_summary,
        _teach_summary,
        logs=True,
    ),
    "sph-net-published": Kind(
        TrunkConfig,
        SphNet,
        lambda c: int(c.window),
        _ask_published,
        _teach_published,
        logs=False,
    ),
}


class Lesson(Struct, frozen=True):
    """One training: AdamW with a warm-up and a cosine. `patience` counts validations; 0 goes on to the end."""

    epochs: float
    batch: int
    lr: float
    weight_decay: float = 0.02
    warmup_share: float = 0.1
    validations: int = 10
    patience: int = 0


class Preset(Struct, frozen=True):
    """A network and its training: on all coins, then on the one that is tuned for. `trunk` None: the direct path alone."""

    kind: Literal["sph-net", "sph-net-published"]
    trunk: TrunkConfig | None
    panel: Lesson
    tune: Lesson | None = None
    precision: Literal["float32", "bf16"] = "float32"

    def config(self, coins: int) -> SummaryConfig | TrunkConfig:
        """The network's own, for so many coins."""
        if self.kind == "sph-net":
            return SummaryConfig(len(INPUTS), coins, trunk=self.trunk)
        assert self.trunk is not None
        return self.trunk


POOLED, TUNED = Lesson(3, 512, 2e-3), Lesson(4, 512, 4e-4)
BRANCH = TrunkConfig(window=24, width=32, heads=4, layers=1, decoder_layers=1, dropout=0.0)
PRESETS = {
    "sph-net": Preset("sph-net", BRANCH, msgspec.structs.replace(POOLED, epochs=2), TUNED),
    "direct": Preset("sph-net", None, POOLED, TUNED),
    "published": Preset(
        "sph-net-published",
        TrunkConfig(),
        Lesson(100, 64, 5e-4, weight_decay=1e-4, warmup_share=0.05, validations=100, patience=15),
        precision="bf16",
    ),
}


def preset(name: str) -> Preset:
    """The preset of this name. BadModel for a name that is none."""
    if name not in PRESETS:
        raise BadModel(f"no preset {name!r}: there are {', '.join(PRESETS)}")
    return PRESETS[name]
