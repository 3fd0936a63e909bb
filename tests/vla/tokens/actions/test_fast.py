import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vla.configuration.tokenizer import FastConfig
from vla.errors import BadInput, UndecodableChunk
from vla.tokens.actions.arrays import pack
from vla.tokens.actions.base import Grammar
from vla.tokens.actions.fast import FastTokenizer

H, D = 8, 3
CHUNKS = hnp.arrays(np.float64, (H, D), elements=st.floats(-1, 1))


def smooth(count: int, seed: int = 0, horizon: int = H, dim: int = D) -> np.ndarray:
    """Chunks [N, H, D] as robots have them: a few slow waves a joint, the whole range used."""
    rng = np.random.default_rng(seed)
    time = np.arange(horizon)[:, None]
    slope, wave = rng.normal(0, 0.4, (2, count, 1, dim))
    start, phase = rng.uniform(-0.9, 0.9, (count, 1, dim)), rng.uniform(0, 6, (count, 1, dim))
    chunks = start + slope * time / horizon + wave * np.sin(phase + time * 0.6)
    return np.clip(chunks, -1, 1)


DATA = smooth(400)
COARSE = FastTokenizer(FastConfig(scale=10, vocabulary=256), H, D).fit(DATA)
FINE = FastTokenizer(FastConfig(scale=60, vocabulary=400), H, D).fit(DATA)
"""Its coefficients need characters of two bytes."""
BOTH = pytest.mark.parametrize("tokenizer", [COARSE, FINE], ids=["coarse", "fine"])


def decodes(tokenizer: FastTokenizer, ids: np.ndarray) -> bool:
    try:
        chunk = tokenizer.decode(ids)
    except UndecodableChunk:
        return False
    assert chunk.shape == (tokenizer.horizon, tokenizer.dim) and np.isfinite(chunk).all()
    return True


def grammar_of(tokenizer: FastTokenizer) -> Grammar:
    found = tokenizer.grammar()
    assert found is not None
    return found


def test_fine_needs_two_bytes() -> None:
    pieces = [piece for piece in FINE._codes.pieces if piece is not None]
    assert any(piece[-1] & 0xC0 == 0xC0 for piece in pieces), "no code ends in the middle of a character"
    assert any(piece[0] & 0xC0 == 0x80 for piece in pieces)


@given(
    hnp.arrays(np.float64, (5, H, D), elements=st.floats(-1, 1)), st.sampled_from([1.0, 10.0, 37.5, 120.0])
)
@settings(max_examples=40, deadline=None)
def test_parseval_bound_of_fitted_chunks(chunks: np.ndarray, scale: float) -> None:
    tokenizer = FastTokenizer(FastConfig(scale=scale, vocabulary=300), H, D).fit(chunks)
    codes = tokenizer.encode_batch(chunks)
    for i, chunk in enumerate(chunks):
        error = tokenizer.decode(codes.row(i)) - chunk
        assert np.sqrt((error**2).mean()) <= 0.5 / scale + 1e-6


@BOTH
@given(chunk=CHUNKS)
@settings(max_examples=60, deadline=None)
def test_bound_of_any_chunk(tokenizer: FastTokenizer, chunk: np.ndarray) -> None:
    """Also of one that was never seen: what lies past the bounds adds its distance."""
    ids = tokenizer.encode(chunk)
    assert len(ids) <= tokenizer.length and ((ids >= 0) & (ids < tokenizer.vocab_size)).all()
    assert grammar_of(tokenizer).accepts(ids)
    coefficients = tokenizer._coefficients(chunk[None])[0]
    codes = tokenizer._codes
    past = np.maximum(codes.least_P - coefficients, coefficients - codes.greatest_P).clip(0)
    bound = np.sqrt(0.25 + (past * (past + 1)).mean()) / tokenizer.config.scale
    assert np.sqrt(((tokenizer.decode(ids) - chunk) ** 2).mean()) <= bound + 1e-6


@BOTH
def test_fitted_chunks_are_never_moved(tokenizer: FastTokenizer) -> None:
    codes = tokenizer.encode_batch(DATA)
    found = np.stack([tokenizer._codes.decode(codes.row(i)) for i in range(len(codes))])
    assert (found == tokenizer._coefficients(DATA)).all()


