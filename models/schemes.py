"""What a network of hidden coins is trained on: which entries of its windows are hidden (spec.md section 2).

entries  each entry with probability .15
coins    15 % of the coins, rounded up, for the whole window
newest   the last row
span     one coin, for the last 75 % of the window
blocks   coins in blocks, as they are hidden when all are inferred: their last row or their whole window, as the network
         hides. With a shared past every block at once, each in its own version of the newest slice; else one block.

Every draw comes from the generator that is handed in, on its device.
B windows  W slices  N coins  R rows, see masked.py
"""

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from models.masked import Config, blocks_of, hidden, hidden_versions

Scheme = Literal["entries", "coins", "newest", "span", "blocks"]
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)

SHARE = 0.15
SPAN = 0.75


def drawn(scheme: Scheme, c: Config, windows: int, coins: int, generator: torch.Generator) -> Tensor:
    """The mask [B, R, N] of what is hidden."""
    device = generator.device
    match scheme:
        case "entries":
            return torch.rand(windows, c.window, coins, generator=generator, device=device) < SHARE
        case "coins":
            return hidden(_some(windows, coins, math.ceil(SHARE * coins), generator), c.window, "window")
        case "newest":
            every_BN = torch.ones(windows, coins, dtype=torch.bool, device=device)
            return hidden(every_BN, c.window, "last")
        case "span":
            since_W1 = torch.arange(c.window, device=device)[:, None] >= c.window - round(SPAN * c.window)
            return hidden(_some(windows, coins, 1, generator), c.window, "window") & since_W1
        case "blocks":
            return _blocks(c, windows, coins, generator)


def newest_rows(scheme: Scheme, c: Config, rows: int) -> int:
    """How many of the newest rows [B, R, N] hold all that the scheme hides."""
    newest_alone = scheme == "newest" or (scheme == "blocks" and c.hide == "last")
    return rows - c.window + 1 if newest_alone else rows


def _some(windows: int, coins: int, count: int, generator: torch.Generator) -> Tensor:
    """So many coins of each window, [B, N]."""
    order_BN = torch.rand(windows, coins, generator=generator, device=generator.device).argsort(dim=1)
    return order_BN < count


def _blocks(c: Config, windows: int, coins: int, generator: torch.Generator) -> Tensor:
    """Blocks of coins that come together by chance: no coin is always inferred without the same others."""
    order_N = torch.rand(coins, generator=generator, device=generator.device).argsort()
    sets_PN = blocks_of(c, coins).to(generator.device)[:, order_N]
    if c.past == "shared":
        return hidden_versions(sets_PN, c.window).expand(windows, -1, -1)
    chosen_B = torch.randint(len(sets_PN), (windows,), generator=generator, device=generator.device)
    return hidden(sets_PN[chosen_B], c.window, c.hide)
