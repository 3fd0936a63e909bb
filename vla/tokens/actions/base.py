"""What every action tokenizer does: chunks of normalised actions to discrete codes and back.

Shapes: N chunks, H horizon, D joints, n codes of a chunk, V codes in all, S states of a grammar.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from vla.checks import at_least, at_most
from vla.configuration.tokenizer import Layout, TokenizerConfig
from vla.errors import BadInput, UndecodableChunk

__all__ = ["ActionTokenizer", "Codes", "Grammar"]

Floats = npt.NDArray[np.floating]
Ids = npt.NDArray[np.int64]

_ROUNDING = 1e-5
"""How far a number may lie past -1 or 1: what float32 arithmetic of a normalisation leaves."""
_MOST = 1024
"""Steps of a chunk, and joints: more are a damaged file or a slip, whose tables would fill the memory."""


@dataclass(frozen=True)
class Codes:
    """Of several chunks. ids: int64 [N, longest], 0 past each one's end. lengths: int64 [N]."""

    ids: Ids
    lengths: Ids

    def __len__(self) -> int:
        return len(self.lengths)

    def row(self, index: int) -> Ids:
        """The codes of one chunk, int64 [n]."""
        return self.ids[index, : self.lengths[index]]


@dataclass(frozen=True)
class Grammar:
    """Which codes may follow: an automaton that accepts what decodes, and nothing else.

    next: int32 [S, V], the state after each code, -1 where it may not stand. A sequence begins in `start` and
    is whole when it reaches `end`, from where nothing follows; from every other state that can be reached
    something may follow, and `end` is reached in time.
    """

    next: npt.NDArray[np.int32]
    start: int
    end: int

    def accepts(self, ids: npt.NDArray[np.integer]) -> bool:
        """Whether these codes are a whole sequence."""
        state = self.start
        for code in ids:
            if state == self.end or not 0 <= code < self.next.shape[1]:
                return False
            state = int(self.next[state, code])
            if state < 0:
                return False
        return state == self.end


