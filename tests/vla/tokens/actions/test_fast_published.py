"""Against the published algorithm, written here once more from its description with the libraries it uses."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.fft import dct, idct
from tokenizers import ByteLevelBPETokenizer
from tokenizers.trainers import BpeTrainer

from vla.configuration.tokenizer import FastConfig
from vla.errors import BadInput, UndecodableChunk
from vla.tokens.actions.fast import FastTokenizer
from vla.tokens.actions.fast_grammar import Spelled

transformers = pytest.importorskip("transformers")

H, D = 8, 3


@dataclass
class Reference:
    """What FAST's published processor does, its zeros included."""

    words: Any
    scale: float
    vocabulary: int
    min_token: int

    @classmethod
    def fit(cls, chunks: np.ndarray, scale: float, vocabulary: int) -> "Reference":
        rounded = np.around(dct(chunks, axis=1, norm="ortho") * scale).reshape(len(chunks), -1).astype(int)
        low, high = int(rounded.min()), int(rounded.max())
        bpe = ByteLevelBPETokenizer()
        trainer = BpeTrainer(
            vocab_size=vocabulary,
            min_frequency=2,
            show_progress=False,
            special_tokens=[],
            initial_alphabet=[chr(i) for i in range(high - low + 1)],
            max_token_length=10_000,
        )
        bpe._tokenizer.train_from_iterator(("".join(map(chr, row - low)) for row in rounded), trainer=trainer)
        words = transformers.PreTrainedTokenizerFast(tokenizer_object=bpe, clean_up_tokenization_spaces=False)
        return cls(words, scale, vocabulary, low)

    @classmethod
    def load(cls, folder: Path) -> "Reference":
        config = json.loads((folder / "processor_config.json").read_text())
        words = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
        return cls(words, config["scale"], config["vocab_size"], config["min_token"])

    def save(self, folder: Path, **more: Any) -> None:
        self.words.save_pretrained(folder)
        config = {
            "action_dim": None,
            "min_token": self.min_token,
            "processor_class": "UniversalActionProcessor",
            "scale": self.scale,
            "time_horizon": None,
            "vocab_size": self.vocabulary,
        }
        (folder / "processor_config.json").write_text(json.dumps({**config, **more}))

    def encode(self, chunk: np.ndarray) -> list[int]:
        rounded = np.around(dct(chunk, axis=0, norm="ortho") * self.scale)
        text = "".join(map(chr, np.maximum(rounded.flatten() - self.min_token, 0).astype(int)))
        return self.words(text)["input_ids"]

    def decode(self, ids: list[int]) -> np.ndarray:
        try:
            found = np.array(list(map(ord, self.words.decode(ids)))) + self.min_token
            found = found.reshape(H, D)
        except ValueError:
            found = np.zeros((H, D))
        return idct(found / self.scale, axis=0, norm="ortho")


