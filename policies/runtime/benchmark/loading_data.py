"""Two small datasets for `loading`: a still, textured scene with things that move, and a little sensor noise.

Flat pictures would be unfairly quick to decode. These take 75 kB as PNG at 224 pixels, like photographs do.
"""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from policies.runtime.benchmark.options import Loading

__all__ = ["scene", "write_with_lerobot", "write_with_ours"]

FPS, JOINTS = 30, 6
CAMERAS = ("front", "wrist")


def scene(episode: int, camera: int, frames: int, side: int) -> Iterator[npt.NDArray[np.uint8]]:
    """uint8 [side, side, 3] pictures, the same for the same numbers."""
    rng = np.random.default_rng([episode, camera])
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    ground = np.full((side, side, 3), 110.0, np.float32)
    for waves in (2, 5, 11, 23, 47):  # texture of every size
        for _ in range(3):
            angle, phase = rng.uniform(0, 2 * np.pi, 2)
            along = np.cos(angle) * x + np.sin(angle) * y
            ground += 60 / waves**0.7 * np.sin(2 * np.pi * waves * along + phase)[..., None] * rng.random(3)
    things = rng.uniform(0.1, 0.9, (5, 2)), rng.uniform(-0.004, 0.004, (5, 2)), rng.integers(0, 256, (5, 3))
    for frame in range(frames):
        picture = ground.copy()
        for place, speed, colour in zip(*things, strict=True):
            cx, cy = (place + frame * speed) % 1
            picture[(x - cx) ** 2 + (y - cy) ** 2 < 0.005] = colour
        picture += rng.normal(0, 1.5, (side, side, 1)).astype(np.float32)
        yield picture.clip(0, 255).astype(np.uint8)


def write_with_lerobot(options: Loading, root: Path, kind: str) -> None:
    """With LeRobot's own writer and its own choice of codec."""
    import os

    from lerobot.datasets import LeRobotDataset

    os.environ.setdefault("SVT_LOG", "1")  # the encoder else tells its settings for every episode
    root.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        dataset = LeRobotDataset.create(
            "bench/loading",
            FPS,
            _features(options.side, kind),
            root=root,
            robot_type="bench",
            use_videos=kind == "video",
        )
        for episode in range(options.episodes):
            for frame in _frames(options, episode):
                dataset.add_frame({**frame, "task": f"do number {episode}"})
            dataset.save_episode()
        dataset.finalize()


def write_with_ours(options: Loading, root: Path, kind: str) -> None:
    """PNG only."""
    from vla.data.lerobot_writer import EpisodeWriter

    writer = EpisodeWriter(root, FPS, _features(options.side, "image"), "bench")
    for episode in range(options.episodes):
        rows = list(_frames(options, episode))
        writer.write_episode(episode, {name: [r[name] for r in rows] for name in rows[0]}, f"do {episode}")
    writer.finalize()


def _features(side: int, kind: str) -> dict[str, Any]:
    image = {"dtype": kind, "shape": (side, side, 3), "names": ["height", "width", "channels"]}
    vector = {"dtype": "float32", "shape": (JOINTS,), "names": [f"joint{i}.pos" for i in range(JOINTS)]}
    pictures = {f"observation.images.{camera}": dict(image) for camera in CAMERAS}
    return {**pictures, "observation.state": dict(vector), "action": dict(vector)}


def _frames(options: Loading, episode: int) -> Iterator[dict[str, Any]]:
    views = [scene(episode, camera, options.frames, options.side) for camera in range(len(CAMERAS))]
    for frame, pictures in enumerate(zip(*views, strict=True)):
        angles = np.sin((frame + 100 * episode + np.arange(JOINTS)) / 20).astype(np.float32)
        named = {f"observation.images.{c}": picture for c, picture in zip(CAMERAS, pictures, strict=True)}
        yield {**named, "observation.state": angles, "action": angles}
