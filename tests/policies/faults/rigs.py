"""The simulated arm with faults, small and fast, as the fault matrix wants it.

``python rigs.py FOLDER`` is the run that is going to be killed.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from collections.abc import Callable
from typing import Any

from envs.arms.faulty import Fault, FaultyArm
from envs.arms.simulated import Simulated


class SimulatedRig(FaultyArm):
    """See `policies.runtime.faults.bench.ArmWithFaults`."""

    def cause(self, kind: str, **details: Any) -> None:
        self.inject(Fault(kind, **details))  # type: ignore[arg-type]


def simulated(clock: Callable[[], float]) -> SimulatedRig:
    return SimulatedRig(Simulated(options={"image_size": 16}, hz=50.0).build(clock))


def emulated(clock: Callable[[], float]) -> Any:
    from envs.arms.emulated import Emulated, EmulatedArm

    class EmulatedRig(EmulatedArm):
        def cause(self, kind: str, **details: Any) -> None:
            self.emulator.ask("fault", kind=kind, **details)

        def clear(self) -> None:
            self.emulator.ask("clear")

    return EmulatedRig(Emulated(image_size=16, hz=50.0))


if __name__ == "__main__":
    from policies.runtime.faults.crash import live

    live(simulated, Path(sys.argv[1]))
