import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vla.configuration.tokenizer import ResidualConfig
from vla.errors import BadInput
from vla.tokens.actions import codebooks
from vla.tokens.actions.residual import ResidualTokenizer

Floats = npt.NDArray[np.float64]

HORIZON, DIM = 6, 2


def smooth(count: int, seed: int) -> Floats:
    """Chunks that a robot could make: a ramp and a wave of random size a joint, [count, HORIZON, DIM]."""
    rng = np.random.default_rng(seed)
    time = np.linspace(0, 1, HORIZON)[:, None]
    ramp, wave, phase = rng.uniform(-0.5, 0.5, (3, count, 1, DIM))
    return ramp * time + wave * np.sin(6 * (time + phase))


def tokenizer(levels: int = 4, codes: int = 16) -> ResidualTokenizer:
    return ResidualTokenizer(ResidualConfig(levels=levels, codes=codes), HORIZON, DIM)


@pytest.fixture(scope="module")
def fitted() -> ResidualTokenizer:
    return tokenizer().fit(smooth(400, 0))


def errors_by_prefix(of: ResidualTokenizer, chunk: Floats) -> Floats:
    """Squared error of what the first 1, 2, ... codes decode to."""
    codes = of.encode(chunk)
    return np.array([((of.decode(codes[: n + 1]) - chunk) ** 2).sum() for n in range(len(codes))])


@given(arrays(np.float64, (HORIZON, DIM), elements=st.floats(-1, 1)))
def test_error_never_grows_with_a_level_for_any_chunk(fitted: ResidualTokenizer, chunk: Floats) -> None:
    errors = np.concatenate([[(chunk**2).sum()], errors_by_prefix(fitted, chunk)])
    assert (np.diff(errors) <= 1e-5).all()


@given(
    arrays(np.float64, (20, 3), elements=st.floats(-3, 3)), arrays(np.float64, 3, elements=st.floats(-1, 1))
)
def test_error_never_grows_whatever_the_books_hold(vectors: Floats, point: Floats) -> None:
    books = vectors.reshape(4, 5, 3).copy()
    books[:, 0] = 0
    codes = codebooks.encode(books, point[None])[0]
    sums = np.cumsum(books[np.arange(4), codes], axis=0)
    errors = ((np.clip(sums, -1, 1) - point) ** 2).sum(axis=1)
    assert errors[0] <= (point**2).sum()
    assert (np.diff(errors) <= 1e-12).all()


def test_levels_that_learned_nothing_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer(levels=4, codes=16).fit(smooth(400, 0))
    assert capsys.readouterr().err == ""
    tokenizer(levels=4, codes=16).fit(smooth(13, 0))
    error = capsys.readouterr().err
    assert error.startswith("warning: 3 of 4 levels of the residual codes learned nothing: 13 chunks are too")
    assert error.count("\n") == 1


def test_what_is_nearer_only_before_clipping_is_not_taken() -> None:
    # (1.8, 0) is 1.64 away, squared, and 1 once clipped; (0.3, 0.2), to which the second leads, is 1.13 away.
    books = np.array([[[0.0, 0.0], [1.8, 0.0]], [[0.0, 0.0], [-1.5, 0.2]]])
    assert codebooks.encode(books, np.array([[1.0, 1.0]])).tolist() == [[1, 0]]


def test_each_level_takes_the_nearest_vector() -> None:
    books = np.random.default_rng(0).normal(0, 0.1, (3, 8, 5))
    books[:, 0] = 0
    points = np.random.default_rng(1).uniform(-0.5, 0.5, (50, 5))
    codes = codebooks.encode(books, points)
    left = points.copy()
    for level in range(3):
        distances = ((left[:, None] - books[level]) ** 2).sum(axis=-1)
        assert (codes[:, level] == distances.argmin(axis=1)).all()
        left -= books[level][codes[:, level]]


def test_unseen_chunks_get_better_with_every_level(fitted: ResidualTokenizer) -> None:
    errors = np.mean([errors_by_prefix(fitted, chunk) for chunk in smooth(200, 1)], axis=0)
    assert (np.diff(errors) < 0).all()
    assert errors[-1] < 0.1 * (smooth(200, 1) ** 2).sum(axis=(1, 2)).mean()


def test_a_prefix_is_the_sum_of_its_vectors_and_code_0_adds_nothing(fitted: ResidualTokenizer) -> None:
    wanted = (fitted.books[0, 3] + fitted.books[1, 5]).reshape(HORIZON, DIM)
    assert np.abs(wanted).max() < 1
    assert fitted.decode(np.array([3, 5])) == pytest.approx(wanted, abs=1e-6)
    assert (fitted.decode(np.array([3, 5, 0, 0])) == fitted.decode(np.array([3, 5]))).all()
    assert not fitted.decode(np.array([0])).any()


@pytest.mark.parametrize("count", [1, 2, 7])
def test_few_chunks_come_back_whole(count: int) -> None:
    chunks = smooth(count, 3)
    few = tokenizer(levels=2, codes=8).fit(chunks)
    for chunk in chunks:
        assert few.decode(few.encode(chunk)) == pytest.approx(chunk, abs=1e-5)


def test_a_standstill_can_be_fitted() -> None:
    still = tokenizer().fit(np.zeros((3, HORIZON, DIM)))
    assert still.encode(np.zeros((HORIZON, DIM))).tolist() == [0, 0, 0, 0]
    assert not still.books.any()


def test_the_seed_decides() -> None:
    chunks = smooth(300, 0)
    once, again, other = (tokenizer().fit(chunks, seed=seed).books for seed in (5, 5, 6))
    assert (once == again).all()
    assert (once != other).any()


def test_refining_together_lowers_the_error_of_unseen_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    def error() -> float:
        books = codebooks.learn(smooth(2000, 0).reshape(2000, -1), 4, 16, 0)
        points = smooth(500, 1).reshape(500, -1)
        codes = codebooks.encode(books, points)
        sums = np.cumsum(books[np.arange(4), codes], axis=1)
        return float(((sums - points[:, None]) ** 2).mean())

    refined = error()
    monkeypatch.setattr(codebooks, "_ROUNDS", 0)
    assert refined < error()


def test_only_so_many_chunks_are_learnt_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codebooks, "_MOST", 3)
    books = codebooks.learn(smooth(50, 0).reshape(50, -1), 1, 8, 0)
    assert np.count_nonzero(books[0].any(axis=1)) == 3


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, fitted: ResidualTokenizer) -> None:
    chunks = smooth(50, 4)
    whole = fitted.encode_batch(chunks).ids
    monkeypatch.setattr(codebooks, "_BLOCK", 7)
    assert (fitted.encode_batch(chunks).ids == whole).all()


def test_a_first_vector_that_is_not_zero_is_refused(fitted: ResidualTokenizer) -> None:
    small = tokenizer(levels=1, codes=2).fit(smooth(1, 0))
    data = small.to_dict()
    data["books"]["values"][0] = 0.5
    with pytest.raises(BadInput) as error:
        small.restored(data)
    assert str(error.value) == ("the array 'books' is damaged: the first vector of every level must be zero")
