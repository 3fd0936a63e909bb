"""How fast the emulated arm is through LeRobot's driver: ``python -m envs.arms.servo_emulator.benchmark``.

Prints one line of JSON. Times are in milliseconds; run it on a quiet machine. A round is what a control loop
does in a tick: read the joints, take the newest pictures, command.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from envs.arms.emulated import Emulated

__all__ = ["measure"]


def measure(rates: tuple[float, ...] = (20.0, 50.0, 200.0), seconds: float = 10.0) -> dict[str, Any]:
    """Connect, exchange, and hold each rate for so many seconds. The arm stays where it is."""
    arm = Emulated().build()
    begun = time.perf_counter()
    arm.connect()
    started = time.perf_counter() - begun
    try:
        options = arm.arm.options
        arm.arm.disconnect()
        begun = time.perf_counter()
        arm.arm.connect()
        found: dict[str, Any] = {
            "port": options.port,
            "start_ms": round(1e3 * started),
            "connect_ms": round(1e3 * (time.perf_counter() - begun), 1),
        }
        place = arm.read().positions.clip(arm.spec.limits("lower"), arm.spec.limits("upper"))

        def turn() -> None:
            arm.read()
            arm.pictures()
            arm.command(place)

        found["read"] = _times(arm.read)
        found["command"] = _times(lambda: arm.command(place))
        found["faults"] = _times(arm.arm.faults, 30)
        found["round"] = _times(turn)
        found["rates"] = {f"{rate:g} Hz": _rate(turn, rate, seconds) for rate in rates}
    finally:
        arm.disconnect()
    return found


def _times(do: Callable[[], Any], count: int = 300) -> dict[str, float]:
    taken = []
    for _ in range(count):
        begun = time.perf_counter()
        do()
        taken.append(time.perf_counter() - begun)
    return _told(np.array(taken))


def _told(taken: np.ndarray) -> dict[str, float]:
    p50, p99 = np.percentile(taken, (50, 99))
    return {
        name: round(1e3 * float(it), 3) for name, it in (("p50", p50), ("p99", p99), ("max", taken.max()))
    }


def _rate(do: Callable[[], None], rate: float, seconds: float) -> dict[str, Any]:
    """Do it on a grid of times; a turn that begins more than a period late is a miss; the grid moves on."""
    period, starts, misses, failed = 1 / rate, list[float](), 0, 0
    due = end = time.perf_counter()
    end += seconds
    while due < end:
        time.sleep(max(due - time.perf_counter(), 0))
        starts.append(time.perf_counter())
        try:
            do()
        except ValueError:  # ArmFault
            failed += 1
        due += period
        late = int((time.perf_counter() - due) / period)
        if late > 0:
            misses, due = misses + late, due + late * period
    periods = np.diff(starts)
    told = {"hz": round(float(1 / periods.mean()), 2), "sd_ms": round(1e3 * float(periods.std()), 3)}
    return {**told, **_told(periods), "misses": misses, "failed": failed}


if __name__ == "__main__":
    print(json.dumps(measure(seconds=float(sys.argv[1]) if len(sys.argv) > 1 else 10.0), indent=1))
