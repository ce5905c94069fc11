"""Masked cross-section: infers the returns of hidden coins from all the others (model A), a time step being a token.

Source  spec.md section 2: a linear map of each slice's returns, learned absolute positions, encoder, head.
B windows  W slices, oldest first  N coins  D width  H heads  A newest slices asked for  P hidden sets of a plan
In      x_BWN returns over trailing volatility (`published-raw`: raw), known_BWN bool, hidden_BWN bool.
Out     inferred returns [B, A, N], same scale, every entry.
Holds   what an entry that is hidden or not known contains never reaches the output (tests put NaN there).
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Literal

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Hide = Literal["last", "window"]

BLOCK = 8
NORM_EPSILON = 1e-12
DEVIATION = 0.02  # of every weight at the start


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The network's shape; the defaults are the published one.

    `hide` is what of a coin is hidden when it is inferred: its last row or its whole window. `norm` is where the
    LayerNorm of a block stands. With `told` the network also sees which entries are shown, and so tells a hidden
    entry from a true zero (spec 8.5).
    """

    coins: int
    window: int = 240
    width: int = 384
    depth: int = 12
    heads: int = 12
    dropout: float = 0.1
    hide: Hide = "last"
    norm: Literal["post", "pre"] = "post"
    told: bool = False

    def __post_init__(self) -> None:
        if min(self.coins, self.window, self.width, self.depth, self.heads) < 1:
            raise ValueError("coins, window, width, depth and heads must be 1 or more")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, not {self.dropout}")


def preset(name: str, coins: int) -> Config:
    """A configuration by name. ValueError for a name that is none.

    `published` and `published-raw` differ in their inputs alone. `small` and `base` look back less far, are told
    what is shown and normalise before each part: of this family that comes closest to the closed forms.
    """
    match name:
        case "published" | "published-raw":
            return Config(coins, hide="window")
        case "base":
            return Config(coins, window=64, width=256, depth=6, heads=8, norm="pre", told=True)
        case "small":
            return Config(coins, window=32, width=128, depth=4, heads=4, norm="pre", told=True)
    raise ValueError(f"there is no preset {name!r}: choose published, published-raw, base or small")


class Attention(nn.Module):
    """Softmax attention of the newest A slices to all W, in both directions of time."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.heads, self.dropout = c.heads, c.dropout
        self.query = nn.Linear(c.width, c.width)
        self.key_value = nn.Linear(c.width, 2 * c.width)
        self.out = nn.Linear(c.width, c.width)

    def forward(self, x_BWD: Tensor, asked: int) -> Tensor:
        q_BHAK = self._heads(self.query(x_BWD[:, -asked:]))
        k_BHWK, v_BHWK = (self._heads(part) for part in self.key_value(x_BWD).chunk(2, dim=-1))
        dropout = self.dropout if self.training else 0.0
        x_BHAK = F.scaled_dot_product_attention(q_BHAK, k_BHWK, v_BHWK, dropout_p=dropout)
        x_BAD: Tensor = self.out(x_BHAK.transpose(1, 2).flatten(2))
        return x_BAD

    def _heads(self, x_BWD: Tensor) -> Tensor:
        windows, slices, width = x_BWD.shape
        return x_BWD.view(windows, slices, self.heads, width // self.heads).transpose(1, 2)


class FeedForward(nn.Module):
    def __init__(self, c: Config) -> None:
        super().__init__()
        self.widen = nn.Linear(c.width, 4 * c.width)
        self.narrow = nn.Linear(4 * c.width, c.width)

    def forward(self, x_BWD: Tensor) -> Tensor:
        x_BWD = self.narrow(F.gelu(self.widen(x_BWD)))
        return x_BWD


class Block(nn.Module):
    """One encoder layer. It gives the newest `asked` slices: the last layer need not compute the others."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.norm_first = c.norm == "pre"
        self.attention = Attention(c)
        self.attention_norm = nn.LayerNorm(c.width, eps=NORM_EPSILON)
        self.feed_forward = FeedForward(c)
        self.feed_forward_norm = nn.LayerNorm(c.width, eps=NORM_EPSILON)
        self.drop = nn.Dropout(c.dropout)

    def forward(self, x_BWD: Tensor, asked: int) -> Tensor:
        x_BAD: Tensor = x_BWD[:, -asked:]
        if self.norm_first:
            x_BAD = x_BAD + self.drop(self.attention(self.attention_norm(x_BWD), asked))
            x_BAD = x_BAD + self.drop(self.feed_forward(self.feed_forward_norm(x_BAD)))
            return x_BAD
        x_BAD = self.attention_norm(x_BAD + self.drop(self.attention(x_BWD, asked)))
        x_BAD = self.feed_forward_norm(x_BAD + self.drop(self.feed_forward(x_BAD)))
        return x_BAD


