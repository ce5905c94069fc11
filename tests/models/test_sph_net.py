"""SPH-Net's shapes, its zero branch, its losses, and what must not change its answer."""

import pytest
import torch
from torch import Tensor

from models.model import BadModel
from models.sph_net import Answer, SphNet, Trunk, TrunkConfig, published_loss
from models.summary_net import SummaryConfig, SummaryNet
from models.volatility_columns import INPUTS
from models.volatility_kinds import KINDS, PRESETS, preset

SMALL = TrunkConfig(window=12, width=16, heads=4, layers=1, decoder_layers=1, dropout=0.0)


def window(batch: int, c: TrunkConfig, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, c.window)
    return torch.randn(*shape, c.prices, generator=generator), torch.randn(*shape, c.engineered, generator=generator)


def test_the_published_preset_is_what_was_published() -> None:
    """Window 72, width 128, 8 heads, 4 layers and 2 after the co-attention; three heads; a positive variance."""
    found = preset("published")
    assert found.config(1) == TrunkConfig(72, 128, 8, 4, 2, 0.15, 9, 30)
    net = SphNet(TrunkConfig()).eval()
    answer = net(*window(3, TrunkConfig()))
    assert [tuple(one.shape) for one in answer] == [(3,)] * 3 and bool((answer.variance_B > 0).all())


def test_both_streams_and_every_hour_reach_the_answer() -> None:
    """A change of any hour of either stream moves it; hours of other windows do not."""
    trunk = Trunk(SMALL).eval()
    prices, engineered = window(2, SMALL)
    wanted = trunk(prices, engineered)
    for at in (0, 5, 11):
        for stream in (0, 1):
            changed = [prices.clone(), engineered.clone()]
            changed[stream][0, at] += 1.0
            found = trunk(*changed)
            assert not torch.allclose(found[0], wanted[0], atol=1e-6)
            assert torch.allclose(found[1], wanted[1], atol=1e-6)


def test_attention_over_time_sums_to_one() -> None:
    """Which is what a picture of it shows."""
    share = Trunk(SMALL).eval().attention(*window(4, SMALL))
    assert share.shape == (4, 12) and torch.allclose(share.sum(1), torch.ones(4), atol=1e-6)


def test_the_branch_begins_as_nothing_and_learns() -> None:
    """Before training the answer is the direct path's; the branch has a gradient all the same."""
    with_branch, inputs = SummaryNet(SummaryConfig(5, 3, trunk=SMALL)).eval(), torch.randn(4, 5)
    coins, streams = torch.tensor([0, 1, 2, 0]), window(4, SMALL)
    found = with_branch(inputs, coins, *streams)
    assert torch.equal(found, with_branch(inputs, coins, *window(4, SMALL, seed=9)))
    found.square().sum().backward()
    assert float(with_branch.branch.weight.grad.abs().sum()) > 0  # type: ignore[union-attr]
    assert not torch.equal(found[0], with_branch(inputs[:1], coins[1:2], *(one[:1] for one in streams))[0])


def test_the_published_loss_by_hand() -> None:
    """Huber + 0.3 x cross-entropy + 0.1 x Gaussian likelihood of one hour."""
    answer = Answer(torch.tensor([1.0]), torch.tensor([0.0]), torch.tensor([4.0]))
    found = float(published_loss(answer, torch.tensor([1.5]), torch.tensor([1.0])))
    likelihood = 0.5 * (torch.log(torch.tensor(4.0)) + 0.25 / 4.0)
    assert found == pytest.approx(0.125 + 0.3 * 0.6931472 + 0.1 * float(likelihood), rel=1e-5)


def test_presets_are_named() -> None:
    """The direct path has no window; an unknown name is refused with those there are."""
    for name, one in PRESETS.items():
        config = one.config(10)
        assert KINDS[one.kind].window(config) == (0 if name == "direct" else one.trunk.window)  # type: ignore[union-attr]
    assert isinstance(preset("sph-net").config(10), SummaryConfig)
    assert preset("sph-net").config(10).inputs == len(INPUTS)  # type: ignore[union-attr]
    with pytest.raises(BadModel, match="sph-net"):
        preset("sphnet")
