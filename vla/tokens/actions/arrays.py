"""Arrays of numbers inside JSON files, and back, bit for bit; no pickle.

A small array is a list that can be read; a larger one is base64 of its little-endian bytes, row by row. Both
go with their dtype and shape, and what is read back is checked against what was expected.
"""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from vla.errors import BadInput

__all__ = ["pack", "unpack"]

_DTYPES = ("float32", "float64", "int32", "int64")
_READABLE = 64
"""Up to so many numbers are written as a list."""


def pack(array: npt.NDArray[Any]) -> dict[str, Any]:
    """An array of float32, float64, int32 or int64 -> plain JSON. Numbers must be finite."""
    if array.dtype.name not in _DTYPES or not np.isfinite(array).all():
        raise ValueError(f"cannot write an array of {array.dtype}, or one that is not finite")
    head = {"dtype": array.dtype.name, "shape": list(array.shape)}
    if array.size <= _READABLE:
        return {**head, "values": array.reshape(-1).tolist()}
    data = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()
    return {**head, "base64": base64.b64encode(data).decode("ascii")}


def unpack(raw: Mapping[str, Any], name: str, dtype: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """The entry `name` of a mapping, which `pack` wrote. Raises BadInput with one line where it is not there,
    is damaged, not finite, or of another dtype or shape."""
    entry = raw.get(name) if isinstance(raw, Mapping) else None
    if not isinstance(entry, Mapping):
        raise BadInput(f"there is no array '{name}'")
    if entry.get("dtype") != dtype or entry.get("shape") != list(shape):
        found = f"{entry.get('dtype')} {entry.get('shape')}"
        raise BadInput(f"the array '{name}' is {found}; {dtype} {list(shape)} is needed")
    try:
        if "values" in entry:
            flat = np.array(entry["values"], dtype=dtype)
        else:
            data = base64.b64decode(entry["base64"], validate=True)
            flat = np.frombuffer(data, dtype=np.dtype(dtype).newbyteorder("<")).astype(dtype)
        array = flat.reshape(shape)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise BadInput(f"the array '{name}' is damaged: {error}") from None
    if not np.isfinite(array).all():
        raise BadInput(f"the array '{name}' is damaged: it holds numbers that are not finite")
    return array
