"""A Hugging Face tokenizer with the methods of the project's own: a pretrained language model's words."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vla.errors import BadInput
from vla.optional import need

__all__ = ["PretrainedTokenizer"]


class PretrainedTokenizer:
    """Text <-> ids 0 .. size-1 of a language model."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._size = max(tokenizer.get_vocab().values()) + 1
        self._cache: dict[tuple[str, int], tuple[int, ...]] = {}

    @property
    def size(self) -> int:
        """One more than the largest id it can give, those of its special and added tokens included."""
        return self._size

    @property
    def bos(self) -> int | None:
        """The id that starts a text, for the families that have one."""
        return self._tokenizer.bos_token_id

    @property
    def eos(self) -> int | None:
        """The id that ends a text, for the families that have one."""
        return self._tokenizer.eos_token_id

    def ids(self, sentence: str, max_length: int) -> tuple[int, ...]:
        """Ids of one text, without special tokens around it. Raises BadInput if it is empty, too long or
        holds what the tokenizer cannot write."""
        key = (sentence, max_length)
        if key not in self._cache:
            if len(self._cache) > 65536:
                self._cache.clear()
            self._cache[key] = self._ids(sentence, max_length)
        return self._cache[key]

    def _ids(self, sentence: str, max_length: int) -> tuple[int, ...]:
        ids = tuple(self._tokenizer.encode(sentence, add_special_tokens=False))
        if not sentence.strip() or not ids:
            raise BadInput("the sentence is empty: say what the robot should do")
        if len(ids) > max_length:
            raise BadInput(
                f"the text has {len(ids)} tokens, the model reads at most {max_length} (text.max_length): "
                f"{sentence!r}"
            )
        unknown = self._tokenizer.unk_token_id
        if unknown in ids and self._tokenizer.unk_token not in sentence:
            raise BadInput(f"the text holds words or signs that the tokenizer does not know: {sentence!r}")
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, without special tokens; ids past its own are left out."""
        known = [int(i) for i in ids if 0 <= int(i) < self._size]
        return self._tokenizer.decode(known, skip_special_tokens=True).strip()

    def must_fit(self, rows: int, weights: str) -> None:
        """Raise BadInput if it gives ids for which the language model has no embedding.

        rows: of the embedding. weights: where the model is from, for the message. (Fewer tokens than rows are
        usual: embeddings are padded.)
        """
        if self._size > rows:
            raise BadInput(
                f"the tokenizer does not match the weights: it has {self._size} tokens, the embedding of "
                f"{weights} {rows} rows; give text.tokenizer the tokenizer that they were trained with"
            )

    def save(self, path: Path) -> None:
        """Write its folder."""
        self._tokenizer.save_pretrained(str(path))

    @classmethod
    def load(cls, path: Path | str) -> "PretrainedTokenizer":
        """From a folder or of a hub name. Raises BadInput where there is none that can be read."""
        transformers = need("transformers", "transformers", "a pretrained tokenizer")
        folder = Path(path)
        if not folder.is_dir() and (folder.exists() or folder.is_absolute() or len(folder.parts) > 2):
            raise BadInput(f"no tokenizer: there is no folder {path}")
        names = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "vocab.txt")
        if folder.is_dir() and not any((folder / name).is_file() for name in names):
            raise BadInput(f"no tokenizer: {path} holds no tokenizer.json")
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(str(path), trust_remote_code=False)
        except Exception as error:  # tokenizers raises bare Exception
            reason = " ".join(str(error).split())[:200]
            raise BadInput(f"cannot read the tokenizer {path}: {reason}") from None
        if not tokenizer.get_vocab():
            raise BadInput(f"the tokenizer {path} knows no words")
        return cls(tokenizer)
