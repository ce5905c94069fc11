"""What a computation takes and what the device could do: floating point operations, and the rate of one matrix product."""

import time
from collections.abc import Callable

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def flops_of(work: Callable[[], object]) -> int:
    """The multiplications and additions of the matrix products in it, attention's included."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def seconds(work: Callable[[], object], times: int, device: str) -> list[float]:
    """How long each of several runs takes, after two that warm up; sorted."""
    found = []
    for _ in range(times + 2):
        wait(device)
        began = time.perf_counter()
        work()
        wait(device)
        found.append(time.perf_counter() - began)
    return sorted(found[2:])


def wait(device: str) -> None:
    """Until the device has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def product_seconds(flops: float, dtype: torch.dtype, device: str, times: int = 20) -> float:
    """The best time of one square matrix product of so many operations."""
    size = max(1, round((flops / 2) ** (1 / 3)))
    one, other = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return seconds(lambda: one @ other, times, device)[0]


def peak(dtype: torch.dtype, device: str) -> float:
    """Operations a second of a large matrix product, which no network exceeds."""
    size = 8_192 if device == "cuda" else 2_048
    return 2 * size**3 / product_seconds(2 * size**3, dtype, device, 10)