def test_fewer_codes_than_numbers() -> None:
    assert COARSE.encode_batch(DATA).lengths.mean() < H * D / 2


def test_bounds_are_within_what_is_possible() -> None:
    """The corners of [-1, 1] reach the greatest coefficients; no bound lies further out."""
    signs = np.sign(COARSE._basis_kt)
    corners = np.repeat(np.concatenate([signs, -signs])[..., None], D, axis=2)
    reached = COARSE._coefficients(corners)
    assert (COARSE._codes.greatest_P <= reached.max(0)).all()
    assert (COARSE._codes.least_P >= reached.min(0)).all()
    whole = FastTokenizer(COARSE.config, H, D).fit(corners)
    assert (whole._codes.greatest_P == reached.max(0)).all() and (
        whole._codes.least_P == reached.min(0)
    ).all()


@BOTH
def test_grammar_is_what_decodes_after_any_single_corruption(tokenizer: FastTokenizer) -> None:
    grammar, rng = grammar_of(tokenizer), np.random.default_rng(1)
    codes = tokenizer.encode_batch(smooth(12, seed=5))
    detected = seen = 0
    for i in range(len(codes)):
        ids = codes.row(i)
        for place in range(len(ids)):
            others = np.repeat(ids[None], 40, axis=0)
            others[:, place] = rng.integers(0, tokenizer.vocab_size, 40)
            changed = [*others, np.delete(ids, place), np.insert(ids, place, ids[place])]
            for wrong in changed:
                fine = decodes(tokenizer, wrong)
                assert fine == grammar.accepts(wrong)
                detected, seen = detected + (not fine), seen + 1
        assert not decodes(tokenizer, ids[:-1]) and not grammar.accepts(ids[:-1])
    assert detected > seen / 2


@BOTH
@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_grammar_is_what_decodes_of_random_codes(tokenizer: FastTokenizer, data: st.DataObject) -> None:
    ids = np.array(data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=60)), np.int64)
    assert decodes(tokenizer, ids) == grammar_of(tokenizer).accepts(ids)


@BOTH
def test_every_walk_ends_in_time_and_decodes(tokenizer: FastTokenizer) -> None:
    grammar, rng = grammar_of(tokenizer), np.random.default_rng(2)
    shortest = {len(piece) for piece in tokenizer._codes.pieces if piece}
    for walk in range(150):
        state, ids = grammar.start, []
        while state != grammar.end:
            allowed = np.flatnonzero(grammar.next[state] >= 0)
            assert len(allowed), "a dead end"
            if walk % 3 == 0:  # the longest way: single bytes only
                single = [c for c in allowed if len(tokenizer._codes.pieces[c] or b"") == min(shortest)]
                allowed = np.array(single or allowed)
            ids.append(int(rng.choice(allowed)))
            state = int(grammar.next[state, ids[-1]])
            assert len(ids) <= tokenizer.length
        assert decodes(tokenizer, np.array(ids))


def test_nothing_follows_the_end_and_states_are_known() -> None:
    grammar = grammar_of(FINE)
    assert (grammar.next[grammar.end] == -1).all()
    assert grammar.next.min() == -1 and grammar.next.max() == grammar.end == len(grammar.next) - 1
    assert grammar.next.dtype == np.int32 and FINE.grammar() is grammar


