"""Coin query: what must not change its answer, and what it must learn."""

import pytest
import torch
from torch import Tensor

from models.coin_query import FEATURES, CoinQuery, Config

B, N = 3, 6
CONFIG = Config(window=4, width=16, depth=2, heads=2)


def network(seed: int = 1) -> CoinQuery:
    """One whose head does something."""
    torch.manual_seed(seed)
    made = CoinQuery(CONFIG).eval()
    with torch.no_grad():
        made.correct.weight.normal_()
    return made


def inputs(seed: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    known = torch.rand(B, CONFIG.window, N, generator=generator) > 0.2
    known[:, -1, :2] = True
    return [
        torch.randn(B, CONFIG.window, N, FEATURES, generator=generator),
        known,
        torch.randn(B, N, generator=generator),
        torch.randn(B, N, generator=generator),
    ]


def test_in_the_beginning_there_is_the_gaussian() -> None:
    """Untrained, nothing is corrected."""
    given = inputs()
    assert torch.equal(CoinQuery(CONFIG).eval()(*given), given[3])


@torch.no_grad()
def test_nothing_of_the_newest_slice_tells_a_coin_about_itself() -> None:
    """Whatever its newest candle, or none: its own answer is the same; those of the others are not."""
    for coin in range(N):
        candles, known, wildness, base = inputs()
        before = network()(candles, known, wildness, base)
        candles[:, -1, coin] = 7.0
        known[:, -1, coin] = ~known[:, -1, coin]
        after = network()(candles, known, wildness, base)
        assert torch.allclose(after[:, coin], before[:, coin], atol=1e-6)
        others = [other for other in range(N) if other != coin]
        assert not torch.allclose(after[:, others], before[:, others], atol=1e-3)


@torch.no_grad()
def test_what_is_not_known_is_not_read() -> None:
    """NaN there changes no bit."""
    candles, known, wildness, base = inputs()
    clean = network()(candles, known, wildness, base)
    candles[~known] = torch.nan
    assert torch.equal(network()(candles, known, wildness, base), clean)


@torch.no_grad()
def test_the_order_of_coins_does_not_matter() -> None:
    """The same coins in another order get the same answers."""
    candles, known, wildness, base = inputs()
    order = torch.randperm(N, generator=torch.Generator().manual_seed(3))
    mixed = network()(candles[:, :, order], known[:, :, order], wildness[:, order], base[:, order])
    assert torch.allclose(mixed, network()(candles, known, wildness, base)[:, order], atol=1e-5)


@torch.no_grad()
def test_a_coin_that_is_absent_is_as_if_it_were_not_there() -> None:
    """A universe without it gives the others the same answers: so one more coin needs no training."""
    candles, known, wildness, base = inputs()
    known[:, :, 4] = False
    rest = [0, 1, 2, 3, 5]
    fewer = network()(candles[:, :, rest], known[:, :, rest], wildness[:, rest], base[:, rest])
    assert torch.allclose(fewer, network()(candles, known, wildness, base)[:, rest], atol=1e-5)


@torch.no_grad()
def test_without_any_other_coin_there_is_still_an_answer() -> None:
    """A minute without the exchange: finite numbers, and no division by nothing."""
    candles, known, wildness, base = inputs()
    known[:] = False
    assert torch.isfinite(network()(candles, known, wildness, base)).all()


def test_a_gradient_flows_where_nobody_is_known() -> None:
    """One such slice does not turn a training to NaN."""
    made, (candles, known, wildness, base) = network(), inputs()
    known[0] = False
    made(candles, known, wildness, base).sum().backward()
    assert all(torch.isfinite(one.grad).all() for one in made.parameters() if one.grad is not None)


@pytest.mark.parametrize("wrong", [{"window": 1}, {"width": 10, "heads": 4}, {"dropout": 1.0}, {"depth": 0}])
def test_shapes_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    """When they are made, with the reason."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Config(**wrong)  # type: ignore[arg-type]
