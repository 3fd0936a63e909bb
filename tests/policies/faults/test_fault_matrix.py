"""Each fault against a whole run: control loop, safety filter and log on the simulated arm, in real time.

What must hold: the arm does what the fault allows and no more, it comes to rest in time, no limit of any
joint is ever broken by what reaches the arm, and every command that reached it is in the log.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from rigs import emulated, simulated

from policies.runtime.faults.bench import put_together
from policies.runtime.faults.cases import BUS_CASES, CASES
from policies.runtime.faults.crash import KILLED, kill
from policies.runtime.faults.served import REMOTE_CASES, served
from policies.runtime.faults.trial import attempt

SLACK = 3.0
"""A test machine is busy, and noticing something takes it longer."""


QUICK = {
    "camera freezes",
    "a joint reads NaN",
    "NaN from the policy",
    "emergency stop by file",
    "arm disconnected",
}
"""Of these the others differ in the cause alone; they take minutes together."""


def _marked(case):
    return pytest.param(case, id=case.name, marks=() if case.name in QUICK else pytest.mark.slow)


@pytest.mark.parametrize("case", map(_marked, [*CASES, *BUS_CASES, *REMOTE_CASES]))
def test_fault(case, tmp_path):
    if case.group == "bus":
        pytest.importorskip("lerobot")
    make = emulated if case.group == "bus" else simulated
    with put_together(make, tmp_path, remote=served if case.remote else None) as bench:
        outcome = attempt(case, bench)
    assert not outcome.faults(case, SLACK), outcome


@pytest.mark.slow
def test_kill_9_costs_the_log_at_most_a_second(tmp_path):
    me = Path(__file__).with_name("rigs.py")
    outcome = kill(lambda: subprocess.Popen([sys.executable, str(me), str(tmp_path)]), tmp_path)
    assert outcome.sent > 20, "it was killed before it had moved for a second"
    assert not outcome.faults(KILLED, SLACK), outcome
