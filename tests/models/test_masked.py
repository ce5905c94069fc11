"""The masked cross-section: what must not change its answer, and what it finds."""

import math
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from torch import Tensor

from models.masked import Config, Hide, Masked, blackout, hidden, hidden_versions, infer, or_plain, plan_of, rotating
from models.model import BadModel
from models.presets import PRESETS, preset

COINS, WINDOW = 11, 6
TINY = Config(window=WINDOW, width=16, depth=3, heads=2, dropout=0.0)
HIDES = (("last", "whole"), ("window", "whole"), ("last", "shared"))
KINDS = [
    replace(TINY, hide=hide, past=past, norm=norm, told=norm == "pre", levelled=norm == "pre")
    for hide, past in HIDES
    for norm in ("post", "pre")
]
kinds = pytest.mark.parametrize("config", KINDS, ids=lambda c: f"{c.hide}-{c.past}-{c.norm}")
SHARED = replace(TINY, past="shared")
shared = pytest.mark.parametrize(
    "config", [SHARED, replace(SHARED, norm="pre", told=True, levelled=True)], ids=lambda c: c.norm
)


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
    module = Masked(config, COINS, seeded()).eval()
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(0.2 * torch.randn(weight.shape, generator=seeded(2)))
    return module


def market(rows: int, coins: int = COINS) -> tuple[Tensor, Tensor]:
    """Returns in scaled units [T, N], NaN where a coin is not known: one entry in ten."""
    x_TN = torch.randn(rows, coins, generator=seeded(3))
    known_TN = torch.rand(rows, coins, generator=seeded(4)) > 0.1
    return x_TN.where(known_TN, torch.nan), known_TN


@torch.no_grad()
def inferred_of(module: Masked, x_WN: Tensor, known_WN: Tensor) -> Tensor:
    """What is inferred [N] of one window."""
    return infer(module, x_WN[None], known_WN[None])[0]


def test_the_published_size() -> None:
    """111 coins: the published 21.5 million parameters, to half a per cent; raw differs in nothing else."""
    published, raw = PRESETS["published"], PRESETS["published-raw"]
    module = Masked(published.config, 111)
    assert sum(weight.numel() for weight in module.parameters()) == pytest.approx(21.5e6, rel=0.006)
    assert replace(published, config=replace(published.config, raw=True)) == raw
    assert (published.scheme, published.lr, published.config.past) == ("coins", 1e-4, "whole")


def test_the_published_start() -> None:
    """Weights and positions start with a deviation of .02, biases at 0, norms at 1."""
    module = Masked(Config(depth=1), 111, seeded())
    for name, weight in module.named_parameters():
        if name.endswith("bias"):
            assert not weight.any()
        elif weight.ndim == 2:
            assert float(weight.detach().std()) == pytest.approx(0.02, rel=0.02), name
        else:
            assert bool((weight == 1).all()), name


def test_a_seed_gives_the_same_network() -> None:
    """Weights come from the generator alone."""
    one, other = (Masked(TINY, COINS, seeded(5)).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not torch.equal(one["place_WD"], Masked(TINY, COINS, seeded(6)).state_dict()["place_WD"])


@pytest.mark.parametrize("name", ["published", "published-past", "base", "small"])
def test_every_entry_is_inferred(name: str) -> None:
    """[B, W, N] in, [B, W, N] out; fewer newest slices when fewer are asked for."""
    config = replace(preset(name).config, depth=2)
    module = Masked(config, 5).eval()
    x = torch.zeros(2, config.window, 5)
    shown = torch.ones_like(x, dtype=torch.bool)
    assert module(x, shown, ~shown).shape == (2, config.window, 5)
    assert module(x, shown, ~shown, 1).shape == (2, 1, 5)


@torch.no_grad()
def test_a_levelled_network_infers_as_much_as_there_is() -> None:
    """Ten times the returns are about ten times as much; without levels the norms forget how large a slice was."""
    x_WN, known_WN = market(WINDOW)
    grown = {}
    for levelled in (False, True):
        module = network(replace(TINY, norm="pre", levelled=levelled))
        calm, wild = (infer(module, (times * x_WN)[None], known_WN[None]).abs().mean() for times in (1.0, 10.0))
        grown[levelled] = float(wild / calm)
    assert grown[False] < 3 and 5 < grown[True] < 20


def test_an_unknown_preset_is_named() -> None:
    """With what there is instead."""
    with pytest.raises(BadModel, match=r"'huge': there are coin-query"):
        preset("huge")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"block": 0}, "1 or more"),
        ({"heads": 5}, "multiple of heads"),
        ({"dropout": 1.0}, "dropout"),
        ({"past": "shared", "hide": "window"}, "hide = last"),
    ],
)
def test_a_network_that_cannot_be_is_refused(wrong: dict[str, float], said: str) -> None:
    """By its configuration, before anything is built."""
    with pytest.raises(ValueError, match=said):
        Config(**wrong)  # type: ignore[arg-type]


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
    module, (x, known) = network(replace(config, block=block)), market(WINDOW)
    changed, known = x.clone(), known.clone()
    known[-1, coin] = True
    entries = slice(WINDOW - 1, WINDOW) if config.hide == "last" else slice(0, WINDOW)
    changed[entries, coin] = 5.0
    before = inferred_of(module, x.nan_to_num(), known)
    after = inferred_of(module, changed.nan_to_num(), known)
    assert before[coin] == after[coin]
    assert not torch.equal(before, after)


