"""A policy in real time through arms: ``python scripts/realtime.py policy=tabletop-small only=[success]``.

``period``: how steadily each arm is commanded at each rate while the policy infers on the same cores, and how
old a picture is when the command that followed from it is sent. ``success``: the same scenes in the plain
environment, through the simulated arm, and through the emulated SO-101 with LeRobot's own driver.
"""

import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from policies.runtime.chunking import Chunking
from policies.runtime.control import Control
from policies.runtime.world import Split, World
from vla.checks import at_least
from vla.config import command
from vla.errors import BadInput
from vla.folders import writable_folder, write_whole

__all__ = ["Realtime", "main"]

ArmName = Literal["simulated", "so101"]
"""so101: the emulated servo bus, driven by LeRobot's SO101Follower."""


@dataclass(frozen=True)
class Realtime:
    """Options of the command; see conf/realtime.yaml."""

    env: World = field(default_factory=World)
    policy: str = "tabletop-small"
    only: tuple[Literal["period", "success"], ...] = ("period", "success")
    arms: tuple[ArmName, ...] = get_args(ArmName)
    rates: tuple[float, ...] = (20.0, 50.0, 200.0)
    seconds: float = 600.0
    control: Control = field(default_factory=lambda: Control(policy_hz=20.0, ramp=0.0))
    chunking: Chunking = field(default_factory=lambda: Chunking("real_time"))
    hz: float = 20.0
    episodes: int = 100
    seed: int = 860_000
    split: Split = "seen"
    out: Path = Path("outputs/realtime")

    def __post_init__(self) -> None:
        at_least(self, 1, "episodes")
        at_least(self, 0, "seed")
        if not 0 < self.seconds < math.inf:
            raise BadInput(f"seconds={self.seconds}: a number above 0 is needed")
        if self.policy == "expert" and "so101" in self.arms:
            raise BadInput("the policy 'expert' looks into the simulator: give arms=[simulated]")


@command("realtime", Realtime)
def main(config: Realtime) -> None:
    """Measure; print and write the tables."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from policies.runtime.rollout import check_policy

    check_policy(config.policy)
    writable_folder(config.out)
    if "period" in config.only:
        _period(config)
    if "success" in config.only:
        _success(config)


def _period(config: Realtime) -> None:
    from policies import load
    from policies.runtime.benchmark.control import control_table, measure_control

    policy: Any = load("tabletop-small" if config.policy == "expert" else config.policy)

    def maker(name: ArmName) -> Callable[[float], Any]:
        return lambda hz: _Table(config, name, hz).arm

    arms = {str(name): maker(name) for name in config.arms}
    rows = measure_control(
        arms,
        config.rates,
        config.seconds,
        policy=policy,
        task="lift the red cube",
        control=config.control,
        say=lambda line: print(line, flush=True),
    )
    write_whole(config.out / "period.json", json.dumps(rows, indent=1) + "\n")
    write_whole(config.out / "period.md", control_table(rows) + "\n")
    print(control_table(rows))


def _success(config: Realtime) -> None:
    from dataclasses import asdict, replace

    from policies import load
    from policies.runtime.benchmark.realtime import Trial, compare_page, run_plain, run_through
    from policies.runtime.metrics import commit

    policy: Any = load(config.policy)
    about = {
        "Policy": f"{config.policy}; chunks: {config.chunking.kind}; {config.hz:g} commands a second",
        "Scenes": f"{config.episodes} of split {config.split}, seeds from {config.seed}, the same everywhere",
        "Commit": commit(),
    }
    found: dict[str, list[Trial]] = {}

    def keep(name: str, trial: Trial) -> None:
        found.setdefault(name, []).append(trial)
        told = {place: [asdict(each) for each in trials] for place, trials in found.items()}
        write_whole(config.out / "success.json", json.dumps(told, indent=1) + "\n")
        write_whole(config.out / "success.md", compare_page(found, about))
        print(f"{name}: {trial.seed} {trial.skill} {trial.how}", flush=True)

    how: dict[str, Any] = {"chunking": config.chunking, "count": config.episodes, "seed": config.seed}
    if config.policy == "expert":
        how["chunking"] = Chunking()
    for trial in run_plain(policy, config.env, config.split, **{**how, "chunking": Chunking()}):
        keep("plain environment", trial)
    control = replace(config.control, hz=config.hz, seconds=60.0)
    acting = None if config.policy == "expert" else policy
    for name in config.arms:
        table = _Table(config, name, config.hz)
        for trial in run_through(table, acting, config.env, config.split, control=control, **how):
            keep(name, trial)
    print(compare_page(found, about))


class _Table:
    """An arm and its scene (`policies.runtime.benchmark.realtime.Table`)."""

    def __init__(self, config: Realtime, name: ArmName, hz: float) -> None:
        from envs.arms.emulated import Emulated
        from envs.arms.simulated import Simulated

        size = config.env.image_size
        simulated = name == "simulated"
        options = (
            Simulated(options={"image_size": size}, hz=hz) if simulated else Emulated(image_size=size, hz=hz)
        )
        self.arm: Any = options.build()

    def lay(self, seed: int, split: str, skill: str) -> str:
        """See Table."""
        from envs.arms.episodes import Episode

        return str(self.arm.reset(Episode(seed, split, skill)))

    def over(self) -> str:
        """See Table."""
        verdict = self.arm.verdict()
        return verdict.outcome if verdict.ended else ""

    def success(self) -> bool:
        """See Table."""
        return bool(self.arm.verdict().success)

    def expert(self) -> Any:
        """See Table."""
        return self.arm.expert()


if __name__ == "__main__":
    main()
