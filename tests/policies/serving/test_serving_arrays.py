"""Arrays and messages from strangers: what is sent arrives; what is not an array is refused, at no cost."""

import contextlib
import json
import time
import tracemalloc
from typing import Any

import json_numpy
import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from policies.serving.arrays import array, jsonable, pack, pack_openpi, unpack, unpack_json
from policies.serving.errors import Malformed

KINDS = st.sampled_from(["|b1", "|u1", "<i2", ">i4", "<i8", "<u2", "<f2", ">f4", "<f8"])
ARRAYS = npst.arrays(KINDS, npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**63) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.binary(), inner),
)


@given(values=ARRAYS)
def test_arrays_arrive_as_sent(values: Any) -> None:
    for found in (unpack(pack({"x": values}))["x"], unpack(pack_openpi({"x": values}))["x"]):
        assert found.dtype == values.dtype.newbyteorder("=") and found.shape == values.shape
        assert np.array_equal(found, values, equal_nan=values.dtype.kind == "f")
        assert found.flags.writeable and found.flags.owndata


@given(values=ARRAYS)
def test_json_numpys_arrays_arrive_as_sent_both_ways(values: Any) -> None:
    found = unpack_json(json_numpy.dumps({"x": values}).encode())["x"]
    back = json_numpy.loads(json.dumps(jsonable(values)))
    for each in (np.asarray(found), np.asarray(back)):
        assert each.shape == values.shape
        assert np.array_equal(each, values, equal_nan=values.dtype.kind == "f")


@pytest.mark.parametrize(
    ("data", "dtype", "shape"),
    [
        (b"12345678", "|O", [1]),  # objects are pickles
        (b"12345678", "O", [1]),
        (b"12345678", "<f4,<f4", [1]),
        (b"12345678", "V8", [1]),
        (b"12345678", "<M8[s]", [1]),
        (b"12345678", [["x", "<f8"]], [1]),
        (b"1234", "<f4", [-1]),
        (b"1234", "<f4", [True]),
        (b"1234", "<f4", [1.0]),
        (b"1234", "<f4", [2**62, 2**62]),
        (b"1234", "<f4", "1"),
        (b"1234", "<f4", [1] * 9),
        (b"12345", "<f4", [1]),
        (b"", "<f4", [1]),
        ("1234", "<f4", [1]),
        (None, None, None),
    ],
)
def test_what_is_no_plain_array_is_refused_in_one_line(data: Any, dtype: Any, shape: Any) -> None:
    with pytest.raises(Malformed) as error:
        array(data, dtype, shape)
    assert "\n" not in str(error.value) and len(str(error.value)) < 200
    message = {"__ndarray__": True, "data": data, "dtype": dtype, "shape": shape}
    with pytest.raises(Malformed):
        unpack(msgpack.packb({"x": message}))
    with pytest.raises(Malformed):
        unpack(msgpack.packb({"x": {k.encode(): v for k, v in message.items()}}))


@given(data=st.binary(max_size=300))
def test_random_bytes_are_refused_or_a_map(data: bytes) -> None:
    for read in (unpack, unpack_json):
        try:
            assert isinstance(read(data), dict)
        except Malformed as error:
            assert "\n" not in str(error)


@given(value=ANYTHING, cut=st.integers(0, 400), flip=st.integers(0, 10_000))
def test_damaged_messages_are_refused_or_a_map(value: Any, cut: int, flip: int) -> None:
    data = bytearray(msgpack.packb({"x": value}))
    data[flip % len(data)] ^= 1 << flip % 8
    for each in (bytes(data), bytes(data[:cut])):
        with contextlib.suppress(Malformed):
            assert isinstance(unpack(each), dict)


BOMBS = {
    "nested lists": b"\x81\xa1x" + b"\xdd\x00\x00\x04\x00" * 100_000,
    "nested small lists": b"\x81\xa1x" + b"\x91" * 1_000_000 + b"\xc0",
    "nested maps": b"\x81\xa1x" + b"\x81\xa1x" * 300_000 + b"\xc0",
    "announced list": b"\x81\xa1x\xdd\xff\xff\xff\xff",
    "announced map": b"\x81\xa1x\xdf\xff\xff\xff\xff",
    "announced bytes": b"\x81\xa1x\xc6\xff\xff\xff\xff",
    "announced text": b"\x81\xa1x\xdb\xff\xff\xff\xff",
    "announced extension": b"\x81\xa1x\xc9\xff\xff\xff\xff\x01",
    "empty maps": b"\x81\xa1x\xdc\x03\xff" + (b"\xdc\x03\xff" + b"\x80" * 1023) * 1023,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_message_cannot_make_the_server_take_much_memory_or_time(name: str) -> None:
    tracemalloc.start()
    start = time.process_time()
    try:
        with pytest.raises(Malformed):
            unpack(BOMBS[name])
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"x":' * 20_000,
        b'{"x":[' + b"[]," * 100_000 + b"1]}",
        b'{"x":NaN}',
        b'{"x":' + b"9" * 10_000 + b"}",
        b'{"x":{"__numpy__":"!!!","dtype":"<f4","shape":[1]}}',
        b'{"x":{"__numpy__":3,"dtype":"<f4","shape":[1]}}',
        b'{"x":{"__numpy__":"AAAA","dtype":"|O","shape":[1]}}',
        b'{"x":{"__numpy__":"AAAA","dtype":[["a","<f4"]],"shape":[1]}}',
        b"[1]",
        b"\xff\xfe",
        b"",
    ],
)
def test_hostile_json_is_refused(body: bytes) -> None:
    with pytest.raises(Malformed) as error:
        unpack_json(body)
    assert "\n" not in str(error.value)


def test_objects_are_not_sent() -> None:
    for value in (np.array([object()]), object(), {1}):
        with pytest.raises(TypeError):
            pack({"x": value})
