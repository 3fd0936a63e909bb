"""A tiny model, its processor and fixed random data."""

from typing import Any

import numpy as np
import torch

from vla.configuration import (
    CameraConfig,
    ConvConfig,
    DecoderConfig,
    ImageConfig,
    PooledTextConfig,
    SmallConfig,
    StateConfig,
    VLAConfig,
)
from vla.interfaces import Observation
from vla.model import VLA
from vla.processor import Processor
from vla.tokens.text import TextTokenizer

SENTENCES = (
    "put the red cube in the blue bowl",
    "touch the green ball",
    "lift it",
    "push the pink brick left",
)


def tiny_config(vocabulary: int, kind: str = "parallel", horizon: int = 3, **parts: Any) -> VLAConfig:
    """parts: fields of VLAConfig to be other than these."""
    usual: dict[str, Any] = {
        "name": "tiny",
        "vocabulary": vocabulary,
        "image": tiny_image(),
        "text": PooledTextConfig(width=16, layers=1, heads=2, tokens=2, max_length=10),
        "state": StateConfig(hidden=16, frequencies=2),
        "backbone": SmallConfig(width=32, layers=2, heads=4, mlp=64),
        "decoder": DecoderConfig(kind=kind, horizon=horizon),  # type: ignore[arg-type]
    }
    return VLAConfig(**(usual | parts))


def tiny_image(encoder: Any = None, points: bool = True, **more: Any) -> ImageConfig:
    """Two small cameras; without `points`, every patch is a token."""
    front, wrist = ((3, 2), (2, 1)) if points else ((0, 0), (0, 0))
    return ImageConfig(
        cameras=(CameraConfig("front", 32, *front), CameraConfig("wrist", 16, *wrist)),
        encoder=encoder or ConvConfig(stem=8, width=16, deep=16),
        **more,
    )


def raw_batch(count: int = 4, horizon: int = 3, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    state = rng.uniform(-80, 80, (count, 6)).astype(np.float32)
    points = np.concatenate([rng.uniform(0.1, 0.9, (count, 4, 2)), rng.integers(0, 2, (count, 4, 1))], -1)
    return {
        "images": {
            name: rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8) for name in ("front", "wrist")
        },
        "state": state,
        "actions": (state[:, None] + rng.normal(0, 5, (count, horizon, 6)).cumsum(1)).astype(np.float32),
        "action_is_pad": np.zeros((count, horizon), bool),
        "task": [SENTENCES[i % len(SENTENCES)] for i in range(count)],
        "points": points.astype(np.float32),
    }


def observations(count: int = 3, seed: int = 0) -> list[Observation]:
    raw = raw_batch(count, seed=seed)
    return [
        Observation({k: v[i] for k, v in raw["images"].items()}, raw["state"][i], raw["task"][i])
        for i in range(count)
    ]


def tiny(kind: str = "parallel", horizon: int = 3, seed: int = 0, **parts: Any) -> tuple[VLA, Processor]:
    torch.manual_seed(seed)
    tokenizer = TextTokenizer.train(SENTENCES)
    config = tiny_config(tokenizer.size, kind, horizon, **parts)
    raw = raw_batch(200, horizon, seed=1)
    return VLA(config).eval(), Processor.fit(config, tokenizer, raw["state"], raw["actions"])