def waves(count: int, seed: int, size: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    time = np.arange(H)[:, None]
    slope, wave = rng.normal(0, 0.5, (2, count, 1, D))
    start = rng.uniform(-1, 1, (count, 1, D))
    chunks = size * (start + slope * time / H + wave * np.sin(rng.uniform(0, 6, (count, 1, D)) + time))
    return np.clip(chunks, -1, 1)


def config_of(folder: Path, reference: Reference) -> FastConfig:
    return FastConfig(scale=reference.scale, vocabulary=reference.vocabulary, path=str(folder))


WIDE, WIDE_DATA = (
    100.0,
    np.concatenate([waves(1500, 0), np.random.default_rng(1).uniform(-1, 1, (200, H, D))]),
)
"""565 values of a coefficient: most need two bytes."""


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> tuple[Reference, FastTokenizer]:
    reference = Reference.fit(WIDE_DATA, WIDE, 1024)
    folder = tmp_path_factory.mktemp("wide")
    reference.save(folder)
    return reference, FastTokenizer(config_of(folder, reference), H, D)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> tuple[Reference, FastTokenizer, Path]:
    """Fitted to small motions: many coefficients lie below its least, and bytes are missing."""
    reference = Reference.fit(waves(600, 3, size=0.3), 10.0, 256)
    folder = tmp_path_factory.mktemp("narrow")
    reference.save(folder)
    return reference, FastTokenizer(config_of(folder, reference), H, D), folder


def same(reference: Reference, tokenizer: FastTokenizer, chunk: np.ndarray) -> None:
    ids = tokenizer.encode(chunk)
    assert ids.tolist() == reference.encode(chunk)
    assert np.allclose(tokenizer.decode(ids), np.clip(reference.decode(ids.tolist()), -1, 1), atol=1e-6)


def nearest_are_chosen(tokenizer: FastTokenizer, chunk: np.ndarray) -> None:
    codes, wanted = tokenizer._codes, tokenizer._coefficients(chunk[None])[0]
    found = codes.decode(tokenizer.encode(chunk))
    apart = np.abs(codes.spellable[:, None] - wanted)
    apart[(codes.spellable[:, None] < codes.least_P) | (codes.spellable[:, None] > codes.greatest_P)] = np.inf
    assert (np.abs(found - wanted) == apart.min(0)).all()


@given(chunk=hnp.arrays(np.float64, (H, D), elements=st.floats(-1, 1)))
@settings(max_examples=50, deadline=None)
def test_same_codes_and_actions_for_any_chunk(
    wide: tuple[Reference, FastTokenizer], chunk: np.ndarray
) -> None:
    reference, tokenizer = wide
    codes = tokenizer._codes
    rounded = tokenizer._coefficients(chunk[None])[0]
    if ((rounded >= codes.least_P) & (rounded <= codes.greatest_P) & np.isin(rounded, codes.spellable)).all():
        same(reference, tokenizer, chunk)
    else:  # where the published one drops a byte or clips
        nearest_are_chosen(tokenizer, chunk)


def test_same_codes_and_actions_for_its_data(wide: tuple[Reference, FastTokenizer]) -> None:
    reference, tokenizer = wide
    assert reference.min_token < -200
    for chunk in WIDE_DATA[::13]:
        same(reference, tokenizer, chunk)


def test_what_each_code_spells_is_what_the_library_decodes(wide: tuple[Reference, FastTokenizer]) -> None:
    """Also of the codes that only the published fit makes: signs that stand for no byte."""
    reference, tokenizer = wide
    pieces = tokenizer._codes.pieces
    own = 0
    for code, piece in enumerate(pieces):
        if piece is not None:
            assert reference.words.decode([code]) == piece.decode(errors="replace")
            own += piece.decode(errors="replace") == reference.words.convert_ids_to_tokens(code)
    assert own > 200 and Spelled.of(pieces).usable.any()


@pytest.mark.parametrize("which", ["wide", "narrow"])
def test_right_where_the_published_is_right_and_an_error_where_it_gives_zeros(
    which: str, request: pytest.FixtureRequest
) -> None:
    reference, tokenizer = request.getfixturevalue(which)[:2]
    grammar, rng = tokenizer.grammar(), np.random.default_rng(5)
    still = zeros = 0
    for chunk in waves(12, 7, size=0.3):
        ids = tokenizer.encode(chunk)
        for place in range(len(ids)):
            wrong = ids.copy()
            wrong[place] = rng.integers(0, tokenizer.vocab_size)
            published = reference.decode(wrong.tolist())
            try:
                found = tokenizer.decode(wrong)
            except UndecodableChunk:
                assert not grammar.accepts(wrong)
                zeros += bool((published == 0).all())
            else:
                assert grammar.accepts(wrong)
                assert np.allclose(found, np.clip(published, -1, 1), atol=1e-6)
                still += 1
    assert zeros > 20 and still > 2


def test_a_byte_without_a_code_is_not_dropped(narrow: tuple[Reference, FastTokenizer, Path]) -> None:
    reference, tokenizer, _ = narrow
    broken = 0
    for chunk in waves(60, 11):
        nearest_are_chosen(tokenizer, chunk)
        broken += len(reference.words.decode(reference.encode(chunk))) != H * D
    assert broken > 5, "the published processor was expected to drop some"


def test_walks_through_the_grammar_decode_in_both(wide: tuple[Reference, FastTokenizer]) -> None:
    reference, tokenizer = wide
    grammar, rng = tokenizer.grammar(), np.random.default_rng(6)
    assert grammar is not None
    for _ in range(40):
        state, ids = grammar.start, []
        while state != grammar.end:
            ids.append(int(rng.choice(np.flatnonzero(grammar.next[state] >= 0))))
            state = int(grammar.next[state, ids[-1]])
        assert len(ids) <= tokenizer.length
        chunk = tokenizer.decode(np.array(ids))
        assert np.allclose(chunk, np.clip(reference.decode(ids), -1, 1), atol=1e-6)


@pytest.mark.parametrize(("scale", "vocabulary"), [(10, 256), (100, 512)])
def test_own_vocabulary_is_read_by_the_published_processor(
    tmp_path: Path, scale: float, vocabulary: int
) -> None:
    data = waves(600, 8)
    tokenizer = FastTokenizer(FastConfig(scale=scale, vocabulary=vocabulary), H, D).fit(data)
    tokenizer.save_published(tmp_path / "new" / "folder")
    reference = Reference.load(tmp_path / "new" / "folder")
    for chunk in data[::9]:
        same(reference, tokenizer, chunk)
    config = json.loads((tmp_path / "new" / "folder" / "processor_config.json").read_text())
    assert (config["time_horizon"], config["action_dim"]) == (H, D)
    again = FastTokenizer(config_of(tmp_path / "new" / "folder", reference), H, D)
    codes, back = tokenizer.encode_batch(data), again.encode_batch(data)
    assert (codes.ids == back.ids).all()


def test_the_folder_is_read_late_and_fit_keeps_its_codes(
    narrow: tuple[Reference, FastTokenizer, Path], tmp_path: Path
) -> None:
    reference, tokenizer, folder = narrow
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    config = config_of(copy, reference)
    fitted = FastTokenizer(config, H, D).fit(waves(20, 1))
    assert fitted.to_dict() == tokenizer.to_dict()
    data = json.loads(json.dumps(fitted.to_dict()))
    shutil.rmtree(copy)
    unread = FastTokenizer(config, H, D)
    assert unread.fitted
    assert unread.restored(data).encode(waves(1, 2)[0]).tolist() == tokenizer.encode(waves(1, 2)[0]).tolist()
    with pytest.raises(BadInput, match=r"no FAST vocabulary: .*copy is not a folder$"):
        unread.encode(waves(1, 2)[0])


def rewrite(name: str, change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / name
        content = json.loads(path.read_text())
        changed = change(content)
        path.write_text(json.dumps(content if changed is None else changed))

    return apply


def processor(**more: Any) -> Callable[[Path], None]:
    return rewrite("processor_config.json", lambda config: config.update(more))


def drop_letters(config: dict[str, Any]) -> None:
    config["model"].update(vocab={"A": 0}, merges=[])


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (lambda f: (f / "tokenizer.json").unlink(), r"^no FAST vocabulary: .*tokenizer.json does not exist$"),
        (lambda f: (f / "processor_config.json").unlink(), r"processor_config.json does not exist$"),
        (lambda f: (f / "tokenizer.json").write_text('{"mod'), r"^cannot read .*tokenizer.json: "),
        (lambda f: (f / "tokenizer.json").write_bytes(b"\xff\xfe"), r"^cannot read .*tokenizer.json: "),
        (lambda f: (f / "processor_config.json").write_text("[]"), r"a JSON object is needed, not list$"),
        (
            lambda f: (f / "processor_config.json").write_text("{}"),
            r"processor_config.json has no 'scale', 'min_token', 'vocab_size': without that its codes have "
            r"no meaning; give the whole file$",
        ),
        (processor(min_token=None), r"processor_config.json has no 'min_token': "),
        (processor(processor_class="Other"), r"is of another processor: 'Other', not 'UniversalAction"),
        (processor(scale="10"), r"'scale' must be a number above 0, not '10'$"),
        (processor(min_token=1.5), r"'min_token' must be a whole number, not 1.5$"),
        (processor(scale=20), r"is for scale=20, not 10: give scale=20$"),
        (processor(vocab_size=512), r"is for vocabulary=512, not 256: give vocabulary=512$"),
        (processor(time_horizon=50), r"is for horizon=50, not 8: give horizon=50$"),
        (processor(action_dim=7), r"is for dim=7, not 3: give dim=7$"),
        (processor(min_token=90), r"the bounds of the coefficients hold none from 90 on$"),
        (processor(min_token=-9000), r"two bytes spell 2048 coefficients, not all from -9000 to 28"),
        (
            rewrite("tokenizer.json", lambda c: c["model"].update(type="Unigram")),
            r"model.type is \"Unigram\"",
        ),
        (
            rewrite("tokenizer.json", lambda c: c.update(decoder=None)),
            r"decoder.type is null, not \"ByteLevel",
        ),
        (
            rewrite("tokenizer.json", lambda c: c["model"].update(vocab=3)),
            r"not a byte-level BPE vocabulary: ",
        ),
        (rewrite("tokenizer.json", drop_letters), r"the vocabulary spells no coefficient from -?\d+ on$"),
        (
            rewrite("tokenizer.json", lambda c: c["model"]["vocab"].update(extra=400)),
            r"the vocabulary holds 401 codes: give vocabulary=401 or more$",
        ),
    ],
)
def test_damaged_or_other_files_give_one_line(
    narrow: tuple[Reference, FastTokenizer, Path],
    tmp_path: Path,
    damage: Callable[[Path], object],
    line: str,
) -> None:
    reference, _, folder = narrow
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    damage(copy)
    with pytest.raises(BadInput, match=line) as caught:
        FastTokenizer(config_of(copy, reference), H, D).encode(np.zeros((H, D)))
    assert "\n" not in str(caught.value)


def test_a_shape_that_no_memory_holds_is_one_line() -> None:
    with pytest.raises(BadInput, match=r"^horizon=1000000: at most 1024 is possible$"):
        FastTokenizer(FastConfig(), 1_000_000, D)
    with pytest.raises(BadInput, match=r"^vocabulary=1000000000: at most 65536 is possible$"):
        FastConfig(vocabulary=10**9)


def test_what_was_not_fitted_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="was not fitted"):
        FastTokenizer(FastConfig(), H, D).save_published(tmp_path)
