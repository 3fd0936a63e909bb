import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vla.configuration.tokenizer import BinsConfig
from vla.errors import BadInput
from vla.tokens.actions.bins import BinTokenizer
from vla.tokens.actions.quantile import QuantileBins, bounded_quantiles

Floats = npt.NDArray[np.float64]

VALUES = arrays(np.float64, st.integers(1, 60), elements=st.floats(-1, 1))


@given(VALUES, st.integers(2, 300))
def test_edges_rise_from_end_to_end_and_no_bin_is_extreme(values: Floats, bins: int) -> None:
    edges = bounded_quantiles(values, bins)
    assert (edges[0], edges[-1], len(edges)) == (-1.0, 1.0, bins + 1)
    uniform = 2 / bins
    assert np.diff(edges).min() >= 0.1 * uniform - 1e-12
    assert np.diff(edges).max() <= 10 * uniform + 1e-12


@given(arrays(np.float64, (3, 4, 2), elements=st.floats(-1, 1)), st.integers(2, 64), st.data())
def test_round_trip_within_half_of_the_values_own_bin(chunks: Floats, bins: int, data: st.DataObject) -> None:
    tokenizer = QuantileBins(BinsConfig(count=bins, spacing="quantile"), 4, 2).fit(chunks)
    other = data.draw(arrays(np.float64, (4, 2), elements=st.floats(-1, 1)))
    codes = tokenizer.encode(other).reshape(4, 2)
    half = np.diff(tokenizer.edges)[np.arange(2), codes] / 2
    assert (np.abs(tokenizer.decode(codes.reshape(-1)) - other) <= half + 1e-6).all()


def test_dense_data_comes_back_closer_than_from_uniform_bins() -> None:
    chunks = np.clip(np.random.default_rng(0).normal(0, 0.05, (500, 4, 1)), -1, 1)
    errors = []
    for kind, spacing in ((QuantileBins, "quantile"), (BinTokenizer, "uniform")):
        tokenizer = kind(BinsConfig(count=32, spacing=spacing), 4, 1).fit(chunks)  # type: ignore[arg-type]
        codes = tokenizer.encode_batch(chunks)
        back = np.stack([tokenizer.decode(codes.row(i)) for i in range(len(chunks))])
        errors.append(np.abs(back - chunks).mean())
    assert errors[0] < errors[1] / 3


@pytest.mark.parametrize("two", [(-1.0, 1.0), (-0.83, 0.41)])
def test_a_gripper_of_two_values_keeps_all_its_bins(two: tuple[float, float]) -> None:
    chunks = np.random.default_rng(0).choice(two, (100, 4, 1))
    tokenizer = QuantileBins(BinsConfig(count=64, spacing="quantile"), 4, 1).fit(chunks)
    assert (np.diff(tokenizer.edges) > 0.1 * 2 / 64 - 1e-12).all()
    chunk = np.array([[two[0]], [two[1]], [0.1], [two[0]]])
    error = np.abs(tokenizer.decode(tokenizer.encode(chunk)) - chunk)[:, 0]
    assert error.max() < 2 / 64
    assert error[[0, 1, 3]].max() < 1 / 64  # what uniform bins may be off


def test_each_joint_has_its_own_edges() -> None:
    rng = np.random.default_rng(0)
    chunks = np.stack([rng.uniform(-1, -0.8, (200, 3)), rng.uniform(0.2, 0.3, (200, 3))], axis=-1)
    tokenizer = QuantileBins(BinsConfig(count=32, spacing="quantile"), 3, 2).fit(chunks)
    narrow = np.diff(tokenizer.edges).argmin(axis=1)
    centres = tokenizer.centres[np.arange(2), narrow]
    assert -1 < centres[0] < -0.8
    assert 0.2 < centres[1] < 0.3


def test_spread_uses_each_joints_centres() -> None:
    chunks = np.random.default_rng(0).uniform(-0.1, 0.1, (50, 2, 2)) + np.array([0.0, 0.8])
    tokenizer = QuantileBins(BinsConfig(count=8, spacing="quantile"), 2, 2).fit(chunks)
    probabilities = np.zeros((4, 8))
    probabilities[:, 2] = probabilities[:, 3] = 0.5
    found = tokenizer.spread(np.full(4, 2), probabilities)
    half = (tokenizer.centres[:, 3] - tokenizer.centres[:, 2]) / 2
    assert found == pytest.approx(np.stack([half, half]))


@pytest.mark.parametrize("place", [0, 3, 8])
def test_damaged_edges_are_refused(place: int) -> None:
    tokenizer = QuantileBins(BinsConfig(count=8, spacing="quantile"), 2, 1).fit(np.zeros((1, 2, 1)))
    data = tokenizer.to_dict()
    data["edges"]["values"][place] = 0.9999
    with pytest.raises(BadInput) as error:
        tokenizer.restored(data)
    assert str(error.value) == "the array 'edges' is damaged: edges must rise from -1 to 1"
