"""A tiny model that acts and answers in words, and what it is asked."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tiny import SENTENCES, raw_batch, tiny_config

sys.path.insert(0, str(Path(__file__).parent / "backbones"))

from families import LANGUAGE

from vla.configuration import (
    AnswerConfig,
    AudioConfig,
    CrossAttentionConfig,
    FlowConfig,
    FusionConfig,
    IntermediateConfig,
    LateConfig,
    LogMelConfig,
    NativeConfig,
    NativeFusionConfig,
    PerceiverConfig,
    SmallConfig,
    TransformersConfig,
    UnifiedConfig,
    WordsConfig,
)
from vla.model import VLA
from vla.processor import Processor
from vla.tokens.locations import words
from vla.tokens.text import TextTokenizer

TURNS = (
    ("what colour is the ball", "green"),
    ("where is the red cube", "loc1 loc2 loc3 loc7"),
    ("how many cubes", "two"),
    ("describe it", "a green ball left of the red cube"),
)
ANSWER = AnswerConfig(max_length=12, locations=8)
FLOW = FlowConfig(horizon=3, width=16, mlp=32)
AUDIO = AudioConfig(LogMelConfig(width=16, layers=1, heads=2), PerceiverConfig(tokens=2), seconds=1.0)
FUSIONS: dict[str, FusionConfig] = {
    "unified": UnifiedConfig(),
    "cross_attention": CrossAttentionConfig(heads=4, mlp=32),
    "intermediate": IntermediateConfig(tokens=3, pool=2, hidden=32),
    "late": LateConfig(),
    "native": NativeFusionConfig(),
}
SPARE = [f"zz{letter}" for letter in "abcdefgh"]
"""The last words of the vocabulary, which nobody says: actions may take their ids."""


def language(name: str) -> dict[str, Any]:
    """A family's config, its window wider than any row: in a narrower one places are counted as they
    stand."""
    return {**LANGUAGE[name], **({"sliding_window": 99} if "sliding_window" in LANGUAGE[name] else {})}


BACKBONES: dict[str, dict[str, Any]] = {
    "plain": {},
    "llama": {"backbone": SmallConfig(width=32, layers=2, heads=4, mlp=64, block="llama", kv_heads=2)},
    "own words": {"text": WordsConfig(max_length=10)},
    **{
        name: {"backbone": TransformersConfig(config=language(name)), "text": WordsConfig(max_length=10)}
        for name in ("qwen2", "gemma3_text", "gpt_neox")
    },
    "language": {
        "backbone": TransformersConfig(config=language("llama")),
        "text": WordsConfig(max_length=10, tokenizer="backbone"),
    },
    "causal": {
        "backbone": TransformersConfig(config=language("gemma2"), attention="causal"),
        "text": WordsConfig(max_length=10, tokenizer="backbone"),
    },
}


def answering(seed: int = 0, *, sharp: float = 0.0, **parts: Any) -> tuple[VLA, Processor]:
    """In evaluation mode. sharp: so much noise is added to every weight, that each thing shows in the
    answer."""
    torch.manual_seed(seed)
    texts = [text for turn in TURNS for text in turn]
    tokenizer = TextTokenizer.train([*SENTENCES, *texts, *words(8), *SPARE, "what is this"])
    kind = parts.pop("kind", "parallel")
    config = tiny_config(tokenizer.size, kind, **{"answer": ANSWER, **parts})
    raw = raw_batch(50, seed=1)
    processor = Processor.fit(config, tokenizer, raw["state"], raw["actions"])
    model = VLA(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(sharp * torch.randn_like(parameter))
    return model, processor


def pictures(count: int = 4, seed: int = 3, side: int = 32) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(count)]


def raw_web(count: int = 4, **more: Any) -> dict[str, Any]:
    """Some rows without a picture, points on some."""
    points = np.random.default_rng(5).uniform(0.1, 0.9, (count, 2, 3)).astype(np.float32)
    points[..., 2] = np.arange(2 * count).reshape(count, 2) % 3 > 0
    shown: list[Any] = list(pictures(count))
    shown[1] = None
    return {
        "images": shown,
        "prompt": [TURNS[i % 4][0] for i in range(count)],
        "answer": [TURNS[i % 4][1] for i in range(count)],
        "points": points,
        **more,
    }


def rows(batch: dict[str, Any], chosen: Any) -> dict[str, Any]:
    """Some rows of a flat batch."""
    return {
        name: rows(value, chosen) if isinstance(value, dict) else value[chosen]
        for name, value in batch.items()
    }


def fusion_parts(name: str) -> dict[str, Any]:
    """The parts of a tiny model with a fusion."""
    from tiny import tiny_image

    native = name == "native"
    image = tiny_image(NativeConfig(patch=8), points=False) if native else tiny_image()
    return {"fusion": FUSIONS[name], "image": image}


def open_gates(model: VLA) -> VLA:
    for name, parameter in model.named_parameters():
        if name.endswith(".gate"):
            parameter.data.fill_(0.7)
    return model