def test_exact_lines() -> None:
    ids = COARSE.encode(DATA[0])
    with pytest.raises(UndecodableChunk, match=r"^the codes spell 0 coefficients; a chunk has 24$"):
        COARSE.decode(np.zeros(0, np.int64))
    with pytest.raises(UndecodableChunk, match=r"^the codes spell \d+ coefficients; a chunk has 24$"):
        COARSE.decode(np.concatenate([ids, ids]))
    codes = COARSE._codes
    low, high = codes.least_P[-1], codes.greatest_P[-1]
    sign = {piece: code for code, piece in enumerate(codes.pieces)}
    zero, wrong = sign[chr(-codes.origin).encode()], sign[chr(high + 1 - codes.origin).encode()]
    line = rf"^coefficient 23 is {high + 1}; it lies between {low} and {high}$"
    with pytest.raises(UndecodableChunk, match=line):
        COARSE.decode(np.array([zero] * 23 + [wrong]))
    first = next(code for code, piece in enumerate(FINE._codes.pieces) if piece == b"\xc2")
    line = r"^the codes spell 0 coefficients and then bytes that spell none; a chunk has 24$"
    with pytest.raises(UndecodableChunk, match=line):
        FINE.decode(np.array([first]))
    few = FastTokenizer(FastConfig(vocabulary=300), H, D).fit(DATA[:2])
    with pytest.raises(UndecodableChunk, match=r"^code 299 at place 0 is in no use$"):
        few.decode(np.array([299]))
    assert (grammar_of(few).next[:, 299] == -1).all()


@BOTH
def test_saved_and_restored_is_the_same(tokenizer: FastTokenizer) -> None:
    data = json.loads(json.dumps(tokenizer.to_dict(), allow_nan=False))
    other = FastTokenizer(tokenizer.config, H, D).restored(data)
    assert other.fitted and other.to_dict() == tokenizer.to_dict()
    codes, again = tokenizer.encode_batch(DATA), other.encode_batch(DATA)
    assert (codes.ids == again.ids).all() and (codes.lengths == again.lengths).all()
    assert (tokenizer.decode(codes.row(3)) == other.decode(codes.row(3))).all()
    assert (grammar_of(tokenizer).next == grammar_of(other).next).all()


def test_fit_is_repeatable_and_leaves_the_first_alone() -> None:
    empty = FastTokenizer(COARSE.config, H, D)
    assert empty.fit(DATA).to_dict() == COARSE.to_dict()
    assert not empty.fitted
    with pytest.raises(BadInput, match="was not fitted"):
        empty.grammar()


def damaged(**changes: object) -> dict[str, object]:
    return {**COARSE.to_dict(), **changes}


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (damaged(scale=20), r"fitted with scale=20: give that$"),
        (damaged(least=pack(np.zeros((1, 2), int))), r"'least' is int64 \[1, 2\]; int64 \[8, 3\] is needed$"),
        (damaged(greatest=pack(np.zeros((H, D)))), r"'greatest' is float64 \[8, 3\]; int64 "),
        (damaged(least=3), "there is no array 'least'"),
        (damaged(least=pack(np.full((H, D), 99))), "bounds of the coefficients hold none from -28 on"),
        (damaged(tokenizer=None), "'tokenizer' is not a byte-level BPE vocabulary: 'NoneType'"),
        (
            damaged(tokenizer={"model": {}}),
            "'tokenizer' is not a byte-level BPE vocabulary: pre_tokenizer.type",
        ),
        ({}, r"data is damaged: KeyError\('scale'\)$"),
    ],
)
def test_damaged_data_is_an_error(data: dict[str, object], line: str) -> None:
    with pytest.raises(BadInput, match=line) as caught:
        FastTokenizer(COARSE.config, H, D).restored(data)
    assert "\n" not in str(caught.value)


def test_a_missing_byte_narrows_the_bounds_and_nothing_is_dropped() -> None:
    """A vocabulary that lost a code of a single byte."""
    data = json.loads(json.dumps(COARSE.to_dict()))
    model = data["tokenizer"]["model"]
    zero, pieces = chr(-COARSE._codes.origin).encode(), COARSE._codes.pieces
    gone = {token for token, code in model["vocab"].items() if zero in (pieces[code] or b"")}
    model["vocab"] = {token: code for token, code in model["vocab"].items() if token not in gone}
    model["merges"] = [pair for pair in model["merges"] if not gone & {*pair, "".join(pair)}]
    other = FastTokenizer(COARSE.config, H, D).restored(data)
    found = other._codes.decode(other.encode(np.zeros((H, D))))
    assert (np.abs(found) == 1).all()