class ActionTokenizer(ABC):
    """Codes count from 0 to vocab_size - 1; the vocabulary places them in the one id space.

    Immutable: `fit` returns another one. A kind sets the class variables and gives `_fit`, `_encode`,
    `_decode`, `spread`, `_data` and `_restored`.
    """

    kind: ClassVar[str]
    learned: ClassVar[bool] = True
    """Whether it must be fitted (or loaded) before it can be used."""
    prefixes_decode: ClassVar[bool] = False
    """Whether the first codes alone decode, to a coarser chunk."""

    def __init__(self, config: TokenizerConfig, horizon: int, dim: int) -> None:
        self.config, self.horizon, self.dim = config, horizon, dim
        at_least(self, 1, "horizon", "dim")
        at_most(self, _MOST, "horizon", "dim")
        self.layout: Layout = config.layout(horizon, dim)

    # -- the protocol ----------------------------------------------------------------------------------

    @property
    def vocab_size(self) -> int:
        """Number of codes."""
        return self.layout.codes

    @property
    def length(self) -> int:
        """Codes of a chunk; where `fixed` is False, the most it can have."""
        return self.layout.length

    @property
    def fixed(self) -> bool:
        """Whether every chunk has `length` codes."""
        return self.layout.fixed

    @property
    def fitted(self) -> bool:
        """Whether it can encode and decode."""
        return not self.learned

    def fit(self, chunks: Floats, seed: int = 0) -> Self:
        """One that is fitted to chunks [N, H, D] in [-1, 1]. Raises BadInput for what `encode` refuses."""
        if seed < 0:
            raise BadInput(f"seed={seed}: a whole number from 0 is needed")
        return self._fit(self._checked(chunks, "fit"), seed)

    def encode(self, chunk: Floats) -> Ids:
        """Actions [H, D] in [-1, 1] -> codes int64 [n]. Raises BadInput for another shape, for what is not
        finite or out of range, and where nothing was fitted."""
        found = _numbers(chunk, "encode")
        if found.shape != (self.horizon, self.dim):
            raise BadInput(self._shape_error("encode", found.shape, many=""))
        return self.encode_batch(found[None]).row(0)

    def encode_batch(self, chunks: Floats) -> Codes:
        """Actions [N, H, D] -> their codes; as `encode`."""
        checked = self._checked(chunks, "encode")
        self._must_be_fitted()
        return self._encode(checked)

    def decode(self, ids: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
        """Codes [n] -> actions float32 [H, D] in [-1, 1]. Raises UndecodableChunk for any that give none."""
        self._must_be_fitted()
        try:
            codes = np.asarray(ids)
        except ValueError:
            raise UndecodableChunk(
                "codes must be whole numbers in a row, not rows of several lengths"
            ) from None
        if codes.size == 0:  # of an empty list numpy makes floats
            codes = np.zeros(0, np.int64)
        if codes.ndim != 1 or codes.dtype.kind not in "iu":
            raise UndecodableChunk(
                f"codes must be whole numbers in a row, not {codes.dtype} {list(codes.shape)}"
            )
        wrong = (codes < 0) | (codes >= self.vocab_size)
        if wrong.any():
            place = int(np.flatnonzero(wrong)[0])
            raise UndecodableChunk(
                f"{int(codes[place])} at place {place} is not an action code (0 to {self.vocab_size - 1})"
            )
        short = self.prefixes_decode and 0 < len(codes) < self.length
        if self.fixed and len(codes) != self.length and not short:
            raise UndecodableChunk(f"{len(codes)} codes; a chunk has {self.length}")
        chunk = self._decode(codes.astype(np.int64))
        return np.clip(chunk, -1.0, 1.0).astype(np.float32)

    def grammar(self) -> Grammar | None:
        """What may follow what; None where any code may stand in each of the `length` places."""
        return None

    def round_trip_error(self, chunks: Floats) -> npt.NDArray[np.float64]:
        """How far chunks [N, H, D] are from what their codes decode to: absolute, [N, H, D]. Codes that are
        learned are near for chunks like those they were fitted to, and may be far for others."""
        codes = self.encode_batch(chunks)
        back = np.stack([self.decode(codes.row(i)) for i in range(len(codes))])
        return np.asarray(np.abs(back - np.asarray(chunks, np.float64)))

    @abstractmethod
    def spread(self, ids: Ids, probabilities: Floats) -> Floats:
        """How sure the codes are, in actions: ids [n] as chosen and the distributions [n, V] they were chosen
        from -> the standard deviation [H, D] of each number, >= 0, in the units of [-1, 1]."""

    def to_dict(self) -> dict[str, Any]:
        """What was fitted, as plain JSON."""
        self._must_be_fitted()
        return self._data()

    def restored(self, data: Mapping[str, Any]) -> Self:
        """One with what another's `to_dict` gave. Raises BadInput where that does not fit this one."""
        try:
            return self._restored(data)
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            if isinstance(error, BadInput):
                raise
            raise BadInput(f"the {self.kind} tokenizer's data is damaged: {error!r}") from None

    # -- what a kind gives -----------------------------------------------------------------------------

    def _fit(self, chunks_NHD: npt.NDArray[np.float64], seed: int) -> Self:
        return self

    @abstractmethod
    def _encode(self, chunks_NHD: npt.NDArray[np.float64]) -> Codes: ...

    @abstractmethod
    def _decode(self, ids_n: Ids) -> Floats:
        """-> [H, D]; what lies past [-1, 1] is clipped by the caller."""

    def _data(self) -> dict[str, Any]:
        return {}

    def _restored(self, data: Mapping[str, Any]) -> Self:
        return self

    # -- checks at the edge ----------------------------------------------------------------------------

    def _must_be_fitted(self) -> None:
        if not self.fitted:
            raise BadInput(f"the {self.kind} tokenizer was not fitted: fit it to chunks, or load one")

    def _shape_error(self, what: str, found: tuple[int, ...], many: str = "N, ") -> str:
        return f"cannot {what} chunks of shape {list(found)}; [{many}{self.horizon}, {self.dim}] is needed"

    def _checked(self, chunks: Floats, what: str) -> npt.NDArray[np.float64]:
        found = _numbers(chunks, what)
        if found.shape[1:] != (self.horizon, self.dim) or len(found) == 0:
            raise BadInput(self._shape_error(what, np.shape(chunks)))
        bad = ~np.isfinite(found)
        if bad.any():
            n, step, joint = (int(i) for i in np.argwhere(bad)[0])
            raise BadInput(
                f"cannot {what} an action that is not finite: {found[n, step, joint]} in chunk {n}, "
                f"step {step}, joint {joint}"
            )
        bad = np.abs(found) > 1.0 + _ROUNDING
        if bad.any():
            n, step, joint = (int(i) for i in np.argwhere(bad)[0])
            raise BadInput(
                f"cannot {what} an action out of range: {found[n, step, joint]:.6g} in chunk {n}, "
                f"step {step}, joint {joint}; normalised actions lie in -1 to 1"
            )
        return np.clip(found, -1.0, 1.0)


def _numbers(chunks: Floats, what: str) -> npt.NDArray[np.float64]:
    try:
        return np.asarray(chunks, dtype=np.float64)
    except (TypeError, ValueError):
        raise BadInput(f"cannot {what} chunks that are no array of numbers") from None
