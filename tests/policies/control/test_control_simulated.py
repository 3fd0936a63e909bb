"""The shipped policy on the simulated arm, through the real filter: on a clock that waits for each answer."""

import time
from typing import Any

import numpy as np
import pytest
from arms import Button, Clock

from envs.arms.episodes import Episode
from envs.arms.simulated import Simulated
from policies import load
from policies.runtime.chunking import Chunking
from policies.runtime.control import Control, ControlLoop, RunResult
from policies.runtime.safety import GuardedArm, Safety
from vla.errors import BadInput

HZ = 20.0


class Patient(Clock):
    """Time goes on only when every question has been answered: so a run is the same on any machine."""

    loop: ControlLoop | None = None

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        plan = getattr(self.loop, "_plan", None)
        end = time.monotonic() + 60
        while plan is not None and plan.waiting and time.monotonic() < end:
            if not plan._runner._answers.empty() or plan.error:
                return
            time.sleep(0.0005)


def run(policy: Any, seed: int, **more: Any) -> tuple[RunResult, str]:
    """One episode: how the loop ended, and what became of the task."""
    clock = Patient()
    arm = Simulated(hz=HZ, lockstep=True).build(clock)
    guard = GuardedArm(arm, Safety(), HZ)
    guard.connect()
    try:
        task = arm.reset(Episode(seed=seed))

        def over() -> str:
            verdict = arm.verdict()
            return verdict.outcome if verdict.ended or verdict.success else ""

        control = Control(**{"seconds": 30.0, "ramp": 0.0, "threads": None} | more)
        clock.loop = ControlLoop(
            guard,
            policy,
            Chunking(),
            control,
            task,
            stop=Button(),
            until=over,
            clock=clock,
            sleep=clock.sleep,
        )
        return clock.loop.run(), arm.verdict().outcome
    finally:
        guard.disconnect()


@pytest.mark.slow
def test_the_shipped_policy_does_a_task_on_the_simulated_arm() -> None:
    result, outcome = run(load("tabletop-small"), 1002)
    assert outcome == "success" and result.well and result.ending.why == "success"
    assert result.periods.missed == 0 and set(result.holds) <= {"start"}
    assert result.ticks == result.steps + 2  # of braking
    assert result.inference.number == result.chunks >= 3


@pytest.mark.slow
def test_a_policy_for_other_cameras_does_not_move_it() -> None:
    policy = load("tabletop-small")
    clock = Patient()
    arm = Simulated(hz=HZ, lockstep=True).build(clock)
    guard = GuardedArm(arm, Safety(), HZ)
    guard.connect()
    try:
        before = arm.read().positions
        policy.processor.camera_names = ("front", "overhead")  # type: ignore[attr-defined]
        loop = ControlLoop(
            guard, policy, Chunking(), Control(), "x", stop=Button(), clock=clock, sleep=clock.sleep
        )
        with pytest.raises(
            BadInput, match="looks through the camera 'overhead', which the arm does not have"
        ):
            loop.run()
        np.testing.assert_array_equal(arm.read().positions, before)
    finally:
        guard.disconnect()
