"""What holds for every action tokenizer."""

import contextlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from small_tokenizers import (
    CONFIGS,
    DIM,
    FIXED,
    HORIZON,
    LEARNED,
    fitted,
    training_chunks,
    unfitted,
)

from vla.errors import BadInput, UndecodableChunk
from vla.tokens.actions import ActionTokenizer

Floats = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]

ANY_CHUNK = arrays(np.float64, (HORIZON, DIM), elements=st.floats(-1, 1))

every = pytest.mark.parametrize("name", list(CONFIGS))
learned = pytest.mark.parametrize("name", LEARNED)
fixed = pytest.mark.parametrize("name", FIXED)


def is_a_chunk(chunk: npt.NDArray[np.float32]) -> bool:
    right = chunk.shape == (HORIZON, DIM) and chunk.dtype == np.float32
    return right and bool(np.isfinite(chunk).all()) and bool((np.abs(chunk) <= 1).all())


@every
@given(chunk=ANY_CHUNK)
def test_any_chunk_has_codes_and_they_decode(name: str, chunk: Floats) -> None:
    tokenizer = fitted(name)
    codes = tokenizer.encode(chunk)
    assert codes.dtype == np.int64
    assert codes.min() >= 0
    assert codes.max() < tokenizer.vocab_size
    assert len(codes) == tokenizer.length if tokenizer.fixed else 0 < len(codes) <= tokenizer.length
    assert is_a_chunk(tokenizer.decode(codes))


@pytest.mark.parametrize("name", ["uniform", "quantile", "openvla", "spline", "fast"])
@given(chunk=ANY_CHUNK)
def test_what_was_decoded_has_the_same_codes(name: str, chunk: Floats) -> None:
    # Not so for residual codes: another sum of vectors may come nearer to the sum of these.
    tokenizer = fitted(name)
    codes = tokenizer.encode(chunk)
    decoded = tokenizer.decode(codes)
    assume(np.abs(decoded).max() < 1)  # a spline or a cosine that is clipped is another one
    assume(name != "openvla" or not (codes == 0).any())  # codes 0 and 1 are one number
    assert tokenizer.encode(decoded).tolist() == codes.tolist()


def _corrupted(codes: Ids, size: int) -> list[Ids]:
    """Every single code replaced by every other (and by -1 and the first past the end), taken out, put in."""
    found = []
    for place in range(len(codes)):
        found.append(np.delete(codes, place))
        for code in range(-1, size + 1):
            changed = codes.copy()
            changed[place] = code
            found.append(changed)
    for place in range(len(codes) + 1):
        found += [np.insert(codes, place, code) for code in range(-1, size + 1)]
    return found


@every
@pytest.mark.parametrize("number", [0, 1])
def test_any_single_corruption_decodes_to_a_chunk_or_is_an_error(name: str, number: int) -> None:
    tokenizer = fitted(name)
    size = tokenizer.vocab_size
    codes = tokenizer.encode(training_chunks()[number])
    grammar = tokenizer.grammar()
    for changed in _corrupted(codes, size):
        possible = bool(((changed >= 0) & (changed < size)).all())
        if grammar is not None:
            decodes = grammar.accepts(changed)
        elif tokenizer.prefixes_decode:
            decodes = possible and 0 < len(changed) <= len(codes)
        else:
            decodes = possible and len(changed) == len(codes)
        try:
            chunk = tokenizer.decode(changed)
        except UndecodableChunk as error:
            assert not decodes
            assert "\n" not in str(error)
        else:
            assert decodes
            assert is_a_chunk(chunk)


@every
@given(codes=st.lists(st.integers(-2, 400), max_size=30))
def test_any_codes_decode_to_a_chunk_or_are_an_error(name: str, codes: list[int]) -> None:
    with contextlib.suppress(UndecodableChunk):
        assert is_a_chunk(fitted(name).decode(np.array(codes, np.int64)))


