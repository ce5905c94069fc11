"""Robust scaling: medians and quartiles of training alone, as JSON and back."""

import numpy as np
import pytest

from models.features import FEATURES, features
from models.model import BadModel
from models.robust_scaling import CLIP, fit, from_json
from tests.models.hours import hours
from tests.models.markets import names

TWO = ("a", "b")


def test_medians_and_quartiles_by_hand() -> None:
    """Of 1, 2, 3, 4, 5 the median is 3 and the quartiles are 2 and 4; NaN is left out; no range divides by 1."""
    train = np.array([[[1, 7]], [[np.nan, 7]], [[2, 7]], [[3, 7]], [[4, 7]], [[5, 7]]])
    scaling = fit(("X/USDT",), TWO, train)
    assert (scaling.centre, scaling.spread) == (((3.0, 7.0),), ((2.0, 1.0),))
    scaled = scaling.scaler(("X/USDT",), TWO).scaled(np.array([[[4.0, 8.0]], [[np.nan, np.inf]], [[1e9, -1e9]]]))
    assert scaled.tolist() == [[[0.5, 1.0]], [[0.0, 0.0]], [[CLIP, -CLIP]]]


def test_each_coin_has_its_own_and_a_stranger_the_typical_one() -> None:
    """A coin that training has not seen is scaled by the median of those it has seen."""
    train = np.stack([np.array([[-1.0, 1.0], [0.0, 2.0], [1.0, 3.0]]) * size for size in (1, 2, 10)], axis=1)
    scaling = fit(names(3), TWO, train)
    scaler = scaling.scaler(("NEW/USDT", "C2/USDT"), TWO)
    assert scaler.centre.tolist() == [[0.0, 4.0], [0.0, 20.0]]
    assert scaler.spread.tolist() == [[2.0, 2.0], [10.0, 10.0]]


def test_it_comes_back_from_json_as_it_was() -> None:
    """The features of real size, scaled before and after: the same bits."""
    given = hours(200, 3)
    found = features(given)
    scaling = fit(given.symbols, FEATURES, found[:100])
    again = from_json(scaling.to_json())
    assert again == scaling
    before, after = (each.scaler(given.symbols, FEATURES).scaled(found) for each in (scaling, again))
    assert np.array_equal(before, after) and np.isfinite(before).all() and np.abs(before).max() <= CLIP


def test_other_features_are_refused_by_name() -> None:
    """The first that differs is told, with both names; so is another number of them."""
    scaling = fit(("X/USDT",), TWO, np.zeros((3, 1, 2)))
    with pytest.raises(BadModel, match="c where it has b"):
        scaling.scaler(("X/USDT",), ("a", "c"))
    with pytest.raises(BadModel, match="1, it has 2"):
        scaling.scaler(("X/USDT",), ("a",))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"{", "cannot be read"),
        (b'{"symbols":["X"],"features":["a"],"centre":[[null]],"spread":[[1]]}', "cannot be read"),
        (b'{"symbols":["X"],"features":["a"],"centre":[[1,2]],"spread":[[1]]}', "one number for each"),
        (b'{"symbols":["X"],"features":["a"],"centre":[[1]],"spread":[[0]]}', "not above 0"),
        (b'{"symbols":[],"features":["a"],"centre":[],"spread":[]}', "no coins"),
    ],
)
def test_bad_files_are_refused(text: bytes, told: str) -> None:
    """What cannot be read, or divided by, is no scaling."""
    with pytest.raises(BadModel, match=told):
        from_json(text)
