"""The network that wins: the last hour's summary vector straight to the heads, SPH-Net's streams as an addition.

B batch  F summary inputs  W hours  P price features  E engineered ones
In      inputs_BF robust-scaled, coins_B which coin, -1 for the mean of them, prices_BWP and engineered_BWE as sph_net's.
Out     location_B and log_scale_B of the next hour's log volatility, less the curves, in the coin's own units: those
        of a Student's t with six degrees of freedom.
Branch  ends in zeros: training begins with the direct path alone (volatility-findings, 5). Without a trunk there is none.
"""

import torch
from msgspec import Struct
from torch import Tensor, nn

from models.sph_net import Trunk, TrunkConfig
from models.student import DEGREES, LOG_CONSTANT

LOG_SCALES = (-4.0, 2.0)


class SummaryConfig(Struct, frozen=True, forbid_unknown_fields=True):
    inputs: int
    coins: int
    embedding: int = 8
    hidden: tuple[int, int] = (256, 128)
    dropout: float = 0.1
    trunk: TrunkConfig | None = None


class SummaryNet(nn.Module):
    def __init__(self, c: SummaryConfig) -> None:
        super().__init__()
        first, second = c.hidden
        self.coin = nn.Embedding(c.coins, c.embedding)
        nn.init.normal_(self.coin.weight, std=0.1)
        self.direct = nn.Sequential(
            nn.Linear(c.inputs + c.embedding, first),
            nn.GELU(),
            nn.Dropout(c.dropout),
            nn.Linear(first, second),
            nn.GELU(),
            nn.Dropout(c.dropout),
            nn.Linear(second, 2),
        )
        self.trunk = None if c.trunk is None else Trunk(c.trunk)
        if c.trunk is not None:
            self.branch = nn.Linear(2 * c.trunk.width, 2)
            nn.init.zeros_(self.branch.weight)
            nn.init.zeros_(self.branch.bias)

    def forward(self, inputs_BF: Tensor, coins_B: Tensor, prices_BWP: Tensor, engineered_BWE: Tensor) -> Tensor:
        """Locations and log scales [B, 2]."""
        found: Tensor = self.direct(torch.cat((inputs_BF, self._coins(coins_B)), dim=-1))
        if self.trunk is not None:
            found = found + self.branch(self.trunk(prices_BWP, engineered_BWE))
        return torch.cat((found[:, :1], found[:, 1:].clamp(*LOG_SCALES)), dim=-1)

    def _coins(self, coins_B: Tensor) -> Tensor:
        """The embeddings [B, E]."""
        found_BE = self.coin(coins_B.clamp(min=0))
        return torch.where(coins_B[:, None] >= 0, found_BE, self.coin.weight.mean(dim=0))


def student_loss(location_B: Tensor, log_scale_B: Tensor, actual_B: Tensor) -> Tensor:
    """The mean negative log-likelihood of Student's t."""
    t_B = (actual_B - location_B) * torch.exp(-log_scale_B)
    tails_B = 0.5 * (DEGREES + 1) * torch.log1p(t_B * t_B / DEGREES)
    return (log_scale_B + tails_B).mean() - LOG_CONSTANT
