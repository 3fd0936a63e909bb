"""Small invented datasets, written by the project's own writer: each number tells its episode and frame."""

from pathlib import Path

import numpy as np

from vla.data.lerobot_writer import EpisodeWriter

JOINTS = [
    "shoulder_pan.pos",
    "shoulder_lift.pos",
    "elbow_flex.pos",
    "wrist_flex.pos",
    "wrist_roll.pos",
    "gripper.pos",
]


def features(
    size: int = 16, joints: int = 6, point_names: list[str] | None = None, width: int | None = None
) -> dict[str, dict[str, object]]:
    """As the tabletop's datasets have them, with smaller pictures."""
    image = {"dtype": "image", "shape": [size, width or size, 3], "names": ["height", "width", "channels"]}
    vector = {"dtype": "float32", "shape": [joints], "names": JOINTS[:joints]}
    return {
        "observation.images.front": image,
        "observation.images.wrist": image,
        "observation.state": vector,
        "action": vector,
        "subtask_index": {"dtype": "int64", "shape": [1], "names": None},
        "annotation.points": {"dtype": "float32", "shape": [12], "names": point_names},
        "annotation.valid": {"dtype": "int64", "shape": [1], "names": None},
    }


def write_dataset(
    root: Path,
    lengths: list[int],
    size: int = 16,
    invalid: tuple[tuple[int, int], ...] = (),
    first: int = 0,
    *,
    joints: int = 6,
    robot: str = "so101_follower",
    point_names: list[str] | None = None,
    width: int | None = None,
) -> Path:
    """Episodes of the given lengths; action = 100 * episode + frame, `invalid` lists (episode, frame)."""
    writer = EpisodeWriter(
        root, fps=20, features=features(size, joints, point_names, width), robot_type=robot
    )
    for number, length in enumerate(lengths):
        episode = first + number
        rng = np.random.default_rng(episode)
        base = 100.0 * episode + np.arange(length, dtype=np.float32)
        pixels = (length, size, width or size, 3)
        frames = {
            "observation.images.front": list(rng.integers(0, 256, pixels, np.uint8)),
            "observation.images.wrist": list(rng.integers(0, 256, pixels, np.uint8)),
            "observation.state": list(np.repeat((base - 0.5)[:, None], joints, 1).astype(np.float32)),
            "action": list(np.repeat(base[:, None], joints, 1).astype(np.float32)),
            "subtask": ["reach"] * length,
            "annotation.points": list(rng.random((length, 12), np.float32)),
            "annotation.valid": [int((episode, frame) not in invalid) for frame in range(length)],
        }
        skill = ("touch", "lift")[episode % 2]
        writer.write_episode(episode, frames, f"{skill} the red cube", {"skill": skill})
    writer.finalize()
    return root
