"""A model of four parts, small enough to train in milliseconds: a picture net, a connector, a tiny language
model of `transformers` and a head."""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from vla.backbones.hf import TransformersBackbone
from vla.configuration import PartConfig, TransformersConfig, TuningConfig
from vla.training.tuning import tune

LLAMA = {
    "model_type": "llama",
    "vocab_size": 16,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 32,
    "initializer_range": 0.2,
}


class Eye(nn.Module):
    """Three layers, each with dropout and batch statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(0.3)) for _ in range(3)
        )
        self.norm = nn.LayerNorm(8)
        self.layer_list = list(self.blocks)
        self.head_list = [self.norm]

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x)
        return self.norm(x)


class Parted(nn.Module):
    def __init__(self, tuning: TuningConfig, **backbone: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.config = SimpleNamespace(tuning=tuning)
        self.eye = Eye()
        self.connect = nn.Sequential(nn.Linear(8, 16))
        self.newline = nn.Parameter(torch.randn(16))
        self.backbone = TransformersBackbone(TransformersConfig(**(backbone or {"config": LLAMA})))
        self.out = nn.Sequential(nn.Linear(16, 1))
        tune(self, tuning)

    def parts(self) -> dict[str, list[Any]]:
        return {
            "vision": [self.eye],
            "connector": [self.connect, self.newline],
            "language": self.backbone.language_modules,
            "rest": [self.out],
        }

    def forward(self, x: Tensor) -> Tensor:
        tokens = torch.stack([self.connect(self.eye(x)), self.newline.expand(len(x), -1)], 1)
        return self.out(self.backbone(tokens, last=1)[:, 0])

    def loss(self, batch: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        error = (self(batch["x"].repeat(1, 2)) - batch["y"]).square().mean()
        return error, {"error": error.detach()}


def tuned(**parts: PartConfig) -> Parted:
    return Parted(TuningConfig(**parts))
