"""Coin query: every coin, hidden alone, asks all the others what it must have done; a coin is a token.

A coin's token says what it did in the newest slices. A coin's question knows its own past but nothing of the newest
slice, and is answered, layer by layer, by the tokens of the others. Tokens never mix, so that none of them can hold
what the one who asks did: one pass infers every coin as if it alone were hidden. What comes out corrects the Gaussian.

B slices  W slices of a window, the newest last  N coins  F features of a candle  D width  H heads  K width of a head
In      candles_BWNF scaled return, wicks, volume; known_BWN bool; wildness_BN, base_BN the Gaussian's estimate.
Out     inferred_BN scaled returns of the newest slice.
Holds   what an entry that is not known contains, and what a coin did in the newest slice, never reach its own output.
        No weight belongs to a coin: their order does not matter, and coins never seen in training can be inferred.
"""

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEATURES = 3


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The network's shape."""

    window: int = 8
    width: int = 64
    depth: int = 2
    heads: int = 4
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if min(self.window - 1, self.width, self.depth, self.heads) < 1:
            raise ValueError("window must be 2 or more, width, depth and heads 1 or more")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, not {self.dropout}")


class Answer(nn.Module):
    """One layer: the questions attend to the tokens of the others, then think for themselves."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.heads = c.heads
        self.norm = nn.LayerNorm(c.width)
        self.query = nn.Linear(c.width, c.width)
        self.key_value = nn.Linear(c.width, 2 * c.width)
        self.out = nn.Linear(c.width, c.width)
        self.think = nn.Sequential(
            nn.LayerNorm(c.width), nn.Linear(c.width, 2 * c.width), nn.GELU(), nn.Linear(2 * c.width, c.width)
        )
        self.drop = nn.Dropout(c.dropout)

    def forward(self, asks_BND: Tensor, tokens_BMD: Tensor, unseen_BNM: Tensor) -> Tensor:
        q_BHNK = self._heads(self.query(self.norm(asks_BND)))
        k_BHMK, v_BHMK = (self._heads(part) for part in self.key_value(tokens_BMD).chunk(2, dim=-1))
        scores_BHNM = q_BHNK @ k_BHMK.transpose(-1, -2) * q_BHNK.shape[-1] ** -0.5
        shares_BHNM = scores_BHNM.masked_fill(unseen_BNM[:, None], -torch.inf).softmax(-1)
        asks_BND = asks_BND + self.drop(self.out((shares_BHNM @ v_BHMK).transpose(1, 2).flatten(2)))
        asks_BND = asks_BND + self.drop(self.think(asks_BND))
        return asks_BND

    def _heads(self, x_BND: Tensor) -> Tensor:
        batch, rows, width = x_BND.shape
        return x_BND.view(batch, rows, self.heads, width // self.heads).transpose(1, 2)


class CoinQuery(nn.Module):
    def __init__(self, c: Config) -> None:
        super().__init__()
        self.token = nn.Linear(c.window * FEATURES + 1, c.width)
        self.token_norm = nn.LayerNorm(c.width)
        self.nobody_D = nn.Parameter(torch.zeros(c.width))  # who asks is answered where no other coin is known
        self.ask = nn.Linear((c.window - 1) * FEATURES + 2, c.width)
        self.answers = nn.ModuleList(Answer(c) for _ in range(c.depth))
        self.norm = nn.LayerNorm(c.width)
        self.correct = nn.Linear(c.width, 1)
        nn.init.zeros_(self.correct.weight)  # in the beginning there is the Gaussian
        nn.init.zeros_(self.correct.bias)
        self.drop = nn.Dropout(c.dropout)

    def forward(self, candles_BWNF: Tensor, known_BWN: Tensor, wildness_BN: Tensor, base_BN: Tensor) -> Tensor:
        candles_BWNF = torch.where(known_BWN[..., None], candles_BWNF, 0.0)  # not a product: zero times NaN is NaN
        candles_BNWF = candles_BWNF.transpose(1, 2)
        wildness_BN1 = wildness_BN[..., None]
        tokens_BND = self.token_norm(self.drop(self.token(torch.cat((candles_BNWF.flatten(2), wildness_BN1), -1))))
        tokens_BMD = torch.cat((tokens_BND, self.nobody_D.expand(len(tokens_BND), 1, -1)), 1)
        past_BNX = candles_BNWF[:, :, :-1].flatten(2)
        x_BND = self.ask(torch.cat((past_BNX, wildness_BN1, base_BN[..., None]), -1))
        unseen_BNM = _unseen(known_BWN[:, -1])
        for answer in self.answers:
            x_BND = answer(x_BND, tokens_BMD, unseen_BNM)
        inferred_BN: Tensor = base_BN + self.correct(self.norm(x_BND))[..., 0]
        return inferred_BN


def _unseen(known_BN: Tensor) -> Tensor:
    """Whom each coin must not ask [B, N, N + 1]: itself, and who is not known. The last, nobody, can always be asked."""
    coins = known_BN.shape[1]
    own_NN = torch.eye(coins, dtype=torch.bool, device=known_BN.device)
    return F.pad(~known_BN[:, None, :] | own_NN, (0, 1), value=False)
