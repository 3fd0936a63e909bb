"""The shipped policy follows sentences: ``python scripts/demo.py`` or ``... say='touch the red cube'``."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from policies.runtime.world import World
from vla.checks import at_least, at_most
from vla.config import command
from vla.errors import BadInput
from vla.folders import output_folder

__all__ = ["Demo", "main"]


@dataclass(frozen=True)
class Demo:
    """Options of the command; see conf/demo.yaml."""

    sentences: list[str]
    env: World = field(default_factory=World)
    say: str | None = None
    policy: str = "tabletop-small"
    seed: int = 0
    out: Path = Path("outputs/demo")
    workers: int | None = None
    video_size: int = 384
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        at_least(self, 1, "workers")
        at_least(self, 0, "seed")
        at_least(self, 16, "video_size")
        at_most(self, 1280, "video_size")  # the largest picture that is drawn off screen


@command("demo", Demo)
def main(config: Demo) -> None:
    """Run one episode a sentence, print each as it ends, write a page with videos."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # one core a process, so that two episodes do not fight
    from envs.tabletop.language import parse
    from policies.runtime.rollout import check_policy

    sentences = config.sentences if config.say is None else [config.say]
    if not sentences:
        raise BadInput("sentences is empty; give at least one, or say='...'")
    for sentence in sentences:
        parse(sentence)  # a mistake is answered before anything is loaded
    check_policy(config.policy)
    with output_folder(config.out):
        _run(config, sentences)


def _run(config: Demo, sentences: list[str]) -> None:
    from policies.runtime.metrics import summarize, table, write_metrics
    from policies.runtime.report import write_page
    from policies.runtime.rollout import Case, Rollout, roll_out

    how = Rollout(
        world=config.env,
        policy=config.policy,
        side_by_side=1,  # as on a real arm: each chunk is for one robot, so the control rate is honest
        out=config.out,
        videos=len(sentences),
        video_size=config.video_size,
        policy_options=config.options,
    )
    cases = [Case(i, config.seed + i, sentence=sentence) for i, sentence in enumerate(sentences)]
    width, results = max(map(len, sentences)), []
    print(f"{config.policy}: {len(cases)} sentence{'s' * (len(cases) > 1)}", flush=True)
    for result in roll_out(how, cases, config.workers or os.cpu_count() or 1):
        results.append(result)
        print(
            f"[{len(results)}/{len(cases)}] {result.task:<{width}}  {result.outcome.replace('_', ' '):<12} "
            f"{result.steps / 20:4.1f} s  control {result.control_hz:,.0f} Hz",
            flush=True,
        )
    results.sort(key=lambda r: r.index)
    metrics = summarize(results, policy=config.policy, seed=config.seed, split=how.split)
    write_metrics(metrics, config.out)
    page = write_page(config.out, "A robot that follows a sentence", metrics, results)
    print(f"\n{table(metrics)}\n\nvideos and actions: {page}")


if __name__ == "__main__":
    main()
