"""The GPU: what it is called, how fast its memory is, when it is done; models made faster on it."""

from collections.abc import Callable

import torch

from policies.runtime.benchmark.options import Faster
from policies.runtime.benchmark.timing import time_calls
from vla.model import VLA

__all__ = ["copy_bandwidth", "datasheet_bandwidth", "device_name", "faster", "waiting"]

DATASHEETS = {
    "H200": 4800.0,
    "H100 NVL": 3900.0,
    "H100 PCIe": 2000.0,
    "H100": 3350.0,
    "A100-SXM4-80GB": 2039.0,
    "A100 80GB PCIe": 1935.0,
    "A100": 1555.0,
    "L40S": 864.0,
    "L4": 300.0,
    "RTX 4090": 1008.0,
    "RTX 3090": 936.0,
}
"""Part of the device's name -> GB/s that NVIDIA gives for its memory; the first part that fits counts."""


def device_name(device: str) -> str:
    """As its driver calls it; `cpu` for the other kind."""
    return torch.cuda.get_device_name() if device == "cuda" else "cpu"


def datasheet_bandwidth(name: str) -> float | None:
    """GB/s, or None for a device that is not in the list."""
    return next((speed for part, speed in DATASHEETS.items() if part in name), None)


def copy_bandwidth(device: str, size: int = 2**30) -> float:
    """GB/s read and written together while `size` bytes are copied within the memory: the best of ten."""
    here = torch.zeros(size, dtype=torch.uint8, device=device)
    there = torch.empty_like(here)
    times = time_calls(lambda: there.copy_(here), 0.0, waiting(device), warm=2, least=10)
    return 2 * size / min(times) / 1e6


def waiting(device: str) -> Callable[[], None]:
    """What returns when the device has done all it was given. A call on a CPU is done when it returns."""
    return torch.cuda.synchronize if device == "cuda" else _nothing


def _nothing() -> None:
    pass


def faster(model: VLA, way: Faster) -> VLA:
    """The model after `vla.acceleration`, changed in place."""
    from vla.acceleration import accelerate

    return accelerate(model, compile=way == "compile", int8=way == "int8")
