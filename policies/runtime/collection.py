"""Collecting a dataset: every episode is determined by (seed, its index), so any run can be continued."""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from policies.base import Policy
from policies.runtime.demonstration import Demonstration, Perturb, attempt_seed, demonstrate
from policies.runtime.workers import run_jobs
from policies.runtime.world import World
from vla.data.info import read_json
from vla.data.lerobot_writer import EpisodeWriter, Feature
from vla.data.unfinished import check_no_conversion
from vla.errors import BadInput
from vla.folders import output_folder, write_whole
from vla.interfaces import ACTION, IMAGE_PREFIX, STATE

__all__ = ["Collection", "Collector", "NoiseSource", "Progress", "dataset_writer"]

SETTINGS = "collection.json"
ROBOT_TYPE = "so101_follower"
JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
"""LeRobot's names for the SO-101 follower, in the order of state and action."""
_RETRIES = 3
"""With a policy driving first, a failed scene is tried again with it driving half as long, twice."""
_MAX_ATTEMPTS = 60

QUIET_SHARE = 0.25
"""Share of episodes without any disturbance."""


@dataclass(frozen=True)
class Collection:
    """What to collect. The same values give the same dataset, however often it is interrupted.

    noise: standard deviation, degrees, of the disturbance that most episodes have at most.
    policy: a learned policy that moves the arm first, for up to `max_driven` steps (DAgger).
    """

    world: World
    seed: int = 0
    noise: float = 1.6
    policy: str | None = None
    max_driven: int = 120


@dataclass(frozen=True)
class Progress:
    """One finished episode: its index, recorded steps, all simulated steps, outcomes of rejected attempts."""

    index: int
    frames: int
    steps: int
    rejected: tuple[str, ...]


NoiseSource = Callable[[np.random.Generator, float], Perturb]
"""(random numbers, standard deviation in degrees) -> a disturbance for one episode."""


class Collector:
    """Collects `what` into the folder `root` until it holds `episodes` episodes."""

    def __init__(
        self, what: Collection, root: Path, episodes: int, source: NoiseSource | None = None
    ) -> None:
        self.what, self.root, self.source = what, root, source
        check_no_conversion(root)
        env = what.world.make("train")
        self._writer = dataset_writer(root, env)
        env.close()
        _same_settings(root, what)
        self._wanted = set(range(episodes))

    @property
    def missing(self) -> list[int]:
        """Numbers of the episodes that are neither in the dataset nor staged."""
        return sorted(self._wanted - self._writer.written())

    def run(self, workers: int) -> Iterator[Progress]:
        """Collect what is missing, yielding each episode once it is safely staged; then merge them."""
        with output_folder(self.root):
            _same_settings(self.root, self.what)  # another run may have begun it meanwhile
            self._writer.recover()
            _write_settings(self.root, self.what)
            missing = self.missing
            if missing:
                count = min(workers, len(missing))
                yield from run_jobs(_work, missing, count, self.what, self.root, self.source)
            self._writer.finalize()


def _work(
    indices: Iterable[int],
    check: Callable[[], None],
    what: Collection,
    root: Path,
    source: NoiseSource | None,
) -> Iterator[Progress]:
    # The expert needs its usual time after the policy has used up part of the episode.
    more = {} if what.policy is None else {"max_steps": what.max_driven + 320}
    env = _Watched(what.world.make("train", **more), check)
    with contextlib.closing(env):  # a GL context that is left to the interpreter's end complains there
        policy = _policy(what.policy)
        writer = dataset_writer(root, env)
        for index in indices:
            episode, steps, rejected = _until_success(env, what, index, policy, source)
            writer.write_episode(index, episode.frames, episode.task, episode.extra)
            yield Progress(index, episode.length, steps, tuple(rejected))


