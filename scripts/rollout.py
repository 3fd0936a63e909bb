"""Roll a policy out: ``python scripts/rollout.py policy=PATH_OR_NAME env=tabletop episodes=200 out=DIR``."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from policies.runtime.chunking import Chunking
from policies.runtime.world import Split, World
from vla.checks import at_least, at_most
from vla.config import command
from vla.folders import output_folder

__all__ = ["Options", "main"]


@dataclass(frozen=True)
class Options:
    """Options of the command; see conf/rollout.yaml."""

    env: World = field(default_factory=World)
    policy: str = "tabletop-small"
    episodes: int = 200
    seed: int = 1000
    split: Split = "seen"
    swap: bool = False
    out: Path = Path("outputs/rollouts/tabletop")
    chunking: Chunking = field(default_factory=Chunking)
    side_by_side: int = 4
    workers: int | None = None
    videos: int = 24
    video_size: int = 288
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        at_least(self, 1, "episodes", "side_by_side", "workers")
        at_least(self, 0, "seed", "videos")
        at_least(self, 16, "video_size")
        at_most(self, 1280, "video_size")  # the largest picture that is drawn off screen


@command("rollout", Options)
def main(config: Options) -> None:
    """Run the episodes, print the table, write metrics.json, videos and index.html."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the cores are taken by the workers, one each
    from policies.runtime.rollout import check_policy

    check_policy(config.policy)
    with output_folder(config.out):
        _roll_out(config)


def _roll_out(config: Options) -> None:
    import time

    from tqdm import tqdm

    from policies.runtime.metrics import summarize, swap_summary, table, write_metrics
    from policies.runtime.report import write_page
    from policies.runtime.rollout import Rollout, cases_of, roll_out, swap_cases

    how = Rollout(
        world=config.env,
        policy=config.policy,
        split=config.split,
        chunking=config.chunking,
        side_by_side=config.side_by_side,
        out=config.out,
        videos=config.videos,
        video_size=config.video_size,
        policy_options=config.options,
    )
    if config.swap:
        cases = swap_cases(config.env, config.split, config.episodes, config.seed)
    else:
        cases = cases_of(config.env, config.episodes, config.seed)
    workers = config.workers or os.cpu_count() or 1
    start, results = time.perf_counter(), []
    with tqdm(total=len(cases), unit="ep", dynamic_ncols=True) as bar:
        for result in roll_out(how, cases, workers):
            results.append(result)
            good = sum(r.success for r in results)
            bar.set_postfix_str(f"success {good}/{len(results)}", refresh=False)
            bar.update()
    results.sort(key=lambda r: r.index)
    seconds = time.perf_counter() - start
    more = {"swap": swap_summary(results)} if config.swap else {}
    steps = sum(r.steps for r in results)
    metrics = summarize(
        results,
        policy=config.policy,
        seed=config.seed,
        split=config.split,
        steps_per_s=round(steps / seconds, 1),
        **more,
    )
    write_metrics(metrics, config.out)
    name = config.policy.rstrip("/").rsplit("/", 1)[-1]
    page = write_page(config.out, f"{name} on {config.env.name}", metrics, results)
    print(table(metrics))
    print(f"{steps} steps in {seconds:.0f} s ({steps / seconds:.0f} steps/s on {workers} processes)\n{page}")


if __name__ == "__main__":
    main()
