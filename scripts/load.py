"""Put a policy server under load: ``python scripts/load.py``; ``measure=[soak] soak.minutes=10`` for long.

The server runs as a process of its own on this machine, and ends with the command. What is measured is kept
in `out`: the same command again measures what is missing. ``table=docs/results/serving.md`` writes a page.
"""

import os
from dataclasses import asdict, dataclass, field
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
    table: Path | None = None
    again: bool = False

    def __post_init__(self) -> None:
        if not self.measure:
            raise BadInput("measure is empty; name load, soak or both")


@command("load", Options)
def main(config: Options) -> None:
    """Measure what is not kept, print, write. Status 1 where an answer was lost or crossed, or damage was
    believed."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from policies.runtime.benchmark.kept import Kept
    from policies.runtime.benchmark.serving import measure_serving
    from policies.runtime.benchmark.serving_report import machine, overrides, page
    from policies.runtime.benchmark.serving_soak import soak_serving
    from policies.runtime.metrics import commit

    for file in (config.out, config.table):
        if file is not None:
            writable_folder(file.parent)
    kept = Kept(config.out, commit(), config.again)
    load, soak = list[dict[str, Any]](), None
    wrong = 0
    print(f"on {machine()}", flush=True)
    if "load" in config.measure:
        cells = len(config.load.batches) * len(config.load.protocols) * len(config.load.clients)
        each = config.load.warm + config.load.seconds
        print(f"load: {cells} measurements of {each:g} s, about {cells * each / 60:.1f} minutes:", flush=True)
        load = measure_serving(config.load, _say, kept)
        wrong += sum(cell["found"][key] for cell in load for key in ("lost", "crossed"))
    if "soak" in config.measure:
        print(f"soak, {config.soak.minutes:g} minutes:", flush=True)
        soak = soak_serving(config.soak, _say, kept)
        wrong += sum(soak["found"][key] for key in ("lost", "crossed", "believed"))
    told = asdict(config)
    different = {key: value for key, value in told.items() if key not in ("out", "table", "again")}
    repeat = " ".join(["python scripts/load.py", *overrides(different, asdict(Options()))])
    if config.table is not None:
        write_whole(config.table, page(repeat, load, soak, told["load"], told["soak"]))
        print(config.table)
    print(f"{config.out} (to measure all of it anew: {repeat} again=true)")
    if wrong:
        raise SystemExit(f"{wrong} answers were lost or crossed, or damaged messages believed: see above")


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
