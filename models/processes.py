"""Several processes that train one module: torchrun starts them, torch.distributed joins them.

One process leads (rank 0): it alone writes, validates and is heard. Gloo joins processors, NCCL GPUs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from msgspec import Struct
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

PATIENCE = timedelta(hours=2)  # the others wait while the leader validates and writes


class Place(Struct, frozen=True):
    """This process among those that train: its `rank` from 0, how many there are, and the device it computes on."""

    device: torch.device
    rank: int = 0
    processes: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes, validates and is heard."""
        return self.rank == 0


class BadDevice(ValueError):
    """A device that is not there."""

    exit_code = 78


def alone(device: str = "auto") -> Place:
    """The only process, on "cpu", "cuda", or "auto": the GPU where there is one. BadDevice where there is none."""
    there = torch.cuda.is_available()
    if device not in ("auto", "cpu", "cuda") or (device == "cuda" and not there):
        raise BadDevice(f"device {device}: PyTorch sees {'cpu and cuda' if there else 'no GPU'}: use auto or cpu")
    if device == "auto":
        device = "cuda" if there else "cpu"
    return Place(torch.device(device))


@contextmanager
def joined(device: str = "auto") -> Iterator[Place]:
    """Joins the other processes of a torchrun; the only process where there was none. One GPU a process."""
    place = alone(device)
    if not distributed.is_torchelastic_launched():
        yield place
        return
    where = place.device
    if where.type == "cuda":
        where = torch.device("cuda", distributed.get_node_local_rank())
        torch.cuda.set_device(where)
    distributed.init_process_group("nccl" if where.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Place(where, distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()


def parallel(module: nn.Module, place: Place) -> DistributedDataParallel | None:
    """The module with its gradients averaged over the processes, starting from the leader's weights; None when alone."""
    if place.processes == 1:
        return None
    return DistributedDataParallel(module, device_ids=[place.device] if place.device.type == "cuda" else None)


def mean(value: Tensor, place: Place) -> float:
    """The mean of a number over the processes."""
    if place.processes > 1:
        distributed.all_reduce(value)
    return float(value) / place.processes


def spread(content: bytes, place: Place) -> bytes:
    """The leader's bytes, in every process. Not torch's own way for objects, which pickles them."""
    if place.processes == 1:
        return content
    length = torch.tensor(len(content), device=place.device)
    distributed.broadcast(length, 0)
    text = torch.zeros(int(length), dtype=torch.uint8, device=place.device)
    if place.leads:
        text.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
    distributed.broadcast(text, 0)
    return bytes(text.cpu().numpy().tobytes())
