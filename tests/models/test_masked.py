"""The masked cross-section: what must not change its answer, and what it finds."""

import math
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from torch import Tensor

from models.masked import Config, Hide, Masked, blackout, hidden, infer_blocks, infer_rows, preset, rotating

COINS, WINDOW = 11, 6
TINY = Config(COINS, window=WINDOW, width=16, depth=3, heads=2, dropout=0.0)
KINDS = [
    replace(TINY, hide=hide, norm=norm, told=norm == "pre") for hide in ("last", "window") for norm in ("post", "pre")
]
kinds = pytest.mark.parametrize("config", KINDS, ids=lambda c: f"{c.hide}-{c.norm}")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Matrices this small lose more to threads that wait for each other than they gain."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(config: Config) -> Masked:
    """A network whose weights are large enough that every input matters to every output."""
    module = Masked(config, seeded()).eval()
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(0.2 * torch.randn(weight.shape, generator=seeded(2)))
    return module


def market(rows: int, coins: int = COINS) -> tuple[Tensor, Tensor]:
    """Returns in scaled units [T, N], NaN where a coin is not known: one entry in ten."""
    x_TN = torch.randn(rows, coins, generator=seeded(3))
    known_TN = torch.rand(rows, coins, generator=seeded(4)) > 0.1
    return x_TN.where(known_TN, torch.nan), known_TN


def test_the_published_size() -> None:
    """111 coins: the published 21.5 million parameters, to half a per cent; raw or scaled is no matter of the network."""
    module = Masked(preset("published", 111))
    assert sum(weight.numel() for weight in module.parameters()) == pytest.approx(21.5e6, rel=0.006)
    assert preset("published-raw", 111) == preset("published", 111)


def test_the_published_start() -> None:
    """Weights and positions start with a deviation of .02, biases at 0, norms at 1."""
    module = Masked(replace(preset("published", 111), depth=1), seeded())
    for name, weight in module.named_parameters():
        if name.endswith("bias"):
            assert not weight.any()
        elif weight.ndim == 2:
            assert float(weight.detach().std()) == pytest.approx(0.02, rel=0.02), name
        else:
            assert bool((weight == 1).all()), name


