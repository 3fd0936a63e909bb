"""Before the first motion: the arm is well, every camera shows something, and the policy answers for this
arm."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from policies.base import Policy
from policies.runtime.control.fit import rehearse
from policies.runtime.control.leaps import SLACK
from policies.runtime.control.parts import Guard
from vla.arm import ArmFault, Picture, Reading, observed

__all__ = ["connected", "first_pictures", "prepare", "standing"]

TRIES = 5
"""Readings that are asked for until two in a row agree."""


@contextlib.contextmanager
def connected(arm: Any, release: bool = False) -> Iterator[None]:
    """An arm (guarded or not) that is connected as long as the context lasts. Raises ArmFault.

    release: let go of its torque at the end; else it stays where it is, if it can.
    """
    arm.connect()
    try:
        yield
    finally:
        arm.disconnect(release)


def prepare(
    arm: Guard,
    policy: Policy,
    task: str,
    patience: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Raise BadInput where the policy's answer is not for this arm, ArmFault where the arm is not well.

    patience: seconds that cameras may take for their first picture.
    """
    spec = arm.spec
    if lines := arm.faults():
        raise ArmFault(f"the arm reports, before anything has moved: {'; '.join(lines)}")
    pictures = first_pictures(arm, patience, clock, sleep)
    reading = arm.read()
    if not np.isfinite(reading.positions).all():
        found = np.round(reading.positions, 3).tolist()
        raise ArmFault(f"the joints read {found}: it is not known where the arm is")
    shown = replace(observed(reading, pictures, spec, task, reading.time), frame_index=0)
    shown.validate()
    rehearse(policy, shown, spec)


def first_pictures(
    arm: Guard, patience: float, clock: Callable[[], float], sleep: Callable[[float], None]
) -> Mapping[str, Picture]:
    """One of each camera. Raises ArmFault for a camera that has given none after `patience` seconds."""
    end = clock() + patience
    while True:
        pictures = arm.pictures()
        missing = [name for name in arm.spec.cameras if name not in pictures]
        if not missing:
            return pictures
        if clock() > end:
            limit = f"{patience:g} s"
            raise ArmFault(f"camera '{missing[0]}' has given no picture within {limit}; is it connected?")
        sleep(0.02)


def standing(arm: Guard) -> Reading:
    """Where an arm is that stands: the second of two readings that agree, as everything is judged from it.

    Raises ArmFault where no two in a row do.
    """
    spec = arm.spec
    most = SLACK * (spec.limits("upper") - spec.limits("lower"))
    before = arm.read()
    for _ in range(TRIES):
        reading = arm.read()
        apart = np.abs(reading.positions - before.positions)
        if (apart <= most).all():
            return reading
        before, last = reading, before
    index = int(np.argmax(np.where(np.isfinite(apart), apart / most, np.inf)))
    joint, one, other = spec.joints[index], last.positions[index], before.positions[index]
    raise ArmFault(
        f"joint '{joint.name}' is read at {one:.4g}, then at {other:.4g} {joint.unit}, before anything has "
        "moved: is the arm at rest, and its cable sound?"
    )
