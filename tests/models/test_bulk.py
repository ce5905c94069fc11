"""Bulk inference in stretches: the same bits as in one piece, and told how far it is."""

import numpy as np
import pytest

from bot.core.market import Floats
from models.bulk import Absorbing, infer_in_bulk, observe_in_bulk
from models.intersection import Intersection
from models.model import Model
from models.train import NAMES, fit
from tests.models.markets import market

PANEL = market(1_500, 5, absent=0.02)
AFTER = PANEL.rows(900, 1_500)
FITTED = {name: fit(name, PANEL.rows(0, 900), 0.8).model for name in NAMES}


def models() -> list[tuple[str, Model]]:
    """Every closed form, and one that can only infer and observe apart."""
    return [*FITTED.items(), ("intersection", Intersection(FITTED["gaussian"], PANEL.symbols[:4]))]


@pytest.mark.parametrize("stretch", [1, 7, 250, 10_000])
@pytest.mark.parametrize(("name", "model"), models())
def test_stretches_give_the_bits_of_the_whole(name: str, model: Model, stretch: int) -> None:
    """However it is cut; the model is left where it stood."""
    panel = AFTER.of(model.symbols).rows(0, 40 if stretch == 1 else 600)
    before = model.infer().open_ms
    whole: Floats = model.infer_panel(panel)
    assert isinstance(model, Absorbing) == (name != "intersection")
    assert infer_in_bulk(model, panel, stretch=stretch).tobytes() == whole.tobytes()
    assert np.isfinite(whole).any()
    assert model.infer().open_ms == before


def test_progress_is_told_up_to_the_end() -> None:
    """After every stretch how many slices are done; the last one says all."""
    heard: list[tuple[int, int]] = []
    infer_in_bulk(FITTED["ridge"], AFTER, lambda done, of: heard.append((done, of)), stretch=250)
    assert heard == [(250, 600), (500, 600), (600, 600)]


def test_observing_in_bulk_is_observing() -> None:
    """The next answer is the same."""
    one, other = fit("gaussian", PANEL.rows(0, 900), 0.8).model, fit("gaussian", PANEL.rows(0, 900), 0.8).model
    one.observe(AFTER)
    observe_in_bulk(other, AFTER, stretch=100)
    assert one.infer().returns.tobytes() == other.infer().returns.tobytes()