def test_a_coins_own_past_is_seen_unless_the_window_is_hidden() -> None:
    """The two ways of hiding differ in just that."""
    x, known = market(WINDOW)
    changed = x.clone()
    changed[:-1, 3] = 5.0
    known = torch.ones_like(known)
    for hide, seen in (("last", True), ("window", False)):
        module = network(replace(TINY, hide=hide, block=1))
        one, other = (inferred_of(module, values.nan_to_num(), known)[3] for values in (x, changed))
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
    module, (x, known) = network(replace(config, block=1)), market(WINDOW)
    inferred = inferred_of(module, x, known)
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


def test_a_block_leaves_others_to_tell_of_it() -> None:
    """Of few coins no more than a quarter are hidden together; of 111, eight."""
    most = [int(plan_of(Config(), coins, torch.device("cpu")).sum(dim=1).max()) for coins in (2, 5, 12, 30, 111)]
    assert most == [1, 1, 3, 7, 8]


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


@shared
def test_versions_of_the_newest_slice_are_windows_of_their_own(config: Config) -> None:
    """All sets at once upon one past, or a full pass for each of them: the same, to 1e-5."""
    module, (x, known) = network(config), market(WINDOW)
    sets = rotating(COINS, 4)
    with torch.no_grad():
        at_once = module(x[None], known[None], hidden_versions(sets, WINDOW), len(sets))[0]
        apart = module(
            x.expand(len(sets), -1, -1), known.expand(len(sets), -1, -1), hidden(sets, WINDOW, config.hide), 1
        )[:, 0]
    torch.testing.assert_close(at_once, apart, rtol=0, atol=1e-5)


@shared
def test_a_shared_past_does_not_know_the_newest_slice(config: Config) -> None:
    """Whatever happens in the newest slice, the rows before it are inferred alike; with the whole past they are not."""
    x, known = torch.randn(1, WINDOW, COINS, generator=seeded(3)), torch.ones(1, WINDOW, COINS, dtype=torch.bool)
    changed = x.clone()
    changed[:, -1] += 1.0
    for past, same in (("shared", True), ("whole", False)):
        module = network(replace(config, past=past))
        with torch.no_grad():
            before, after = (module(values, known, ~known)[:, :-1] for values in (x, changed))
        assert torch.equal(before, after) is same


def test_a_coin_that_is_never_hidden_is_not_inferred() -> None:
    """It is NaN: its own return would be in what is said about it. A blackout is the same coins every time."""
    config = replace(TINY, plan="blackout")
    module, (x, known) = network(config), market(WINDOW)
    (plan,) = plan_of(config, COINS, torch.device("cpu"))
    inferred = inferred_of(module, x, known)
    assert torch.equal(inferred.isfinite(), plan)
    assert int(plan.sum()) == 3


@kinds
def test_batches_change_no_figure(config: Config) -> None:
    """Any number of windows at a time: the same to 1e-5, in the order asked for."""
    module, (x, known) = network(config), market(20)
    at = torch.arange(12)[:, None] + torch.arange(WINDOW)
    with torch.no_grad():
        many = infer(module, x[at], known[at])
        single = torch.stack([inferred_of(module, x[rows], known[rows]) for rows in at])
    torch.testing.assert_close(many, single, rtol=0, atol=1e-5)


def test_a_gpu_without_a_compiler_infers_all_the_same() -> None:
    """It is said once, and not tried again."""
    from torch._dynamo.exc import TorchDynamoException

    tried = []

    def compiled(x: Tensor, known: Tensor, plan: Tensor) -> Tensor:
        tried.append(x)
        raise TorchDynamoException("no compiler")

    newest = or_plain(compiled, lambda x, known, plan: x + 1)
    nothing = torch.zeros(1)
    with pytest.warns(RuntimeWarning, match="not compiled: no compiler"):
        assert newest(nothing, nothing, nothing) == 1
    assert newest(nothing, nothing, nothing) == 1
    assert len(tried) == 1


def learned(config: Config, x_TN: Tensor, steps: int) -> Masked:
    """Trained on windows of rows drawn at random, with random sets of coins hidden as it will infer them."""
    coins = x_TN.shape[1]
    module, draw = Masked(config, coins, seeded()), seeded(7)
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3, weight_decay=0.02)
    plan = rotating(coins, config.block)
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
    return module.eval()


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
    config = Config(window=2, width=48, depth=2, heads=2, dropout=0.0, norm="pre", told=True, block=4)
    module = learned(config, x[:2_500], steps=300)
    tested = torch.arange(2_500, rows)
    windows = x[tested[:, None] + torch.arange(-1, 1)]
    with torch.no_grad():
        inferred = infer(module, windows, torch.ones_like(windows, dtype=torch.bool))
    market_mean = (x.sum(dim=1, keepdim=True) - x)[tested]
    assert correlation(market_mean, x[tested]) < 0.75
    assert correlation(inferred, x[tested]) > 0.85
