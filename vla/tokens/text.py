"""A word-level tokenizer that the project trains on its own sentences."""

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from vla.errors import BadInput, did_you_mean

__all__ = ["TextTokenizer"]


def _tokenizer(vocabulary: dict[str, int]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unknown>"))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex("['’]"), ""),
            normalizers.Replace(Regex(r"[^\p{L}\p{N}]+"), " "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


class TextTokenizer:
    """Words in lower case without punctuation <-> ids 0..size-1 (the text range of the vocabulary)."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.words: dict[str, int] = tokenizer.get_vocab()
        self._cache: dict[tuple[str, int], tuple[int, ...]] = {}

    @classmethod
    def train(cls, sentences: Iterable[str]) -> "TextTokenizer":
        """Learn every word of the sentences (single words do too); ids in alphabetical order."""
        probe = _tokenizer({})
        words: set[str] = set()
        for sentence in sentences:
            words.update(_split(probe, sentence))
        if not words:
            raise BadInput("cannot train a tokenizer: the sentences hold no words")
        return cls(_tokenizer({word: i for i, word in enumerate(sorted(words))}))

    @property
    def size(self) -> int:
        """Number of known words."""
        return len(self.words)

    def ids(self, sentence: str, max_length: int) -> tuple[int, ...]:
        """Word ids of one sentence. Raises BadInput if it is empty, too long or holds an unknown word."""
        key = (sentence, max_length)
        if key not in self._cache:
            if len(self._cache) > 65536:
                self._cache.clear()
            self._cache[key] = self._ids(sentence, max_length)
        return self._cache[key]

    def _ids(self, sentence: str, max_length: int) -> tuple[int, ...]:
        words = _split(self._tokenizer, sentence)
        if not words:
            raise BadInput("the sentence is empty: say what the robot should do")
        if len(words) > max_length:
            raise BadInput(f"the sentence has {len(words)} words, the model reads at most {max_length}")
        for word in words:
            if word not in self.words:
                raise BadInput(f"unknown word '{word}'{did_you_mean(word, self.words)} in: {sentence!r}")
        return tuple(self.words[word] for word in words)

    def encode(
        self, sentence: str, max_length: int, pad: int = 0
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """(ids int64 [max_length] filled up with `pad`, mask bool [max_length], True for words)."""
        found = self.ids(sentence, max_length)
        ids = np.full(max_length, pad, dtype=np.int64)
        ids[: len(found)] = found
        return ids, np.arange(max_length) < len(found)

    def decode(self, ids: Iterable[int]) -> str:
        """The words of ids; ids outside the text range are left out."""
        names = {i: word for word, i in self.words.items()}
        return " ".join(names[int(i)] for i in ids if int(i) in names)

    def save(self, path: Path) -> None:
        """Write tokenizer.json, aside and then renamed."""
        aside = path.with_name(path.name + ".part")
        self._tokenizer.save(str(aside))
        os.replace(aside, path)

    @classmethod
    def load(cls, path: Path) -> "TextTokenizer":
        """Read tokenizer.json. Raises BadInput if it is missing, damaged or not a word-level tokenizer."""
        if not path.is_file():
            raise BadInput(f"no tokenizer: {path} does not exist")
        try:
            kind = json.loads(path.read_text(encoding="utf-8"))["model"]["type"]
            tokenizer = Tokenizer.from_file(str(path))
        except (KeyError, TypeError):
            raise BadInput(f"{path} is not a tokenizer: it has no 'model' with a 'type'") from None
        except Exception as error:  # tokenizers raises bare Exception
            raise BadInput(f"cannot read the tokenizer {path}: {str(error).splitlines()[0]}") from None
        if kind != "WordLevel":
            raise BadInput(f"the tokenizer {path} is a {kind} tokenizer, not a WordLevel one")
        if tokenizer.normalizer is None:
            raise BadInput(f"the tokenizer {path} has no 'normalizer': it was not made by this project")
        if sorted(tokenizer.get_vocab().values()) != list(range(tokenizer.get_vocab_size())):
            raise BadInput(f"the tokenizer {path} does not number its words from 0 without gaps")
        return cls(tokenizer)


def _split(tokenizer: Tokenizer, sentence: str) -> list[str]:
    return re.findall(r"\S+", tokenizer.normalizer.normalize_str(sentence))
