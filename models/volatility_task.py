"""What a volatility network is trained for: the next hour's Garman-Klass volatility of pairs of an hour and a coin.

Teaches  pairs whose inputs are known, before validation, followed by an hour that moved.
Score    minus the loss on pairs of validation, evenly spaced: it judges the whole distribution. Beside it QLIKE,
         errors and direction, each of its own number of the three (volatility_model.py).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from msgspec import Struct
from torch import Tensor, nn

from bot.core.market import HOUR_MS, Floats, Integers, Mask
from models.hour_table import Batch, HourRows, HourTable
from models.model import BadModel
from models.volatility_columns import LEAST
from models.volatility_kinds import KINDS
from models.volatility_network import Units, VolatilityNetwork
from models.volatility_scores import errors, qlike

AT_ONCE = 1_024
SCORED_MAX = 5_000
UNITS_MIN = 100  # hours of a coin


class Answers(Struct, frozen=True, eq=False):
    """What comes after each of T hours, all [T, N]: log volatility, less the curves or not, and whether it rose.

    `real`: it is known, and comes right after.
    """

    raw: Floats
    less_curves: Floats
    rose: Mask
    real: Mask


class NextHour:
    """A `Task` of the training loop. Rows from `train` on are for validation; `coins` of the table teach."""

    def __init__(
        self,
        network: VolatilityNetwork,
        at: int,
        rows: HourRows,
        train: int,
        coins: Integers,
        settings: Mapping[str, Any],
    ) -> None:
        self.module: nn.Module = network.modules[at]
        self.settings = settings
        self._kind, self._window = KINDS[network.architecture], network.window
        self._table = HourTable(rows, network.learned.scalings.tokens, network.symbols, network.device)
        answers = answers_of(rows)
        usable = rows.known & answers.real
        self._taught = _pairs(usable, 0, train - 1, coins, network.device)  # row train - 1 is answered in validation
        scored = _pairs(usable, train, len(rows), coins, network.device)
        self._scored = scored[:: max(1, -(-len(scored) // SCORED_MAX))]
        units = network.learned.units
        own = answers.less_curves if self._kind.logs else np.exp(answers.raw)
        scaled = (own - units.centre) / units.width
        self._actual_TN = torch.from_numpy(scaled.astype(np.float32)).to(network.device)
        self._rose_TN = torch.from_numpy(answers.rose.astype(np.float32)).to(network.device)
        self._answers, self._rows, self._units = answers, rows, units

    @property
    def pairs(self) -> int:
        """The pairs that teach."""
        return len(self._taught)

    @property
    def scored(self) -> int:
        """The pairs that choose."""
        return len(self._scored)

    def loss(self, module: nn.Module, step: int, size: int, generator: torch.Generator) -> Tensor:
        """The mean loss of `size` pairs drawn with the generator."""
        drawn = torch.randint(len(self._taught), (size,), generator=generator, device=generator.device)
        return self._loss(module, self._taught[drawn])

    def _loss(self, module: nn.Module, pairs_B2: Tensor) -> Tensor:
        rows_B, at_B = pairs_B2.unbind(1)
        return self._kind.loss(
            module, self._batch(pairs_B2), self._actual_TN[rows_B, at_B], self._rose_TN[rows_B, at_B]
        )

    def _batch(self, pairs_B2: Tensor) -> Batch:
        rows_B, at_B = pairs_B2.unbind(1)
        return self._table.batch(rows_B, at_B, self._window)

    def validate(self, module: nn.Module) -> dict[str, float]:
        """Minus the mean loss; QLIKE, RMSE, MAE, MAPE, R2 and direction."""
        losses, asked = [], []
        for some in torch.split(self._scored, AT_ONCE):
            losses.append(self._loss(module, some).double() * len(some))
            asked.append(self._kind.ask(module, self._batch(some))[:, 0].double())
        score = -float(torch.stack(losses).sum()) / len(self._scored)
        return {"score": score} | self._measures(torch.cat(asked).cpu().numpy())

    def _measures(self, answer: Floats) -> dict[str, float]:
        """Of answers to the scored pairs, with the factors that these give. Direction counts pairs whose hour moved."""
        row, at = self._scored.cpu().numpy().T
        found = answer * self._units.width[at] + self._units.centre[at]
        location = found + self._rows.coming[row, at] if self._kind.logs else np.log(np.maximum(found, LEAST))
        actual = self._answers.raw[row, at]
        missed = actual - location
        root, mean = np.sqrt(np.exp(2.0 * missed).mean()), np.exp(missed).mean()
        median, happened, now = np.exp(location), np.exp(actual), self._rows.logs[row, at]
        of_mean, moved = errors(median * mean, happened), np.isfinite(now)
        return {
            "qlike": float(qlike(median * root, happened).mean()),
            "rmse": of_mean.rmse,
            "mae": of_mean.mae,
            "mape": errors(median, happened).mape,
            "r2": of_mean.r2,
            "direction": float(np.mean((location > now)[moved] == (actual > now)[moved])) if moved.any() else np.nan,
        }


def answers_of(rows: HourRows) -> Answers:
    """What comes after each of these rows."""
    raw = np.full(rows.logs.shape, np.nan)
    raw[:-1] = np.where(np.diff(rows.open_ms)[:, None] == HOUR_MS, rows.logs[1:], np.nan)
    return Answers(raw, raw - rows.coming, raw > rows.logs, np.isfinite(raw))


def units_of(answers: Answers, rows: HourRows, logs: bool, train: int) -> Units:
    """Centre and width of what the coins' networks answer in: mean and deviation of log volatilities less the curves,
    or median and interquartile range of volatilities as they are (spec 6). BadModel where a coin has too few hours."""
    centre, width = np.empty(rows.known.shape[1]), np.empty(rows.known.shape[1])
    for coin in range(len(centre)):
        usable = (rows.known & answers.real)[: train - 1, coin]
        if usable.sum() < UNITS_MIN:
            raise BadModel(f"coin {coin} has {int(usable.sum())} hours to learn from, {UNITS_MIN} are needed")
        if logs:
            found = answers.less_curves[: train - 1, coin][usable]
            centre[coin], width[coin] = found.mean(), found.std()
        else:
            lower, centre[coin], upper = np.percentile(np.exp(answers.raw[: train - 1, coin][usable]), (25, 50, 75))
            width[coin] = upper - lower
    return Units(centre, width)


def _pairs(usable: Mask, first: int, stop: int, coins: Integers, device: torch.device) -> Tensor:
    """Rows and coins [P, 2] where it may be used, in order."""
    chosen = np.zeros_like(usable)
    chosen[first:stop, coins] = usable[first:stop, coins]
    return torch.from_numpy(np.argwhere(chosen)).to(device)
