"""SPH-Net as published: two streams of a window's hours that attend to each other, three heads (spec 6).

B batch  W hours, oldest first  D width  P price tokens' features  E engineered ones
In      prices_BWP, engineered_BWE: robust-scaled features, 0 where not known.
Out     volatility_B scaled, of the next hour; rising_B the logit that it exceeds this hour's; variance_B of the first.
Layers  pre-norm, GELU: the published text leaves their order open.
"""

from typing import NamedTuple

import torch
from msgspec import Struct
from torch import Tensor, nn
from torch.nn import functional

VARIANCE_MIN = 1e-6
DIRECTION_WEIGHT, VARIANCE_WEIGHT = 0.3, 0.1


class TrunkConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything below the heads. `layers` encode prices, `decoder_layers` follow the co-attention."""

    window: int = 72
    width: int = 128
    heads: int = 8
    layers: int = 4
    decoder_layers: int = 2
    dropout: float = 0.15
    prices: int = 9
    engineered: int = 30


class Answer(NamedTuple):
    """Of B hours."""

    volatility_B: Tensor
    rising_B: Tensor
    variance_B: Tensor


class CoAttention(nn.Module):
    """Each stream asks the other; both answers together are one stream."""

    def __init__(self, c: TrunkConfig) -> None:
        super().__init__()
        self.of_engineered = nn.MultiheadAttention(c.width, c.heads, c.dropout, batch_first=True)
        self.of_prices = nn.MultiheadAttention(c.width, c.heads, c.dropout, batch_first=True)
        self.norm_prices = nn.LayerNorm(c.width)
        self.norm_engineered = nn.LayerNorm(c.width)
        self.fuse = nn.Linear(2 * c.width, c.width)

    def forward(self, prices_BWD: Tensor, engineered_BWD: Tensor) -> Tensor:
        asked, _ = self.of_engineered(prices_BWD, engineered_BWD, engineered_BWD, need_weights=False)
        told, _ = self.of_prices(engineered_BWD, prices_BWD, prices_BWD, need_weights=False)
        both = torch.cat((self.norm_prices(prices_BWD + asked), self.norm_engineered(engineered_BWD + told)), dim=-1)
        fused_BWD: Tensor = self.fuse(both)
        return fused_BWD


class Trunk(nn.Module):
    """Encoders, co-attention, decoder, pooling: a window becomes one vector [B, 2 D]."""

    def __init__(self, c: TrunkConfig) -> None:
        super().__init__()
        self.embed = nn.Linear(c.prices, c.width)
        self.place_WD = nn.Parameter(0.02 * torch.randn(c.window, c.width))
        self.encoder = _layers(c, c.layers)
        self.engineered = nn.Sequential(
            nn.Linear(c.engineered, c.width), nn.GELU(), nn.Dropout(c.dropout), nn.Linear(c.width, c.width)
        )
        self.co_attention = CoAttention(c)
        self.decoder = _layers(c, c.decoder_layers)
        self.norm = nn.LayerNorm(c.width)
        self.weigh = nn.Linear(c.width, 1)

    def forward(self, prices_BWP: Tensor, engineered_BWE: Tensor) -> Tensor:
        x_BWD, share_BW = self._decoded(prices_BWP, engineered_BWE)
        pooled_BD = (share_BW[..., None] * x_BWD).sum(dim=1)
        return torch.cat((pooled_BD, x_BWD[:, -1]), dim=-1)

    def attention(self, prices_BWP: Tensor, engineered_BWE: Tensor) -> Tensor:
        """How much each hour counts in the pooling [B, W], for pictures; rows sum to 1."""
        return self._decoded(prices_BWP, engineered_BWE)[1]

    def _decoded(self, prices_BWP: Tensor, engineered_BWE: Tensor) -> tuple[Tensor, Tensor]:
        prices_BWD = self.encoder(self.embed(prices_BWP) + self.place_WD)
        x_BWD = self.co_attention(prices_BWD, self.engineered(engineered_BWE) + self.place_WD)
        x_BWD = self.norm(self.decoder(x_BWD))
        return x_BWD, self.weigh(x_BWD)[..., 0].softmax(dim=1)


class SphNet(nn.Module):
    def __init__(self, c: TrunkConfig) -> None:
        super().__init__()
        self.trunk = Trunk(c)
        self.volatility, self.rising, self.variance = (_head(c) for _ in range(3))

    def forward(self, prices_BWP: Tensor, engineered_BWE: Tensor) -> Answer:
        pooled = self.trunk(prices_BWP, engineered_BWE)
        variance_B = functional.softplus(self.variance(pooled)[:, 0]) + VARIANCE_MIN
        return Answer(self.volatility(pooled)[:, 0], self.rising(pooled)[:, 0], variance_B)


def published_loss(answer: Answer, actual_B: Tensor, rose_B: Tensor) -> Tensor:
    """Huber + 0.3 cross-entropy + 0.1 Gaussian negative log-likelihood, means over the batch."""
    error = functional.huber_loss(answer.volatility_B, actual_B)
    direction = functional.binary_cross_entropy_with_logits(answer.rising_B, rose_B)
    likelihood = functional.gaussian_nll_loss(answer.volatility_B, actual_B, answer.variance_B, eps=VARIANCE_MIN)
    return error + DIRECTION_WEIGHT * direction + VARIANCE_WEIGHT * likelihood


def _layers(c: TrunkConfig, count: int) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(
        c.width, c.heads, 4 * c.width, c.dropout, "gelu", batch_first=True, norm_first=True
    )
    return nn.TransformerEncoder(layer, count, enable_nested_tensor=False)


def _head(c: TrunkConfig) -> nn.Sequential:
    return nn.Sequential(nn.Linear(2 * c.width, c.width), nn.GELU(), nn.Dropout(c.dropout), nn.Linear(c.width, 1))
