"""Pictures as bytes in a journal and in a dataset: PNG, JPEG, or raw numbers."""

import io
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from policies.runtime.log.records import Encoded

__all__ = ["Pictures", "decoded", "encoded", "storable"]

Pictures = Literal["auto", "png", "jpeg", "raw"]
"""How pictures are stored. ``auto``: PNG up to 256 x 256, which costs a few milliseconds; JPEG above: at
640 x 480 it takes a twentieth of PNG's time and a quarter of its space (measured), and is no longer the very
picture that the policy saw."""

_SMALL = 256 * 256
_Image = npt.NDArray[np.uint8]


def encoded(image: _Image, how: Pictures, quality: int) -> Encoded:
    """(encoding, shape, bytes) of a picture uint8 ``[height, width, 3]``. quality: JPEG's, 1 to 100."""
    shape = tuple(image.shape)
    if how == "auto":
        how = "png" if shape[0] * shape[1] <= _SMALL else "jpeg"
    if how == "raw":
        return "raw", shape, image.tobytes()
    from PIL import Image

    if how == "png":
        return "png", shape, _png(image)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=0)
    return "jpeg", shape, buffer.getvalue()


def decoded(kind: str, shape: tuple[int, ...], data: bytes) -> _Image:
    """The picture uint8 ``[height, width, 3]`` of what `encoded` made."""
    if kind == "raw":
        return np.frombuffer(data, np.uint8).reshape(shape)
    from PIL import Image

    picture: Any = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    return picture


def storable(kind: str, shape: tuple[int, ...], data: bytes) -> bytes:
    """The same as a file that a dataset may hold: raw numbers become PNG, others stay as they are."""
    return _png(decoded(kind, shape, data)) if kind == "raw" else data


def _png(image: _Image) -> bytes:
    from vla.data.lerobot_writer import encode_png

    return encode_png(image)
