"""Masked cross-section: infers the returns of hidden coins from all the others (model A), a time step being a token.

Source  spec.md section 2: a linear map of each slice's returns, learned absolute positions, encoder, head.
Past    "whole": every slice attends to every other, as published. "shared": slices before the newest do not attend to it,
        so they are the same whatever is hidden in it: computed once, they serve many versions of the newest slice, one
        for each set of coins hidden there: 13 times fewer rows at the published size, and all sets train in one pass.
B windows  W slices, oldest first  N coins  D width  H heads  K width of a head  P hidden sets of a plan
R rows: the slices of a window, the last of them once for each version; with the whole past R = W  A newest rows asked for
In      x_BWN returns over trailing volatility (`raw`: as they are), known_BWN bool, hidden_BRN bool.
Out     inferred returns [B, A, N], in the units of x, every entry.
Holds   what an entry that is hidden or not known contains never reaches the output (tests put NaN there).
"""

import functools
import warnings
from collections.abc import Callable
from typing import Literal

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Hide = Literal["last", "window"]

NORM_EPSILON = 1e-12
DEVIATION = 0.02  # of every weight at the start
LEVEL_MIN = 0.1  # of a slice, in its units: a minute in which next to nothing moved is not blown up
LARGE = 256  # the width from which bf16 is worth its cost on a CPU


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The network's shape; the defaults are the published one.

    `hide` is what of a coin is hidden when it is inferred: its last row or its whole window. `norm` is where the
    LayerNorm of a block stands. With `told` the network also sees which entries are shown, and so tells a hidden
    entry from a true zero (spec 8.5). With `levelled` each slice is divided by its level, the root mean square of what
    is shown of it, and what is inferred multiplied by it; the network is told the logarithm. LayerNorms forget how
    large a slice was: without it nothing larger than usual can be inferred, and the wildest minutes rule a correlation.
    With `raw` returns come in and go out as they are (spec 8.6). `plan` is which coins are inferred: all of them,
    `block` hidden at a time (fewer of few coins), or those of one `blackout`, the same ones always.
    """

    window: int = 240
    width: int = 384
    depth: int = 12
    heads: int = 12
    dropout: float = 0.1
    hide: Hide = "last"
    norm: Literal["post", "pre"] = "post"
    past: Literal["whole", "shared"] = "whole"
    told: bool = False
    levelled: bool = False
    raw: bool = False
    plan: Literal["blocks", "blackout"] = "blocks"
    block: int = 8

    def __post_init__(self) -> None:
        if min(self.window, self.width, self.depth, self.heads, self.block) < 1:
            raise ValueError("window, width, depth, heads and block must be 1 or more")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, not {self.dropout}")
        if self.raw and self.levelled:
            raise ValueError("levels are of scaled returns: raw or levelled, not both")
        if self.past == "shared" and (self.hide == "window" or self.window < 2):
            raise ValueError("a past that is shared hides the last row alone, of a window of 2 or more: hide = last")


class Attention(nn.Module):
    """Softmax attention of the newest A rows to all R, in both directions of time."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.heads, self.dropout = c.heads, c.dropout
        self.query = nn.Linear(c.width, c.width)
        self.key_value = nn.Linear(c.width, 2 * c.width)
        self.out = nn.Linear(c.width, c.width)

    def forward(self, x_BRD: Tensor, asked: int, seen_VR: Tensor | None) -> Tensor:
        """`seen_VR` are the rows that each of V versions of the newest slice attends to; None: all attend to all."""
        q_BHAK = self._heads(self.query(x_BRD[:, -asked:]))
        k_BHRK, v_BHRK = (self._heads(part) for part in self.key_value(x_BRD).chunk(2, dim=-1))
        if seen_VR is None:
            x_BHAK = self._attend(q_BHAK, k_BHRK, v_BHRK)
        else:
            newest = len(seen_VR)
            parts = [self._attend(q_BHAK[:, :, -newest:], k_BHRK, v_BHRK, seen_VR if newest > 1 else None)]
            if asked > newest:
                past = (k_BHRK[:, :, :-newest], v_BHRK[:, :, :-newest])
                parts.insert(0, self._attend(q_BHAK[:, :, :-newest], *past))
            x_BHAK = torch.cat(parts, dim=2)
        x_BAD: Tensor = self.out(x_BHAK.transpose(1, 2).flatten(2))
        return x_BAD

    def _attend(self, q_BHAK: Tensor, k_BHRK: Tensor, v_BHRK: Tensor, seen_AR: Tensor | None = None) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        return F.scaled_dot_product_attention(q_BHAK, k_BHRK, v_BHRK, seen_AR, dropout_p=dropout)

    def _heads(self, x_BRD: Tensor) -> Tensor:
        windows, rows, width = x_BRD.shape
        return x_BRD.view(windows, rows, self.heads, width // self.heads).transpose(1, 2)


class FeedForward(nn.Module):
    def __init__(self, c: Config) -> None:
        super().__init__()
        self.widen = nn.Linear(c.width, 4 * c.width)
        self.narrow = nn.Linear(4 * c.width, c.width)

    def forward(self, x_BRD: Tensor) -> Tensor:
        x_BRD = self.narrow(F.gelu(self.widen(x_BRD)))
        return x_BRD


class Block(nn.Module):
    """One encoder layer. It gives the newest `asked` rows: the last layer need not compute the others."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.norm_first = c.norm == "pre"
        self.attention = Attention(c)
        self.attention_norm = nn.LayerNorm(c.width, eps=NORM_EPSILON)
        self.feed_forward = FeedForward(c)
        self.feed_forward_norm = nn.LayerNorm(c.width, eps=NORM_EPSILON)
        self.drop = nn.Dropout(c.dropout)

    def forward(self, x_BRD: Tensor, asked: int, seen_VR: Tensor | None) -> Tensor:
        x_BAD: Tensor = x_BRD[:, -asked:]
        if self.norm_first:
            x_BAD = x_BAD + self.drop(self.attention(self.attention_norm(x_BRD), asked, seen_VR))
            x_BAD = x_BAD + self.drop(self.feed_forward(self.feed_forward_norm(x_BAD)))
            return x_BAD
        x_BAD = self.attention_norm(x_BAD + self.drop(self.attention(x_BRD, asked, seen_VR)))
        x_BAD = self.feed_forward_norm(x_BAD + self.drop(self.feed_forward(x_BAD)))
        return x_BAD


class Masked(nn.Module):
    def __init__(self, c: Config, coins: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = c
        self.embed = nn.Linear(coins + c.told * coins + c.levelled, c.width)
        self.place_WD = nn.Parameter(torch.empty(c.window, c.width))
        self.norm = nn.LayerNorm(c.width, eps=NORM_EPSILON)
        self.drop = nn.Dropout(c.dropout)
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.depth))
        self.last_norm = nn.LayerNorm(c.width, eps=NORM_EPSILON) if c.norm == "pre" else nn.Identity()
        self.head = nn.Sequential(
            nn.Linear(c.width, c.width),
            nn.GELU(),
            nn.LayerNorm(c.width, eps=NORM_EPSILON),
            nn.Linear(c.width, coins),
        )
        self._begin(generator)

    def _begin(self, generator: torch.Generator | None) -> None:
        nn.init.normal_(self.place_WD, std=DEVIATION, generator=generator)
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.normal_(part.weight, std=DEVIATION, generator=generator)
                nn.init.zeros_(part.bias)

    def forward(self, x_BWN: Tensor, known_BWN: Tensor, hidden_BRN: Tensor, asked: int | None = None) -> Tensor:
        """Inferred returns of the newest `asked` rows [B, A, N]; of all R when it is None."""
        rows = hidden_BRN.shape[1]
        shown_BRN = versions(known_BWN, rows) & ~hidden_BRN
        x_BRN = torch.where(shown_BRN, versions(x_BWN, rows), 0.0)  # not x * shown: zero times NaN is NaN
        level_BR1 = _level(x_BRN, shown_BRN) if self.config.levelled else None
        read = [x_BRN] if level_BR1 is None else [x_BRN / level_BR1, level_BR1.log()]
        if self.config.told:
            read.append(shown_BRN.to(x_BRN.dtype))
        x_BRD = self.drop(self.norm(self.embed(torch.cat(read, dim=-1)) + versions(self.place_WD[None], rows)))
        seen_VR = self._seen(rows)
        for block in self.blocks[:-1]:
            x_BRD = block(x_BRD, rows, seen_VR)
        x_BAD = self.blocks[-1](x_BRD, asked or rows, seen_VR)
        x_BAN: Tensor = self.head(self.last_norm(x_BAD))
        return x_BAN if level_BR1 is None else x_BAN * level_BR1[:, -x_BAN.shape[1] :]

    def _seen(self, rows: int) -> Tensor | None:
        """What the versions of the newest slice attend to: the past, and each to itself. None where all attend to all."""
        past = self.config.window - 1
        if self.config.past == "whole":
            assert rows == past + 1, "with the whole past a window has one newest slice"
            return None
        own_VV = torch.eye(rows - past, dtype=torch.bool, device=self.place_WD.device)
        return F.pad(own_VV, (past, 0), value=True)


def _level(x_BRN: Tensor, shown_BRN: Tensor) -> Tensor:
    """The root mean square [B, R, 1] of what is shown of each slice, LEVEL_MIN at least."""
    squares_BR1 = x_BRN.square().sum(dim=-1, keepdim=True) / shown_BRN.sum(dim=-1, keepdim=True).clamp(min=1)
    return squares_BR1.sqrt().clamp(min=LEVEL_MIN)


def versions(x_BWN: Tensor, rows: int) -> Tensor:
    """The window with its newest slice repeated, [B, R, N]."""
    newest = rows - x_BWN.shape[1] + 1
    if newest == 1:
        return x_BWN
    return torch.cat((x_BWN[:, :-1], x_BWN[:, -1:].expand(-1, newest, -1)), dim=1)


def hidden(sets_BN: Tensor, window: int, hide: Hide) -> Tensor:
    """The mask [B, W, N] that hides from each window the coins of its set."""
    whole_BWN = sets_BN[:, None].expand(-1, window, -1)
    if hide == "window":
        return whole_BWN
    newest_W1 = torch.arange(window, device=sets_BN.device)[:, None] == window - 1
    return whole_BWN & newest_W1


def hidden_versions(sets_PN: Tensor, window: int) -> Tensor:
    """The mask [1, R, N] of a window whose newest slice has a version for each set, which hides it there."""
    return F.pad(sets_PN, (0, 0, window - 1, 0), value=False)[None]


def rotating(coins: int, block: int) -> Tensor:
    """The plan [P, N] that hides every coin once, `block` coins at a time; with 1 each alone."""
    return torch.arange(coins) // block == torch.arange(-(-coins // block))[:, None]


def blackout(coins: int, generator: torch.Generator) -> Tensor:
    """The plan [1, N] of the published blackout: a quarter of the coins, 3 to 8 of them, drawn at random."""
    drawn = torch.randperm(coins, generator=generator)[: min(max(coins // 4, 3), 8)]
    return torch.isin(torch.arange(coins), drawn)[None]


@functools.lru_cache(maxsize=16)
def plan_of(c: Config, coins: int, device: torch.device) -> Tensor:
    """The configuration's plan [P, N]."""
    plan = blackout(coins, torch.Generator().manual_seed(0)) if c.plan == "blackout" else blocks_of(c, coins)
    return plan.to(device)


def blocks_of(c: Config, coins: int) -> Tensor:
    """Every coin hidden once [P, N], in blocks of at most a quarter of the coins: the others must tell of them."""
    return rotating(coins, max(1, min(c.block, coins // 4)))


def is_slow(c: Config) -> bool:
    """Whether a slice takes seconds: then threads save more than they lose where other work wants the cores too."""
    return c.width >= LARGE and c.past == "whole"


def rows_of(c: Config, coins: int) -> int:
    """How many rows of tokens it takes to infer one slice."""
    sets = len(plan_of(c, coins, torch.device("cpu")))
    return c.window - 1 + sets if c.past == "shared" else c.window * sets


def infer(module: Masked, x_BWN: Tensor, known_BWN: Tensor) -> Tensor:
    """Inferred returns [B, N] of the newest slices by the module's plan; NaN for a coin that no set hides.

    Each coin's is that of the first set that hides it. Gradients and the module's mode are the caller's.
    """
    plan_PN = plan_of(module.config, x_BWN.shape[-1], x_BWN.device)
    kind = x_BWN.device.type
    with torch.autocast(kind, torch.bfloat16, enabled=in_bf16(module.config, kind)):
        inferred_BPN = _newest(module, kind)(x_BWN, known_BWN, plan_PN).float()
    first_N = plan_PN.int().argmax(dim=0)
    read_BN = inferred_BPN[:, first_N, torch.arange(len(first_N), device=first_N.device)]
    return read_BN.where(plan_PN.any(dim=0), torch.nan)


Newest = Callable[[Tensor, Tensor, Tensor], Tensor]


@functools.lru_cache(maxsize=4)
def _newest(module: Masked, device_type: str) -> Newest:
    """Windows [B, W, N] and a plan [P, N] to inferred newest slices [B, P, N]; a CUDA graph on a GPU."""
    of_config = _newest_of_shared_past if module.config.past == "shared" else _newest_of_whole_past
    newest = functools.partial(of_config, module)
    if device_type != "cuda":
        return newest
    return or_plain(torch.compile(newest, mode="reduce-overhead", dynamic=False), newest)


def or_plain(compiled: Newest, plain: Newest) -> Newest:
    """What is compiled, until it turns out that it cannot be, which is said once; then the plain function."""
    from torch._dynamo.exc import TorchDynamoException  # seconds, and only needed where something is compiled

    best = compiled

    def newest(x_BWN: Tensor, known_BWN: Tensor, plan_PN: Tensor) -> Tensor:
        nonlocal best
        try:
            return best(x_BWN, known_BWN, plan_PN)
        except TorchDynamoException as why:
            warnings.warn(f"inference is not compiled: {str(why).splitlines()[0]}", RuntimeWarning, stacklevel=2)
            best = plain
        return best(x_BWN, known_BWN, plan_PN)

    return newest


def _newest_of_shared_past(module: Masked, x_BWN: Tensor, known_BWN: Tensor, plan_PN: Tensor) -> Tensor:
    mask_BRN = hidden_versions(plan_PN, module.config.window).expand(len(x_BWN), -1, -1)
    inferred_BPN: Tensor = module(x_BWN, known_BWN, mask_BRN, len(plan_PN))
    return inferred_BPN


def _newest_of_whole_past(module: Masked, x_BWN: Tensor, known_BWN: Tensor, plan_PN: Tensor) -> Tensor:
    batch, sets = len(x_BWN), len(plan_PN)
    mask_PWN = hidden(plan_PN, module.config.window, module.config.hide)
    each, known = (one.repeat_interleave(sets, dim=0) for one in (x_BWN, known_BWN))
    inferred: Tensor = module(each, known, mask_PWN.repeat(batch, 1, 1), 1)
    return inferred.view(batch, sets, -1)


def in_bf16(c: Config, device_type: str) -> bool:
    """Whether a network of this size infers in bf16 there: where the hardware has it and it is worth its cost."""
    if c.width < LARGE:
        return False
    if device_type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    able = torch.cpu.get_capabilities()
    return device_type == "cpu" and bool(able.get("amx_bf16") or able.get("avx512_bf16"))
