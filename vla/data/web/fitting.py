"""A picture of any shape -> the square one that the model sees, and where its boxes are then."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from vla.configuration import ImageConfig
from vla.data.web.damage import Fault
from vla.data.web.sample import Box, Turn

__all__ = ["fitted", "moved"]


def fitted(picture: npt.NDArray[np.uint8], size: int, image: ImageConfig) -> npt.NDArray[np.uint8]:
    """uint8 [height, width, 3] -> [size, size, 3], by the function that sizes what the running robot sees.

    Raises Fault for one that is not square where ``image.fit`` is ``square``."""
    import torch

    from vla.data.pictures import sized

    height, width = picture.shape[:2]
    if image.fit == "square" and height != width:
        remedy = f"{width} x {height}; model.image.fit=letterbox or stretch takes any shape"
        raise Fault("the picture is not square", remedy)
    writable = picture if picture.flags.writeable else picture.copy()  # torch warns otherwise
    return sized(torch.from_numpy(writable)[None], size, image)[0].numpy()


def moved(turns: tuple[Turn, ...], shape: tuple[int, int], image: ImageConfig) -> tuple[Turn, ...]:
    """Turns about a picture of `shape` (height, width) -> about its fitted one: bars move its boxes."""
    height, width = shape
    if image.fit != "letterbox" or height == width:
        return turns
    up, left = max(width - height, 0) // 2, max(height - width, 0) // 2  # as vla.data.pictures.sized pads

    def move(box: Box) -> Box:
        across, down = width + 2 * left, height + 2 * up
        return Box(
            (box.left * width + left) / across,
            (box.top * height + up) / down,
            (box.right * width + left) / across,
            (box.bottom * height + up) / down,
        )

    return tuple(replace(turn, boxes=tuple(move(box) for box in turn.boxes)) for turn in turns)
