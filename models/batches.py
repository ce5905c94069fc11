"""Rows through a network in batches of one shape, as a CUDA graph needs them; smaller ones where a GPU's memory ends."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor


class GpuFull(ArithmeticError):
    """What was asked for cannot be computed now; live a forecast that failed, else the end."""

    exit_code = 75


class Batches:
    """How many rows are asked for at once; halved for good, and said once, when memory runs out."""

    def __init__(self, size: int) -> None:
        self.size = size

    def run(self, ask: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        """The answers [R, N] for rows [R] that `ask` gives for some of them [B, N]; a row alone is a batch of its own.

        A last batch that is not full is filled up with the last row. GpuFull where not one row fits.
        """
        found: list[Tensor] = []
        at = 0
        while at < len(rows):
            size = 1 if len(rows) == 1 else self.size
            some = rows[at : at + size]
            answer = self._asked(ask, torch.cat((some, some[-1:].expand(size - len(some)))))
            if answer is None:
                self._halve()  # outside of the `except`, whose traceback holds what was computed
                continue
            found.append(answer[: len(some)].clone())  # a CUDA graph writes its next answer over this one
            at += len(some)
        return torch.cat(found)

    def _asked(self, ask: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor | None:
        """None when memory ran out."""
        try:
            return ask(rows)
        except torch.OutOfMemoryError:
            if len(rows) > 1:
                return None
        raise GpuFull("the GPU has no memory left for one slice: free some, or let the model run on the CPU")

    def _halve(self) -> None:
        self.size //= 2
        torch.cuda.empty_cache()
        warnings.warn(
            f"the GPU is out of memory: {self.size} rows at a time from here on", RuntimeWarning, stacklevel=3
        )
