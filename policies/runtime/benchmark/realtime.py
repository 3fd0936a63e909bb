"""Does a policy do in real time, through an arm, what it does in the plain environment?

The same scenes on both sides. In the plain environment the world waits for the policy; through an arm it goes
on while the policy thinks, the safety filter has its say, and pictures and joints are of different moments.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

from policies.base import Expert, Policy
from policies.runtime.chunking import Chunking
from policies.runtime.control import Control, ControlLoop
from policies.runtime.rollout import Rollout, cases_of, roll_out_here
from policies.runtime.world import World
from vla.arm import Arm
from vla.interfaces import ActionChunk, Observation
from vla.intervals import wilson

__all__ = ["ScenePolicy", "Table", "Trial", "compare_page", "run_plain", "run_through"]


class Table(Protocol):
    """An arm whose world can be laid and judged. arm: the arm itself, not connected yet."""

    @property
    def arm(self) -> Arm: ...

    def lay(self, seed: int, split: str, skill: str) -> str:
        """Lay the scene of `seed`, the arm at its start; the sentence."""

    def over(self) -> str:
        """How it ended; "" while it goes on."""

    def success(self) -> bool:
        """Whether it is solved."""

    def expert(self) -> Expert:
        """The demonstrator of the present scene."""


@dataclass(frozen=True)
class Trial:
    """One episode. how: how the world or the run ended."""

    seed: int
    skill: str
    success: bool
    how: str


class ScenePolicy:
    """A world's own demonstrator as a policy for an arm in that world, asked at every control step. What it
    says stands until its next answer, as that takes time."""

    name, horizon, execute = "expert", 10, 1

    def __init__(self, expert: Expert, hz: float) -> None:
        self._expert, self.about = expert, {"hz": hz}

    def reset(self, count: int) -> None:
        """See Policy."""

    def act(self, observations: Sequence[Observation], which: Sequence[int]) -> list[ActionChunk]:
        """See Policy."""
        import numpy as np

        rows = np.tile(np.asarray(self._expert.act(), np.float32), (self.horizon, 1))
        return [ActionChunk(rows, frame_index=seen.frame_index) for seen in observations]


def run_plain(
    policy: Policy, world: World, split: Any, *, chunking: Chunking, count: int, seed: int
) -> Iterator[Trial]:
    """`count` episodes in the plain environment, one after the other."""
    how = Rollout(world, policy.name, split=split, chunking=chunking, side_by_side=1)
    for result in roll_out_here(policy, how, cases_of(world, count, seed)):
        yield Trial(result.seed, result.skill, result.success, result.outcome)


def run_through(
    table: Table,
    policy: Policy | None,
    world: World,
    split: str,
    *,
    chunking: Chunking,
    control: Control,
    count: int,
    seed: int,
    safety: Any = None,
    stopped: Callable[[], str] = lambda: "",
) -> Iterator[Trial]:
    """The same episodes through the arm. policy: None for the world's own expert. safety: the filter's
    settings; None: its own. The arm is connected first, and disconnected at the end."""
    from policies.runtime.safety import EmergencyStop, GuardedArm, Safety, StopSources

    safety = safety or Safety(stop=StopSources(keys="", file=None, port=None))
    guarded: Any = None
    with ExitStack() as stack:
        stop = stack.enter_context(EmergencyStop(safety.stop))
        guarded = GuardedArm(table.arm, safety, control.hz or 20.0)
        guarded.connect()
        stack.callback(guarded.disconnect, False)
        for case in cases_of(world, count, seed):
            skill = str(case.skill)
            task = table.lay(case.seed, split, skill)
            acting = policy or ScenePolicy(table.expert(), control.policy_hz or 20.0)
            run = ControlLoop(guarded, acting, chunking, control, task, stop=stop, until=table.over)
            result = run.run()
            yield Trial(case.seed, skill, table.success(), table.over() or result.ending.why)
            if result.ending.kind in ("interrupted", "emergency", "lost", "error") or stopped():
                return


def compare_page(found: Mapping[str, Sequence[Trial]], about: Mapping[str, str]) -> str:
    """Markdown. found: where it ran -> its trials; the first is what the others are compared with."""
    lines = ["# In real time", "", *(f"- {key}: {value}" for key, value in about.items()), ""]
    lines += [
        "| where | success | 95% interval | other than the first | endings |",
        "|---|---:|---|---:|---|",
    ]
    reference: dict[int, bool] = {}
    for name, trials in found.items():
        wins, count = sum(trial.success for trial in trials), len(trials)
        low, high = wilson(wins, count)
        other = sum(reference.get(trial.seed, trial.success) != trial.success for trial in trials)
        reference = reference or {trial.seed: trial.success for trial in trials}
        endings: dict[str, int] = {}
        for trial in trials:
            endings[trial.how] = endings.get(trial.how, 0) + 1
        told = ", ".join(f"{how} {n}" for how, n in sorted(endings.items(), key=lambda pair: -pair[1]))
        share = wins / count if count else 0.0
        lines.append(f"| {name} | {share:.1%} of {count} | {low:.1%} to {high:.1%} | {other} | {told} |")
    return "\n".join(lines) + "\n"
