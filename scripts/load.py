"""Put a policy server under load: ``python scripts/load.py``; ``measure=[soak] soak.minutes=10`` for long.

The server runs as a process of its own on this machine, and ends with the command.
"""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from policies.runtime.benchmark.serving import Load
from policies.runtime.benchmark.serving_soak import Soak
from vla.config import command
from vla.errors import BadInput
from vla.folders import writable_folder, write_whole

__all__ = ["Options", "main"]


@dataclass(frozen=True)
class Options:
    """Options of the command; see conf/load.yaml."""

    measure: tuple[Literal["load", "soak"], ...] = ("load", "soak")
    load: Load = field(default_factory=Load)
    soak: Soak = field(default_factory=Soak)
    out: Path = Path("outputs/load.json")

    def __post_init__(self) -> None:
        if not self.measure:
            raise BadInput("measure is empty; name load, soak or both")


@command("load", Options)
def main(config: Options) -> None:
    """Measure, print, write JSON. Status 1 where an answer was lost or crossed, or damage was believed."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from policies.runtime.benchmark.serving import measure_serving
    from policies.runtime.benchmark.serving_soak import soak_serving

    writable_folder(config.out.parent)
    found: dict[str, Any] = {}
    wrong = 0
    if "load" in config.measure:
        print("load:")
        found["load"] = measure_serving(config.load, print)
        wrong += sum(row["lost"] + row["crossed"] for row in found["load"]["rows"])
    if "soak" in config.measure:
        print(f"soak, {config.soak.minutes:g} minutes:")
        found["soak"] = soak_serving(config.soak, print)
        wrong += sum(found["soak"][key] for key in ("lost", "crossed", "believed"))
    write_whole(config.out, json.dumps(found, indent=1) + "\n")
    print(config.out)
    if wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
