"""Train a policy: ``python scripts/train.py experiment=tabletop``. Run it again to go on."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from policies.runtime.world import World, check_skill
from vla.checks import at_least
from vla.config import command
from vla.errors import BadInput
from vla.training.run_config import RunConfig

__all__ = ["RollOuts", "Train", "main"]


@dataclass(frozen=True)
class RollOuts:
    """Validation roll-outs while training. Their seeds are used nowhere else."""

    episodes: int = 40
    seed: int = 700_000
    workers: int | None = None
    skills: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        at_least(self, 0, "episodes", "seed")
        at_least(self, 1, "workers")
        for skill in self.skills or ():
            check_skill(skill)


@dataclass(frozen=True, kw_only=True)
class Train(RunConfig):
    """Options of the command; see conf/train.yaml. demonstrations: collect so many if `data` is missing."""

    name: str
    env: World = field(default_factory=World)
    rollouts: RollOuts = field(default_factory=RollOuts)
    demonstrations: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 0, "demonstrations")
        for skill in self.reading.skill_weights:
            check_skill(skill)


@command("train", Train)
def main(config: Train) -> None:
    """Train to the end of the budget, or from where the same command was stopped."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads would starve the prefetching one
    config = _own_place_in_a_sweep(config)
    from envs.tabletop.language import all_words
    from vla.training.distributed import running, wait_for_all
    from vla.training.run import run

    with running(config.trainer) as here:
        for folder in config.data_folders:
            if here.rank == 0 and not (folder / "meta" / "info.json").is_file():
                _collect(config, folder)
        wait_for_all()
        roll_out = _RollOut(config) if config.rollouts.episodes else None
        print(f"trained policy: {run(config, all_words(config.env.vocabulary), roll_out)}")


def _own_place_in_a_sweep(config: Train) -> Train:
    """With -m, each run gets a folder of its own under `out`, named by its overrides."""
    from dataclasses import replace

    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN or not hydra.job.override_dirname:
        return config
    return replace(config, out=config.out / hydra.job.override_dirname.replace("/", "_"))


def _collect(config: Train, folder: Path) -> None:
    """Make the demonstrations that a debug experiment asks for; or say how."""
    from vla.data.unfinished import check_no_conversion

    check_no_conversion(folder)
    count = config.demonstrations
    if not count:
        how = f"python scripts/collect.py env={config.env.name} episodes=2000 out={folder}"
        raise BadInput(f"no dataset in {folder}; make one with: {how}")
    from envs.tabletop.expert import Noise
    from policies.runtime.collection import Collection, Collector

    print(f"no dataset in {folder}: collecting {count} demonstrations")
    for _ in Collector(Collection(config.env), folder, count, Noise).run(1):
        pass


class _RollOut:
    """(policy folder, step) -> success rates on seeded validation episodes."""

    def __init__(self, config: Train) -> None:
        from dataclasses import replace

        rollouts = config.rollouts
        self.world = replace(config.env, skills=rollouts.skills) if rollouts.skills else config.env
        self.rollouts = rollouts

    def __call__(self, policy: Path, step: int) -> Mapping[str, float]:
        from policies.runtime.metrics import summarize, table
        from policies.runtime.rollout import Rollout, cases_of, roll_out

        cases = cases_of(self.world, self.rollouts.episodes, self.rollouts.seed)
        how = Rollout(self.world, str(policy), split="validation", policy_options={"threads": 1})
        workers = self.rollouts.workers or os.cpu_count() or 1
        results = list(roll_out(how, cases, workers))
        metrics = summarize(results, policy=str(policy), seed=self.rollouts.seed, split="validation")
        print(f"\n{table(metrics)}", flush=True)
        by_skill = {f"skill/{name}": task["success_rate"] for name, task in metrics["tasks"].items()}
        return {
            "success_rate": metrics["success_rate"],
            "wrong_object_rate": metrics["wrong_object_rate"],
            **by_skill,
        }


if __name__ == "__main__":
    main()
