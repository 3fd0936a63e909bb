"""Where a choice makes the context explode, and what would be better."""

from vla.configuration import LinearConfig, MLPConfig, VLAConfig
from vla.describe.description import Description

__all__ = ["CAMERA", "PREFIX", "SCORES", "warnings_of"]

PREFIX = 2048
"""Tokens before the answers above which a warning is due."""
CAMERA = 1024
"""The same for one camera."""
SCORES = 2**30
"""Bytes of one layer's attention scores."""


def warnings_of(found: Description, config: VLAConfig) -> list[str]:
    """One line for each choice that costs more than it should."""
    lines = []
    cameras = {camera.name for camera in config.image.cameras}
    for flow in found.flows:
        if flow.sense in cameras and flow.tokens > CAMERA:
            lines.append(
                f"camera '{flow.sense}' alone is {flow.tokens:,} tokens (more than {CAMERA:,}): "
                f"{_advice(config)}"
            )
    longest = max(each.prefix for each in found.passes)
    if longest > PREFIX:
        most = max(found.flows, key=lambda flow: flow.tokens)
        lines.append(
            f"the backbone reads {longest:,} tokens before it answers (more than {PREFIX:,}), most of them "
            f"'{most.sense}'; memory grows with their number, attention with its square"
        )
    if found.memory.scores > SCORES:
        lines.append(
            f"one layer's attention scores take {found.memory.scores / 2**30:.1f} GiB where the kernel is "
            f"not fused (on a CPU): fewer tokens, or a GPU"
        )
    return lines


def _advice(config: VLAConfig) -> str:
    """How its tokens could be fewer, what helps most first."""
    ways = []
    if isinstance(config.connector, LinearConfig | MLPConfig):
        ways.append("a token budget (model/connector=perceiver, or model.connector.tokens=64)")
    else:
        ways.append("a smaller budget (model.connector.tokens=64)")
    if config.image.max_tiles:
        ways.append(f"fewer tiles (model.image.max_tiles, now {config.image.max_tiles})")
    if config.history.frames > 1 and config.history.reduce != "pool":
        ways.append("a pooled past (model.history.reduce=pool)")
    if any(camera.grid == 0 for camera in config.image.cameras):
        ways.append("a grid (image.cameras[...].grid=8 gives 64 tokens)")
    return ", or ".join(ways[:1]) + "".join(f", {way}" for way in ways[1:])
