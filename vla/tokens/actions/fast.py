"""FAST (Pertsch et al. 2025): a chunk's cosine transform, rounded, as byte-pair codes.

A chunk [H, D] becomes, joint by joint, H coefficients of the orthonormal DCT-II along time; c = round(scale *
coefficient); the c stand lowest frequency first, all joints' of one frequency together; each is the character
number c - min_token of a string, whose UTF-8 bytes are merged to codes. The transform keeps lengths, so the
root of the mean squared error of a chunk is at most 0.5 / scale (Parseval), as long as no c is clipped.

The published decoder answers a sequence that does not spell H * D coefficients with a chunk of zeros. Here
every sequence decodes to what it spells or raises UndecodableChunk, and `grammar` tells which do.

Legend: N chunks, H horizon, D joints, k frequency, P = H * D coefficients.
"""

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from vla.configuration.tokenizer import FastConfig
from vla.errors import BadInput
from vla.tokens.actions.arrays import pack, unpack
from vla.tokens.actions.base import ActionTokenizer, Codes, Floats, Grammar, Ids
from vla.tokens.actions.fast_bpe import tokenizer_of, train
from vla.tokens.actions.fast_codes import FastCodes
from vla.tokens.actions.fast_files import Published, read_published, write_published

__all__ = ["FastTokenizer"]

_MOST = 4_000_000
"""Coefficients that the pairs are learnt from; of more chunks, so many are drawn."""


