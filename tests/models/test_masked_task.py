"""What masked networks minimise and are scored by: hidden entries that are known, and no others."""

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from torch import Tensor, nn

from models import schemes
from models.baselines import Gaussian
from models.inputs import Inputs, Stream
from models.masked import Config, Masked
from models.masked_task import lesson_of, published_losses
from models.network import Network
from models.schemes import SCHEMES, Scheme
from models.table import Table
from tests.models.markets import market

PANEL = market(400, 6, absent=0.1)
C = Config(window=5, width=16, depth=1, heads=2, dropout=0.0, norm="pre", block=4)
CPU = torch.device("cpu")
ROWS = torch.tensor([300, 310, 399])
KINDS = [C, replace(C, past="shared"), replace(C, raw=True), replace(C, hide="window")]
kinds = pytest.mark.parametrize("config", KINDS, ids=["last", "shared", "raw", "window"])
all_schemes = pytest.mark.parametrize("scheme", SCHEMES)


def made(config: Config, scribble: float | None = None) -> tuple[Network, Table]:
    """A network and its table; what is not known is scribbled over, if so asked."""
    stream = Stream(Gaussian(PANEL.symbols, PANEL.interval_ms))
    inputs: Inputs = stream.absorb(PANEL)
    if scribble is not None:
        inputs.candles[~inputs.known], inputs.raw[~inputs.known] = scribble, scribble
    module = Masked(config, len(PANEL.symbols), torch.Generator().manual_seed(1))
    return Network("masked", config, module, stream), Table(inputs, CPU)


class Zero(nn.Module):
    """Infers zero, and keeps what it was given."""

    def forward(self, x_BWN: Tensor, known_BWN: Tensor, hidden_BRN: Tensor, asked: int | None = None) -> Tensor:
        self.given = (x_BWN, known_BWN, hidden_BRN)
        return torch.zeros(hidden_BRN.shape)[:, -(asked or hidden_BRN.shape[1]) :]


@all_schemes
@kinds
def test_the_loss_is_the_mean_square_of_what_is_hidden_and_known(config: Config, scheme: Scheme) -> None:
    """Of a network that infers zero it is the mean square of those returns, each as often as it is hidden."""
    network, table = made(config)
    zero = Zero()
    loss = lesson_of(network, table, scheme)(zero, ROWS, torch.Generator().manual_seed(2))
    x, known, mask = zero.given
    expected = []
    for window in range(len(ROWS)):
        for row, coin in mask[window].nonzero().tolist():
            if known[window, min(row, 4), coin]:
                expected.append(float(x[window, min(row, 4), coin]) ** 2)
    assert loss.item() == pytest.approx(np.mean(expected), rel=1e-4)


@all_schemes
@kinds
def test_what_is_not_known_is_never_learned(config: Config, scheme: Scheme) -> None:
    """NaN there changes no bit of the loss or its gradient."""
    found = []
    for scribble in (None, torch.nan):
        network, table = made(config, scribble)
        loss = lesson_of(network, table, scheme)(network.module, ROWS, torch.Generator().manual_seed(2))
        loss.backward()  # type: ignore[no-untyped-call]
        found.append([loss, *(one.grad for one in network.module.parameters())])
    for one, other in zip(*found, strict=True):
        assert one is not None and other is not None
        assert torch.equal(one, other) and torch.isfinite(one).all()


def test_a_window_without_any_candle_teaches_nothing() -> None:
    """The exchange was down: a loss of 0, and no NaN."""
    network, table = made(C)
    table.known_TN[296:301] = False
    loss = lesson_of(network, table, "coins")(network.module, torch.tensor([300]), torch.Generator().manual_seed(2))
    assert loss.item() == 0.0


@torch.no_grad()
def test_the_published_loss_counts_every_entry() -> None:
    """Squared errors of hidden entries over all entries; the same draws each time; what is not known has no error."""
    config = replace(C, raw=True)
    network, table = made(config)
    zero = Zero()
    found = published_losses(zero, config, table, ROWS, batch=128)
    x, known, mask = zero.given
    expected = float((x.square() * (known & mask)).sum()) / x.numel()
    assert found == {"published_loss": pytest.approx(expected), "published_loss_of_zero": pytest.approx(expected)}
    assert published_losses(zero, config, table, ROWS, batch=128) == found
    scribbled = made(config, torch.nan)[1]
    assert (
        published_losses(network.module, config, scribbled, ROWS, 128)["published_loss_of_zero"]
        == found["published_loss_of_zero"]
    )
    assert torch.equal(mask, schemes.drawn("coins", config, 3, 6, torch.Generator().manual_seed(0)))
