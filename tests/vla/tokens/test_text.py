from pathlib import Path

import pytest

from vla.errors import BadInput
from vla.tokens.text import TextTokenizer

SENTENCES = ["Put the red cube in the blue bowl.", "touch, please, the robot's left ball!"]


@pytest.fixture
def tokenizer() -> TextTokenizer:
    return TextTokenizer.train(SENTENCES)


def test_ids_do_not_depend_on_the_order_of_sentences(tokenizer: TextTokenizer) -> None:
    assert TextTokenizer.train(SENTENCES[::-1]).words == tokenizer.words
    assert sorted(tokenizer.words.values()) == list(range(tokenizer.size))


def test_round_trip_in_lower_case_without_punctuation(tokenizer: TextTokenizer) -> None:
    ids, mask = tokenizer.encode("  PUT the   red-cube: in the blue bowl?! ", 12, pad=99)
    assert tokenizer.decode(ids) == "put the red cube in the blue bowl"
    assert mask.sum() == 8
    assert (ids[~mask] == 99).all()
    assert tokenizer.encode("touch the robot’s ball", 12)[1].sum() == 4


@pytest.mark.parametrize(
    ("sentence", "line"),
    [
        ("", "empty"),
        (" .,! ", "empty"),
        ("put the red cub in the bowl", "unknown word 'cub' (did you mean 'cube'?)"),
        ("the " * 13, "13 words, the model reads at most 12"),
    ],
)
def test_bad_sentences(tokenizer: TextTokenizer, sentence: str, line: str) -> None:
    with pytest.raises(BadInput) as error:
        tokenizer.encode(sentence, 12)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_saved_and_loaded(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    again = TextTokenizer.load(path)
    assert again.words == tokenizer.words
    assert again.ids(SENTENCES[1], 20) == tokenizer.ids(SENTENCES[1], 20)
    assert [p.name for p in tmp_path.iterdir()] == ["tokenizer.json"]


def test_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    with pytest.raises(BadInput, match="does not exist"):
        TextTokenizer.load(path)
    path.write_text('{"model": {"type": "WordLevel"')
    with pytest.raises(BadInput, match="cannot read the tokenizer"):
        TextTokenizer.load(path)
    with pytest.raises(BadInput, match="no words"):
        TextTokenizer.train(["...", ""])
