"""The same network, described by configs alone: nothing is read from a checkpoint but its config.json."""

import dataclasses
from typing import Any

from vla.configuration import TowerConfig, TransformersConfig, VLAConfig, WhisperConfig
from vla.errors import BadInput
from vla.optional import need
from vla.origin import with_own_sizes, without_paths

__all__ = ["unloaded"]


def unloaded(config: VLAConfig) -> VLAConfig:
    """`config` with the configs of foreign checkpoints in place of their paths, and without quantisation,
    which needs a GPU; a camera of size 0 has its tower's. Raises BadInput for a path without a config."""
    config = with_own_sizes(config)
    backbone, tower, audio = config.backbone, config.image.encoder, config.audio
    if isinstance(backbone, TransformersConfig):
        own = backbone.config or _raw(backbone.path, "backbone.path")
        backbone = dataclasses.replace(backbone, config=own, quantize="none")
    if isinstance(tower, TowerConfig) and not tower.config:
        from vla.encoders.tower_loading import tower_settings

        raw = _raw(tower.path, "image.encoder.path")
        kind, settings = tower_settings(raw, f"config.json of {tower.path}", strict=False)
        tower = dataclasses.replace(tower, config={"model_type": kind, **settings})
    if audio is not None and isinstance(audio.encoder, WhisperConfig) and not audio.encoder.config:
        raw = _raw(audio.encoder.path, "audio.encoder.path")
        known = {*need("transformers", "transformers").WhisperConfig().to_dict(), "model_type"}
        shape = {key: value for key, value in raw.items() if key in known}
        audio = dataclasses.replace(audio, encoder=dataclasses.replace(audio.encoder, config=shape))
    image = dataclasses.replace(config.image, encoder=tower)
    return without_paths(dataclasses.replace(config, backbone=backbone, image=image, audio=audio))


def _raw(path: str, place: str) -> dict[str, Any]:
    """config.json of a folder or hub name."""
    transformers = need("transformers", "transformers", place)
    try:
        raw, _ = transformers.PreTrainedConfig.get_config_dict(path)
    except (OSError, ValueError):
        raw = {}
    if not raw:
        raise BadInput(f"{place}={path} is no checkpoint that can be read: it has no config.json")
    return raw
