import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla.configuration.tokenizer import BinsConfig
from vla.errors import BadInput, UndecodableChunk
from vla.tokens.actions import build_tokenizer
from vla.tokens.actions.bins import BinTokenizer, spread_of_centres
from vla.tokens.actions.openvla import OpenVLABins

OPENVLA = BinsConfig(spacing="openvla")


@given(st.integers(2, 512), st.lists(st.floats(-1, 1), min_size=1, max_size=30))
def test_round_trip_within_half_a_bin(bins: int, values: list[float]) -> None:
    chunk = np.array(values)[:, None]
    tokenizer = build_tokenizer(BinsConfig(count=bins), len(values), 1)
    codes = tokenizer.encode(chunk)
    assert codes.shape == (len(values),)
    assert ((codes >= 0) & (codes < tokenizer.vocab_size)).all()
    assert np.abs(tokenizer.decode(codes) - chunk).max() <= 1 / bins + 1e-6


@given(st.integers(2, 512))
def test_every_code_comes_back(bins: int) -> None:
    codes = np.arange(bins)
    tokenizer = BinTokenizer(BinsConfig(count=bins), bins, 1)
    assert (tokenizer.encode(tokenizer.decode(codes)) == codes).all()


def test_codes_stand_step_by_step() -> None:
    chunk = np.array([[-1.0, 0.0], [0.5, 1.0]])
    assert BinTokenizer(BinsConfig(count=4), 2, 2).encode(chunk).tolist() == [0, 2, 3, 3]


def test_what_a_normalisation_rounds_past_one_is_outermost() -> None:
    assert BinTokenizer(BinsConfig(), 2, 1).encode(np.array([[-1.000005], [1.000005]])).tolist() == [0, 255]


@pytest.mark.parametrize("code", [-1, 256, 10_000])
@pytest.mark.parametrize("spacing", ["uniform", "openvla"])
def test_what_is_no_code_is_an_error(code: int, spacing: str) -> None:
    tokenizer = build_tokenizer(BinsConfig(spacing=spacing), 1, 2)  # type: ignore[arg-type]
    with pytest.raises(UndecodableChunk) as error:
        tokenizer.decode(np.array([3, code]))
    assert str(error.value) == f"{code} at place 1 is not an action code (0 to 255)"


def test_openvla_ids_are_those_of_the_published_model() -> None:
    # Llama's vocabulary: 32000 words, of which the last 256 are the actions, 31744 to 31999.
    tokenizer = OpenVLABins(OPENVLA, 3, 1)
    codes = tokenizer.encode(np.array([[-1.0], [0.0], [1.0]]))
    assert (codes + 31744).tolist() == [31999, 31872, 31744]
    assert tokenizer.decode(codes)[:, 0] == pytest.approx([-254 / 255, 0.0, 254 / 255], abs=1e-7)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30))
def test_openvla_comes_back_within_half_a_bin_of_its_255(values: list[float]) -> None:
    tokenizer = OpenVLABins(OPENVLA, len(values), 1)
    chunk = np.array(values)[:, None]
    assert np.abs(tokenizer.decode(tokenizer.encode(chunk)) - chunk).max() <= 1 / 255 + 1e-6


def test_openvla_has_one_centre_twice() -> None:
    decoded = OpenVLABins(OPENVLA, 256, 1).decode(np.arange(256))[:, 0]
    assert decoded[0] == decoded[1]
    assert (np.diff(decoded[1:]) < 0).all()


def test_spread_is_the_standard_deviation() -> None:
    centres = np.array([-0.5, 0.0, 1.0])
    probabilities = np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    assert spread_of_centres(probabilities, centres) == pytest.approx([0.25, 0.0])


def test_one_bin_is_no_choice() -> None:
    with pytest.raises(BadInput, match="count=1: at least 2 is needed"):
        BinsConfig(count=1)
