"""A network as a model: live and bulk, states, folders' arrays, other universes."""

import copy

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from bot.core.market import Floats, Panel
from models.architectures import NETWORKS
from models.baselines import Gaussian, GaussianSettings
from models.coin_query import CoinQuery, Config
from models.inputs import Inputs, Stream
from models.masked import LARGE
from models.masked import Config as MaskedConfig
from models.model import BadModel
from models.network import Network, load
from models.table import Table
from tests.models.markets import START_MS, without
from tests.models.test_wicks import bouncing

PANEL = without(bouncing(700, 5, seed=4), slice(560, 580))
SHARED = MaskedConfig(window=12, width=16, depth=2, heads=2, past="shared", block=2)
LARGEST = MaskedConfig(window=12, width=LARGE, depth=1, heads=2, block=2)
MASKED = [SHARED, replace(SHARED, past="whole", hide="window"), replace(SHARED, raw=True), LARGEST]
masked = pytest.mark.parametrize("config", MASKED, ids=["shared", "whole", "raw", "large"])
every = pytest.mark.parametrize("config", [None, *MASKED], ids=["coin-query", "shared", "whole", "raw", "large"])


def network(panel: Panel = PANEL, seed: int = 1) -> Network:
    """One whose corrections are not nothing."""
    torch.manual_seed(seed)
    config = Config(width=32)
    module = CoinQuery(config)
    with torch.no_grad():
        module.correct.weight.normal_(0.0, 0.1)
    stream = Stream(Gaussian(panel.symbols, panel.interval_ms, GaussianSettings(wicks=True)))
    return Network("coin-query", config, module, stream)


def masked_network(config: MaskedConfig, panel: Panel = PANEL) -> Network:
    """One whose every input matters."""
    torch.manual_seed(1)
    module = NETWORKS["masked"].build(config, len(panel.symbols))
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(0.2 * torch.randn(weight.shape))
    stream = Stream(Gaussian(panel.symbols, panel.interval_ms, GaussianSettings(wicks=True)))
    return Network("masked", config, module, stream)


def newest(model: Network, panel: Panel, rows: int = 1) -> Floats:
    """What it infers of the panel's last rows, having seen the others."""
    model.observe(panel.rows(0, len(panel) - rows))
    return model.infer_panel(panel.rows(len(panel) - rows, len(panel)))


@every
def test_live_and_bulk_agree_to_the_bit(config: MaskedConfig | None) -> None:
    """Slice by slice, over a hole in time and with absent candles: a backtest decides on what the bot would have."""
    panel = replace(PANEL, present=PANEL.present.copy(), close=PANEL.close.copy())
    panel.present[600:610, 1] = False
    panel.close[620:623, 2] = np.nan
    panel.present[620:623, 2] = False
    model = network() if config is None else masked_network(config)
    model.observe(panel.rows(0, 500))
    bulk, live = model.infer_panel(panel.rows(500, 640)), copy.deepcopy(model)
    for row in range(500, 640):
        live.observe(panel.rows(row, row + 1))
        assert live.infer().returns.tobytes() == bulk[row - 500].tobytes(), row
        assert live.infer().open_ms == panel.open_ms[row]


def test_nothing_of_a_coins_newest_candle_reaches_its_own_answer() -> None:
    """Through the whole of it - scales, correlations, the Gaussian's inference, the network; the others' answers move."""
    for coin in range(5):
        changed = copy.deepcopy(PANEL)
        for field, factor in ((changed.close, 1.01), (changed.high, 1.02), (changed.low, 0.99), (changed.volume, 9.0)):
            field[-1, coin] *= factor
        before, after = (newest(network(), panel)[0] for panel in (PANEL, changed))
        assert after[coin] == pytest.approx(before[coin], rel=1e-5)
        others = [other for other in range(5) if other != coin]
        assert (np.abs(after - before)[others] > 1e-3 * np.abs(before)[others]).all()


@masked
def test_a_hidden_coin_has_no_say_in_what_is_inferred_for_it(config: MaskedConfig) -> None:
    """Through the scales and the network: not a bit of its newest candle reaches its own answer; the others' move."""
    changed = copy.deepcopy(PANEL)
    for field in (changed.close, changed.high, changed.low, changed.volume):
        field[-1, 2] *= 1.01
    before, after = (newest(masked_network(config), panel)[0] for panel in (PANEL, changed))
    assert list(after != before) == [True, True, False, True, True]


@masked
def test_absent_coins_never_reach_an_answer(config: MaskedConfig) -> None:
    """Absent for a day or now: the others are inferred, and what its closes hold where it is absent changes no bit."""
    found = []
    for filler in (np.nan, 1e6):
        panel = replace(PANEL, present=PANEL.present.copy(), close=PANEL.close.copy())
        panel.present[500:, 3] = panel.present[-1, 1] = False
        panel.close[500:, 3] = panel.close[-1, 1] = filler
        found.append(newest(masked_network(config), panel, 3))
    assert found[0].tobytes() == found[1].tobytes()
    assert np.isnan(found[0][:, 3]).all() and np.isnan(found[0][-1, 1])
    assert np.isfinite(found[0][:, [0, 2, 4]]).all()


