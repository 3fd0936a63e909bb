"""Rolling a policy out: several environments side by side in each of several processes, seeded by episode.

Every episode is determined by its own seed. Episodes are dealt to processes in a fixed order, so the same
command gives the same batches, and so the same numbers, however the processes are scheduled.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from policies import find_checkpoint, load
from policies.base import Policy, Privileged, Seeded
from policies.runtime.chunking import Chunking
from policies.runtime.chunks import ChunkExecutor
from policies.runtime.results import EpisodeResult
from policies.runtime.video import film
from policies.runtime.workers import run_jobs
from policies.runtime.world import Split, World
from vla.errors import BadInput
from vla.interfaces import FRAME_INDEX, TIMESTAMP, Observation

__all__ = ["Case", "Rollout", "cases_of", "check_policy", "roll_out", "roll_out_here", "swap_cases"]


@dataclass(frozen=True)
class Case:
    """One episode to run: the scene of `seed`.

    skill: draw this kind of task; None: any of the world's. sentence: instead of a drawn task.
    swapped: the same scene as without, with the sentence changed to name another object of it.
    """

    index: int
    seed: int
    skill: str | None = None
    sentence: str | None = None
    swapped: bool = False


@dataclass(frozen=True)
class Rollout:
    """How to run episodes. policy: name or folder; policy_options: as for ``policies.load``.

    chunking: how chunks are executed, and how many control steps late they come.
    side_by_side: environments in one process, whose observations go through the policy as one batch.
    videos: films of the episodes with an index below this go to `out`/videos, `video_size` pixels high.
    """

    world: World
    policy: str
    split: Split = "seen"
    chunking: Chunking = field(default_factory=Chunking)
    side_by_side: int = 4
    out: Path | None = None
    videos: int = 0
    video_size: int = 288
    policy_options: dict[str, Any] = field(default_factory=dict)


def check_policy(name_or_path: str) -> None:
    """Raise BadInput for a policy that cannot be found, before any process is started for it."""
    if name_or_path not in ("expert", "random"):
        find_checkpoint(name_or_path)


def cases_of(world: World, episodes: int, seed: int) -> list[Case]:
    """Episode i: seed + i, and the world's skills in turn, so that each is tried equally often."""
    return [Case(i, seed + i, skill=world.skills[i % len(world.skills)]) for i in range(episodes)]


def swap_cases(world: World, split: Split, pairs: int, seed: int) -> list[Case]:
    """The swap test: each scene twice, with its own sentence and with one about another object of it.

    Scenes on which nothing else could be asked for are passed over.
    """
    env = dataclasses.replace(world, image_size=8).make(split)
    cases: list[Case] = []
    with contextlib.closing(env):
        while len(cases) < 2 * pairs:
            skill = world.skills[len(cases) // 2 % len(world.skills)]
            own = Case(len(cases), seed, skill=skill)
            other = dataclasses.replace(own, index=own.index + 1, swapped=True)
            seed += 1
            with contextlib.suppress(BadInput):
                _reset(env, other)
                cases += [own, other]
    return cases


def roll_out(how: Rollout, cases: Sequence[Case], workers: int = 1) -> Iterator[EpisodeResult]:
    """Run the cases in `workers` processes, yielding results as episodes end."""
    count = max(1, min(workers, len(cases)))
    shares = [list(cases[first::count]) for first in range(count)]
    yield from run_jobs(_work, shares, count, how)


def _work(
    shares: Iterable[Sequence[Case]], check: Callable[[], None], how: Rollout
) -> Iterator[EpisodeResult]:
    policy = load(how.policy, **how.policy_options)
    for share in shares:
        yield from roll_out_here(policy, how, share, check)


@dataclass
class _Slot:
    """One environment and the episode that runs in it."""

    env: gym.Env[Any, Any]
    case: Case | None = None
    observation: dict[str, Any] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)
    waited: float = 0.0
    hz: float = 20.0
    actions: list[Any] = field(default_factory=list)
    states: list[Any] = field(default_factory=list)
    points: list[Any] = field(default_factory=list)

    def seen(self) -> Observation:
        """What is seen at this control step, with its number and its time since the episode began."""
        step = len(self.actions)
        return Observation.from_dict(self.observation | {FRAME_INDEX: step, TIMESTAMP: step / self.hz})


