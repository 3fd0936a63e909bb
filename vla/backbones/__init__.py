"""The model's trunk: the project's own small transformer, or a language model of `transformers`."""

from vla.backbones.base import Backbone
from vla.configuration import SmallConfig, VLAConfig

__all__ = ["Backbone", "build_backbone"]


def build_backbone(config: VLAConfig) -> Backbone:
    """The backbone of a model's config."""
    if isinstance(config.backbone, SmallConfig):
        from vla.backbones.small import SmallBackbone

        return SmallBackbone(config.backbone)
    from vla.backbones.hf import TransformersBackbone

    return TransformersBackbone(config.backbone, vision=config.image.encoder.kind == "vlm")
