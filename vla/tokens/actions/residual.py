"""Residual vector quantisation of the whole chunk (VQ-BeT, Lee et al. 2024; FASTer): the chunk, as one
vector, is the sum of one vector out of each level's book, and each level codes what those before it left.

The order means something (OAT): the codes of the first levels alone decode to a coarser chunk, and for
every chunk, seen in training or not, the squared error of what decodes never grows with a level. That is so
because code 0 of every level is the zero vector and encoding is greedy; `codebooks` says how the books are
learnt. Distances are those of the normalised numbers, all alike.

Shapes: N chunks, H horizon, D joints, K = H * D, L levels, V codes, n = L or fewer codes of a chunk.
"""

import copy
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from vla.configuration.tokenizer import ResidualConfig
from vla.errors import BadInput
from vla.notice import say_once
from vla.tokens.actions import codebooks
from vla.tokens.actions.arrays import pack, unpack
from vla.tokens.actions.base import ActionTokenizer, Codes, Floats, Ids
from vla.tokens.actions.bins import grid_codes

__all__ = ["ResidualTokenizer"]


class ResidualTokenizer(ActionTokenizer):
    """One code a level."""

    kind = "residual"
    prefixes_decode = True

    def __init__(self, config: ResidualConfig, horizon: int, dim: int) -> None:
        super().__init__(config, horizon, dim)
        self.levels, self.codes = config.levels, config.codes
        self._books_LVK: npt.NDArray[np.float32] | None = None

    @property
    def fitted(self) -> bool:
        """Whether there are books."""
        return self._books_LVK is not None

    @property
    def books(self) -> npt.NDArray[np.float32]:
        """[L, V, H * D]; vector 0 of each is zero."""
        self._must_be_fitted()
        assert self._books_LVK is not None
        return self._books_LVK

    def _fit(self, chunks_NHD: npt.NDArray[np.float64], seed: int) -> Self:
        fitted = copy.copy(self)
        fitted._books_LVK = codebooks.learn(_flat(chunks_NHD), self.levels, self.codes, seed)
        dead = int((~fitted.books.any(axis=(1, 2))).sum())
        if dead:
            line = (
                f"warning: {dead} of {self.levels} levels of the residual codes learned nothing: "
                f"{len(chunks_NHD)} chunks are too few for {self.codes} codes a level, the first ones know "
                "each by heart; fit to more data, or give fewer codes or levels"
            )
            say_once(line, line)
        return fitted

    def _encode(self, chunks_NHD: npt.NDArray[np.float64]) -> Codes:
        # In double precision a chunk has the same codes alone and in a batch.
        return grid_codes(codebooks.encode(self.books.astype(np.float64), _flat(chunks_NHD)))

    def _decode(self, ids_n: Ids) -> Floats:
        vectors_nK = self.books[np.arange(len(ids_n)), ids_n].astype(np.float64)
        return vectors_nK.sum(axis=0).reshape(self.horizon, self.dim)

    def spread(self, ids: Ids, probabilities: Floats) -> Floats:
        """See ActionTokenizer. The levels count as independent of each other; fewer than all may be given."""
        variance_K = np.zeros(self.horizon * self.dim)
        for book_VK, weights_V in zip(self.books, probabilities, strict=False):
            mean_K = weights_V @ book_VK
            variance_K += weights_V @ (book_VK - mean_K) ** 2
        return np.sqrt(variance_K).reshape(self.horizon, self.dim)

    def _data(self) -> dict[str, Any]:
        return {"books": pack(self.books)}

    def _restored(self, data: Mapping[str, Any]) -> Self:
        books = unpack(data, "books", "float32", (self.levels, self.codes, self.horizon * self.dim))
        if books[:, 0].any():
            raise BadInput("the array 'books' is damaged: the first vector of every level must be zero")
        restored = copy.copy(self)
        restored._books_LVK = books
        return restored


def _flat(chunks_NHD: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return chunks_NHD.reshape(len(chunks_NHD), -1)