def _until_success(
    env: gym.Env[Any, Any],
    what: Collection,
    index: int,
    policy: Policy | None,
    source: NoiseSource | None,
) -> tuple[Demonstration, int, list[str]]:
    """Try scenes until the expert ends one well: (episode, all simulated steps, outcomes of the others)."""
    rejected: list[str] = []
    steps = 0
    for attempt in range(_MAX_ATTEMPTS):
        scene, retry = divmod(attempt, _RETRIES) if policy is not None else (attempt, 0)
        seed = attempt_seed(what.seed, index, scene)
        rng = np.random.default_rng([seed, 1])
        driven = int(rng.integers(0, what.max_driven + 1)) >> retry if policy is not None else 0
        quiet, scale = rng.random() < QUIET_SHARE, what.noise * (0.3 + 0.7 * rng.random())
        noise = source(rng, scale) if source is not None and what.noise > 0 and not quiet else None
        episode = demonstrate(env, seed, noise, policy, driven)
        steps += episode.length
        if episode.success:
            return episode, steps, rejected
        rejected.append(episode.outcome)
    raise BadInput(f"episode {index}: the expert failed {_MAX_ATTEMPTS} times (outcomes: {set(rejected)})")


class _Watched(gym.Wrapper[Any, Any, Any, Any]):
    """Lets a stop end an episode at once instead of after its last step."""

    def __init__(self, env: gym.Env[Any, Any], check: Callable[[], None]) -> None:
        super().__init__(env)
        self._check = check

    def step(self, action: Any) -> Any:
        self._check()
        return self.env.step(action)


def _policy(name: str | None) -> Policy | None:
    if name is None:
        return None
    from policies import load

    return load(name)


def dataset_writer(root: Path, env: gym.Env[Any, Any]) -> EpisodeWriter:
    """A writer whose features are those of `env`'s observations and of `demonstrate`."""
    space = env.observation_space
    assert isinstance(space, gym.spaces.Dict)
    joints = [f"{name}.pos" for name in JOINTS]
    features: dict[str, Feature] = {}
    for key, box in space.items():
        if key.startswith(IMAGE_PREFIX):
            shape = list(box.shape or ())
            features[key] = {"dtype": "image", "shape": shape, "names": ["height", "width", "channels"]}
    for key in (STATE, ACTION):
        features[key] = {"dtype": "float32", "shape": [len(joints)], "names": joints}
    features["subtask_index"] = {"dtype": "int64", "shape": [1], "names": None}
    features["annotation.points"] = {"dtype": "float32", "shape": [12], "names": POINT_NAMES}
    features["annotation.valid"] = {"dtype": "float32", "shape": [1], "names": None}
    return EpisodeWriter(root, int(env.metadata["render_fps"]), features, ROBOT_TYPE)


POINT_NAMES = [
    f"{camera}.{thing}.{part}"
    for camera in ("front", "wrist")
    for thing in ("target", "destination")
    for part in ("x", "y", "visible")
]
"""x and y in 0..1 of the picture's width and height, from its top left corner; visible is 0 or 1."""


def _same_settings(root: Path, what: Collection) -> None:
    """Refuse to continue a folder that was begun with other settings; it would be two datasets in one."""
    path = root / SETTINGS
    if not path.exists():
        return
    before, now = read_json(path), json.loads(json.dumps(asdict(what)))
    # Options of the world that came later stood at their defaults when the folder was begun.
    before["world"] = json.loads(json.dumps(asdict(World()))) | before["world"]
    for key, old, new in _differences(before, now):
        raise BadInput(
            f"{root} was begun with {key}={old}, now it is {new}: use another out=, or the same {key}"
        )


def _write_settings(root: Path, what: Collection) -> None:
    path = root / SETTINGS
    if not path.exists():
        write_whole(path, json.dumps(asdict(what), indent=1))


def _differences(
    before: dict[str, Any], now: dict[str, Any], place: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{place}{key}.")
        elif old != new:
            yield f"{place}{key}".replace("world.", "env."), old, new
