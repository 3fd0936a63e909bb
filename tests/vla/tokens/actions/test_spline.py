import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vla.configuration.tokenizer import SplineConfig
from vla.errors import BadInput
from vla.tokens.actions.spline import SplineTokenizer, clamped_basis

Floats = npt.NDArray[np.float64]


def chunks_of(shape: tuple[int, ...]) -> st.SearchStrategy[Floats]:
    return arrays(np.float64, shape, elements=st.floats(-1, 1))


@given(st.integers(1, 5), st.integers(0, 10), st.integers(0, 20))
def test_basis_is_a_partition_of_unity_with_clamped_ends(degree: int, more: int, samples: int) -> None:
    points = degree + 1 + more
    basis = clamped_basis(points + samples, points, degree)
    assert basis.shape == (points + samples, points)
    assert (basis >= 0).all()
    assert basis.sum(axis=1) == pytest.approx(np.ones(points + samples))
    assert basis[0] == pytest.approx(np.eye(points)[0])
    assert basis[-1] == pytest.approx(np.eye(points)[-1])
    assert np.linalg.matrix_rank(basis) == points


@given(chunks_of((3, 9, 2)), chunks_of((9, 2)), st.integers(4, 9), st.integers(2, 300))
def test_round_trip_within_own_residual_and_half_a_bin(
    fitted: Floats, chunk: Floats, points: int, count: int
) -> None:
    tokenizer = SplineTokenizer(SplineConfig(points=points, count=count), 9, 2).fit(fitted)
    low, high = tokenizer.limits
    clipped = np.clip(tokenizer.control_points(chunk[None])[0], low, high)
    residual = np.abs(tokenizer.basis @ clipped - chunk)
    half_a_bin = tokenizer.basis @ ((high - low) / (2 * count))
    error = np.abs(tokenizer.decode(tokenizer.encode(chunk)) - chunk)
    assert (error <= residual + half_a_bin + 1e-6).all()


@given(chunks_of((2, 8, 2)), st.lists(st.integers(0, 15), min_size=10, max_size=10))
def test_any_codes_decode_into_the_hull_of_their_points(fitted: Floats, codes: list[int]) -> None:
    tokenizer = SplineTokenizer(SplineConfig(points=5, count=16), 8, 2).fit(fitted)
    low, high = tokenizer.limits
    points = low + (np.reshape(codes, (5, 2)) + 0.5) * (high - low) / 16
    chunk = tokenizer.decode(np.array(codes))
    assert (chunk <= np.minimum(points.max(axis=0), 1) + 1e-6).all()
    assert (chunk >= np.maximum(points.min(axis=0), -1) - 1e-6).all()


@given(chunks_of((3, 10, 2)), chunks_of((10, 2)))
def test_a_chunk_begins_with_its_first_action(fitted: Floats, chunk: Floats) -> None:
    tokenizer = SplineTokenizer(SplineConfig(points=5, count=64), 10, 2).fit(fitted)
    assert np.abs(tokenizer.decode(tokenizer.encode(chunk))[0] - chunk[0]).max() <= 1 / 64 + 1e-6


@given(arrays(np.float64, (4, 2), elements=st.floats(-0.24, 0.24)))
def test_a_cubic_has_no_residual(coefficients: Floats) -> None:
    chunk = np.vander(np.linspace(0, 1, 12), 4) @ coefficients
    tokenizer = SplineTokenizer(SplineConfig(points=6, count=4096), 12, 2).fit(chunk[None])
    low, high = tokenizer.limits
    error = np.abs(tokenizer.decode(tokenizer.encode(chunk)) - chunk)
    assert error.max() <= (high - low).max() / (2 * 4096) + 1e-6


@given(chunks_of((3, 9, 2)), chunks_of((9, 2)))
def test_a_decoded_chunk_has_the_same_codes(fitted: Floats, chunk: Floats) -> None:
    tokenizer = SplineTokenizer(SplineConfig(points=6, count=64), 9, 2).fit(fitted)
    codes = tokenizer.encode(chunk)
    decoded = tokenizer.decode(codes)
    assume(np.abs(decoded).max() < 1)  # clipping leaves the spline
    assert (tokenizer.encode(decoded) == codes).all()


def test_codes_stand_control_point_by_control_point() -> None:
    chunk = np.tile([-0.9, 0.9], (8, 1))
    tokenizer = SplineTokenizer(SplineConfig(points=4, count=2), 8, 2).fit(chunk[None])
    assert tokenizer.encode(chunk).tolist() == [0, 1] * 4


def test_training_chunks_are_not_clipped() -> None:
    chunks = np.random.default_rng(0).uniform(-1, 1, (30, 8, 2))
    tokenizer = SplineTokenizer(SplineConfig(points=7), 8, 2).fit(chunks)
    points, (low, high) = tokenizer.control_points(chunks), tokenizer.limits
    assert points.max() > 1  # it overshoots
    assert ((points >= low) & (points <= high)).all()


def test_more_points_than_steps_are_refused() -> None:
    SplineTokenizer(SplineConfig(points=5), 5, 2)
    with pytest.raises(BadInput) as error:
        SplineTokenizer(SplineConfig(points=6), 5, 2)
    assert str(error.value) == (
        "decoder.tokenizer.points=6 is more than decoder.horizon=5: a spline has at most as many control "
        "points as the chunk has steps"
    )


@pytest.mark.parametrize(("name", "value"), [("low", -0.5), ("high", 0.5)])
def test_damaged_limits_are_refused(name: str, value: float) -> None:
    tokenizer = SplineTokenizer(SplineConfig(points=4), 6, 1).fit(np.zeros((1, 6, 1)))
    data = tokenizer.to_dict()
    data[name]["values"][2] = value
    with pytest.raises(BadInput) as error:
        tokenizer.restored(data)
    assert str(error.value) == (
        "the arrays 'low' and 'high' are damaged: they must hold -1 to 1 between them"
    )