class FastTokenizer(ActionTokenizer):
    """A variable number of codes a chunk, at most two a coefficient.

    Bounds: each coefficient lies between the least and the greatest that the fitted chunks had there, and a
    tenth of that width and a fifth of `scale` beyond on either side, never past what a chunk in [-1, 1] can
    have. Encoding moves a coefficient that lies outside to the bound, which then adds its distance d to the
    error: the root mean square over the chunk is at most sqrt(0.25 + mean of d (1 + d)) / scale. Of fitted
    chunks none is moved. A published vocabulary has only the bound of what a chunk in [-1, 1] can have, and
    its ``min_token``, below which the published processor clips too; a coefficient that it cannot spell
    becomes the nearest one that it can (the published processor drops it).
    """

    kind = "fast"
    config: FastConfig

    def __init__(self, config: FastConfig, horizon: int, dim: int) -> None:
        super().__init__(config, horizon, dim)
        self._fitted: FastCodes | None = None
        frequency, time = np.arange(horizon)[:, None], np.arange(horizon) + 0.5
        self._basis_kt = np.sqrt(2 / horizon) * np.cos(np.pi / horizon * frequency * time)
        self._basis_kt[0] /= np.sqrt(2)

    @property
    def fitted(self) -> bool:
        """Whether it can encode and decode; the published folder is read when it is first needed."""
        return self._fitted is not None or bool(self.config.path)

    def grammar(self) -> Grammar:
        """Accepts just what decodes, in at most `length` codes. Built once; see `fast_grammar`."""
        return self._codes.grammar

    def spread(self, ids: Ids, probabilities: Floats) -> Floats:
        """See ActionTokenizer. The coefficients' variances (`FastCodes.variance`), taken as independent, go
        through the basis: var_t = sum over k of basis_kt ** 2 * var_k / scale ** 2."""
        variance_kD = self._codes.variance(ids, probabilities).reshape(self.horizon, self.dim)
        return np.sqrt((self._basis_kt**2).T @ variance_kD) / self.config.scale

    def save_published(self, folder: str | Path) -> None:
        """Write the vocabulary as the published processor's files, which gives the same codes and actions for
        chunks whose coefficients lie within the bounds. The bounds have no place in that layout."""
        self._must_be_fitted()
        codes, config = self._codes, self.config
        write_published(
            Path(folder),
            Published(codes.tokenizer, config.scale, config.vocabulary, codes.origin, self.horizon, self.dim),
        )

    # -- what a kind gives -----------------------------------------------------------------------------

    def _fit(self, chunks_NHD: npt.NDArray[np.float64], seed: int) -> Self:
        if self.config.path:
            return self._with(self._published())
        rounded_NP = self._coefficients(chunks_NHD)
        least, greatest = rounded_NP.min(0), rounded_NP.max(0)
        margin = np.ceil((greatest - least) / 10 + self.config.scale / 5)
        most = self._most()
        low = np.maximum(least - margin, -most).astype(np.int64)
        high = np.minimum(greatest + margin, most).astype(np.int64)
        origin = int(low.min())
        alphabet = set("".join(map(chr, range(int(high.max()) - origin + 1))).encode())
        wanted = max(1, _MOST // rounded_NP.shape[1])
        if len(rounded_NP) > wanted:
            chosen = np.random.default_rng(seed).choice(len(rounded_NP), wanted, replace=False)
            rounded_NP = rounded_NP[np.sort(chosen)]
        signs = (rounded_NP - origin).astype("<u4")
        texts = (row.tobytes().decode("utf-32-le") for row in signs)
        tokenizer = train(texts, sorted(alphabet), self.config.vocabulary)
        return self._with(FastCodes(tokenizer, self.config.vocabulary, origin, low, high))

    def _encode(self, chunks_NHD: npt.NDArray[np.float64]) -> Codes:
        return self._codes.encode(self._coefficients(chunks_NHD))

    def _decode(self, ids_n: Ids) -> Floats:
        coefficients_kD = self._codes.decode(ids_n).reshape(self.horizon, self.dim)
        return self._basis_kt.T @ coefficients_kD / self.config.scale

    def _data(self) -> dict[str, Any]:
        codes = self._codes
        return {
            "scale": self.config.scale,
            "min_token": codes.origin,
            "least": pack(codes.least_P.reshape(self.horizon, self.dim)),
            "greatest": pack(codes.greatest_P.reshape(self.horizon, self.dim)),
            "tokenizer": json.loads(codes.tokenizer.to_str()),
        }

    def _restored(self, data: Mapping[str, Any]) -> Self:
        if data["scale"] != self.config.scale:
            raise BadInput(f"the fast tokenizer was fitted with scale={data['scale']}: give that")
        shape = (self.horizon, self.dim)
        bounds = [unpack(data, name, "int64", shape).reshape(-1) for name in ("least", "greatest")]
        tokenizer = tokenizer_of(data["tokenizer"], "the fast tokenizer's 'tokenizer'")
        origin = int(data["min_token"])
        return self._with(FastCodes.narrowed(tokenizer, self.config.vocabulary, origin, *bounds))

    # -- own -------------------------------------------------------------------------------------------

    @property
    def _codes(self) -> FastCodes:
        if self._fitted is None:
            self._must_be_fitted()
            self._fitted = self._published()
        return self._fitted

    def _with(self, codes: FastCodes) -> Self:
        other = copy.copy(self)
        other._fitted = codes
        return other

    def _coefficients(self, chunks_NHD: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """[N, P], rounded. By the function that the published processor calls: halves round the same way."""
        from scipy.fft import dct

        found = np.around(dct(chunks_NHD, axis=1, norm="ortho") * self.config.scale)
        return found.reshape(len(chunks_NHD), -1)

    def _most(self) -> Ids:
        """The greatest coefficient, rounded, that a chunk in [-1, 1] can have at each place, int64 [P]."""
        most_k = np.floor(np.abs(self._basis_kt).sum(1) * self.config.scale + 0.5 + 1e-9)
        return np.repeat(most_k.astype(np.int64), self.dim)

    def _published(self) -> FastCodes:
        folder = Path(self.config.path)
        found = read_published(folder)
        for name, stated, given in (
            ("vocabulary", found.vocabulary, self.config.vocabulary),
            ("scale", found.scale, self.config.scale),
            ("horizon", found.horizon, self.horizon),
            ("dim", found.dim, self.dim),
        ):
            if stated is not None and stated != given:
                raise BadInput(f"{folder} is for {name}={stated:g}, not {given:g}: give {name}={stated:g}")
        most = self._most()
        try:
            return FastCodes.narrowed(found.tokenizer, found.vocabulary, found.origin, -most, most)
        except BadInput as error:
            raise BadInput(f"{folder}: {error}") from None
