"""Bytes of a picture -> uint8 [height, width, 3] RGB, whatever the web made of it.

Turned as EXIF says; transparency stands before white; of an animation the first picture; 16 bits become 8;
CMYK and palettes become RGB. Only formats of plain pictures are opened, never one that runs a program.
"""

import functools
import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from vla.data.web.damage import Fault

__all__ = ["MIN_SIDE", "decode"]

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
MIN_SIDE = 8
"""Pixels: what is smaller was never meant to be looked at (trackers, missing-picture marks)."""


def decode(data: bytes, max_side: int) -> npt.NDArray[np.uint8]:
    """uint8 [height, width, 3]. Raises Fault; a picture that is too large is refused by its header alone."""
    if not data:
        raise Fault("the picture is empty")
    try:
        picture = Image.open(io.BytesIO(data), formats=_formats())
        width, height = picture.size
        if max(width, height) > max_side:
            raise Fault("the picture is larger than max_side", f"{width} x {height}, not {max_side}")
        if min(width, height) < MIN_SIDE:
            raise Fault(f"the picture is smaller than {MIN_SIDE} pixels", f"{width} x {height}")
        picture.load()
        pixels = np.asarray(_rgb(ImageOps.exif_transpose(picture)))
    except Fault:
        raise
    except UnidentifiedImageError:
        raise Fault("the picture's file is no picture", _beginning(data)) from None
    except Image.DecompressionBombError:
        raise Fault("the picture is larger than max_side", "a decompression bomb") from None
    except Exception as error:  # Pillow raises whatever its readers stumble over
        raise Fault("the picture is broken", f"{error or type(error).__name__}".splitlines()[0]) from None
    return np.ascontiguousarray(pixels)


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those that this Pillow was built with."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture
    if picture.mode.startswith("I"):  # 16 bits, in Pillow's "I;16" or in "I"
        levels = np.asarray(picture, dtype=np.int64)
        if levels.min() < 0 or levels.max() > 65535:
            raise Fault("the picture's numbers have no known range", f"mode {picture.mode}")
        return Image.fromarray((levels >> 8).astype(np.uint8)).convert("RGB")
    if picture.mode == "F":
        raise Fault("the picture's numbers have no known range", "mode F")
    if picture.has_transparency_data:
        seen = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")
    return picture.convert("RGB")


def _beginning(data: bytes) -> str:
    """How the file begins, where that is text: an error page, a pointer file."""
    start = data[:40]
    return f"it begins with {start.decode()!r}" if start.isascii() else ""