def test_a_seed_gives_the_same_network() -> None:
    """Weights come from the generator alone."""
    one, other = (Masked(TINY, seeded(5)).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not torch.equal(one["place_WD"], Masked(TINY, seeded(6)).state_dict()["place_WD"])


@pytest.mark.parametrize("name", ["published", "base", "small"])
def test_every_entry_is_inferred(name: str) -> None:
    """[B, W, N] in, [B, W, N] out; fewer newest slices when fewer are asked for."""
    config = replace(preset(name, 5), depth=2)
    module = Masked(config).eval()
    x = torch.zeros(2, config.window, 5)
    shown = torch.ones_like(x, dtype=torch.bool)
    assert module(x, shown, ~shown).shape == (2, config.window, 5)
    assert module(x, shown, ~shown, 1).shape == (2, 1, 5)


def test_an_unknown_preset_is_named() -> None:
    """With what there is instead."""
    with pytest.raises(ValueError, match=r"'huge': choose published"):
        preset("huge", 3)


@pytest.mark.parametrize(
    ("wrong", "said"), [({"coins": 0}, "1 or more"), ({"heads": 5}, "multiple of heads"), ({"dropout": 1.0}, "dropout")]
)
def test_a_network_that_cannot_be_is_refused(wrong: dict[str, float], said: str) -> None:
    """By its configuration, before anything is built."""
    with pytest.raises(ValueError, match=said):
        Config(**{"coins": 4, **wrong})  # type: ignore[arg-type]


@kinds
def test_what_is_not_shown_changes_nothing(config: Config) -> None:
    """NaN, infinity or any number in hidden and unknown entries give the same bits; a shown entry matters."""
    module, (x, known) = network(config), market(WINDOW)
    sets = rotating(COINS, 4)
    masks = (known.expand(len(sets), -1, -1), hidden(sets, WINDOW, config.hide))
    shown = masks[0] & ~masks[1]
    clean = module(x.nan_to_num().expand_as(shown), *masks)
    for filler in (torch.nan, torch.inf, 7.0):
        assert torch.equal(clean, module(x.expand_as(shown).where(shown, filler), *masks))
    assert not torch.equal(clean, module(x.nan_to_num().expand_as(shown) + 0.1, *masks))


@kinds
@given(coin=st.integers(0, COINS - 1), block=st.sampled_from((1, 4, 8)))
def test_a_coin_has_no_say_in_what_is_inferred_for_it(config: Config, coin: int, block: int) -> None:
    """Its newest return when that is hidden, nothing of its column when the window is; the others feel the change."""
    module, (x, known) = network(config), market(WINDOW)
    changed, known = x.clone(), known.clone()
    known[-1, coin] = True
    entries = slice(WINDOW - 1, WINDOW) if config.hide == "last" else slice(0, WINDOW)
    changed[entries, coin] = 5.0
    before = infer_blocks(module, x.nan_to_num(), known, block)
    after = infer_blocks(module, changed.nan_to_num(), known, block)
    assert before[coin] == after[coin]
    assert not torch.equal(before, after)


def test_a_coins_own_past_is_seen_unless_the_window_is_hidden() -> None:
    """The two ways of hiding differ in just that."""
    x, known = market(WINDOW)
    changed = x.clone()
    changed[:-1, 3] = 5.0
    known = torch.ones_like(known)
    for hide, seen in (("last", True), ("window", False)):
        module = network(replace(TINY, hide=hide))
        one, other = (infer_blocks(module, values.nan_to_num(), known, 1)[3] for values in (x, changed))
        assert bool(one != other) is seen


@kinds
def test_the_newest_slice_alone_is_that_of_the_whole(config: Config) -> None:
    """The last layer computes one position, and finds what the full pass finds there, to 1e-6."""
    module, (x, known) = network(config), market(WINDOW)
    masks = (known.expand(3, -1, -1), hidden(rotating(COINS, 4), WINDOW, config.hide))
    whole, newest = (module(x.expand(3, -1, -1), *masks, asked) for asked in (None, 1))
    torch.testing.assert_close(newest[:, 0], whole[:, -1], rtol=0, atol=1e-6)


@kinds
def test_blocks_of_one_are_one_coin_at_a_time(config: Config) -> None:
    """All in one pass, or a full pass for each coin: the same figures to 1e-6."""
    module, (x, known) = network(config), market(WINDOW)
    inferred = infer_blocks(module, x, known, block=1)
    for coin in range(COINS):
        alone = hidden((torch.arange(COINS) == coin)[None], WINDOW, config.hide)
        assert inferred[coin].item() == pytest.approx(module(x[None], known[None], alone)[0, -1, coin].item(), abs=1e-6)


@given(coins=st.integers(1, 40), block=st.integers(1, 12))
def test_a_plan_hides_every_coin_once(coins: int, block: int) -> None:
    """In as few sets as hold them, none larger than a block."""
    plan = rotating(coins, block)
    assert bool((plan.sum(dim=0) == 1).all())
    assert len(plan) == math.ceil(coins / block)
    assert int(plan.sum(dim=1).max()) <= block


@given(coins=st.integers(3, 60), seed=st.integers(0, 9))
def test_a_blackout_is_a_quarter_of_the_coins(coins: int, seed: int) -> None:
    """But 3 to 8 of them; the seed decides which."""
    plan = blackout(coins, seeded(seed))
    assert plan.sum() == min(max(coins // 4, 3), 8)
    assert torch.equal(plan, blackout(coins, seeded(seed)))


@pytest.mark.parametrize(("hide", "rows"), [("last", [5]), ("window", [0, 1, 2, 3, 4, 5])])
def test_what_a_set_hides(hide: Hide, rows: list[int]) -> None:
    """Of the coins in it the last row or the window, of the others nothing."""
    mask = hidden(torch.tensor([[False, True, False]]), 6, hide)[0]
    assert mask[:, 1].nonzero()[:, 0].tolist() == rows
    assert not mask[:, [0, 2]].any()


def test_a_coin_that_is_never_hidden_is_not_inferred() -> None:
    """It is NaN: its own return would be in what is said about it."""
    module, (x, known) = network(TINY), market(WINDOW)
    plan = blackout(COINS, seeded())
    (inferred,) = infer_rows(module, x, known, torch.tensor([WINDOW - 1]), plan)
    assert torch.equal(inferred[0].isfinite(), plan[0])


@pytest.mark.parametrize("config", [*KINDS, preset("small", COINS)], ids=str)
def test_live_is_bulk_to_the_bit(config: Config) -> None:
    """A window alone gives the bits it gives among many, whatever lies outside of it."""
    module = network(config) if config.width == 16 else Masked(config, seeded())
    x, known = market(config.window + 20)
    rows = torch.arange(config.window - 1, len(x))
    bulk = torch.cat(list(infer_rows(module, x, known, rows, rotating(COINS, 4))))
    for at, row in enumerate(rows.tolist()):
        window = slice(row - config.window + 1, row + 1)
        assert torch.equal(bulk[at], infer_blocks(module, x[window], known[window], 4))


@given(batch=st.integers(1, 9))
def test_batches_change_no_figure(batch: int) -> None:
    """Any number of windows at a time, the last batch not full: the same to 1e-5, in the order asked for."""
    module, (x, known) = network(TINY), market(20)
    rows = torch.tensor([19, 5, 8, 12, 8, 7, 16])
    single, many = (torch.cat(list(infer_rows(module, x, known, rows, rotating(COINS), size))) for size in (1, batch))
    torch.testing.assert_close(many, single, rtol=0, atol=1e-5)


@pytest.mark.parametrize("row", [WINDOW - 2, 20])
def test_a_row_without_a_window_is_refused(row: int) -> None:
    """Too early or beyond the end: an error, no figure made of other rows."""
    module, (x, known) = network(TINY), market(20)
    with pytest.raises(ValueError, match="rows must lie from 5"):
        next(infer_rows(module, x, known, torch.tensor([10, row]), rotating(COINS)))


def test_dropout_never_reaches_an_inference() -> None:
    """A network in training infers as one that is not, and goes on training."""
    module, (x, known) = network(replace(TINY, dropout=0.5)).train(), market(WINDOW)
    assert torch.equal(infer_blocks(module, x, known), infer_blocks(module, x, known))
    assert module.training


def learned(config: Config, x_TN: Tensor, steps: int) -> Masked:
    """Trained on windows of rows drawn at random, with random sets of coins hidden as it will infer them."""
    module, draw = Masked(config, seeded()), seeded(7)
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3, weight_decay=0.02)
    plan = rotating(config.coins, 4)
    for _ in range(steps):
        ends = torch.randint(config.window - 1, len(x_TN), (64,), generator=draw)
        window = x_TN[ends[:, None] + torch.arange(1 - config.window, 1)]
        sets = plan[torch.randint(len(plan), (64,), generator=draw)]
        mask = hidden(sets, config.window, config.hide)
        inferred = module(window, torch.ones_like(mask), mask, 1)[:, 0]
        loss = ((inferred - window[:, -1])[sets] ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return module


def correlation(one_TN: Tensor, other_TN: Tensor) -> float:
    """The mean over coins of the correlation over time."""
    return float(
        torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(one_TN.T, other_TN.T, strict=True)]).mean()
    )


def test_it_finds_planted_factors() -> None:
    """Two factors, one of which moves half of the coins up and half down: no mean of the others sees that one."""
    coins, rows = 12, 3_000
    signs = torch.where(torch.arange(coins) % 2 == 0, 1.0, -1.0)
    factors = torch.randn(rows, 2, generator=seeded(8))
    x = factors[:, :1] + factors[:, 1:] * signs + 0.5 * torch.randn(rows, coins, generator=seeded(9))
    config = Config(coins, window=2, width=48, depth=2, heads=2, dropout=0.0, norm="pre", told=True)
    module = learned(config, x[:2_500], steps=300)
    tested = torch.arange(2_500, rows)
    known = torch.ones_like(x, dtype=torch.bool)
    inferred = torch.cat(list(infer_rows(module, x, known, tested, rotating(coins, 4), batch=100)))
    market_mean = (x.sum(dim=1, keepdim=True) - x)[tested]
    assert correlation(market_mean, x[tested]) < 0.75
    assert correlation(inferred, x[tested]) > 0.85
