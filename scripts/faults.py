"""The fault matrix: ``python scripts/faults.py``, or ``... only=[camera,server]``.

Each fault meets a whole run (control loop, safety filter, log) on the simulated arm, in real time. The table
tells what the arm did, how long it took to hold, and what was lost. Exit status 3 where that is not as it
should be.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vla.checks import at_least
from vla.config import command
from vla.errors import BadInput
from vla.folders import writable_folder, write_whole

if TYPE_CHECKING:
    from policies.runtime.faults.trial import Case, Outcome

__all__ = ["Faults", "main"]


@dataclass(frozen=True)
class Faults:
    """Options of the command; see conf/faults.yaml."""

    only: tuple[str, ...] = ()
    hz: float = 50.0
    image_size: int = 96
    slack: float = 1.0
    out: Path = Path("outputs/faults.md")
    crash: Path | None = None

    def __post_init__(self) -> None:
        at_least(self, 20, "hz")
        at_least(self, 16, "image_size")
        at_least(self, 1, "slack")


@command("faults", Faults)
def main(config: Faults) -> None:
    """Try what was asked for; print and write the table."""
    from policies.runtime.faults.cases import BUS_CASES, CASES
    from policies.runtime.faults.crash import KILLED, kill, live
    from policies.runtime.faults.served import REMOTE_CASES

    if config.crash is not None:  # the run that is going to be killed
        live(_maker(config), config.crash)
        return
    cases = [*CASES, *BUS_CASES, *REMOTE_CASES, KILLED]
    groups = {case.group for case in cases}
    if unknown := set(config.only) - groups - {case.name for case in cases}:
        raise BadInput(
            f"only: there is no fault or group '{unknown.pop()}' (groups: {', '.join(sorted(groups))})"
        )
    writable_folder(config.out.parent)
    done: list[tuple[Case, Outcome]] = []
    for case in cases:
        if config.only and not {case.name, case.group} & set(config.only):
            continue
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            outcome = (
                kill(lambda place=place: _other(config, place), place)  # type: ignore[misc]
                if case is KILLED
                else _try(config, case, place)
            )
        done.append((case, outcome))
        hold = "-" if outcome.hold_s is None else f"{outcome.hold_s:.2f} s"
        wrong = "; ".join(outcome.faults(case, config.slack))
        print(f"{case.name:<38} {outcome.did:<16} {hold:>7}  {wrong}", flush=True)
        write_whole(config.out, _page(config, done))
    print(f"\n{_page(config, done)}\n{config.out}")
    if any(outcome.faults(case, config.slack) for case, outcome in done):
        raise SystemExit(3)


def _try(config: Faults, case: "Case", folder: Path) -> "Outcome":
    from policies.runtime.faults.bench import put_together
    from policies.runtime.faults.served import served
    from policies.runtime.faults.trial import attempt

    make = _emulated(config) if case.group == "bus" else _maker(config)
    with put_together(make, folder, config.hz, remote=served if case.remote else None) as bench:
        return attempt(case, bench)


def _maker(config: Faults) -> Callable[[Callable[[], float]], Any]:
    """What makes the arm."""
    from envs.arms.faulty import Fault, FaultyArm
    from envs.arms.simulated import Simulated

    class Rig(FaultyArm):
        def cause(self, kind: str, **details: Any) -> None:
            self.inject(Fault(kind, **details))  # type: ignore[arg-type]

    options = Simulated(options={"image_size": config.image_size}, hz=config.hz)
    return lambda clock: Rig(options.build(clock))


def _emulated(config: Faults) -> Callable[[Callable[[], float]], Any]:
    """What makes the arm whose bus the faults are of."""
    from envs.arms.emulated import Emulated, EmulatedArm

    class Rig(EmulatedArm):
        def cause(self, kind: str, **details: Any) -> None:
            self.emulator.ask("fault", kind=kind, **details)

        def clear(self) -> None:
            self.emulator.ask("clear")

    return lambda clock: Rig(Emulated(image_size=config.image_size, hz=config.hz))


def _other(config: Faults, folder: Path) -> "subprocess.Popen[bytes]":
    """This command again, as the run that is going to be killed."""
    own = [f"crash={folder}", f"hz={config.hz}", f"image_size={config.image_size}"]
    return subprocess.Popen([sys.executable, "-m", "scripts.faults", *own], cwd=Path(__file__).parents[1])


def _page(config: Faults, done: "list[tuple[Case, Outcome]]") -> str:
    from policies.runtime.faults.report import matrix
    from policies.runtime.metrics import commit

    about = {
        "Made by": "`python scripts/faults.py`",
        "Arm": f"simulated (vla/Tabletop-v0, {config.image_size} px), {config.hz:g} commands a second; "
        "faults of the group bus: the emulated SO-101 behind LeRobot's driver",
        "Policy": "draws circles with two joints, so that a hold shows: 20 steps a second, chunks of 10",
        "Limits of the watchdog": "its defaults (`policies.runtime.control.Watch`)",
        "Commit": commit(),
    }
    return matrix(done, about)


if __name__ == "__main__":
    main()
