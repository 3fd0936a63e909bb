"""How steadily arms are commanded while a policy is inferring beside it, and how old its news is by then.

Each measure is a whole run: control loop, safety filter and log, as `scripts/deploy.py` starts them.
"""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from policies.base import Policy
from policies.runtime.benchmark.table import markdown
from policies.runtime.chunking import Chunking
from policies.runtime.control import Control, ControlLoop, RunResult, Spread, Summary
from vla.arm import Arm, ArmSpec, Picture, Positions, Reading

__all__ = ["ArmAt", "PictureAges", "control_table", "measure_control"]

ArmAt = Callable[[float], Arm]
"""Commands a second -> a new arm, not connected, that takes so many."""

HEAD = (
    "arm", "hz", "s", "period, ms", "sd", "p99", "worst", "late", "missed", "inference p50", "p99",
    "reading to command p50", "p99", "picture to command p50", "p99",
)  # fmt: skip


class PictureAges:
    """An arm that notes how old its oldest camera's picture is whenever the pictures are looked at."""

    def __init__(self, arm: Arm, clock: Callable[[], float] = time.monotonic) -> None:
        self.arm, self._clock, self.ages = arm, clock, Spread()

    @property
    def spec(self) -> ArmSpec:
        """See Arm."""
        return self.arm.spec

    def connect(self) -> None:
        """See Arm."""
        self.arm.connect()

    def read(self) -> Reading:
        """See Arm."""
        return self.arm.read()

    def pictures(self) -> Mapping[str, Picture]:
        """See Arm."""
        found = self.arm.pictures()
        if found:
            self.ages.add(max(self._clock() - min(picture.time for picture in found.values()), 0.0))
        return found

    def command(self, positions: Positions) -> None:
        """See Arm."""
        self.arm.command(positions)

    def hold(self) -> None:
        """See Arm."""
        self.arm.hold()

    def faults(self) -> Sequence[str]:
        """See Arm."""
        return self.arm.faults()

    def disconnect(self, release: bool = False) -> None:
        """See Arm."""
        self.arm.disconnect(release)


def measure_control(
    arms: Mapping[str, ArmAt],
    rates: Sequence[float],
    seconds: float,
    *,
    policy: Policy,
    task: str,
    control: Control,
    say: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """A row of numbers for each arm at each rate, `seconds` of each. task: what the policy is told.

    An arm that cannot be had, or not at that rate, has a row with `error`, one line.
    """
    from vla.errors import BadInput

    rows = []
    for name, make in arms.items():
        for hz in rates:
            try:
                row = _row(*_run(make(hz), policy, task, replace(control, hz=hz, seconds=seconds)))
            except BadInput as error:
                row = {"error": str(error)}
            rows.append({"arm": name, "hz": hz, **row})
            say(control_table(rows[-1:]).splitlines()[-1])
    return rows


def _run(arm: Arm, policy: Policy, task: str, control: Control) -> tuple[RunResult, Summary]:
    from policies.runtime.log import RunLog
    from policies.runtime.safety import EmergencyStop, GuardedArm, Safety, StopSources

    seen, nothing = PictureAges(arm), StopSources(keys="", file=None, port=None)
    guarded = GuardedArm(seen, Safety(stop=nothing), control.hz or 20.0)
    guarded.connect()
    with ExitStack() as stack:
        stack.callback(guarded.disconnect, False)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stop = stack.enter_context(EmergencyStop(nothing))
        log = RunLog(folder / "run", guarded.spec, task, control.policy_hz or 20.0, {"policy": policy.name})
        stack.callback(log.close)
        loop = ControlLoop(guarded, policy, Chunking(), control, task, stop=stop, log=log)
        return loop.run(), seen.ages.summary()


def _row(result: RunResult, ages: Summary) -> dict[str, Any]:
    """Milliseconds. The picture's age is added to the way from the reading: both are of the same moment."""
    periods, observation = result.periods, result.observation
    found = {
        "seconds": result.seconds,
        "ticks": result.ticks,
        "mean_ms": 1e3 * periods.period.mean,
        "sd_ms": 1e3 * periods.period.sd,
        "p99_ms": 1e3 * periods.period.p99,
        "worst_ms": 1e3 * periods.period.worst,
        "late": periods.late,
        "missed": periods.missed,
        "inference_p50_ms": 1e3 * result.inference.p50,
        "inference_p99_ms": 1e3 * result.inference.p99,
        "observation_p50_ms": 1e3 * observation.p50,
        "observation_p99_ms": 1e3 * observation.p99,
        "picture_p50_ms": 1e3 * (observation.p50 + ages.p50),
        "picture_p99_ms": 1e3 * (observation.p99 + ages.p99),
        "ending": result.ending.kind,
        "why": result.ending.why,
        "holds": dict(result.holds),
        "interventions": dict(result.interventions),
    }
    return {key: round(value, 3) if isinstance(value, float) else value for key, value in found.items()}


def control_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as Markdown."""
    keys = (
        "seconds", "mean_ms", "sd_ms", "p99_ms", "worst_ms", "late", "missed", "inference_p50_ms",
        "inference_p99_ms", "observation_p50_ms", "observation_p99_ms", "picture_p50_ms", "picture_p99_ms",
    )  # fmt: skip
    cells = []
    for row in rows:
        own = [row["arm"], f"{row['hz']:g}"]
        if "error" in row:
            cells.append([*own, row["error"], *[""] * (len(HEAD) - 3)])
        else:
            cells.append([*own, *(str(row[key]) for key in keys)])
    return markdown(HEAD, cells)