class Masked(nn.Module):
    def __init__(self, c: Config, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = c
        self.embed = nn.Linear(2 * c.coins if c.told else c.coins, c.width)
        self.place_WD = nn.Parameter(torch.empty(c.window, c.width))
        self.norm = nn.LayerNorm(c.width, eps=NORM_EPSILON)
        self.drop = nn.Dropout(c.dropout)
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.depth))
        self.last_norm = nn.LayerNorm(c.width, eps=NORM_EPSILON) if c.norm == "pre" else nn.Identity()
        self.head = nn.Sequential(
            nn.Linear(c.width, c.width),
            nn.GELU(),
            nn.LayerNorm(c.width, eps=NORM_EPSILON),
            nn.Linear(c.width, c.coins),
        )
        self._begin(generator)

    def _begin(self, generator: torch.Generator | None) -> None:
        nn.init.normal_(self.place_WD, std=DEVIATION, generator=generator)
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.normal_(part.weight, std=DEVIATION, generator=generator)
                nn.init.zeros_(part.bias)

    def forward(self, x_BWN: Tensor, known_BWN: Tensor, hidden_BWN: Tensor, asked: int | None = None) -> Tensor:
        """Inferred returns of the newest `asked` slices [B, A, N]; of all W when it is None."""
        shown_BWN = known_BWN & ~hidden_BWN
        x_BWN = torch.where(shown_BWN, x_BWN, 0.0)  # not x * shown: zero times NaN is NaN
        if self.config.told:
            x_BWN = torch.cat((x_BWN, shown_BWN.to(x_BWN.dtype)), dim=-1)
        x_BWD = self.drop(self.norm(self.embed(x_BWN) + self.place_WD))
        for block in self.blocks[:-1]:
            x_BWD = block(x_BWD, self.config.window)
        x_BAD = self.blocks[-1](x_BWD, asked or self.config.window)
        x_BAN: Tensor = self.head(self.last_norm(x_BAD))
        return x_BAN


def hidden(sets_BN: Tensor, window: int, hide: Hide) -> Tensor:
    """The mask [B, W, N] that hides from each window the coins of its set."""
    whole_BWN = sets_BN[:, None].expand(-1, window, -1)
    if hide == "window":
        return whole_BWN
    newest_W1 = torch.arange(window, device=sets_BN.device)[:, None] == window - 1
    return whole_BWN & newest_W1


def rotating(coins: int, block: int = BLOCK) -> Tensor:
    """The plan [P, N] that hides every coin once, `block` coins at a time; with 1 each alone."""
    return torch.arange(coins) // block == torch.arange(-(-coins // block))[:, None]


def blackout(coins: int, generator: torch.Generator) -> Tensor:
    """The plan [1, N] of the published blackout: a quarter of the coins, 3 to 8 of them, drawn at random."""
    drawn = torch.randperm(coins, generator=generator)[: min(max(coins // 4, 3), 8)]
    return torch.isin(torch.arange(coins), drawn)[None]


def infer_blocks(module: Masked, x_WN: Tensor, known_WN: Tensor, block: int = BLOCK) -> Tensor:
    """Inferred returns [N] of the window's newest slice, every coin hidden once with its block."""
    return next(infer_rows(module, x_WN, known_WN, torch.tensor([len(x_WN) - 1]), rotating(x_WN.shape[1], block)))[0]


def infer_rows(
    module: Masked, x_TN: Tensor, known_TN: Tensor, rows_R: Tensor, plan_PN: Tensor, batch: int = 1
) -> Iterator[Tensor]:
    """Inferred returns [R, N] of the slices at `rows_R`, `batch` of them at a time; NaN for a coin no set hides.

    Windows are gathered where the matrix lies, those of one batch only, and every pass has the same shape: batch x P
    windows. So a row's figures depend on no other row, and on a processor equal batches give equal bits.
    ValueError for a row that has no whole window behind it.
    """
    window = module.config.window
    if len(rows_R) and not (window - 1 <= int(rows_R.min()) and int(rows_R.max()) < len(x_TN)):
        raise ValueError(f"rows must lie from {window - 1}, the first with a window of {window}, to {len(x_TN) - 1}")
    device = x_TN.device
    plan_PN = plan_PN.to(device)
    hidden_PWN = hidden(plan_PN, window, module.config.hide)
    back_W = torch.arange(1 - window, 1, device=device)
    newest = _newest(module, device.type)
    for rows in torch.split(rows_R.to(device), batch):
        filled = torch.cat((rows, rows[-1:].expand(batch - len(rows))))
        window_BW = filled[:, None] + back_W
        with _inferring(module, device.type):
            inferred = newest(x_TN[window_BW], known_TN[window_BW], hidden_PWN)
            yielded = _read(inferred.float(), plan_PN)[: len(rows)]
        yield yielded


def _read(inferred_BPN: Tensor, plan_PN: Tensor) -> Tensor:
    """Each coin's inferred return from the first set that hides it, [B, N]."""
    first_N = plan_PN.int().argmax(dim=0)
    read_BN = inferred_BPN[:, first_N, torch.arange(len(first_N), device=first_N.device)]
    return read_BN.where(plan_PN.any(dim=0), torch.nan)


Newest = Callable[[Tensor, Tensor, Tensor], Tensor]


@functools.lru_cache(maxsize=4)
def _newest(module: Masked, device_type: str) -> Newest:
    """Windows [B, W, N] and hidden sets [P, W, N] to inferred newest slices [B, P, N]; a CUDA graph on a GPU."""

    def newest(x_BWN: Tensor, known_BWN: Tensor, hidden_PWN: Tensor) -> Tensor:
        batch, sets = len(x_BWN), len(hidden_PWN)
        x = x_BWN.repeat_interleave(sets, dim=0)
        known = known_BWN.repeat_interleave(sets, dim=0)
        inferred: Tensor = module(x, known, hidden_PWN.repeat(batch, 1, 1), 1)
        return inferred.view(batch, sets, -1)

    if device_type != "cuda":
        return newest
    graphed: Newest = torch.compile(newest, mode="reduce-overhead", dynamic=False)
    return graphed


@contextlib.contextmanager
def _inferring(module: Masked, device_type: str) -> Iterator[None]:
    """No gradients, no dropout, and bf16 where the hardware has it; the module's mode is given back."""
    training = module.training
    module.eval()
    try:
        with torch.inference_mode(), torch.autocast(device_type, torch.bfloat16, enabled=_has_bf16(device_type)):
            yield
    finally:
        module.train(training)


def _has_bf16(device_type: str) -> bool:
    if device_type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    able = torch.cpu.get_capabilities()
    return device_type == "cpu" and bool(able.get("amx_bf16") or able.get("avx512_bf16"))