def roll_out_here(
    policy: Policy, how: Rollout, cases: Sequence[Case], check: Callable[[], None] = lambda: None
) -> Iterator[EpisodeResult]:
    """Run the cases with a policy that is already loaded, in this process (for use while training)."""
    slots = [_slot(how) for _ in range(min(how.side_by_side, len(cases)))]
    waiting = list(reversed(cases))
    try:
        executor = ChunkExecutor(policy, len(slots), how.chunking, _action_dim(slots))
        while True:
            for number, slot in enumerate(slots):
                if slot.case is None and waiting:
                    _begin(slot, waiting.pop(), number, policy)
                    executor.forget(number)
            active = [number for number, slot in enumerate(slots) if slot.case is not None]
            if not active:
                return
            check()
            _watch(executor, slots, active)
            _plan(executor, slots, active)
            for number in active:
                if _step(slots[number], *executor.next(number)):
                    joins, holds = executor.joins(number), executor.holds(number)
                    yield _finish(slots[number], how, joins, holds)
    finally:
        for slot in slots:
            slot.env.close()


def _slot(how: Rollout) -> _Slot:
    env = how.world.make(how.split)
    return _Slot(env, hz=float(env.metadata.get("render_fps", 20)))


def _action_dim(slots: Sequence[_Slot]) -> int | None:
    """Numbers an action has, where the world says so."""
    shape = slots[0].env.action_space.shape if slots else None
    return shape[0] if shape else None


def _begin(slot: _Slot, case: Case, number: int, policy: Policy) -> None:
    slot.case, slot.waited = case, 0.0
    slot.actions, slot.states, slot.points = [], [], []
    slot.observation, slot.info = _reset(slot.env, case)
    if isinstance(policy, Privileged):
        policy.attach(number, slot.env.unwrapped.expert())  # type: ignore[attr-defined]
    if isinstance(policy, Seeded):
        policy.begin(number, case.seed)


def _reset(env: gym.Env[Any, Any], case: Case) -> tuple[dict[str, Any], dict[str, Any]]:
    if case.skill is not None:
        env.unwrapped.skills = (case.skill,)  # type: ignore[attr-defined]
    options: dict[str, Any] = {"swap": True} if case.swapped else {}
    if case.sentence is not None:
        options["sentence"] = case.sentence
    return env.reset(seed=case.seed, options=options)


def _watch(executor: ChunkExecutor, slots: Sequence[_Slot], active: Sequence[int]) -> None:
    """Show this control step to a policy that looks back."""
    if executor.watching:
        observations = [slots[number].seen() for number in active]
        executor.observe(observations, active)


def _plan(executor: ChunkExecutor, slots: Sequence[_Slot], active: Sequence[int]) -> None:
    """New chunks, in one batch, for those that need one; all of them wait for the whole batch."""
    needing = executor.waiting(active)
    if not needing:
        return
    observations = [slots[number].seen() for number in needing]
    start = time.perf_counter()
    executor.plan(observations, needing)
    for number in needing:
        slots[number].waited += time.perf_counter() - start


def _step(slot: _Slot, action: Any, chunk: Any) -> bool:
    slot.actions.append(np.asarray(action, np.float32))
    slot.states.append(slot.observation["observation.state"])
    slot.points.append(chunk.info.get("points"))
    slot.observation, _, terminated, truncated, slot.info = slot.env.step(action)
    return terminated or truncated


def _finish(slot: _Slot, how: Rollout, joins: tuple[int, ...], holds: tuple[int, ...]) -> EpisodeResult:
    case, info = slot.case, slot.info
    assert case is not None
    steps = len(slot.actions)
    result = EpisodeResult(
        index=case.index,
        seed=case.seed,
        skill=str(info["skill"]),
        task=str(slot.observation["task"]),
        outcome=str(info["outcome"]),
        success=bool(info["success"]),
        steps=steps,
        control_hz=steps / slot.waited if slot.waited > 0 else float("inf"),
        target=str(info.get("target", "")),
        # What is moved without the fingers' touch (swept by the arm) counts as gone to, too.
        first_touched=str(info.get("first_touched") or next(iter(info.get("moved", ())), "")),
        swapped=case.swapped,
        actions=np.stack(slot.actions),
        states=np.stack(slot.states),
        joins=joins,
        holds=holds,
        hz=slot.hz,
    )
    if how.out is not None and case.index < how.videos:
        with contextlib.closing(how.world.make(how.split, image_size=how.video_size)) as viewer:
            frames = _replay(viewer, case, result)
            result.video = film(frames, slot.points, how.out / "videos", f"episode-{case.index:04d}")
    slot.case = None
    return result


def _replay(env: gym.Env[Any, Any], case: Case, result: EpisodeResult) -> Iterator[dict[str, Any]]:
    """The observations of a finished episode, seen larger: the same seed and actions give the same motion."""
    observation, _ = _reset(env, case)
    for action in result.actions:
        yield observation
        observation, *_ = env.step(action)
    yield observation
