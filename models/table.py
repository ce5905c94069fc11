"""Inputs on the device that computes: windows are gathered there, a batch at a time, and never all made.

T slices, oldest first  N coins  F features of a candle  B windows  W slices of each, the newest last.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.inputs import Inputs


class Windows(NamedTuple):
    """What a network reads to infer the newest slices of B windows. Rows beyond a hole in time are not known."""

    candles_BWNF: Tensor
    known_BWN: Tensor
    wildness_BN: Tensor
    base_BN: Tensor


class Table:
    """Inputs of T slices as tensors."""

    def __init__(self, inputs: Inputs, device: torch.device) -> None:
        self.device = device
        self.candles_TNF = torch.from_numpy(inputs.candles).to(device)
        self.known_TN = torch.from_numpy(inputs.known).to(device)
        self.wildness_TN = torch.from_numpy(inputs.wildness).to(device)
        self.base_TN = torch.from_numpy(inputs.base).to(device)
        self.raw_TN = torch.from_numpy(inputs.raw).to(device)
        self._chain_T = torch.from_numpy(_chain(inputs.follows)).to(device)

    def __len__(self) -> int:
        return len(self.known_TN)

    def windows(self, rows_B: Tensor, window: int) -> Windows:
        """The windows that end with these rows; what lies before the first row is not known."""
        at_BW, known_BWN = self._reach(rows_B, window)
        return Windows(self.candles_TNF[at_BW], known_BWN, self.wildness_TN[rows_B], self.base_TN[rows_B])

    def scaled_windows(self, rows_B: Tensor, window: int) -> tuple[Tensor, Tensor]:
        """The scaled returns [B, W, N] of these windows alone, and where they are known."""
        at_BW, known_BWN = self._reach(rows_B, window)
        return self.candles_TNF[..., 0][at_BW], known_BWN

    def raw_windows(self, rows_B: Tensor, window: int) -> tuple[Tensor, Tensor]:
        """The raw returns [B, W, N] of these windows, and where they are known."""
        at_BW, known_BWN = self._reach(rows_B, window)
        return self.raw_TN[at_BW], known_BWN

    def _reach(self, rows_B: Tensor, window: int) -> tuple[Tensor, Tensor]:
        """The rows [B, W] of these windows, and what is known in them [B, W, N]."""
        back_W = torch.arange(window - 1, -1, -1, device=self.device)
        at_BW = rows_B[:, None] - back_W
        there_BW = (at_BW >= 0) & (back_W < self._chain_T[rows_B, None])
        at_BW = at_BW.clamp(min=0)
        return at_BW, self.known_TN[at_BW] & there_BW[..., None]

    def returns(self, rows_B: Tensor) -> tuple[Tensor, Tensor]:
        """The scaled returns [B, N] of these rows and where they are known."""
        return self.candles_TNF[rows_B, :, 0], self.known_TN[rows_B]


def _chain(follows: np.ndarray) -> np.ndarray:
    """How many slices [T], each row with those right before it, are without a hole in time between."""
    rows = np.arange(len(follows))
    begins = np.maximum.accumulate(np.where(follows, 0, rows))
    return rows - begins + 1
