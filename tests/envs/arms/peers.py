"""What the tests of vendors' arms share: a simulator that runs, a wait that ends, a smooth way to a goal."""

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from envs.arms.simulators import SIMULATORS, Running, installed, simulator
from vla.arm import Arm, ArmFault, Positions

__all__ = ["go", "started", "until"]


def started(name: str) -> Iterator[Running]:
    """The simulator of `name`, for a fixture; skips where its environment is not made."""
    if not installed(name):
        pytest.skip(f"the simulator is not installed; run: scripts/peers {SIMULATORS[name].peer}")
    with simulator(name) as running:
        yield running


def until(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Whether it came true in time. Generous: on a busy machine a simulator's second takes many."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def go(arm: Arm, goal: Positions, seconds: float = 1.5, hz: float = 50.0) -> None:
    """Command a smooth way from here to `goal`; returns when the last command is sent."""
    start, began = arm.read().positions, time.monotonic()
    for tick in range(1, int(seconds * hz) + 1):
        share = (1 - np.cos(np.pi * tick / (seconds * hz))) / 2
        arm.command(start + share * (goal - start))
        time.sleep(max(0.0, began + tick / hz - time.monotonic()))
        try:
            arm.read()
        except ArmFault as fault:
            if "sent nothing" not in str(fault):  # a starved simulator pauses, too
                raise
