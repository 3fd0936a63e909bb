"""Small invented datasets of an arm that moves smoothly, without pictures."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from vla.data.lerobot_writer import EpisodeWriter

SO101 = ("shoulder_pan.pos", "shoulder_lift.pos", "gripper.pos")


def motion(episode: int, length: int, joints: int) -> npt.NDArray[np.float32]:
    """float32 [length, joints]: a few sines, a hundred units wide at most."""
    rng = np.random.default_rng(episode)
    phase, pace = rng.uniform(0, 6, (2, joints)), rng.uniform(0.05, 0.2, joints)
    time = np.arange(length)[:, None]
    return (40 * np.sin(phase[0] + pace * time) + 10 * np.cos(phase[1] + 2 * pace * time)).astype(np.float32)


def write_motion(
    root: Path, lengths: list[int], names: tuple[str, ...] | None = SO101, *, fill: float | None = None
) -> Path:
    """Episodes of the given lengths at 20 Hz; the state is where the arm was a step before. fill: what every
    action is instead."""
    joints = len(names or SO101)
    vector = {"dtype": "float32", "shape": [joints], "names": names and list(names)}
    writer = EpisodeWriter(
        root, fps=20, features={"observation.state": vector, "action": vector}, robot_type="so101_follower"
    )
    for episode, length in enumerate(lengths):
        moved = motion(episode, length + 1, joints)
        actions = moved[1:] if fill is None else np.full_like(moved[1:], fill)
        writer.write_episode(
            episode, {"observation.state": list(moved[:-1]), "action": list(actions)}, "move", {}
        )
    writer.finalize()
    return root
