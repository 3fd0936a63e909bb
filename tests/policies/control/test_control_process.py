"""A policy in a process of its own: the same answers, its death told, nothing left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arms import Button, Guarded, PerfectArm

from policies import load
from policies.runtime.chunking import Chunking
from policies.runtime.control import Control, ControlLoop
from policies.runtime.control.fit import facts_of
from policies.runtime.control.process import process_policy
from vla.arm import ArmSpec, Joint
from vla.errors import BadInput
from vla.interfaces import Observation

pytest.importorskip("websockets")
pytest.importorskip("uvicorn")

NAMES = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")


def seen(step: int = 0) -> Observation:
    pictures = {name: np.full((96, 96, 3), 90, np.uint8) for name in ("front", "wrist")}
    state = np.array([0, -50, 50, 50, 0, 20], np.float32)
    return Observation(pictures, state, "pick up the red cube", frame_index=step, timestamp=step / 20)


@pytest.mark.slow  # torch is loaded a second time
def test_it_answers_as_in_this_process() -> None:
    here = load("tabletop-small")
    with process_policy("tabletop-small") as policy:
        _compare(policy, here)


def _compare(policy: Any, here: Any) -> None:
    policy.reset(1)
    here.reset(1)
    [theirs], [mine] = policy.act([seen()], [0]), here.act([seen()], [0])
    np.testing.assert_allclose(theirs.actions, mine.actions, atol=1e-4)
    assert (policy.horizon, policy.name) == (here.horizon, here.name)
    assert facts_of(policy, "so101_follower") == facts_of(here, "so101_follower")
    assert facts_of(policy, "").hz == 20.0 and facts_of(policy, "").cameras == ("front", "wrist")


def test_an_arm_runs_on_it_and_its_death_ends_the_run_with_a_hold() -> None:
    joints = tuple(Joint(name, "deg", -180, 180, 1e4, 1e5, 1e6, name == "gripper") for name in NAMES)
    arm = PerfectArm(arm_spec=ArmSpec("so101_follower", joints, 40.0, ("front", "wrist")))
    arm.at = seen().state.astype(np.float64)
    with process_policy("random") as policy:
        child = policy._process.pid
        until = {"at": 0.0}

        def kill() -> str:
            if arm.commands and not until["at"]:
                until["at"] = time.monotonic() + 1.0
            if until["at"] and time.monotonic() > until["at"]:
                os.kill(child, signal.SIGKILL)
                until["at"] = float("inf")
            return ""

        control = Control(policy_hz=20.0, seconds=20.0, ramp=0.2, threads=None)
        loop = ControlLoop(
            Guarded(arm), policy, Chunking(), control, "pick up the red cube", stop=Button(), until=kill
        )
        result = loop.run()
    assert result.ending.kind == "policy" and "has ended (exit status -9)" in result.ending.why
    assert result.chunks >= 2 and arm.events[-1] == "hold" and result.seconds < 19


def test_nothing_is_left_behind() -> None:
    with process_policy("random") as policy:
        process = policy._process
    assert process.poll() == 0


def test_a_child_ends_with_its_parent() -> None:
    """Even with one that is killed: its stdin closes."""
    code = (
        "from policies.runtime.control.process import process_policy\n"
        "import sys, time\n"
        "with process_policy('random') as policy:\n"
        "    print(policy._process.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen(
        ["python", "-c", code], stdout=subprocess.PIPE, text=True, env=_environment()
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    end = time.monotonic() + 20
    while _lives(child):
        assert time.monotonic() < end, "the child lives on"
        time.sleep(0.05)


def _environment() -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return dict(os.environ) | {"PATH": path, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


def _lives(number: int) -> bool:
    try:
        with open(f"/proc/{number}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_mistakes_are_one_line() -> None:
    with (
        pytest.raises(BadInput, match=r"no policy 'tabletop-smal'.*did you mean"),
        process_policy("tabletop-smal"),
    ):
        pass
    with pytest.raises(BadInput, match="inference=thread"), process_policy("expert"):
        pass
