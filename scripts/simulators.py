"""A vendor's simulated controller: ``python scripts/simulators.py name=trossen`` runs it until Ctrl-C.

With ``measure=[20,50,200]`` the vendor's driver reaches and returns at these rates; a table tells how well.
"""

import time
from dataclasses import dataclass
from typing import Any, Literal

from vla.config import command
from vla.errors import BadInput

__all__ = ["Simulators", "main"]

ROBOTS = {"trossen": "wxai", "franka": "fr3"}


@dataclass(frozen=True)
class Simulators:
    """Options of the command; see conf/simulators.yaml."""

    name: Literal["trossen", "franka"]
    address: str | None = None
    measure: tuple[float, ...] = ()
    seconds: float = 4.0

    def __post_init__(self) -> None:
        if not all(0 < hz <= 1000 for hz in self.measure) or not 0 < self.seconds <= 600:
            raise BadInput("measure: rates above 0, at most 1000 Hz; seconds: above 0, at most 600")


@command("simulators", Simulators)
def main(config: Simulators) -> None:
    """Start it, say where it is; measure, or wait."""
    from envs.arms.simulators import simulator

    with simulator(config.name, config.address) as running:
        more = " robot.realtime=false" if config.name == "franka" else ""
        print(
            f"ready; in another terminal: python scripts/deploy.py robot={ROBOTS[config.name]} "
            f"robot.address={running.address}{more} ...",
            flush=True,
        )
        if config.measure:
            _measure(_options(config.name, running.address), config)
            return
        while running.process.poll() is None:
            time.sleep(0.2)
    raise BadInput("the simulator ended by itself")


def _options(name: str, address: str) -> Any:
    from envs.arms.franka import Franka
    from envs.arms.trossen import Trossen

    if name == "franka":
        return Franka(address=address, realtime=False, connect_s=30, stale_s=5)
    return Trossen(address=address, connect_s=30, stale_s=5)


def _measure(options: Any, config: Simulators) -> None:
    from dataclasses import asdict, replace

    from envs.arms.tracking import measure

    for number, hz in enumerate(config.measure):
        arm = replace(options, hz=hz).build()
        arm.connect()
        try:
            found = asdict(measure(arm, hz, config.seconds))
        finally:
            arm.disconnect()
        if number == 0:
            print(f"| {' | '.join(found)} |\n{'|---' * len(found)}|")
        print(f"| {' | '.join(f'{value:.4g}' for value in found.values())} |", flush=True)
        time.sleep(1)


if __name__ == "__main__":
    main()
