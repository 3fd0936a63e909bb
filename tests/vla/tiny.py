"""A tiny model, its processor and fixed random data."""

from typing import Any

import numpy as np
import torch

from vla.configuration import (
    BackboneConfig,
    CameraConfig,
    DecoderConfig,
    ImageConfig,
    StateConfig,
    TextConfig,
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


def tiny_config(vocabulary: int, kind: str = "parallel", horizon: int = 3) -> VLAConfig:
    return VLAConfig(
        name="tiny",
        vocabulary=vocabulary,
        image=ImageConfig(
            cameras=(CameraConfig("front", 32, 3, 2), CameraConfig("wrist", 16, 2, 1)),
            stem=8,
            width=16,
            deep=16,
        ),
        text=TextConfig(width=16, layers=1, heads=2, tokens=2, max_length=10),
        state=StateConfig(hidden=16, frequencies=2),
        backbone=BackboneConfig(width=32, layers=2, heads=4, mlp=64),
        decoder=DecoderConfig(kind=kind, horizon=horizon, bins=256),  # type: ignore[arg-type]
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


def tiny(kind: str = "parallel", horizon: int = 3, seed: int = 0) -> tuple[VLA, Processor]:
    torch.manual_seed(seed)
    tokenizer = TextTokenizer.train(SENTENCES)
    config = tiny_config(tokenizer.size, kind, horizon)
    raw = raw_batch(200, horizon, seed=1)
    return VLA(config).eval(), Processor.fit(config, tokenizer, raw["state"], raw["actions"])
