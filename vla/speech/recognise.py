"""A third party's ear, to judge speech by: pocketsphinx, whose model of American English is in its package.

It knows only the words and the word pairs of the sentences that it is given, as a small language model. A
grammar with every word after every word (JSGF) was 100 times slower and no better.
"""

import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vla.errors import BadInput
from vla.optional import need
from vla.speech.files import to_int16
from vla.speech.language_model import arpa

__all__ = ["Recogniser", "open_decoder"]

QUIET = np.zeros(2400, np.float32)
"""What is heard before and after: engines begin at once, and the recogniser misses what does."""


def open_decoder(sentences: Iterable[str], **options: Any) -> Any:
    """A pocketsphinx decoder for such sentences; one that stands there often is likely.

    Raises BadInput for a word that it cannot pronounce."""
    sphinx = need("pocketsphinx", "speech", "recognising speech")
    kept = [" ".join(sentence.lower().split()) for sentence in sentences]
    if not any(kept):
        raise BadInput("a recogniser needs sentences to expect, there are none")
    words = list(dict.fromkeys(word for sentence in kept for word in sentence.split()))
    known = _dictionary(Path(sphinx.get_model_path("en-us/cmudict-en-us.dict")))
    unknown = [word for word in words if word not in known]
    if unknown:
        raise BadInput(
            f"pocketsphinx does not know how '{unknown[0]}' is pronounced; leave its sentences out"
        )
    with tempfile.TemporaryDirectory(prefix="speech-") as folder:
        model, dictionary = Path(folder) / "sentences.arpa", Path(folder) / "words.dict"
        model.write_text(arpa(kept), encoding="utf-8")
        # Of the words alone: its whole dictionary takes seconds to load.
        dictionary.write_text("".join(line for word in words for line in known[word]), encoding="utf-8")
        return sphinx.Decoder(lm=str(model), dict=str(dictionary), loglevel="FATAL", **options)


@cache
def _dictionary(file: Path) -> dict[str, list[str]]:
    """Word -> its lines, one for each way to say it."""
    found: dict[str, list[str]] = {}
    for line in file.read_text(encoding="utf-8").splitlines(keepends=True):
        found.setdefault(line.split(maxsplit=1)[0].split("(")[0], []).append(line)
    return found


class Recogniser:
    """sentences: what may be said. Each helps those like it: give many, not only the true ones."""

    def __init__(self, sentences: Iterable[str]) -> None:
        self._decoder = open_decoder(sentences)

    def __call__(self, sound: npt.NDArray[np.floating]) -> list[str]:
        """float [n] at 16 kHz -> its words, none where nothing was understood."""
        decoder = self._decoder
        decoder.start_utt()
        padded = np.concatenate([QUIET, np.asarray(sound, np.float32), QUIET])
        decoder.process_raw(to_int16(padded).tobytes(), no_search=False, full_utt=True)
        decoder.end_utt()
        found = decoder.hyp()
        return found.hypstr.split() if found else []
