"""A policy that looks back, on an arm that misses ticks and is held: what it remembers is when it was."""

from collections.abc import Sequence
from typing import Any

from test_control_loop import HZ, POLICY_HZ, Bench, Planner, quick

from policies.memory import PictureMemory
from policies.runtime.chunking import Chunking
from policies.runtime.control import Watch
from vla.interfaces import Observation

KEPT = 6


class Remembering(Planner):
    """Its cameras' pictures tell their control step; `pasts` are step -> what it remembered when asked."""

    watching = True

    def __init__(self) -> None:
        super().__init__(40)
        self.memory = PictureMemory(KEPT)
        self.observed: list[int] = []
        self.pasts: dict[int, list[int]] = {}

    def observe(self, observations: Sequence[Observation], which: Sequence[int]) -> None:
        [seen] = observations
        assert seen.frame_index is not None
        seen.images["front"][:] = seen.frame_index % 250
        self.observed.append(seen.frame_index)
        self.memory.add(seen, 0)

    def forget(self, which: int) -> None:
        self.memory.forget(which)

    def reset(self, count: int) -> None:
        super().reset(count)
        self.memory.clear()
        self.observed.clear()

    def act(self, observations: Sequence[Observation], which: Sequence[int]) -> Any:
        history = self.memory.history(0).get("front", [])
        step = observations[0].frame_index
        assert step is not None
        self.pasts[step] = [int(picture[0, 0, 0]) for picture in history]
        return super().act(observations, which)


def check(policy: Remembering) -> None:
    """Each remembered picture is the newest that there was so many steps before."""
    for step, past in policy.pasts.items():
        for ago, shown in enumerate(past, 1):
            there = [each for each in policy.observed if each <= step - ago]
            assert there and shown == there[-1], (step, ago, past)


def test_steps_that_were_missed_stand_where_they_were_missed() -> None:
    policy = Remembering()
    bench = Bench(quick(seconds=6.0), policy, chunking=Chunking(execute=3))
    stalls = {40: 0.12, 41: 0.25, 90: 0.31, 140: 0.1}  # seconds, upon readings

    def stall() -> None:
        bench.clock.now += stalls.pop(len(bench.arm.commands), 0.0)

    bench.arm.on_read = stall
    result = bench.run()
    missing = set(range(max(policy.observed))) - set(policy.observed)
    assert result.well and result.periods.missed > 20 and len(missing) >= 3
    assert policy.observed == sorted(set(policy.observed)) and len(policy.pasts) > 10
    assert any(len(set(past)) < len(past) for past in policy.pasts.values())
    check(policy)


def test_what_is_seen_before_the_arm_goes_on_is_remembered() -> None:
    """After trouble all must be well for a while: the policy looks, though it is not asked."""
    policy = Remembering()
    control = quick(seconds=5.0, settle=1.0, watch=Watch(lost=9.0))
    bench = Bench(control, policy, chunking=Chunking(execute=3))
    bench.at(2.0, lambda: setattr(bench.arm, "unreadable", "no reply"))
    bench.at(2.5, lambda: setattr(bench.arm, "unreadable", ""))
    result = bench.run()
    assert result.well and result.holds["settle"] >= 0.9 * HZ
    steps = [step for step in policy.observed if 2.6 <= step / POLICY_HZ < 3.4]
    assert len(steps) == 8, "it has looked while it waited"
    first = min(step for step in policy.pasts if step / POLICY_HZ > 3)
    assert policy.pasts[first] == [first - k for k in range(1, KEPT + 1)]
    check(policy)