@fixed
def test_too_many_codes_or_none_are_an_error(name: str) -> None:
    tokenizer = fitted(name)
    for count in (0, tokenizer.length + 1):
        with pytest.raises(UndecodableChunk) as error:
            tokenizer.decode(np.zeros(count, np.int64))
        assert str(error.value) == f"{count} codes; a chunk has {tokenizer.length}"


@every
@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.zeros((2, 3), np.int64), "codes must be whole numbers in a row, not int64 [2, 3]"),
        (np.zeros(3), "codes must be whole numbers in a row, not float64 [3]"),
        (np.zeros(3, bool), "codes must be whole numbers in a row, not bool [3]"),
    ],
)
def test_what_is_no_row_of_codes_is_an_error(name: str, ids: Any, message: str) -> None:
    with pytest.raises(UndecodableChunk) as error:
        fitted(name).decode(ids)
    assert str(error.value) == message


@every
def test_a_batch_has_the_codes_of_its_chunks(name: str) -> None:
    chunks = training_chunks()[:50]
    codes = fitted(name).encode_batch(chunks)
    assert len(codes) == 50
    for index, chunk in enumerate(chunks):
        assert codes.row(index).tolist() == fitted(name).encode(chunk).tolist()
        assert not codes.ids[index, codes.lengths[index] :].any()


@learned
def test_fitting_twice_gives_the_same(name: str) -> None:
    again = unfitted(name).fit(training_chunks(), seed=0)
    assert again.to_dict() == fitted(name).to_dict()


@every
def test_fitting_leaves_the_one_it_was_asked_of_alone(name: str) -> None:
    before = unfitted(name)
    after = before.fit(training_chunks())
    assert after.fitted
    assert before.fitted == (not before.learned)


@every
def test_restored_it_is_the_same(name: str) -> None:
    restored = unfitted(name).restored(fitted(name).to_dict())
    for chunk in training_chunks()[:20]:
        codes = fitted(name).encode(chunk)
        assert restored.encode(chunk).tolist() == codes.tolist()
        assert (restored.decode(codes) == fitted(name).decode(codes)).all()


@learned
@pytest.mark.parametrize("use", ["encode", "encode_batch", "decode", "to_dict"])
def test_before_fitting_it_says_so(name: str, use: str) -> None:
    tokenizer = unfitted(name)
    arguments: Any = {
        "encode": [np.zeros((HORIZON, DIM))],
        "encode_batch": [np.zeros((1, HORIZON, DIM))],
        "decode": [np.zeros(tokenizer.length, np.int64)],
        "to_dict": [],
    }[use]
    with pytest.raises(BadInput) as error:
        getattr(tokenizer, use)(*arguments)
    wanted = f"the {tokenizer.kind} tokenizer was not fitted: fit it to chunks, or load one"
    assert str(error.value) == wanted


@learned
@pytest.mark.parametrize("data", [{}, [], {"books": 3}, None])
def test_data_that_does_not_fit_is_one_line(name: str, data: Any) -> None:
    with pytest.raises(BadInput) as error:
        unfitted(name).restored(data)
    assert "\n" not in str(error.value)


@learned
def test_data_of_another_shape_is_refused(name: str) -> None:
    other = type(fitted(name))(CONFIGS[name], HORIZON + 1, DIM)  # type: ignore[arg-type]
    if name == "quantile":  # edges know no horizon
        other = type(fitted(name))(CONFIGS[name], HORIZON, DIM + 1)  # type: ignore[arg-type]
    if name == "spline":  # nor do control points
        other = type(fitted(name))(CONFIGS[name], HORIZON, DIM + 1)  # type: ignore[arg-type]
    with pytest.raises(BadInput) as error:
        other.restored(fitted(name).to_dict())
    assert "\n" not in str(error.value)


def _use(tokenizer: ActionTokenizer, what: str, chunks: Floats) -> Any:
    return tokenizer.fit(chunks) if what == "fit" else tokenizer.encode_batch(chunks)


