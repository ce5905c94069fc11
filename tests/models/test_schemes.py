"""What is hidden in training: how much, where, by which draw; and that the loss sees nothing else."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from models.masked import Config
from models.schemes import SCHEMES, drawn, newest_rows

C = Config(window=8, width=16, depth=1, heads=2)


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(coins=st.integers(2, 40), seed=st.integers(0, 99))
def test_coins_are_hidden_for_the_whole_window(coins: int, seed: int) -> None:
    """15 % of them, rounded up, in each window."""
    mask = drawn("coins", C, 5, coins, seeded(seed))
    assert mask.shape == (5, 8, coins)
    assert (mask[:, 0].sum(-1) == math.ceil(0.15 * coins)).all()
    assert torch.equal(mask, mask[:, :1].expand_as(mask))


def test_entries_are_hidden_one_by_one() -> None:
    """Each with probability .15: of 40,000 the share is within 3 deviations, and rows and columns differ."""
    mask = drawn("entries", C, 100, 50, seeded())
    assert float(mask.float().mean()) == pytest.approx(0.15, abs=3 * math.sqrt(0.15 * 0.85 / mask.numel()))
    assert not torch.equal(mask[:, 0], mask[:, 1]) and not torch.equal(mask[..., 0], mask[..., 1])


def test_the_newest_row_is_hidden_as_a_whole() -> None:
    """And no other."""
    mask = drawn("newest", C, 3, 5, seeded())
    assert mask[:, -1].all() and not mask[:, :-1].any()


def test_a_span_is_one_coin_for_the_last_three_quarters() -> None:
    """Six rows of eight; another coin in another window."""
    mask = drawn("span", C, 30, 5, seeded())
    assert (mask.any(1).sum(-1) == 1).all()
    assert not mask[:, :2].any() and (mask[:, 2:].sum((1, 2)) == 6).all()
    assert (mask.any(1).sum(0) > 0).sum() > 1


@pytest.mark.parametrize(("hide", "rows"), [("last", 1), ("window", 8)])
def test_a_block_is_hidden_as_the_network_hides(hide: str, rows: int) -> None:
    """Up to 8 coins of a window, in its newest row or all of it."""
    mask = drawn("blocks", replace(C, hide=hide), 40, 35, seeded())
    assert set(mask[:, -1].sum(-1).tolist()) == {3, 8}
    assert (mask.any(-1).sum(1) == rows).all()


@given(coins=st.integers(1, 40), block=st.integers(1, 12))
def test_with_a_shared_past_every_coin_is_hidden_once(coins: int, block: int) -> None:
    """Each in one version of the newest slice, and nothing in the past."""
    mask = drawn("blocks", replace(C, past="shared", block=block), 2, coins, seeded())
    assert mask.shape == (2, 7 + math.ceil(coins / min(block, max(1, coins // 4))), coins)
    assert not mask[:, :7].any() and (mask.sum(1) == 1).all()


@pytest.mark.parametrize("past", ["whole", "shared"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_draw_is_its_generators(scheme: str, past: str) -> None:
    """The same again from the same seed; nothing is hidden outside the rows that are asked for."""
    c = replace(C, past=past)
    one, other = (drawn(scheme, c, 4, 9, seeded(5)) for _ in range(2))  # type: ignore[arg-type]
    assert torch.equal(one, other) and one.any()
    assert not one[:, : -newest_rows(scheme, c, one.shape[1])].any()  # type: ignore[arg-type]
