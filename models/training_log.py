"""What a training tells: training.jsonl, one line a logged step, and TensorBoard's files where it is installed.

Both are for people and never read back to train: a resumed training only takes out the lines after its checkpoint.
"""

import os
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import msgspec
from msgspec import Struct

from models.training_state import BadCheckpoint, Scores

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FILE = "training.jsonl"
BOARD = "tensorboard"


class Line(Struct, frozen=True):
    """One logged step.

    `loss` is the mean since the line before, `grad_norm` that of this step before clipping; None where not finite.
    `seconds` count from the start, pauses left out; `scores` where the step was validated.
    """

    step: int
    loss: float | None
    lr: float
    grad_norm: float | None
    seconds: float
    scores: Scores = {}


class Log:
    """The log of a training that goes on after `step`; a context manager."""

    def __init__(self, folder: Path, step: int) -> None:
        self._path = folder / FILE
        try:
            _cut(self._path, step)
            self._file = self._path.open("ab")
        except OSError as why:
            raise BadCheckpoint(f"{self._path} cannot be written: {why.strerror}") from why
        self._board = _board(folder / BOARD, step)

    @property
    def has_board(self) -> bool:
        """Whether TensorBoard is installed."""
        return self._board is not None

    def write(self, line: Line) -> None:
        """One line, at once in the hands of the operating system: a killed process keeps it."""
        try:
            self._file.write(msgspec.json.encode(line) + b"\n")
            self._file.flush()
        except OSError as why:
            raise BadCheckpoint(f"{self._path} cannot be written: {why.strerror}: make room, then go on") from why
        if self._board is None:
            return
        values = {"loss": line.loss, "lr": line.lr, "grad_norm": line.grad_norm}
        values |= {f"validation/{name}": value for name, value in line.scores.items()}
        for name, value in values.items():
            if value is not None:
                self._board.add_scalar(name, value, line.step)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, why: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()


def read(folder: Path) -> list[Line]:
    """The whole lines of the log; one that a kill has torn is left out."""
    return [line for line, _ in _lines(folder / FILE)]


def _lines(path: Path) -> list[tuple[Line, bytes]]:
    if not path.exists():
        return []
    found = []
    for text in path.read_bytes().splitlines(keepends=True):
        try:
            found.append((msgspec.json.decode(text, type=Line), text))
        except msgspec.DecodeError:
            break  # torn: a line comes whole or last
    return found


def _cut(path: Path, step: int) -> None:
    """Leaves the lines up to this step."""
    kept = b"".join(text for line, text in _lines(path) if line.step <= step and text.endswith(b"\n"))
    unfinished = path.with_name(f".{path.name}.unfinished")
    with unfinished.open("wb") as file:
        file.write(kept)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def _board(folder: Path, step: int) -> "SummaryWriter | None":
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(folder, purge_step=step + 1)
