import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla.errors import BadInput
from vla.tokens.actions.base import ActionTokenizer
from vla.tokens.actions.bins import BinTokenizer


@given(st.integers(1, 512), st.lists(st.floats(-1, 1), min_size=1, max_size=30))
def test_round_trip_within_half_a_bin(bins: int, values: list[float]) -> None:
    tokenizer: ActionTokenizer = BinTokenizer(bins)
    chunk = np.array(values)[:, None]
    codes = tokenizer.encode(chunk)
    assert codes.shape == chunk.shape
    assert ((codes >= 0) & (codes < tokenizer.vocab_size)).all()
    assert np.abs(tokenizer.decode(codes) - chunk).max() <= 1 / bins + 1e-6


@given(st.integers(1, 512))
def test_every_code_comes_back(bins: int) -> None:
    codes = np.arange(bins)
    assert (BinTokenizer(bins).encode(BinTokenizer(bins).decode(codes)) == codes).all()


def test_outside_becomes_outermost() -> None:
    assert BinTokenizer().encode(np.array([-1.7, -1.0, 1.0, 9.0])).tolist() == [0, 0, 255, 255]


@pytest.mark.parametrize("code", [-1, 256, 10_000])
def test_what_is_no_code_is_an_error(code: int) -> None:
    with pytest.raises(BadInput, match=f"{code} is not an action code"):
        BinTokenizer().decode(np.array([[3, code]]))


def test_not_finite_is_an_error() -> None:
    with pytest.raises(BadInput, match="not finite"):
        BinTokenizer().encode(np.array([0.0, np.nan]))
