"""Where decoded pictures live during training: mapped on the host, or whole in the GPU's memory.

Both are asked with row numbers of any shape: int64 [B] for one picture a sample, [B, V] for several.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["device_images", "fits_device", "host_images"]


class _Host:
    def __init__(self, images: npt.NDArray[np.uint8]) -> None:
        self.images = images

    def __call__(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        return np.take(self.images, rows, axis=0)


class _Device:
    def __init__(self, images: npt.NDArray[np.uint8], device: Any, piece: int = 16384) -> None:
        import torch

        self.device = torch.device(device)
        self.images = torch.empty(images.shape, dtype=torch.uint8, device=self.device)
        for first in range(0, len(images), piece):  # in pieces: the mapped file is never copied whole
            part = torch.from_numpy(np.array(images[first : first + piece]))
            self.images[first : first + piece] = part.to(self.device)

    def __call__(self, rows: npt.NDArray[np.int64]) -> Any:
        import torch

        return self.images[torch.from_numpy(rows).to(self.device, non_blocking=True)]


def host_images(images: npt.NDArray[np.uint8]) -> _Host:
    """Gather from a mapped array: uint8 [*rows.shape, height, width, 3] numpy."""
    return _Host(images)


def device_images(images: npt.NDArray[np.uint8], device: Any) -> _Device:
    """Copy all pictures to `device` once; gather there: uint8 [*rows.shape, height, width, 3] tensor."""
    return _Device(images, device)


def fits_device(total_bytes: int, device: Any, share: float = 0.6) -> bool:
    """Whether the pictures would take at most `share` of the memory that is free on a CUDA device."""
    import torch

    if torch.device(device).type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return total_bytes <= share * free
