"""The networks there are: how each is made and asked, behind one shape, so that nothing else needs to know which it is."""

from collections.abc import Callable
from typing import Any

from msgspec import Struct
from torch import Tensor, nn

from bot.core.market import Floats
from models import masked
from models.coin_query import CoinQuery
from models.coin_query import Config as CoinQueryConfig
from models.masked import Masked
from models.table import Table

COIN_QUERY_ROWS = 1_024
MASKED_TOKENS = 1 << 17  # of one pass: 400 windows of the published size, half a gigabyte a layer in bf16


class Architecture(Struct, frozen=True):
    """A network of one kind.

    `build` takes its configuration and the number of coins. `infer` gives the newest slices' inferences [B, N] of these
    rows of a table, in the units that `returns` turns into raw returns: returns(config, inferred, scale). `at_once` is
    how many rows a GPU is asked for at a time. `is_slow`: worth more than one thread. `owns_coins`: its weights are for
    its coins alone, in their order.
    """

    config: type[Struct]
    build: Callable[[Any, int], nn.Module]
    infer: Callable[[nn.Module, Any, Table, Tensor], Tensor]
    returns: Callable[[Any, Floats, Floats], Floats]
    at_once: Callable[[Any, int], int]
    is_slow: Callable[[Any], bool]
    owns_coins: bool


def _ask_coin_query(module: nn.Module, c: CoinQueryConfig, table: Table, rows_B: Tensor) -> Tensor:
    inferred_BN: Tensor = module(*table.windows(rows_B, c.window))
    return inferred_BN


def masked_windows(c: masked.Config, table: Table, rows_B: Tensor) -> tuple[Tensor, Tensor]:
    """What a masked network reads of these rows: returns [B, W, N] in its units, and where they are known."""
    return table.raw_windows(rows_B, c.window) if c.raw else table.scaled_windows(rows_B, c.window)


def _ask_masked(module: nn.Module, c: masked.Config, table: Table, rows_B: Tensor) -> Tensor:
    assert isinstance(module, Masked)
    return masked.infer(module, *masked_windows(c, table, rows_B))


def _masked_returns(c: masked.Config, inferred: Floats, scale: Floats) -> Floats:
    return inferred if c.raw else inferred * scale


def _masked_rows(c: masked.Config, coins: int) -> int:
    return max(1, MASKED_TOKENS // masked.rows_of(c, coins))


NETWORKS = {
    "coin-query": Architecture(
        CoinQueryConfig,
        lambda c, coins: CoinQuery(c),
        _ask_coin_query,
        lambda c, inferred, scale: inferred * scale,
        lambda c, coins: COIN_QUERY_ROWS,
        is_slow=lambda c: False,
        owns_coins=False,
    ),
    "masked": Architecture(
        masked.Config,
        Masked,
        _ask_masked,
        _masked_returns,
        _masked_rows,
        masked.is_slow,
        owns_coins=True,
    ),
}
