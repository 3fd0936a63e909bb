"""``vla/Tabletop-v0``: the table as a Gymnasium environment."""

import string
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from envs.tabletop.arm import JOINT_NAMES, STATE_HIGH, STATE_LOW, ArmModel
from envs.tabletop.camera import Camera
from envs.tabletop.expert import Expert
from envs.tabletop.extended import name_another, sample_extended
from envs.tabletop.language import parse, say
from envs.tabletop.sampling import sample_scene, swap_target
from envs.tabletop.scene import Scene
from envs.tabletop.sim import CONTROL_HZ, Simulation
from envs.tabletop.success import Judge, Verdict
from envs.tabletop.tasks import SKILLS, Task
from envs.tabletop.vocabulary import UNSEEN_SPLITS
from envs.tabletop.vocabulary import vocabulary as words_of
from vla.errors import BadInput, did_you_mean
from vla.interfaces import IMAGE_PREFIX, STATE, TASK

__all__ = ["CAMERAS", "MAX_STEPS", "SPLITS", "TabletopEnv"]

CAMERAS = ("front", "wrist")
SPLITS = ("train", "validation", "seen", "held_out_sentences", "held_out_objects", *UNSEEN_SPLITS)
"""Each split draws from its own stream of random numbers, so equal seeds in two splits share nothing.
train, validation and seen differ only in that; the others hold out sentence templates, objects, or (in the
extended vocabulary) colours and shapes with their words. A new one goes last: its place is its stream."""

MAX_STEPS = {
    "touch": 100,
    "lift": 120,
    "put_into": 180,
    "put_beside": 180,
    "push": 180,
    "stack": 200,
    "put_both": 320,
}
"""Control steps (at 20 Hz) before an episode is cut off, about twice what the expert takes at most."""

_TEXT = string.ascii_letters + string.digits + " ,.;:!?'-"
Observation = dict[str, Any]


