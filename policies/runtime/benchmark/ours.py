"""This project's own contenders: one set of senses, one trunk, every way of writing the answer.

Two square cameras, a sentence of 24 words and the joints go in. Weights are random, and no time depends on
them but that of FAST, whose answers are long or short. It draws one of typical length: as long as the codes
of smooth chunks are on average.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from policies.runtime.benchmark.equal import matched
from policies.runtime.benchmark.options import Decoding
from policies.runtime.benchmark.timing import Contender, passes_of
from vla.configuration import (
    CameraConfig,
    DecoderConfig,
    FastConfig,
    FlowConfig,
    ImageConfig,
    ProcessorConfig,
    ResidualConfig,
    SmallConfig,
    SplineConfig,
    StateConfig,
    VLAConfig,
)
from vla.describe import dummy_batch
from vla.generation import Generated, Memory, Sampling, generate
from vla.model import VLA
from vla.tokens.actions import ActionTokenizer, build_tokenizer

__all__ = ["PARALLEL", "Built", "Decoder", "build", "contender", "decoders", "senses_config"]

PARALLEL = "parallel, bins"
"""The contender that stands for this project."""
HEADS, LAYERS, EXPANSION = 6, 4, 4.0
"""The shipped model's heads and layers, and MLP over width."""
Decoder = DecoderConfig | FlowConfig


@dataclass(frozen=True)
class Built:
    """A model with what it is asked: one chunk for each of the batch's observations.

    memory: as a policy keeps it from one control step to the next, so the sentence is encoded once.
    """

    model: VLA
    batch: Mapping[str, Any]
    tokenizer: ActionTokenizer | None = None
    sampling: Sampling | None = None
    memory: Memory | None = field(default_factory=Memory)

    def act(self, use_cache: bool = True) -> Generated:
        """A whole answer."""
        return generate(
            self.model,
            dict(self.batch),
            use_cache,
            tokenizer=self.tokenizer,
            sampling=self.sampling,
            memory=self.memory,
        )


def decoders(options: Decoding) -> dict[str, Decoder]:
    """Name -> decoder."""
    code = DecoderConfig(horizon=options.horizon, dim=options.dim)
    found: dict[str, Decoder] = {
        PARALLEL: code,
        "parallel, spline": replace(code, tokenizer=SplineConfig()),
        "blockwise, bins, a step a pass": replace(code, kind="blockwise", block=1),
    }
    if options.horizon % 4 == 0:
        found["blockwise, bins, four steps a pass"] = replace(code, kind="blockwise", block=4)
    return found | {
        "autoregressive, bins": replace(code, kind="autoregressive"),
        "autoregressive, residual": replace(code, kind="autoregressive", tokenizer=ResidualConfig()),
        "autoregressive, FAST": replace(code, kind="autoregressive", tokenizer=FastConfig()),
        "flow": FlowConfig(horizon=options.horizon, dim=options.dim),
    }


def senses_config(options: Decoding, decoder: Decoder) -> VLAConfig:
    """The shipped model's senses, with pictures of one size (LeRobot's act takes no others)."""
    side = options.side
    cameras = (CameraConfig("front", side, 8, 3), CameraConfig("wrist", side, 6, 2))
    return VLAConfig(
        name="bench",
        image=ImageConfig(cameras=cameras),
        state=StateConfig(dim=options.dim),
        decoder=decoder,
        processor=ProcessorConfig(relative=(False,) * options.dim),
    )


def build(options: Decoding, decoder: Decoder, size: int, device: str) -> Built:
    """A model of `size` parameters. Raises BadInput where there is none."""
    base = senses_config(options, decoder)

    def config_of(width: int, mlp: int) -> VLAConfig:
        return replace(base, backbone=SmallConfig(width=width, layers=LAYERS, heads=HEADS, mlp=mlp))

    def count(width: int, mlp: int) -> int:
        with torch.device("meta"):
            return VLA(config_of(width, mlp)).num_parameters()

    what = f"the {decoder.kind} model"
    config = config_of(*matched(count, size, step=4 * HEADS, expansion=EXPANSION, what=what))
    torch.manual_seed(0)
    model = VLA(config).eval().to(device)
    batch = dummy_batch(config, options.batch, device=device)
    if isinstance(decoder, FlowConfig) or decoder.layout.fixed:
        return Built(model, batch)
    tokenizer, typical = _fitted(decoder)
    drawn = [Built(model, batch, tokenizer, Sampling(temperature=1.0, seed=seed)) for seed in range(16)]
    return min(drawn, key=lambda each: abs(_length(each.act()) - typical))


def contender(
    name: str,
    built: Built,
    act: Callable[[], Generated] | None = None,
    *,
    reference: str = "",
    ours: str = PARALLEL,
) -> Contender:
    """For the table. act: instead of the model's usual way."""
    act = act or built.act
    answer, decoder = act(), built.model.config.decoder
    expert = decoder.steps if isinstance(decoder, FlowConfig) else 0  # passes through a trunk of its own
    return Contender(
        name,
        act,
        built.model.num_parameters(),
        passes_of(built.model.backbone, act) + expert,
        None if answer.lengths is None else _length(answer),
        reference,
        "" if ours == name else ours,
    )


def fast_codes(options: Decoding) -> int:
    """How many codes FAST gives to a smooth chunk, on average."""
    decoder = decoders(options)["autoregressive, FAST"]
    assert isinstance(decoder, DecoderConfig)
    return _fitted(decoder)[1]


def _length(answer: Generated) -> int:
    assert answer.lengths is not None
    return int(answer.lengths.max())


@functools.cache
def _fitted(decoder: DecoderConfig) -> tuple[ActionTokenizer, int]:
    """A tokenizer fitted to smooth chunks, and the mean length of others of their kind."""
    assert decoder.tokenizer is not None
    chunks = _smooth_chunks(500, decoder.horizon, decoder.dim)
    tokenizer = build_tokenizer(decoder.tokenizer, decoder.horizon, decoder.dim).fit(chunks[:400])
    return tokenizer, round(float(np.mean([len(tokenizer.encode(chunk)) for chunk in chunks[400:]])))


def _smooth_chunks(count: int, horizon: int, dim: int) -> np.ndarray:
    """float32 [count, horizon, dim] in [-1, 1]: slow waves of random size and phase."""
    rng = np.random.default_rng(0)
    time = np.linspace(0, 1, horizon)[None, :, None]
    shape = (count, 1, dim)
    wave = np.sin(2 * np.pi * (rng.uniform(0.1, 1.0, shape) * time + rng.uniform(0, 1, shape)))
    chunks = rng.uniform(0.1, 0.8, shape) * wave + rng.uniform(-0.2, 0.2, shape)
    return chunks.astype(np.float32)
