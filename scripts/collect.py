"""Collect demonstrations: ``python scripts/collect.py env=tabletop episodes=2000``. Run again to go on."""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from policies.runtime.world import World
from vla.checks import at_least
from vla.config import command

__all__ = ["Collect", "main"]


@dataclass(frozen=True)
class Collect:
    """Options of the command; see conf/collect.yaml."""

    env: World = field(default_factory=World)
    episodes: int = 2000
    out: Path = Path("outputs/datasets/tabletop")
    seed: int = 0
    workers: int | None = None
    noise: float = 1.6
    policy: str | None = None
    max_driven: int = 120

    def __post_init__(self) -> None:
        at_least(self, 1, "episodes", "workers")
        at_least(self, 0, "seed", "noise", "max_driven")


@command("collect", Collect)
def main(config: Collect) -> None:
    """Collect `episodes` successful demonstrations into `out`."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the cores are taken by the workers, one each
    import time

    from tqdm import tqdm

    from envs.tabletop.expert import Noise
    from policies.runtime.collection import Collection, Collector
    from policies.runtime.rollout import check_policy

    if config.policy is not None:
        check_policy(config.policy)
    what = Collection(config.env, config.seed, config.noise, config.policy, config.max_driven)
    collector = Collector(what, config.out, config.episodes, Noise)
    workers = config.workers or os.cpu_count() or 1
    steps, frames, new, rejected = 0, 0, 0, Counter[str]()
    start = time.perf_counter()
    present = config.episodes - len(collector.missing)
    with tqdm(total=config.episodes, initial=present, unit="ep", dynamic_ncols=True, smoothing=0.05) as bar:
        try:
            for done in collector.run(workers):
                new += 1
                steps += done.steps
                frames += done.frames
                rejected.update(done.rejected)
                rate = steps / (time.perf_counter() - start)
                bar.set_postfix_str(f"{rate:.0f} steps/s, {rejected.total()} rejected", refresh=False)
                bar.update()
        except KeyboardInterrupt:
            text = f"stopped with {present + new} of {config.episodes} episodes; run the same again to go on"
            raise KeyboardInterrupt(text) from None
    seconds = time.perf_counter() - start
    outcomes = ", ".join(f"{name} {count}" for name, count in rejected.most_common()) or "none"
    speed = f"{steps / seconds:.0f} steps/s on {workers} processes"
    print(f"{new} new episodes, {frames} frames in {seconds:.0f} s ({speed})")
    print(f"rejected attempts: {outcomes}")
    print(f"{config.out}: {config.episodes} episodes, LeRobotDataset v3")


if __name__ == "__main__":
    main()
