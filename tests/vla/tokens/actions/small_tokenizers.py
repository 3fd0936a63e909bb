"""Every kind of action tokenizer, small, fitted once to the same chunks."""

import functools

import numpy as np
import numpy.typing as npt

from vla.configuration.tokenizer import (
    BinsConfig,
    FastConfig,
    ResidualConfig,
    SplineConfig,
    TokenizerConfig,
)
from vla.tokens.actions import ActionTokenizer, build_tokenizer

HORIZON, DIM = 8, 3

CONFIGS: dict[str, TokenizerConfig] = {
    "uniform": BinsConfig(count=32),
    "quantile": BinsConfig(count=32, spacing="quantile"),
    "openvla": BinsConfig(count=32, spacing="openvla"),
    "fast": FastConfig(vocabulary=300),
    "spline": SplineConfig(points=5, count=32),
    "residual": ResidualConfig(levels=4, codes=16),
}
FIXED = [name for name in CONFIGS if name != "fast"]
LEARNED = ["quantile", "fast", "spline", "residual"]


def training_chunks(size: float = 0.3) -> npt.NDArray[np.float64]:
    """Smooth movements, none beyond 2 * size, and a third joint that is open or shut, [200, HORIZON, DIM]."""
    rng = np.random.default_rng(0)
    time = np.linspace(0, 1, HORIZON)[:, None]
    ramp, wave, phase = rng.uniform(-1, 1, (3, 200, 1, DIM))
    chunks = size * (ramp * time + wave * np.sin(6 * (time + phase)))
    chunks[..., 2] = np.where(chunks[..., 2] > 0, size, -size)
    return chunks


def unfitted(name: str) -> ActionTokenizer:
    """As it is built from its config."""
    return build_tokenizer(CONFIGS[name], HORIZON, DIM)


@functools.cache
def fitted(name: str) -> ActionTokenizer:
    """Ready to use."""
    return unfitted(name).fit(training_chunks())
