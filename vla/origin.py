"""Parts of a model that came from another checkpoint: where from, what picture sizes they were made for, and
what a saved config says of them."""

import dataclasses
from typing import Any

from vla.configuration import TowerConfig, TransformersConfig, VLAConfig, VLMVisionConfig, WhisperConfig

__all__ = ["completed", "paths", "with_own_sizes", "without_paths"]


def paths(config: VLAConfig) -> dict[str, str]:
    """Start of the weights' names -> the folder (or hub name) they were read from."""
    found = {}
    if isinstance(config.backbone, TransformersConfig):
        found["backbone."] = config.backbone.path
    if isinstance(config.image.encoder, TowerConfig):
        for camera in config.image.cameras:
            found[f"senses.encoders.{camera.name}.tower."] = config.image.encoder.path
    if config.audio is not None and isinstance(config.audio.encoder, WhisperConfig):
        found["senses.encoders.audio.encoder."] = config.audio.encoder.path
    return {prefix: path for prefix, path in found.items() if path}


def completed(config: VLAConfig, model: Any) -> VLAConfig:
    """With the foreign parts' own configs, so that the network can be built again without their folders."""
    encoders = model.senses.encoders
    backbone, tower, audio = config.backbone, config.image.encoder, config.audio
    if isinstance(backbone, TransformersConfig):
        backbone = dataclasses.replace(backbone, config=model.backbone.config_dict())
    if isinstance(tower, TowerConfig):
        own = encoders[config.image.cameras[0].name].config_dict()
        tower = dataclasses.replace(tower, config=own)
    if audio is not None and isinstance(audio.encoder, WhisperConfig):
        whisper = dataclasses.replace(audio.encoder, config=encoders["audio"].config_dict())
        audio = dataclasses.replace(audio, encoder=whisper)
    image = dataclasses.replace(config.image, encoder=tower)
    return dataclasses.replace(config, backbone=backbone, image=image, audio=audio)


def with_own_sizes(config: VLAConfig) -> VLAConfig:
    """With the size that its tower was trained on for each camera of size 0. Reads a config.json, no weights.

    Raises BadInput for a folder that holds none of a known kind.
    """
    if all(camera.size for camera in config.image.cameras):
        return config
    size, encoder = 0, config.image.encoder
    if isinstance(encoder, TowerConfig):
        from vla.encoders.tower_loading import own_size

        size = own_size(encoder)
    elif isinstance(encoder, VLMVisionConfig) and isinstance(config.backbone, TransformersConfig):
        from vla.backbones.vision import own_size as size_of_vlm

        size = size_of_vlm(config.backbone)
    cameras = (dataclasses.replace(c, size=c.size or size) for c in config.image.cameras)
    image = dataclasses.replace(config.image, cameras=tuple(cameras))
    return dataclasses.replace(config, image=image)


def without_paths(config: VLAConfig) -> VLAConfig:
    """The same network without a look at the folders that parts of it once came from."""
    backbone, tower, audio = config.backbone, config.image.encoder, config.audio
    if isinstance(backbone, TransformersConfig):
        backbone = dataclasses.replace(backbone, path="")
    if isinstance(tower, TowerConfig):
        tower = dataclasses.replace(tower, path="")
    if audio is not None and isinstance(audio.encoder, WhisperConfig):
        audio = dataclasses.replace(audio, encoder=dataclasses.replace(audio.encoder, path=""))
    image = dataclasses.replace(config.image, encoder=tower)
    return dataclasses.replace(config, backbone=backbone, image=image, audio=audio)