def test_raw_returns_come_in_and_go_out_as_they_are() -> None:
    """A network whose head is a constant infers it for every coin; one of scaled returns gives it in each coin's scale."""
    for config, same in ((replace(SHARED, raw=True), True), (SHARED, False)):
        model = masked_network(config)
        with torch.no_grad():
            for name, weight in model.module.named_parameters():
                if name.startswith("head.3"):
                    weight.fill_(0.25 if name.endswith("bias") else 0.0)
        assert (newest(model, PANEL) == 0.25).all() == same
    inputs = Stream(Gaussian(PANEL.symbols, PANEL.interval_ms)).absorb(PANEL)
    assert np.allclose(inputs.raw[1:550], PANEL.close[1:550] / PANEL.close[:549] - 1.0, atol=1e-7)


def test_weights_that_belong_to_coins_serve_no_other_universe() -> None:
    """The refusal names what is missing and what is new; its own universe is welcome."""
    model = masked_network(SHARED)
    with pytest.raises(BadModel, match=r"missing: C0/USDT; extra: none"):
        model.unlearned(PANEL.symbols[1:], None, 0)
    assert model.unlearned(PANEL.symbols, None, 0).symbols == PANEL.symbols


def test_what_is_inferred_is_finite_once_it_is_known() -> None:
    """And NaN for a coin that has no candle."""
    panel = replace(PANEL, present=PANEL.present.copy(), close=PANEL.close.copy())
    panel.close[-1, 2], panel.present[-1, 2] = np.nan, False
    found = network().infer_panel(panel)
    assert np.isnan(found[:60]).all()
    assert np.isfinite(found[600:-1]).all()
    assert list(np.isnan(found[-1])) == [False, False, True, False, False]


@every
def test_a_restored_model_goes_on_where_it_was(config: MaskedConfig | None) -> None:
    """Bit for bit, from a state taken in the middle of an hour."""
    model, fresh = (network() if config is None else masked_network(config) for _ in range(2))
    model.observe(PANEL.rows(0, 637))
    fresh.restore(model.state())
    for one in (model, fresh):
        one.observe(PANEL.rows(637, 650))
    assert fresh.infer().returns.tobytes() == model.infer().returns.tobytes()


def test_a_state_of_another_universe_is_refused() -> None:
    """And nothing is changed by it."""
    model = network()
    model.observe(PANEL.rows(0, 600))
    before = model.infer().returns
    other = network(PANEL.of(PANEL.symbols[:4]))
    other.observe(PANEL.of(PANEL.symbols[:4]).rows(0, 600))
    with pytest.raises(BadModel, match="another model's state"):
        model.restore(other.state())
    assert np.array_equal(model.infer().returns, before)


@every
def test_arrays_and_settings_make_the_same_model(config: MaskedConfig | None) -> None:
    """What a folder holds is all there is."""
    model = network() if config is None else masked_network(config)
    model.observe(PANEL.rows(0, 500))
    symbols, cpu = PANEL.symbols, torch.device("cpu")
    again = load(model.architecture, symbols, PANEL.interval_ms, 0, model.settings(), model.tensors(), cpu)
    found, wanted = again.tensors(), model.tensors()
    assert found.keys() == wanted.keys()
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)
    assert again.settings() == model.settings()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"network": {"width": 16}}, "fit the model again"),
        ({"network": {"widht": 32}}, "widht"),
        ({"network": {"width": 30}}, "multiple of heads"),
    ],
)
def test_settings_that_do_not_fit_the_arrays_are_refused(change: dict[str, object], says: str) -> None:
    """Never a wrong number."""
    model = network()
    arguments = (PANEL.symbols, PANEL.interval_ms, 0, model.settings() | change, model.tensors())
    with pytest.raises(BadModel, match=says):
        load("coin-query", *arguments, torch.device("cpu"))


def test_the_same_network_serves_another_universe() -> None:
    """Fewer coins in another order, and a Gaussian that learns them: each is inferred."""
    others = PANEL.of(PANEL.symbols[3:0:-1])
    rebased = network().unlearned(others.symbols, None, 900)
    assert (rebased.symbols, rebased.warmup) == (others.symbols, 900)
    rebased.observe(others.rows(0, 600))
    assert np.isfinite(rebased.infer_panel(others.rows(600, 680))).all()


def inputs_of(rows: int, follows: list[bool]) -> Inputs:
    values = np.arange(rows * 6, dtype=np.float32).reshape(rows, 2, 3)
    flat = values[..., 0].copy()
    known = np.ones((rows, 2), dtype=np.bool_)
    open_ms = START_MS + 60_000 * np.arange(rows, dtype=np.int64)
    return Inputs(open_ms, values, flat, flat, known, flat.astype(np.float64), np.array(follows), 10 * flat)


def test_a_window_does_not_reach_over_a_hole_or_before_the_beginning() -> None:
    """Rows of another stretch of time are not known in it."""
    table = Table(inputs_of(5, [False, True, True, False, True]), torch.device("cpu"))
    windows = table.windows(torch.tensor([1, 2, 4]), 3)
    assert windows.known_BWN[..., 0].tolist() == [[False, True, True], [True, True, True], [False, True, True]]
    assert torch.equal(windows.candles_BWNF[1], table.candles_TNF[0:3])
    for (x, known), values in (
        (table.scaled_windows(torch.tensor([1, 2, 4]), 3), table.candles_TNF[..., 0]),
        (table.raw_windows(torch.tensor([1, 2, 4]), 3), table.raw_TN),
    ):
        assert torch.equal(known, windows.known_BWN)
        assert torch.equal(x[1:], torch.stack((values[0:3], values[2:5])))