@every
@pytest.mark.parametrize("what", ["fit", "encode"])
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.nan, "that is not finite: nan in chunk 1, step 5, joint 2"),
        (np.inf, "that is not finite: inf in chunk 1, step 5, joint 2"),
        (-np.inf, "that is not finite: -inf in chunk 1, step 5, joint 2"),
        (1.25, "out of range: 1.25 in chunk 1, step 5, joint 2; normalised actions lie in -1 to 1"),
        (-40, "out of range: -40 in chunk 1, step 5, joint 2; normalised actions lie in -1 to 1"),
    ],
)
def test_a_wrong_number_is_named_with_its_place(name: str, what: str, value: float, reason: str) -> None:
    chunks = np.zeros((3, HORIZON, DIM))
    chunks[1, 5, 2] = value
    with pytest.raises(BadInput) as error:
        _use(fitted(name), what, chunks)
    assert str(error.value) == f"cannot {what} an action {reason}"


@every
@pytest.mark.parametrize("what", ["fit", "encode"])
@pytest.mark.parametrize(
    "shape", [(2, HORIZON, DIM + 1), (2, HORIZON - 1, DIM), (HORIZON, DIM), (0, HORIZON, DIM), (3,)]
)
def test_another_shape_is_refused(name: str, what: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(BadInput) as error:
        _use(fitted(name), what, np.zeros(shape))
    assert str(error.value) == f"cannot {what} chunks of shape {list(shape)}; [N, {HORIZON}, {DIM}] is needed"


@every
def test_a_batch_is_no_chunk(name: str) -> None:
    with pytest.raises(BadInput) as error:
        fitted(name).encode(np.zeros((1, HORIZON, DIM)))
    wanted = f"[{HORIZON}, {DIM}] is needed"
    assert str(error.value) == f"cannot encode chunks of shape [1, {HORIZON}, {DIM}]; {wanted}"


@every
def test_what_is_no_array_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="no array of numbers"):
        fitted(name).encode([[0.0], [0.0, 1.0]])  # type: ignore[arg-type]
    with pytest.raises(UndecodableChunk, match="not rows of several lengths"):
        fitted(name).decode([[1], [1, 2]])  # type: ignore[arg-type]
    with pytest.raises(UndecodableChunk, match=r"0 codes; a chunk has|spell 0 coefficients"):
        fitted(name).decode([])  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="seed=-1"):
        fitted(name).fit(np.zeros((3, HORIZON, DIM)), seed=-1)


@every
def test_the_round_trips_error_is_told(name: str) -> None:
    chunks = np.random.default_rng(2).uniform(-1, 1, (3, HORIZON, DIM))
    error = fitted(name).round_trip_error(chunks)
    back = fitted(name).decode(fitted(name).encode(chunks[1]))
    np.testing.assert_allclose(error[1], np.abs(back - chunks[1]), atol=1e-6)


@every
def test_certain_codes_have_no_spread(name: str) -> None:
    tokenizer = fitted(name)
    codes = tokenizer.encode(training_chunks()[3])
    found = tokenizer.spread(codes, np.eye(tokenizer.vocab_size)[codes])
    assert found.shape == (HORIZON, DIM)
    assert found == pytest.approx(np.zeros((HORIZON, DIM)), abs=1e-6)


@fixed
def test_spread_is_that_of_drawn_codes(name: str) -> None:
    chunks = training_chunks(0.1)  # small, so that nothing is clipped
    tokenizer = unfitted(name).fit(chunks)
    rng = np.random.default_rng(0)
    codes = tokenizer.encode(chunks[3])
    choices = (codes[:, None] + np.arange(3)) % tokenizer.vocab_size
    weights = rng.dirichlet(np.ones(3), len(codes))
    probabilities = np.zeros((len(codes), tokenizer.vocab_size))
    np.put_along_axis(probabilities, choices, weights, axis=1)
    drawn = np.stack([rng.choice(3, 4000, p=row) for row in weights], axis=1)
    decoded = np.stack([tokenizer.decode(choices[np.arange(len(codes)), row]) for row in drawn])
    assert np.abs(decoded).max() < 1
    wanted = decoded.std(axis=0)
    assert tokenizer.spread(codes, probabilities) == pytest.approx(wanted, rel=0.08, abs=1e-4)
