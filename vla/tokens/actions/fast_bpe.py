"""Byte-pair codes of strings: training them, reading them, and the bytes that each code spells.

A byte-level vocabulary writes each byte as a printable sign: printable bytes of Latin-1 as themselves, the
others, in order, as U+0100 and on (GPT-2, Radford et al. 2019). A string is its UTF-8 bytes; pairs of signs
that stand together often are merged into one code.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from vla.errors import BadInput

__all__ = ["known_bytes", "pieces", "tokenizer_of", "train"]


def _signs() -> list[str]:
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


_SIGNS = _signs()
_BYTES = {sign: byte for byte, sign in enumerate(_SIGNS)}


def train(texts: Iterable[str], alphabet: Iterable[int], vocabulary: int) -> Tokenizer:
    """At most `vocabulary` codes, a single byte of `alphabet` or several each.

    Unlike the published fit, all bytes that can occur have a code, and a text is never split before merging:
    GPT-2's splitting rule tells letters from digits and signs, which means nothing here and costs up to a
    third more codes.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        initial_alphabet=[_SIGNS[byte] for byte in alphabet],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def tokenizer_of(content: Any, place: str) -> Tokenizer:
    """From the content of a ``tokenizer.json``. Raises BadInput where it is not a byte-level BPE that spells
    exactly what it is given."""
    try:
        wrong = _unlike(content)
        tokenizer = None if wrong else Tokenizer.from_str(json.dumps(content))
    except Exception as error:  # the library raises bare Exceptions
        wrong = str(error).splitlines()[0] if isinstance(error, Exception) and str(error) else repr(error)
        tokenizer = None
    if tokenizer is None:
        raise BadInput(f"{place} is not a byte-level BPE vocabulary: {wrong}")
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _unlike(content: Any) -> str:
    """What makes it another tokenizer than the published processor's; empty where nothing does."""
    model, before, after = (content.get(key) or {} for key in ("model", "pre_tokenizer", "decoder"))
    wanted: Sequence[tuple[str, Any, Any]] = (
        ("model.type", model.get("type", "BPE"), "BPE"),
        ("model.dropout", model.get("dropout") or None, None),
        ("model.unk_token", model.get("unk_token"), None),
        ("model.continuing_subword_prefix", model.get("continuing_subword_prefix") or None, None),
        ("model.end_of_word_suffix", model.get("end_of_word_suffix") or None, None),
        ("model.byte_fallback", model.get("byte_fallback", False), False),
        ("normalizer", content.get("normalizer"), None),
        ("pre_tokenizer.type", before.get("type"), "ByteLevel"),
        ("pre_tokenizer.add_prefix_space", before.get("add_prefix_space", True), False),
        ("decoder.type", after.get("type"), "ByteLevel"),
        ("added_tokens", content.get("added_tokens") or [], []),
    )
    for name, found, right in wanted:
        if found != right:
            return f"{name} is {json.dumps(found)}, not {json.dumps(right)}"
    return ""


def known_bytes(tokenizer: Tokenizer) -> set[int]:
    """The bytes that encoding can spell; the library drops the others."""
    vocabulary = tokenizer.get_vocab()
    return {byte for byte, sign in enumerate(_SIGNS) if sign in vocabulary}


def pieces(tokenizer: Tokenizer, count: int) -> list[bytes | None]:
    """The bytes that the codes 0 to count - 1 spell; None for one that is in no use.

    A code with a sign that stands for no byte (the published fit makes some) spells its own UTF-8 bytes, as
    the published decoder has it.
    """
    spelled: list[bytes | None] = [None] * count
    for token, code in tokenizer.get_vocab().items():
        known = all(sign in _BYTES for sign in token)
        spelled[code] = bytes(_BYTES[sign] for sign in token) if known else token.encode()
    return spelled
