"""How to train: the plan, the learning rate of each step, and which parameters decay."""

import math
from typing import Any, Literal

from msgspec import Struct
from torch import nn


class BadPlan(ValueError):
    """A plan that cannot be followed."""

    exit_code = 78


class Plan(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to train.

    `batch` is what one step sees in all, over every process and its `accumulate` micro-batches. `ema` is the decay of
    the running average of the weights, 0 for none. `clip` 0 clips nothing, `patience` 0 stops never early; else it counts
    validations without a better score. `precision` and `compile` are for GPUs; a CPU computes in float32.
    """

    steps: int
    batch: int
    lr: float = 1e-3
    weight_decay: float = 0.02
    warmup_share: float = 0.05
    clip: float = 1.0
    accumulate: int = 1
    ema: float = 0.0
    validate_every: int = 500
    patience: int = 0
    seed: int = 0
    precision: Literal["float32", "bf16"] = "float32"
    compile: bool = False
    checkpoint_every: int = 500
    log_every: int = 10
    skips_in_row_max: int = 10

    def __post_init__(self) -> None:
        for name in (
            "steps",
            "batch",
            "accumulate",
            "validate_every",
            "checkpoint_every",
            "log_every",
            "skips_in_row_max",
        ):
            if getattr(self, name) < 1:
                raise BadPlan(f"{name} must be 1 or more, not {getattr(self, name)}")
        for name in ("weight_decay", "clip", "patience", "seed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise BadPlan(f"{name} must be 0 or more, not {getattr(self, name)}")
        if not 0 < self.lr < math.inf:
            raise BadPlan(f"lr must be above 0, not {self.lr}")
        for name in ("ema", "warmup_share"):
            if not 0 <= getattr(self, name) < 1:
                raise BadPlan(f"{name} must be at least 0 and below 1, not {getattr(self, name)}")


def rate(plan: Plan, step: int) -> float:
    """The learning rate of a step, counted from 0: a linear rise over the warm-up, then a cosine to 0."""
    warmup = round(plan.warmup_share * plan.steps)
    if step < warmup:
        return plan.lr * (step + 1) / warmup
    return plan.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (plan.steps - warmup)))


def decayed(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """AdamW's two groups: matrices named "...weight" of all layers but embeddings decay; the rest does not.

    Layers of torch name their matrices so; a bare parameter, such as a learned position, is none of them.
    """
    embeddings = (nn.Embedding, nn.EmbeddingBag)
    matrices = {
        parameter
        for layer in module.modules()
        for name, parameter in layer.named_parameters(recurse=False)
        if "weight" in name and parameter.ndim >= 2 and not isinstance(layer, embeddings)
    }
    learned = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [
        {"params": [one for one in learned if one in matrices], "weight_decay": weight_decay},
        {"params": [one for one in learned if one not in matrices], "weight_decay": 0.0},
    ]
