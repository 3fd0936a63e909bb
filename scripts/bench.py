"""Measure speeds: ``python scripts/bench.py`` or ``... only=[latency,decoding] policy=PATH``."""

import json
import math
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from policies.runtime.benchmark.options import Decoding, Gpu, Loading, OpenVLA7B
from policies.runtime.world import World
from vla.checks import at_least
from vla.config import command
from vla.errors import BadInput
from vla.folders import writable_folder, write_whole

__all__ = ["Bench", "main"]

Name = Literal["collect", "rollout", "latency", "train", "decoding", "loading", "gpu", "openvla7b"]
WITH_POLICY = {"rollout", "latency", "train", "gpu"}


@dataclass(frozen=True)
class Bench:
    """Options of the command; see conf/bench.yaml."""

    only: list[Name]
    env: World = field(default_factory=World)
    policy: str = "tabletop-small"
    seconds: float = 20.0
    batch: int = 128
    threads: int | None = None
    decoding: Decoding = field(default_factory=Decoding)
    loading: Loading = field(default_factory=Loading)
    gpu: Gpu = field(default_factory=Gpu)
    openvla7b: OpenVLA7B = field(default_factory=OpenVLA7B)
    out: Path = Path("outputs/bench.json")

    def __post_init__(self) -> None:
        at_least(self, 1, "batch", "threads")
        if not 0 < self.seconds < math.inf:
            raise BadInput(f"seconds={self.seconds}: a number above 0 is needed")
        if not self.only:
            raise BadInput(f"only is empty; name at least one of: {', '.join(get_args(Name))}")


@command("bench", Bench)
def main(config: Bench) -> None:
    """Print tables of speeds and write them as JSON, after each measure what there is."""
    from policies.runtime.metrics import commit
    from policies.runtime.rollout import check_policy

    if set(config.only) & WITH_POLICY:
        check_policy(config.policy)
    writable_folder(config.out.parent)
    if config.out.is_dir():
        raise BadInput(f"out={config.out} is a folder; give the name of a file")
    device = _device(config)
    found: dict[str, Any] = {
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "training_threads": config.threads or os.cpu_count() or 1,
        "policy": config.policy,
        "commit": commit(),
    }
    print(f"{os.cpu_count()} cores, {platform.machine()}; policy {config.policy}")
    for name in config.only:
        found |= _measured(config, name, device, lambda line: print(line, flush=True))
        write_whole(config.out, json.dumps(found, indent=2) + "\n")
    print(config.out)


def _device(config: Bench) -> str:
    """Where `gpu` and `openvla7b` run. Raises BadInput where nothing of what was asked for could run."""
    if not {"gpu", "openvla7b"} & set(config.only):
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if all(_needs_gpu(config, name) for name in config.only):
        verb = "needs" if len(config.only) == 1 else "need"
        raise BadInput(f"{' and '.join(config.only)} {verb} a CUDA device, and this machine has none")
    return "cpu"


def _needs_gpu(config: Bench, name: Name) -> bool:
    return name == "gpu" or (name == "openvla7b" and config.openvla7b.scale == "full")


def _measured(config: Bench, name: Name, device: str, say: Callable[[str], None]) -> dict[str, Any]:
    """What one measure adds to the file."""
    from policies.runtime.benchmark import MEASURES

    if name in MEASURES:
        threads = config.threads or os.cpu_count() or 1
        numbers = MEASURES[name](config.env, config.policy, config.seconds, config.batch, threads)
        for key, value in numbers.items():
            say(f"  {key.replace('_', ' '):<32} {value:>10.1f}")
        return {key: round(value, 2) for key, value in numbers.items()}
    if device == "cpu" and _needs_gpu(config, name):
        say(f"{name} is left out: it needs a CUDA device, and this machine has none")
        return {name: None}
    say(f"{name}:")
    if name == "decoding":
        from policies.runtime.benchmark.decoding import measure_decoding

        return {name: measure_decoding(config.decoding, say)}
    if name == "loading":
        from policies.runtime.benchmark.loading import measure_loading

        return {name: measure_loading(config.loading, say)}
    if name == "gpu":
        from policies.runtime.benchmark.gpu import measure_gpu

        return {name: measure_gpu(config.gpu, config.decoding, config.policy, min(config.seconds, 3.0), say)}
    from policies.runtime.benchmark.openvla7b import measure_openvla7b

    return {name: measure_openvla7b(config.openvla7b, device, say)}


if __name__ == "__main__":
    main()
