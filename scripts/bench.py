"""Measure speeds: ``python scripts/bench.py`` or ``... only=[latency,train] policy=PATH``."""

import json
import math
import os
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from policies.runtime.world import World
from vla.checks import at_least
from vla.config import command
from vla.errors import BadInput
from vla.folders import writable_folder, write_whole

__all__ = ["Bench", "main"]


@dataclass(frozen=True)
class Bench:
    """Options of the command; see conf/bench.yaml."""

    only: list[Literal["collect", "rollout", "latency", "train"]]
    env: World = field(default_factory=World)
    policy: str = "tabletop-small"
    seconds: float = 20.0
    batch: int = 128
    threads: int | None = None
    out: Path = Path("outputs/bench.json")

    def __post_init__(self) -> None:
        at_least(self, 1, "batch", "threads")
        if not 0 < self.seconds < math.inf:
            raise BadInput(f"seconds={self.seconds}: a number above 0 is needed")
        if not self.only:
            raise BadInput("only is empty; name at least one of: collect, rollout, latency, train")


@command("bench", Bench)
def main(config: Bench) -> None:
    """Print a table of speeds and write it as JSON."""
    from policies.runtime.benchmark import MEASURES
    from policies.runtime.metrics import commit
    from policies.runtime.rollout import check_policy

    if set(config.only) - {"collect"}:
        check_policy(config.policy)
    writable_folder(config.out.parent)
    if config.out.is_dir():
        raise BadInput(f"out={config.out} is a folder; give the name of a file")
    threads = config.threads or os.cpu_count() or 1
    numbers: dict[str, float] = {}
    print(f"{os.cpu_count()} cores, {platform.machine()}; policy {config.policy}")
    for name in config.only:
        for key, value in MEASURES[name](
            config.env, config.policy, config.seconds, config.batch, threads
        ).items():
            numbers[key] = round(value, 2)
            print(f"  {key.replace('_', ' '):<32} {value:>10.1f}", flush=True)
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "training_threads": threads}
    found = {**numbers, **machine, "policy": config.policy, "commit": commit()}
    write_whole(config.out, json.dumps(found, indent=2) + "\n")
    print(config.out)


if __name__ == "__main__":
    main()
