"""One fitted FAST vocabulary: whole-numbered coefficients to codes and back.

Legend: N chunks, P coefficients of a chunk (lowest frequency of all joints first), n codes of a chunk, V
codes, K alternatives at a place, M coefficients that one chosen code touches.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from vla.errors import BadInput, UndecodableChunk
from vla.tokens.actions.base import Codes, Floats, Grammar, Ids
from vla.tokens.actions.fast_bpe import known_bytes, pieces
from vla.tokens.actions.fast_grammar import FIRST_OF_THREE, Spelled, first_bytes, grammar_of

__all__ = ["FastCodes"]

_ALTERNATIVES = 32
"""How many of the likeliest codes at a place count in `variance`."""


@dataclass(frozen=True, eq=False)
class FastCodes:
    """A coefficient c is the character number c - origin; least_P <= c <= greatest_P, int64 [P].

    Raises BadInput where a place has no coefficient that can be spelled, or a character needs three bytes.
    """

    tokenizer: Tokenizer
    vocabulary: int
    origin: int
    least_P: Ids
    greatest_P: Ids

    def __post_init__(self) -> None:
        found = max(self.tokenizer.get_vocab().values(), default=-1) + 1
        if found > self.vocabulary:
            raise BadInput(f"the vocabulary holds {found} codes: give vocabulary={found} or more")
        most = self.origin + FIRST_OF_THREE - 1
        if int(self.greatest_P.max()) > most:
            raise BadInput(
                f"two bytes spell {FIRST_OF_THREE} coefficients, not all from {self.origin} to "
                f"{int(self.greatest_P.max())}: give a smaller scale"
            )
        if (self.least_P > self.greatest_P).any() or (self.least_P < self.origin).any():
            raise BadInput(f"the bounds of the coefficients hold none from {self.origin} on")

    @classmethod
    def narrowed(
        cls, tokenizer: Tokenizer, vocabulary: int, origin: int, least_P: Ids, greatest_P: Ids
    ) -> "FastCodes":
        """With bounds drawn in to coefficients that have a spelling."""
        wide = cls(tokenizer, vocabulary, origin, np.maximum(least_P, origin), greatest_P)
        spelled = wide.spellable
        place = np.searchsorted(spelled, wide.least_P)
        if len(spelled) == 0 or place.max() >= len(spelled):
            raise BadInput(f"the vocabulary spells no coefficient from {int(wide.least_P.max())} on")
        above = spelled[place]
        below = spelled[np.searchsorted(spelled, wide.greatest_P, side="right") - 1]
        return cls(tokenizer, vocabulary, origin, above, below)

    @cached_property
    def pieces(self) -> list[bytes | None]:
        """The bytes of each code, [V]."""
        return pieces(self.tokenizer, self.vocabulary)

    @cached_property
    def spellable(self) -> Ids:
        """The coefficients whose bytes all have a code, ascending; from the least to the greatest bound."""
        known = known_bytes(self.tokenizer)
        values = range(int(self.least_P.min()), int(self.greatest_P.max()) + 1)
        there = [value for value in values if known.issuperset(chr(value - self.origin).encode())]
        return np.array(there, np.int64)

    @cached_property
    def _nearest(self) -> Ids:
        """The nearest coefficient that has a spelling, for each from the least bound on."""
        values = np.arange(int(self.least_P.min()), int(self.greatest_P.max()) + 1)
        middles = (self.spellable[1:] + self.spellable[:-1]) / 2
        return self.spellable[np.searchsorted(middles, values)]

    @property
    def _low(self) -> Ids:
        """The bounds as characters."""
        return self.least_P - self.origin

    @property
    def _high(self) -> Ids:
        return self.greatest_P - self.origin

    @cached_property
    def _spelled(self) -> Spelled:
        return Spelled.of(self.pieces)

    @cached_property
    def grammar(self) -> Grammar:
        """What may follow what."""
        return grammar_of(self._spelled, self._low, self._high)

    def encode(self, coefficients_NP: npt.NDArray[np.floating]) -> Codes:
        """Whole numbers [N, P], moved to the nearest within the bounds that have a spelling."""
        within = np.clip(coefficients_NP, self.least_P, self.greatest_P).astype(np.int64)
        within = self._nearest[within - int(self.least_P.min())]
        signs = (within - self.origin).astype("<u4")
        texts = [row.tobytes().decode("utf-32-le") for row in signs]
        found = [code.ids for code in self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
        lengths = np.array([len(ids) for ids in found], np.int64)
        ids = np.zeros((len(found), int(lengths.max())), np.int64)
        ids[np.arange(ids.shape[1]) < lengths[:, None]] = np.concatenate(found)
        return Codes(ids, lengths)

    def decode(self, ids_n: Ids) -> Ids:
        """-> coefficients int64 [P]. Raises UndecodableChunk unless the codes spell just that many, all
        within their bounds."""
        spelled = [self.pieces[code] for code in ids_n]
        if None in spelled:
            place = spelled.index(None)
            raise UndecodableChunk(f"code {int(ids_n[place])} at place {place} is in no use")
        text = b"".join(piece for piece in spelled if piece is not None)
        try:
            signs = text.decode()
        except UnicodeDecodeError as error:
            whole = len(text[: error.start].decode())
            raise UndecodableChunk(
                f"the codes spell {whole} coefficients and then bytes that spell none; a chunk has "
                f"{len(self.least_P)}"
            ) from None
        if len(signs) != len(self.least_P):
            raise UndecodableChunk(
                f"the codes spell {len(signs)} coefficients; a chunk has {len(self.least_P)}"
            )
        found = np.array([ord(sign) for sign in signs], np.int64) + self.origin
        outside = (found < self.least_P) | (found > self.greatest_P)
        if outside.any():
            place = int(np.flatnonzero(outside)[0])
            raise UndecodableChunk(
                f"coefficient {place} is {found[place]}; it lies between {self.least_P[place]} and "
                f"{self.greatest_P[place]}"
            )
        return found

    def variance(self, ids: Ids, probabilities: Floats) -> Floats:
        """Of each coefficient [P], from the distributions [n, V] that the codes [n] were chosen from.

        At each place the likeliest codes that may stand there, the chosen one among them or not, spell other
        coefficients where the chosen one has its own; only those that reach a coefficient count for it. What
        a different length would move further on is not followed.
        """
        next_SV, state = self.grammar.next, self.grammar.start
        states = np.zeros(len(ids), np.int64)
        for i, code in enumerate(ids):
            states[i] = state
            state = int(next_SV[state, code])
            if state < 0:
                break
        if state != self.grammar.end:
            self.decode(ids)  # raises, and says why
        width = self.grammar.end // len(self.least_P)
        first_n = states // width  # the coefficient that each code begins with, or goes on with
        sure = np.where(next_SV[states] >= 0, probabilities, 0.0)
        best_nK = np.argpartition(-sure, min(_ALTERNATIVES, sure.shape[1] - 1), axis=1)[:, :_ALTERNATIVES]
        weight_nK = np.take_along_axis(sure, best_nK, axis=1)

        spelled, covers_V = self._spelled, self._spelled.whole + (self._spelled.tail > 0)
        span_n = covers_V[ids]
        step = np.arange(int(span_n.max()))
        place_nM = np.minimum(first_n[:, None] + step, len(self.least_P) - 1)
        values = spelled.values[:, : len(step)][best_nK].astype(np.float64)
        pending = np.array([0, *first_bytes(self._low, self._high)])[states % width] << 6
        values[:, :, 0] += pending[:, None]
        last = (spelled.whole[best_nK][..., None] == step) & (spelled.tail[best_nK] > 0)[..., None]
        values += 32.0 * last  # the middle of what its first byte may become
        values = np.clip(values, self._low[place_nM][:, None], self._high[place_nM][:, None])

        weight = weight_nK[..., None] * (step < covers_V[best_nK][..., None])
        weight /= np.maximum(weight.sum(1, keepdims=True), 1e-12)
        mean = (weight * values).sum(1, keepdims=True)
        variance_nM = (weight * (values - mean) ** 2).sum(1) * (step < span_n[:, None])
        total_P = np.zeros(len(self.least_P))
        np.add.at(total_P, place_nM, variance_nM)
        return total_P
