"""Measure speeds: ``python scripts/bench.py`` or ``... only=[latency,train] policy=PATH``."""

import json
import os
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from policies.runtime.world import World
from vla.config import command
from vla.errors import BadInput

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
        if self.batch < 1 or self.seconds <= 0:
            raise BadInput("batch and seconds must be positive")


@command("bench", Bench)
def main(config: Bench) -> None:
    """Print a table of speeds and write it as JSON."""
    from policies.runtime.benchmark import MEASURES
    from policies.runtime.metrics import commit
    from policies.runtime.rollout import check_policy

    if set(config.only) - {"collect"}:
        check_policy(config.policy)
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
    config.out.parent.mkdir(parents=True, exist_ok=True)
    aside = config.out.with_suffix(".tmp")
    aside.write_text(
        json.dumps({**numbers, **machine, "policy": config.policy, "commit": commit()}, indent=2) + "\n"
    )
    os.replace(aside, config.out)
    print(config.out)


if __name__ == "__main__":
    main()
