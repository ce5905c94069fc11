"""Which model `lacuna run` trades on, and what is said of it before it does."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bot.building import remarks_on
from bot.config import BadConfiguration, load
from bot.run import choose_model, choose_volatility
from models.baselines import Market
from models.checkpoint import Card, save
from models.intersection import Intersection
from models.train import fit
from tests.models.markets import market, names

COINS = names(5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ridge of five coins."""
    path = tmp_path_factory.mktemp("run") / "ridge"
    save(fit("ridge", market(1_000, 5)).model, path, Card(0, 0, 0))
    return path


def settings(folder: Path, symbols: tuple[str, ...], **above: object) -> dict[str, object]:
    return {"forecaster.model": str(folder), "market.symbols": symbols} | above


def test_a_model_of_other_coins_runs_on_the_shared_ones_only_if_asked(folder: Path) -> None:
    """Refused with both lists; with forecaster.intersect the order is the settings', what is left out is named."""
    wanted = ("NEW/USDT", *COINS[3:0:-1])
    with pytest.raises(BadConfiguration, match=r"it lacks NEW/USDT, it also has C0/USDT, C4/USDT; .*intersect = true"):
        choose_model(load(None, settings(folder, wanted)))
    asked = load(None, settings(folder, wanted) | {"forecaster.intersect": True})
    symbols, model = choose_model(asked)
    assert isinstance(model, Intersection)
    assert symbols == model.symbols == COINS[3:0:-1]
    assert remarks_on(asked, model)[:2] == model.remarks
    assert "NEW/USDT" in model.remarks[0]
    assert "C0/USDT, C4/USDT" in model.remarks[1]


def test_two_shared_coins_are_too_few(folder: Path) -> None:
    """A sentence and exit code 78, as for every other setting."""
    asked = load(None, settings(folder, (*COINS[:2], "NEW/USDT")) | {"forecaster.intersect": True})
    with pytest.raises(BadConfiguration, match=r"forecaster\.model: .*3 are the least to infer from"):
        choose_model(asked)


def test_the_same_coins_need_no_intersection(folder: Path) -> None:
    """Whatever their order and whether it is asked for: the model itself."""
    for intersect in (False, True):
        asked = load(None, settings(folder, COINS[::-1]) | {"forecaster.intersect": intersect})
        symbols, model = choose_model(asked)
        assert symbols == COINS
        assert not isinstance(model, Intersection)


def test_a_gate_that_nothing_passes_is_said_before_it_holds_anything_back() -> None:
    """A model without a gain and a cost to beat: nothing will be bought, and the one setting is named."""
    model = Market(COINS, 60_000)
    (said,) = remarks_on(load(None, {}), model)
    assert said.startswith("nothing will be bought: a trade must be expected to beat its round trip of 0.22%")
    assert "strategies.masked-divergence.round_trip_cost=0" in said
    assert remarks_on(load(None, {"strategies.masked-divergence.round_trip_cost": 0}), model) == ()
    assert remarks_on(load(None, {"account.fee_bps": 0, "account.spread_bps": 0}), model) == ()
    assert remarks_on(load(None, {"strategy.name": "hold"}), model) == ()


@pytest.mark.parametrize(("bet", "gain"), [("continuation", 0.1), ("reversion", 0.0), ("reversion", -0.1)])
def test_a_bet_that_the_gain_speaks_against_is_said(bet: str, gain: float) -> None:
    """Every coin it would buy is expected to fall, or to earn nothing; the other bet is fine."""
    model = Market(COINS, 60_000)
    model.gain = np.full(len(COINS), gain)
    (said,) = remarks_on(load(None, {"strategies.masked-divergence.bet": bet}), model)
    assert f"the {bet} bet earns on no coin" in said
    other = {"continuation": "reversion", "reversion": "continuation"}[bet]
    assert bool(remarks_on(load(None, {"strategies.masked-divergence.bet": other}), model)) == (gain == 0.0)


def test_a_round_trip_is_two_fees_the_spread_and_the_slippage_twice() -> None:
    """10 and 10 basis points, 2 of spread, nothing slips: 0.22 %; slippage is met when buying and when selling."""
    assert load(None, {}).account.round_trip == pytest.approx(0.0022)
    assert load(None, {"account.slippage_bps": 3}).account.round_trip == pytest.approx(0.0028)


CEILING = {"risk.forecast_volatility_max": 0.02}


@pytest.mark.parametrize("name", ["pretrained", "har"])
def test_volatility_is_forecast_whether_or_not_anything_decides_on_it(name: str) -> None:
    """For people to see: both models that come with lacuna serve any coins."""
    for above in ({}, CEILING):
        work, remarks = choose_volatility(load(None, {"forecaster.volatility": name} | above), COINS)
        assert work is not None and work.symbols == COINS and not remarks
        assert work.standing.architecture == ("har" if name == "har" else "sph-net")


@pytest.mark.parametrize(
    ("above", "said"),
    [
        ({"forecaster.volatility": "nowhere"}, "forecaster.volatility: nowhere"),
        ({"forecaster.volatility": "har", "market.timeframe": "1d"}, "make no hours"),
    ],
)
def test_a_volatility_model_that_cannot_be_had_is_a_remark_unless_decisions_depend_on_it(
    above: dict[str, object], said: str
) -> None:
    """The bot trades without; where its decisions need it, it does not start."""
    work, (remark,) = choose_volatility(load(None, above), COINS)
    assert work is None and remark.startswith("no volatility is forecast") and said in remark
    with pytest.raises(BadConfiguration, match=said):
        choose_volatility(load(None, above | CEILING), COINS)


def test_no_volatility_model_is_no_remark() -> None:
    """Where none is named; settings that decide on one are refused before."""
    assert choose_volatility(load(None, {"forecaster.volatility": ""}), COINS) == (None, ())


def test_without_pytorch_the_network_is_a_remark() -> None:
    """Everything else works without it."""
    program = (
        "import sys; sys.modules['torch'] = None; from bot.config import load; from bot.run import choose_volatility;"
        " work, (remark,) = choose_volatility(load(None, {}), ('BTC/USDT', 'ETH/USDT')); print(work, remark);"
        " work, remarks = choose_volatility(load(None, {'forecaster.volatility': 'har'}), ('BTC/USDT',)); print(remarks)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first.startswith("None no volatility is forecast: ") and "needs PyTorch" in first
    assert "har needs no PyTorch" in first and second == "()"
