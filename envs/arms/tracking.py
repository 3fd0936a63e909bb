"""How well an arm follows a scripted motion: through its driver, without a policy; the same for every arm.

The motion is a smooth reach in joint space and back, half a cosine each way, `share` of each joint's range
towards the middle of it, within the arm's limits of speed. Nothing filters it: for simulators, or an arm with
room around it.
"""

import time
from dataclasses import dataclass

import numpy as np

from vla.arm import Arm, Positions

__all__ = ["Tracking", "measure", "reach"]


@dataclass(frozen=True)
class Tracking:
    """Rates in Hz, times in milliseconds; errors in the joints' own units, of all but the gripper.

    rms, worst: of the measured less the commanded position at the same moment, so a lag counts. reached:
    the largest error a second after the last command.
    """

    asked_hz: float
    hz: float
    period_sd_ms: float
    command_p50_ms: float
    command_p99_ms: float
    read_p50_ms: float
    read_p99_ms: float
    rms: float
    worst: float
    reached: float


def reach(arm: Arm, share: float = 0.15) -> Positions:
    """A goal: each joint `share` of its range nearer to the range's middle; the gripper as it is."""
    here, lower, upper = arm.read().positions, arm.spec.limits("lower"), arm.spec.limits("upper")
    step = share * (upper - lower)
    goal = here + np.clip((lower + upper) / 2 - here, -step, step)
    grippers = np.array([joint.gripper for joint in arm.spec.joints])
    return np.where(grippers, here, goal)


def measure(arm: Arm, hz: float, seconds: float = 4.0, goal: Positions | None = None) -> Tracking:
    """Go to `goal` (or to `reach`) and back, `seconds` in all, `hz` commands a second."""
    start = arm.read().positions
    way = (reach(arm) if goal is None else goal) - start
    speed = np.abs(way) / arm.spec.limits("speed")
    seconds = max(seconds, float(np.pi * speed.max()) + 1 / hz)
    count, rows, began = max(2, int(seconds * hz)), [], time.perf_counter()
    for tick in range(count):
        wanted = start + way * (1 - np.cos(2 * np.pi * tick / (count - 1))) / 2
        before = time.perf_counter()
        arm.command(wanted)
        between = time.perf_counter()
        found = arm.read().positions
        rows.append((before, between - before, time.perf_counter() - between, wanted, found))
        time.sleep(max(0.0, began + (tick + 1) / hz - time.perf_counter()))
    time.sleep(1.0)
    keep = [index for index, joint in enumerate(arm.spec.joints) if not joint.gripper]
    at, commands, reads = (np.array([row[i] for row in rows]) for i in range(3))
    off = np.array([row[4] - row[3] for row in rows])[:, keep]
    end = arm.read().positions - rows[-1][3]
    return Tracking(
        asked_hz=hz,
        hz=float((count - 1) / (at[-1] - at[0])),
        period_sd_ms=float(1e3 * np.diff(at).std()),
        command_p50_ms=float(1e3 * np.median(commands)),
        command_p99_ms=float(1e3 * np.quantile(commands, 0.99)),
        read_p50_ms=float(1e3 * np.median(reads)),
        read_p99_ms=float(1e3 * np.quantile(reads, 0.99)),
        rms=float(np.sqrt((off**2).mean())),
        worst=float(np.abs(off).max()),
        reached=float(np.abs(end[keep]).max()),
    )
