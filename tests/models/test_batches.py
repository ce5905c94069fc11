"""Rows in batches of one shape, and what happens when a GPU has no room for them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from models.batches import Batches, GpuFull


class Room:
    """Answers with the rows' own numbers, to so many at once, and keeps how many it was asked for; reuses its answer."""

    def __init__(self, most: int) -> None:
        self.most, self.asked = most, list[int]()
        self._answer = torch.zeros(0)

    def __call__(self, rows: Tensor) -> Tensor:
        self.asked.append(len(rows))
        if len(rows) > self.most:
            raise torch.OutOfMemoryError(f"{len(rows)} rows")
        if len(self._answer) != len(rows):
            self._answer = torch.zeros(len(rows))
        return self._answer.copy_(rows)


@given(rows=st.integers(1, 40), size=st.integers(1, 9))
def test_every_row_is_answered_in_order_by_batches_of_one_shape(rows: int, size: int) -> None:
    """However many there are; a row alone is asked alone."""
    room = Room(100)
    found = Batches(size).run(room, torch.arange(rows) + 7)
    assert found.tolist() == list(range(7, rows + 7))
    assert set(room.asked) == ({1} if rows == 1 else {size})


def test_no_room_halves_the_batch_for_good_and_says_so_once() -> None:
    """16, 8, then 4 fit: two sentences, no row lost, and the next call begins with 4."""
    batches, room = Batches(16), Room(5)
    with pytest.warns(RuntimeWarning, match="out of memory") as said:
        found = batches.run(room, torch.arange(20))
    assert [str(one.message).split()[6] for one in said] == ["8", "4"]
    assert found.tolist() == list(range(20))
    assert batches.run(room, torch.arange(20)).tolist() == list(range(20))
    assert room.asked == [16, 8, *[4] * 10]


def test_a_gpu_without_room_for_a_row_is_an_error() -> None:
    """There is nothing left to halve."""
    with pytest.warns(RuntimeWarning), pytest.raises(GpuFull, match="no memory left"):
        Batches(2).run(Room(0), torch.arange(3))
