"""At its full size the model is openvla-7b, weight for weight."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

timm_vit = pytest.importorskip("timm.models.vision_transformer")
pytest.importorskip("transformers")

from vla.model import VLA
from vla.openvla.layout import read_layout
from vla.openvla.loading import model_config
from vla.openvla.weightless import weightless


class _Shapes:
    """The shapes of openvla-7b that the loader looks at."""

    known: ClassVar = {
        "vision_backbone.featurizer.patch_embed.proj.weight": (1024, 3, 14, 14),
        "vision_backbone.featurizer.reg_token": (1, 4, 1024),
        "vision_backbone.featurizer.blocks.0.mlp.fc1.weight": (4096, 1024),
        "vision_backbone.fused_featurizer.patch_embed.proj.weight": (1152, 3, 14, 14),
        "vision_backbone.fused_featurizer.blocks.0.mlp.fc1.weight": (4304, 1152),
        "projector.fc1.weight": (8704, 2176),
    }

    def __iter__(self) -> Iterator[str]:
        for tower, depth in (("featurizer", 24), ("fused_featurizer", 27)):
            yield from (f"vision_backbone.{tower}.blocks.{i}.norm1.weight" for i in range(depth))

    def __contains__(self, name: object) -> bool:
        return name in self.known

    def shape(self, name: str) -> tuple[int, ...]:
        return self.known[name]

    def dtype(self, name: str) -> str:
        return "BF16"


def test_it_has_7_541_237_184_weights(published: Any) -> None:
    """All of openvla-7b's but those of SigLIP's pooling, which is never run there either."""
    # All that the published text_config says; the rest of it are the defaults of `transformers`.
    full = {"model_type": "llama", "vocab_size": 32_064, "pad_token_id": 32_000, "torch_dtype": "bfloat16"}
    layout = dataclasses.replace(read_layout(published.folder), text_config=full, size=224)
    config = model_config(Path("openvla-7b"), layout, _Shapes())  # type: ignore[arg-type]
    with weightless():
        model = VLA(config)
        unused = timm_vit.AttentionPoolLatent(
            1152, num_heads=16, mlp_ratio=3.7362, norm_layer=torch.nn.LayerNorm
        )
    assert all(p.is_meta for p in model.parameters())
    assert {p.dtype for p in model.backbone.parameters()} == {torch.bfloat16}
    assert model.num_parameters() + sum(p.numel() for p in unused.parameters()) == 7_541_237_184


def test_what_is_built_without_weights_has_its_buffers() -> None:
    with weightless():
        norm = torch.nn.BatchNorm1d(3)
    assert norm.weight.is_meta and not norm.running_var.is_meta
    assert not torch.nn.Linear(2, 2).weight.is_meta
