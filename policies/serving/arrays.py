"""Arrays in msgpack and in JSON, read from strangers.

Three dialects are in use: bytes keys (openpi), string keys (vla-eval, and our own), and json_numpy's base64.
All three come to (data, dtype, shape), and `array` alone makes the array of it: a plain number type, a shape
of whole numbers, as many bytes as they need. No dialect can name a Python type, and nothing is unpickled.

`unpack` bounds what a message may make this process allocate: an array's or a map's header can announce
billions of items in five bytes, and nested ones multiply.
"""

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from policies.serving.errors import Malformed
from vla.optional import need

__all__ = ["array", "jsonable", "pack", "pack_openpi", "unpack", "unpack_json"]

Array = npt.NDArray[Any]

_PLAIN = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")
_ITEMS = 1024
"""Items of one msgpack array; what has more is an array of numbers and comes as bytes."""
_KEYS = 256
_TOTAL = 65536
"""Items of all arrays and maps of one message: a byte can stand for an empty map, which takes 64 here."""
_DIMENSIONS = 8


def array(data: Any, dtype: Any, shape: Any) -> Array:
    """The array of `data` (bytes), its own memory, in this machine's byte order. Raises Malformed."""
    if not isinstance(data, bytes | bytearray | memoryview):
        raise Malformed(f"an array's data must be bytes, not {type(data).__name__}")
    if not (isinstance(dtype, str) and _PLAIN.fullmatch(dtype)):
        raise Malformed(
            f"an array's dtype must be a plain number type such as '<f4' or '|u1', not {_brief(dtype)}"
        )
    if not isinstance(shape, list | tuple) or len(shape) > _DIMENSIONS:
        raise Malformed(
            f"an array's shape must be a list of at most {_DIMENSIONS} numbers, not {_brief(shape)}"
        )
    if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in shape):
        raise Malformed(f"an array's shape must hold whole numbers from 0, not {_brief(shape)}")
    kind = np.dtype(dtype)
    wanted = math.prod(shape) * kind.itemsize
    if wanted != len(data):
        raise Malformed(f"an array of {kind} {list(shape)} has {wanted} bytes, but {len(data)} came")
    return np.frombuffer(data, kind).reshape(shape).astype(kind.newbyteorder("="))


def unpack(data: bytes, image: Callable[[Mapping[str, Any]], Any] | None = None) -> dict[str, Any]:
    """A msgpack message, which must be a map; arrays of both dialects in it are arrays. Raises Malformed.

    image: what makes an array of a map that has the key ``__image__``.
    """
    msgpack = need("msgpack", "remote", "a policy client or server")
    left = _TOTAL

    def count(found: Any) -> Any:
        nonlocal left
        left -= 1 + len(found)
        if left < 0:
            raise Malformed(f"a message of more than {_TOTAL} items")
        return found

    def hook(found: dict[Any, Any]) -> Any:
        count(found)
        if b"__ndarray__" in found:
            return array(found.get(b"data"), found.get(b"dtype"), found.get(b"shape"))
        if "__ndarray__" in found:
            return array(found.get("data"), found.get("dtype"), found.get("shape"))
        if b"__npgeneric__" in found:
            return found.get(b"data")
        if image is not None and "__image__" in found:
            return image(found)
        return found

    try:
        out = msgpack.unpackb(
            data,
            object_hook=hook,
            list_hook=count,
            raw=False,
            max_array_len=_ITEMS,
            max_map_len=_KEYS,
            max_ext_len=64,
        )
    except Malformed:
        raise
    except Exception as error:  # a decoder's complaints have no common type: ValueError, TypeError, ExtraData
        raise Malformed(f"not a msgpack message: {_reason(error)}") from None
    if not isinstance(out, dict):
        raise Malformed(f"a message must be a map, not {_brief(out)}")
    return out


def pack(message: Mapping[str, Any]) -> bytes:
    """A msgpack message; arrays in it with string keys."""
    found: bytes = need("msgpack", "remote", "a policy client or server").packb(message, default=_plain)
    return found


def pack_openpi(message: Mapping[str, Any]) -> bytes:
    """As `pack`, with openpi's bytes keys."""

    def plain(value: Any) -> Any:
        found = _plain(value)
        return {key.encode(): item for key, item in found.items()} if isinstance(found, dict) else found

    found: bytes = need("msgpack", "remote", "a policy client or server").packb(message, default=plain)
    return found


def unpack_json(data: bytes) -> dict[str, Any]:
    """A JSON object; json_numpy's arrays in it are arrays. Raises Malformed."""

    def hook(found: dict[str, Any]) -> Any:
        if "__numpy__" not in found:
            return found
        text, shape = found["__numpy__"], found.get("shape")
        if not isinstance(text, str):
            raise Malformed("an array's '__numpy__' must be base64 text")
        try:
            raw = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise Malformed("an array's '__numpy__' is not base64") from None
        made = array(raw, found.get("dtype"), shape)
        return made if shape else made.item()

    def constant(name: str) -> Any:
        raise Malformed(f"JSON has no {name}; a number must be finite")

    if sum(map(data.count, (b"[", b"{", b","))) > _TOTAL:
        raise Malformed(f"a body of more than {_TOTAL} items")
    try:
        out = json.loads(data, object_hook=hook, parse_constant=constant)
    except Malformed:
        raise
    except (ValueError, RecursionError) as error:
        raise Malformed(f"not JSON: {_reason(error)}") from None
    if not isinstance(out, dict):
        raise Malformed(f"the body must be a JSON object, not {_brief(out)}")
    return out


def jsonable(values: Array) -> dict[str, Any]:
    """An array as json_numpy writes it."""
    return {
        "__numpy__": base64.b64encode(values.tobytes()).decode(),
        "dtype": values.dtype.str,
        "shape": list(values.shape),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        if not _PLAIN.fullmatch(value.dtype.str):
            raise TypeError(f"an array of {value.dtype} cannot be sent")
        return {
            "__ndarray__": True,
            "data": value.tobytes(),
            "dtype": value.dtype.str,
            "shape": list(value.shape),
        }
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__} cannot be sent")


def _brief(value: Any) -> str:
    """A stranger's value in few characters; how long it is does not matter."""
    if isinstance(value, int | float | bool | None):
        return repr(value) if not isinstance(value, int) or abs(value) < 10**20 else "a very large number"
    if isinstance(value, str):
        return repr(value[:40])
    if (
        isinstance(value, list | tuple)
        and len(value) <= _DIMENSIONS
        and all(isinstance(v, int | float) for v in value)
    ):
        return f"[{', '.join(map(_brief, value))}]"
    return type(value).__name__


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text[:120] or type(error).__name__
