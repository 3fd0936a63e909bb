"""A random batch of the shapes that a config asks for: for describing, for tests, for measuring speeds."""

import math
from typing import Any

import torch

from vla.configuration import FlowConfig, VLAConfig
from vla.tokens.vocabulary import Vocabulary

__all__ = ["dummy_batch"]


def dummy_batch(config: VLAConfig, batch: int = 1, *, seed: int = 0, device: str = "cpu") -> dict[str, Any]:
    """All senses present and of full length, targets and grounding points too; see `vla.model` for the keys.

    The same seed gives the same batch. Texts and sounds fill their places, so costs are upper bounds.
    """
    random = torch.Generator().manual_seed(seed)
    decoder, image = config.decoder, config.image
    views = 1 + image.max_tiles if image.max_tiles else config.history.frames
    found: dict[str, Any] = {
        "text": torch.randint(config.vocabulary, (batch, config.text.max_length), generator=random),
        "text_mask": torch.ones(batch, config.text.max_length, dtype=torch.bool),
        "images": {},
    }
    for camera in image.cameras:
        shape = (batch, *([views] if views > 1 else []), camera.size, camera.size, 3)
        found["images"][camera.name] = torch.randint(256, shape, generator=random, dtype=torch.uint8)
    if image.max_tiles:
        grid = torch.tensor([_grid(image.max_tiles)] * batch)
        found["tile_grid"] = {camera.name: grid for camera in image.cameras}
    if config.audio is not None:
        samples = round(config.audio.seconds * 16_000)
        found["audio"] = torch.randn(batch, samples, generator=random) * 0.1
        found["audio_length"] = torch.full((batch,), samples)
    if config.state is not None:
        found["state"] = torch.rand(batch, config.state.dim, generator=random) * 2 - 1
        if config.state.robots:
            found["robot"] = torch.randint(len(config.state.robots), (batch,), generator=random)
    if isinstance(decoder, FlowConfig):
        chunk = (batch, decoder.horizon, decoder.dim)
        found["actions"] = torch.rand(chunk, generator=random) * 2 - 1
        found["action_mask"] = torch.ones(chunk, dtype=torch.bool)
    else:
        ids = Vocabulary.of(config).action_range
        codes = (batch, *decoder.grid)
        found["targets"] = torch.randint(ids.start, ids.stop, codes, generator=random)
        found["target_mask"] = torch.ones(codes, dtype=torch.bool)
    found["points"] = torch.rand(batch, 2 * len(image.cameras), 3, generator=random)
    found["points"][..., 2] = 1.0
    return _move(found, device)


def _grid(tiles: int) -> tuple[int, int]:
    """Rows and columns of exactly so many tiles, as square as can be."""
    rows = next(rows for rows in range(math.isqrt(tiles), 0, -1) if tiles % rows == 0)
    return rows, tiles // rows


def _move(value: Any, device: str) -> Any:
    if isinstance(value, dict):
        return {key: _move(item, device) for key, item in value.items()}
    return value.to(device)
