"""Networks by name, each with how it is trained.

Scheme  entries and coins taught `small` alike (validation .6454 and .6459 of 600 rows after 500 steps, one seed each); `base`
        and `published-past` have only been given the same.
"""

from typing import Any, Literal

from msgspec import Struct

from models.coin_query import Config as CoinQueryConfig
from models.masked import Config as MaskedConfig
from models.model import BadModel
from models.schemes import Scheme

SCORED_MAX = 2_000
SMALL = MaskedConfig(window=32, width=128, depth=4, heads=4, norm="pre", past="shared", told=True, levelled=True)
BASE = MaskedConfig(window=64, width=256, depth=6, heads=8, norm="pre", past="shared", told=True, levelled=True)


class Preset(Struct, frozen=True):
    """A network and its training.

    `scheme` is what is hidden of a window (schemes.py); None for a network that hides each coin alone. `bf16` and
    `compile` are for GPUs. It is validated so many times (`validations`); on a CPU on `scored` rows of the validation
    split, evenly spaced, and on `judged` once it is trained, None for all of them.
    """

    architecture: str
    config: Any
    scheme: Scheme | None = None
    batch: int = 64
    lr: float = 1e-3
    ema: float = 0.0
    precision: Literal["float32", "bf16"] = "float32"
    compile: bool = False
    validations: int = 10
    scored: int = SCORED_MAX
    judged: int | None = None


def _published(config: MaskedConfig) -> Preset:
    """As published; on a CPU it takes seconds to infer one slice, and is scored on few."""
    return Preset(
        "masked", config, "coins", 128, 1e-4, precision="bf16", compile=True, validations=4, scored=32, judged=64
    )


PRESETS = {
    "coin-query": Preset("coin-query", CoinQueryConfig()),
    "coin-query-wide": Preset("coin-query", CoinQueryConfig(width=128)),
    "small": Preset("masked", SMALL, "entries", precision="bf16", compile=True),
    "base": Preset("masked", BASE, "entries", precision="bf16", compile=True),
    "published": _published(MaskedConfig(hide="window")),
    "published-raw": _published(MaskedConfig(hide="window", raw=True)),
    "published-past": Preset(
        "masked",
        MaskedConfig(past="shared"),
        "entries",
        batch=128,
        lr=1e-4,
        precision="bf16",
        compile=True,
        scored=300,
        judged=2_000,
    ),
}


def preset(name: str) -> Preset:
    """The preset of this name. BadModel for a name that is none."""
    if name not in PRESETS:
        raise BadModel(f"no preset {name!r}: there are {', '.join(PRESETS)}")
    return PRESETS[name]
