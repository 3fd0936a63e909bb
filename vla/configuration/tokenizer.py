"""Settings of the action tokenizers, and the shape of the codes that each gives."""

from dataclasses import dataclass
from typing import Literal

from vla.checks import at_least, at_most
from vla.errors import BadInput, did_you_mean

__all__ = ["BinsConfig", "FastConfig", "Layout", "ResidualConfig", "SplineConfig", "TokenizerConfig"]


@dataclass(frozen=True)
class Layout:
    """How the codes of a chunk stand: a grid of `groups` rows of `width` codes, each 0..codes-1.

    fixed: every chunk has all of them; else `groups` (of width 1) is the most a chunk can have.
    ordered: neighbouring codes mean neighbouring numbers. time_local: row s holds step s and nothing else,
    one code a joint.
    """

    groups: int
    width: int
    codes: int
    fixed: bool = True
    ordered: bool = True
    time_local: bool = False

    @property
    def length(self) -> int:
        """Number of codes of a chunk, or the most it can have."""
        return self.groups * self.width


@dataclass(frozen=True)
class BinsConfig:
    """One code a number (RT-2, Brohan et al. 2023).

    spacing: `uniform` bins over [-1, 1]; `quantile`, narrow where the data is dense; or `openvla`, the
    published OpenVLA's 256 edges and 255 centres, in its order.
    """

    kind: Literal["bins"] = "bins"
    count: int = 256
    spacing: Literal["uniform", "quantile", "openvla"] = "uniform"

    def __post_init__(self) -> None:
        at_least(self, 2, "count")
        known = ("uniform", "quantile", "openvla")
        if self.spacing not in known:
            raise BadInput(f"spacing cannot be {self.spacing!r}{did_you_mean(str(self.spacing), known)}")

    def layout(self, horizon: int, dim: int) -> Layout:
        """One row a step, one code a joint."""
        return Layout(horizon, dim, self.count, time_local=True)


@dataclass(frozen=True)
class FastConfig:
    """DCT, quantisation and byte-pair codes (FAST, Pertsch et al. 2025).

    scale: quantisation steps to one; the larger, the finer and the longer. vocabulary: number of codes.
    path: a folder in the published processor's layout, whose codes are used instead of fitting some.
    """

    kind: Literal["fast"] = "fast"
    scale: float = 10.0
    vocabulary: int = 1024
    path: str = ""

    def __post_init__(self) -> None:
        at_least(self, 2, "vocabulary")
        at_most(self, 2**16, "vocabulary")
        if not 0.1 <= self.scale <= 1000:
            raise BadInput(f"scale={self.scale}: 0.1 to 1000 is possible")

    def layout(self, horizon: int, dim: int) -> Layout:
        """At most two codes (bytes) a coefficient; few chunks need more than a fraction of that."""
        return Layout(2 * horizon * dim, 1, self.vocabulary, fixed=False, ordered=False)


@dataclass(frozen=True)
class SplineConfig:
    """Control points of a clamped B-spline through each joint's chunk, each in a uniform bin (BEAST, Zhou et
    al. 2025). points: control points a joint. degree: 3 is cubic. count: bins."""

    kind: Literal["spline"] = "spline"
    points: int = 5
    degree: int = 3
    count: int = 256

    def __post_init__(self) -> None:
        at_least(self, 1, "degree")
        at_most(self, 5, "degree")
        at_least(self, 2, "points", "count")
        if self.points <= self.degree:
            raise BadInput(
                f"points={self.points}: a spline of degree {self.degree} needs {self.degree + 1} or more"
            )

    def layout(self, horizon: int, dim: int) -> Layout:
        """One row a control point, one code a joint."""
        return Layout(self.points, dim, self.count)


@dataclass(frozen=True)
class ResidualConfig:
    """Residual vector quantisation of the whole chunk: each level codes what those before it left (VQ-BeT,
    Lee et al. 2024; FASTer), so every prefix decodes, to a coarser chunk (OAT). codes: in a level's book."""

    kind: Literal["residual"] = "residual"
    levels: int = 8
    codes: int = 256

    def __post_init__(self) -> None:
        at_least(self, 1, "levels")
        at_least(self, 2, "codes")

    def layout(self, horizon: int, dim: int) -> Layout:
        """One code a level."""
        return Layout(self.levels, 1, self.codes, ordered=False)


TokenizerConfig = BinsConfig | FastConfig | SplineConfig | ResidualConfig
