"""The measures of the control loop: numbers that a real run gives, and the page that compares success."""

import pytest

from envs.arms.simulated import Simulated
from policies.runtime.benchmark.control import control_table, measure_control
from policies.runtime.benchmark.realtime import Trial, compare_page, run_through
from policies.runtime.chunking import Chunking
from policies.runtime.control import Control
from policies.runtime.faults.sabotage import Waving
from policies.runtime.world import World
from vla.errors import BadInput

SMALL = {"image_size": 16}
CONTROL = Control(policy_hz=20.0, ramp=0.2, threads=None)


def test_an_arm_is_measured_and_one_that_cannot_be_had_is_told():
    def missing(hz):
        raise BadInput("no such arm")

    arms = {"simulated": lambda hz: Simulated(options=SMALL, hz=hz).build(), "missing": missing}
    lines = []
    rows = measure_control(arms, [50.0], 1.0, policy=Waving(), task="wave", control=CONTROL, say=lines.append)
    found = rows[0]
    assert found["ending"] == "done" and 5 < found["ticks"] <= 55
    assert found["ticks"] + found["missed"] >= 45  # every deadline is either kept or counted
    assert 10 < found["mean_ms"] < 200
    # What is sent answers a picture that was taken before, so it can only be older than the reading.
    assert found["picture_p50_ms"] >= found["observation_p50_ms"] > 0
    assert rows[1]["error"] == "no such arm" and "no such arm" in control_table(rows)
    assert len(lines) == 2


class Laid:
    """A simulated arm as a table whose tasks are over after their first steps."""

    def __init__(self):
        self.arm = Simulated(options=SMALL, hz=20.0).build()
        self.laid = []

    def lay(self, seed, split, skill):
        from envs.arms.episodes import Episode

        self.laid.append((seed, skill))
        return self.arm.reset(Episode(seed, split, skill))

    def over(self):
        return "over" if self.arm.verdict().steps > 5 else ""

    def success(self):
        return self.arm.verdict().success

    def expert(self):
        return self.arm.expert()


@pytest.mark.parametrize("policy", [Waving(), None], ids=["policy", "expert"])
def test_the_same_scenes_are_laid_through_an_arm(policy):
    table, world = Laid(), World(skills=("touch", "lift"))
    trials = list(
        run_through(table, policy, world, "seen", chunking=Chunking(), control=CONTROL, count=2, seed=7)
    )
    assert table.laid == [(7, "touch"), (8, "lift")]
    assert [trial.how for trial in trials] == ["over", "over"]


def test_the_page_counts_who_did_otherwise():
    plain = [Trial(seed, "lift", seed % 2 == 0, "success") for seed in range(10)]
    other = [Trial(seed, "lift", seed != 1, "success") for seed in range(10)]
    page = compare_page({"plain": plain, "arm": other}, {"Policy": "x"})
    assert "| plain | 50.0% of 10 | 23.7% to 76.3% | 0 |" in page
    assert "| arm | 90.0% of 10 |" in page and "| 4 |" in page
