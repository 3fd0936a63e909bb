"""Runs to be logged, made of random numbers: an arm that nobody moves, at any rate one likes."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from policies.runtime.log import LogOptions, RunLog
from policies.runtime.safety.decision import Decision, Intervention
from vla.arm import ArmSpec, Joint, Picture, Reading, observed
from vla.interfaces import ActionChunk, Observation

NAMES = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
CAMERAS = ("front", "wrist")


def spec_of(robot: str = "so101_follower", cameras: tuple[str, ...] = CAMERAS) -> ArmSpec:
    joints = tuple(Joint(name, "deg", -100, 100, 180, 2000, 20000) for name in NAMES)
    return ArmSpec(robot, joints, 100.0, cameras)


def start(folder: Path, robot: str = "so101_follower", hz: float = 20, **options: Any) -> RunLog:
    about = {"policy": "policies/mine", "hash": "ab12"}
    return RunLog(folder, spec_of(robot), "lift the red cube", hz, about, options=LogOptions(**options))


def picture(random: np.random.Generator, size: int = 16) -> np.ndarray:
    return random.integers(0, 256, (size, size + 8, 3), np.uint8)


def told(
    log: RunLog, steps: int, ticks: int = 5, *, seed: int = 0, size: int = 16, pause: float = 0.0
) -> Iterator[tuple[Observation, np.ndarray]]:
    """Tell it `steps` policy steps of `ticks` ticks each; yields each observation and what was sent."""
    random = np.random.default_rng(seed)
    began = time.monotonic()
    for number in range(steps):
        for tick in range(ticks):
            now = time.monotonic()
            reading = Reading(random.normal(size=len(NAMES)), now)
            wanted = random.normal(size=len(NAMES))
            found = (Intervention("speed", "elbow_flex", "190 deg/s"),) if (number + tick) % 4 == 0 else ()
            decision = Decision(wanted * 0.5, number == 0, found)
            if tick == 0:
                pictures = {name: Picture(picture(random, size), now) for name in CAMERAS}
                seen = observed(reading, pictures, spec_of(), "lift the red cube", began)
                log.step(number, seen, reading, wanted, decision)
                yield seen, decision.command
            log.tick(now, reading, None if number == 0 else wanted, decision)
            time.sleep(pause)
        if number % 4 == 0:
            actions = random.normal(size=(8, len(NAMES))).astype(np.float32)
            log.chunk(
                number, number + 1, 0.012, ActionChunk(actions, tokens=np.arange(9), frame_index=number)
            )