def test_too_small_a_vocabulary_and_too_fine_a_scale() -> None:
    with pytest.raises(BadInput, match=r"^the vocabulary holds \d+ codes: give vocabulary=\d+ or more$"):
        FastTokenizer(FastConfig(vocabulary=16), H, D).fit(DATA)
    with pytest.raises(
        BadInput, match=r"^two bytes spell 2048 coefficients, not all from -\d+ to \d+: give a"
    ):
        FastTokenizer(FastConfig(scale=900), H, D).fit(DATA)


def one_hot(tokenizer: FastTokenizer, ids: np.ndarray) -> np.ndarray:
    return np.eye(tokenizer.vocab_size)[ids]


@BOTH
def test_spread_of_what_is_sure_is_none(tokenizer: FastTokenizer) -> None:
    ids = tokenizer.encode(DATA[7])
    spread = tokenizer.spread(ids, one_hot(tokenizer, ids))
    assert spread.shape == (H, D) and (spread == 0).all()


def test_spread_of_one_doubt_is_its_wave() -> None:
    """Two values of one coefficient, 3 apart: the deviation is that frequency's cosine."""
    codes = COARSE._codes
    sign = {piece: code for code, piece in enumerate(codes.pieces)}
    zero, three = sign[chr(-codes.origin).encode()], sign[chr(3 - codes.origin).encode()]
    ids = np.full(H * D, zero)
    probabilities = one_hot(COARSE, ids)
    frequency, joint = 1, 2
    probabilities[frequency * D + joint, [zero, three]] = 0.7, 0.3
    wanted = np.zeros((H, D))
    wanted[:, joint] = np.abs(COARSE._basis_kt[frequency]) * 3 * np.sqrt(0.21) / 10
    assert np.allclose(COARSE.spread(ids, probabilities), wanted)
    # What may not stand there does not count: one that is past the bound of the greatest frequency.
    far = sign[chr(codes.greatest_P[-1] + 1 - codes.origin).encode()]
    probabilities = one_hot(COARSE, ids)
    probabilities[-1, [zero, far]] = 0.5, 0.5
    assert (COARSE.spread(ids, probabilities) == 0).all()


def test_spread_of_half_characters() -> None:
    """A character's two bytes as two codes: the doubt about both adds up to the deviation of the whole."""
    codes = FINE._codes
    sign = {piece: code for code, piece in enumerate(codes.pieces) if piece}
    zero = [sign[bytes([byte])] for byte in chr(-codes.origin).encode()]
    pairs = [chr(number).encode() for number in (0x90, 0x95)]  # one first byte, two second bytes
    ids = np.array([sign[pairs[0][:1]], sign[pairs[0][1:]], *zero * (H * D - 1)])
    probabilities = one_hot(FINE, ids)
    probabilities[1, [sign[pair[1:]] for pair in pairs]] = 0.5, 0.5
    wanted = 2.5 / 60 / np.sqrt(H)
    spread = FINE.spread(ids, probabilities)
    assert np.allclose(spread[:, 0], wanted) and (spread[:, 1:] == 0).all()


@BOTH
def test_spread_keeps_the_variance_and_refuses_what_does_not_decode(tokenizer: FastTokenizer) -> None:
    ids, rng = tokenizer.encode(DATA[9]), np.random.default_rng(4)
    probabilities = rng.dirichlet(np.full(tokenizer.vocab_size, 0.05), len(ids))
    spread = tokenizer.spread(ids, probabilities)
    total = tokenizer._codes.variance(ids, probabilities).sum() / tokenizer.config.scale**2
    assert np.isfinite(spread).all() and spread.max() > 0
    assert np.isclose((spread**2).sum(), total)
    with pytest.raises(UndecodableChunk, match="coefficients"):
        tokenizer.spread(ids[:-1], probabilities[:-1])


@pytest.mark.slow
def test_grammar_of_a_large_chunk() -> None:
    data = smooth(600, horizon=50, dim=7)
    tokenizer = FastTokenizer(FastConfig(scale=100, vocabulary=2048), 50, 7).fit(data)
    grammar = grammar_of(tokenizer)
    assert grammar.next.nbytes < 100e6
    codes = tokenizer.encode_batch(data)
    assert all(grammar.accepts(codes.row(i)) for i in range(len(codes)))
