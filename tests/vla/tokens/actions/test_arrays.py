import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from vla.errors import BadInput
from vla.tokens.actions.arrays import pack, unpack

LARGE = np.arange(100, dtype=np.float32).reshape(10, 10)
FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(
    st.one_of(
        arrays(np.float32, array_shapes(max_dims=3, max_side=8), elements=FLOATS),
        arrays(np.float64, array_shapes(max_dims=3, max_side=8), elements=FLOATS),
        arrays(np.int32, array_shapes(max_dims=3, max_side=8)),
        arrays(np.int64, array_shapes(max_dims=3, max_side=8)),
    )
)
def test_every_bit_comes_back(array: npt.NDArray[Any]) -> None:
    written = json.loads(json.dumps({"a": pack(array)}, allow_nan=False))
    found = unpack(written, "a", array.dtype.name, array.shape)
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    assert found.tobytes() == array.tobytes()


def test_small_ones_can_be_read() -> None:
    written = pack(np.array([[0.5, -1.0]], np.float32))
    assert written == {"dtype": "float32", "shape": [1, 2], "values": [0.5, -1.0]}
    assert "base64" in pack(LARGE)


@pytest.mark.parametrize("array", [np.array([np.nan]), np.array([np.inf]), np.array([1], np.uint8)])
def test_only_finite_numbers_of_known_types_are_written(array: npt.NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="cannot write an array"):
        pack(array)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": [5, 20]}, "the array 'a' is float32 [5, 20]; float32 [10, 10] is needed"),
        ({"dtype": "float64"}, "the array 'a' is float64 [10, 10]; float32 [10, 10] is needed"),
        ({"dtype": None}, "the array 'a' is None [10, 10]; float32 [10, 10] is needed"),
        ({"base64": "AAAA"}, "the array 'a' is damaged: "),
        ({"base64": "not base64!"}, "the array 'a' is damaged: "),
        ({"base64": None}, "the array 'a' is damaged: "),
        ({"values": [1.0, 2.0]}, "the array 'a' is damaged: "),
        ({"values": ["x"] * 100}, "the array 'a' is damaged: "),
        ({"values": {}}, "the array 'a' is damaged: "),
        (
            {"values": [float("nan")] * 100},
            "the array 'a' is damaged: it holds numbers that are not finite",
        ),
    ],
)
def test_what_is_damaged_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput) as error:
        unpack({"a": {**pack(LARGE), **change}}, "a", "float32", (10, 10))
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("raw", [{}, {"a": 3}, {"a": None}, [], None])
def test_what_is_missing_is_named(raw: Any) -> None:
    with pytest.raises(BadInput) as error:
        unpack(raw, "a", "float32", (1,))
    assert str(error.value) == "there is no array 'a'"