class TabletopEnv(gymnasium.Env[Observation, npt.NDArray[np.float32]]):
    """A sentence and a table; the action is six joint targets in LeRobot's units, at 20 Hz.

    Observation: ``observation.images.front`` and ``observation.images.wrist`` uint8 [size, size, 3],
    ``observation.state`` float32 [6] (degrees, gripper 0..100), ``task`` the sentence.
    Action: float32 [6], same units as the state. Reward: 1 at success, else 0.
    info: success, outcome, subtask (of the expert), first_touched, moved, skill, task_spec.

    reset(options=...) takes ``task`` (a Task), ``sentence`` (text, parsed), ``swap`` (True: the same seed's
    scene with the sentence about another object) or ``scene`` (a Scene, used as it is).

    vocabulary: ``extended`` has more colours and shapes, for touch and lift alone (see vocabulary.py).
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": CONTROL_HZ}  # noqa: RUF012

    def __init__(
        self,
        *,
        image_size: int = 96,
        split: str = "seen",
        skills: Sequence[str] = SKILLS,
        visual_randomization: bool = False,
        task: Task | None = None,
        sentence: str | None = None,
        arm_model: ArmModel = "primitive",
        vocabulary: str = "base",
        max_steps: int | None = None,
        render_mode: str | None = "rgb_array",
    ) -> None:
        _check(split, SPLITS, "split")
        _check(arm_model, ("primitive", "meshed"), "arm_model")
        if isinstance(skills, str):
            raise BadInput(f"skills must be a list of names, not {skills!r}")
        for skill in skills:
            _check(skill, SKILLS, "skill")
        _check_vocabulary(vocabulary, split, skills)
        if not skills:
            raise BadInput("skills is empty; name at least one of: " + ", ".join(SKILLS))
        if max_steps is not None and (not isinstance(max_steps, int) or max_steps < 1):
            raise BadInput(f"max_steps={max_steps!r} must be a whole number from 1 up, or None")
        _check_given("task", task, Task)
        if not isinstance(image_size, int) or not 8 <= image_size <= 1280:
            raise BadInput(f"image_size={image_size} is out of range; 8 to 1280 pixels")
        self.split, self.skills, self.arm_model = split, tuple(skills), arm_model
        self.visual_randomization = visual_randomization
        self.render_mode = render_mode
        self.vocabulary = vocabulary
        self._fixed_task = parse(sentence, vocabulary) if sentence is not None else task
        self._fixed_sentence = sentence
        self._max_steps = max_steps
        picture = spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
        self.observation_space = spaces.Dict(
            {
                **{IMAGE_PREFIX + name: picture for name in CAMERAS},
                # A servo can be pressed a little past its limit.
                STATE: spaces.Box(STATE_LOW - 10, STATE_HIGH + 10, dtype=np.float32),
                TASK: spaces.Text(max_length=240, min_length=0, charset=_TEXT),
            }
        )
        self.action_space = spaces.Box(STATE_LOW, STATE_HIGH, dtype=np.float32)
        self._size = image_size
        self._camera: Camera | None = None
        self._last: Observation = {}

    # -- gymnasium --------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode; the same seed gives the same scene, sentence and pixels."""
        super().reset(seed=seed)
        if seed is None:
            seed = int(self.np_random.integers(2**31))
        rng = np.random.default_rng([SPLITS.index(self.split), seed])
        self.scene, self.sentence = self._draw(rng, options or {})
        self.sim = Simulation(self.scene, self.arm_model)
        self.judge = Judge(self.scene, self.sim)
        if self._camera is None:
            self._camera = Camera(self._size, self._size)
        self._camera.load(self.sim.model)
        self._expert = Expert(self.sim, self.judge)
        self._steps = 0
        return self._observe(), self._info(Verdict("running", "", ()))

    def step(
        self, action: npt.NDArray[np.float32]
    ) -> tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]:
        """Move 50 ms towards the joint targets; targets past the limits are clipped, NaN is refused."""
        action = np.asarray(action, dtype=np.float32)
        if action.shape != (len(JOINT_NAMES),) or not np.all(np.isfinite(action)):
            raise BadInput(f"action must be {len(JOINT_NAMES)} finite joint targets, not {action}")
        self.sim.step(action)
        self._steps += 1
        verdict = self.judge.update()
        limit = self._max_steps or MAX_STEPS[self.scene.task.skill]
        truncated = not verdict.ended and self._steps >= limit
        if truncated:
            verdict = Verdict("timeout", verdict.first_touched, verdict.moved)
        success = verdict.outcome == "success"
        return (
            self._observe(),
            float(success),
            verdict.ended and not truncated,
            truncated,
            self._info(verdict),
        )

    def render(self) -> npt.NDArray[np.uint8]:
        """Both cameras side by side, uint8 ``[size, 2 * size, 3]``."""
        return np.hstack([self._last[IMAGE_PREFIX + name] for name in CAMERAS])

    def close(self) -> None:
        """Free the GL context."""
        if self._camera is not None:
            self._camera.close()
            self._camera = None

    # -- privileged -------------------------------------------------------------------------------

    def expert(self) -> Expert:
        """The demonstrator of the running episode."""
        return self._expert

    # -- inside -----------------------------------------------------------------------------------

    def _draw(self, rng: np.random.Generator, options: dict[str, Any]) -> tuple[Scene, str]:
        for name in options:
            _check(name, ("sentence", "task", "swap", "scene"), "option of reset")
        _check_given("task", options.get("task"), Task)
        _check_given("scene", options.get("scene"), Scene)
        sentence = options.get("sentence", self._fixed_sentence)
        task = (
            parse(sentence, self.vocabulary)
            if sentence is not None
            else options.get("task", self._fixed_task)
        )
        scene: Scene | None = options.get("scene")
        if scene is None:
            skill = task.skill if task is not None else self.skills[int(rng.integers(len(self.skills)))]
            scene = self._sample(rng, skill, task)
        if options.get("swap"):
            scene = (swap_target if self.vocabulary == "base" else name_another)(scene, rng)
        if sentence is None:
            held_out = self.split == "held_out_sentences"
            sentence = say(scene.task, rng, split="held_out" if held_out else "train")
        return scene, sentence

    def _sample(self, rng: np.random.Generator, skill: str, task: Task | None) -> Scene:
        varied = self.visual_randomization
        if self.vocabulary == "extended":
            return sample_extended(rng, skill, self.split, task=task, visual_randomization=varied)
        held_out = self.split == "held_out_objects" and task is None
        return sample_scene(rng, skill, held_out=held_out, task=task, visual_randomization=varied)

    def _observe(self) -> Observation:
        assert self._camera is not None
        pictures = self._camera.render(self.sim.data, CAMERAS)
        self._last = {
            **{IMAGE_PREFIX + name: picture for name, picture in pictures.items()},
            STATE: self.sim.state,
            TASK: self.sentence,
        }
        return self._last

    def _info(self, verdict: Verdict) -> dict[str, Any]:
        task = self.scene.task
        return {
            "success": verdict.outcome == "success",
            "outcome": verdict.outcome,
            "subtask": self._expert.subtask,
            "first_touched": verdict.first_touched,
            "moved": verdict.moved,
            "target": str(task.target),
            "skill": task.skill,
            "task_spec": asdict(task),
        }


def _check(value: str, known: Sequence[str], what: str) -> None:
    if value not in known:
        raise BadInput(f"unknown {what} {value!r}{did_you_mean(value, known)}")


def _check_vocabulary(name: str, split: str, skills: Sequence[str]) -> None:
    """Whether the vocabulary has the split and the skills."""
    known = words_of(name).skills
    if split in UNSEEN_SPLITS and name != "extended":
        raise BadInput(f"split={split} needs vocabulary=extended: the base vocabulary has nothing unseen")
    for skill in skills:
        if skill not in known:
            raise BadInput(f"vocabulary={name} has no skill '{skill}'; give skills=[{', '.join(known)}]")


def _check_given(name: str, value: Any, kind: type) -> None:
    if value is not None and not isinstance(value, kind):
        raise BadInput(f"{name} must be a {kind.__name__}, not {value!r}")
