"""Train several models on equal samples and compare them: ``python scripts/compare.py comparison=fusion``.

Each model is trained by scripts/train.py in a process of its own and rolled out on the same seeded scenes.
The same command, run again, goes on where it was stopped.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from policies.runtime.world import Split, World
from vla.checks import at_least
from vla.config import command
from vla.errors import BadInput
from vla.folders import write_whole

__all__ = ["Compare", "main"]


@dataclass(frozen=True)
class Compare:
    """Options of the command; see conf/compare.yaml.

    train: overrides of conf/train.yaml for all. variants: name -> further overrides. evaluations: name of a
    column -> options of the policy, as for a roll-out. note: what stands below the table.
    """

    title: str
    train: tuple[str, ...]
    variants: Mapping[str, tuple[str, ...]]
    evaluations: Mapping[str, Mapping[str, Any]]
    out: Path
    table: Path
    skills: tuple[str, ...]
    data: Path = Path("outputs/datasets/tabletop")
    env: World = field(default_factory=World)
    episodes: int = 200
    seed: int = 40_000
    split: Split = "seen"
    workers: int | None = None
    note: str = ""

    def __post_init__(self) -> None:
        at_least(self, 1, "episodes", "workers")
        at_least(self, 0, "seed")
        if not self.variants or not self.evaluations:
            raise BadInput("variants and evaluations must each name at least one")


@command("compare", Compare)
def main(config: Compare) -> None:
    """Train and roll out what is not there yet; write the table."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    rows = []
    for number, (name, overrides) in enumerate(config.variants.items(), 1):
        print(f"[{number} of {len(config.variants)}] {name}", flush=True)
        folder = config.out / re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        arguments = [*config.train, *overrides, f"data={config.data}", f"out={folder}"]
        policy = folder / "policy"
        train = [sys.executable, "scripts/train.py", *arguments]
        there = (policy / "config.json").is_file()
        if not there and subprocess.run(train, check=False).returncode:
            raise BadInput(f"training '{name}' stopped; the same command goes on")
        found = {column: _evaluate(config, policy, column) for column in config.evaluations}
        rows.append((name, overrides, found, _facts(config, folder)))
        write_whole(config.table, _page(config, rows))
    print(f"\n{_page(config, rows)}\n{config.table}")


def _evaluate(config: Compare, policy: Path, column: str) -> dict[str, Any]:
    """Metrics of one model under one evaluation, from disk where they are there."""
    from policies.runtime.metrics import summarize
    from policies.runtime.rollout import Rollout, cases_of, roll_out

    file = (
        policy.parent / f"{re.sub(r'[^a-z0-9]+', '_', column.lower())}-{config.seed}-{config.episodes}.json"
    )
    if file.is_file():
        found: dict[str, Any] = json.loads(file.read_text())
        return found
    world = replace(config.env, skills=config.skills)
    options = {"threads": 1, **config.evaluations[column]}
    how = Rollout(world, str(policy), split=config.split, policy_options=options)
    cases = cases_of(world, config.episodes, config.seed)
    results = list(roll_out(how, cases, config.workers or os.cpu_count() or 1))
    metrics = summarize(results, policy=str(policy), seed=config.seed, split=config.split)
    write_whole(file, json.dumps(metrics, indent=1) + "\n")
    print(f"  {column}: {_rate(metrics)}", flush=True)
    return metrics


def _facts(config: Compare, folder: Path) -> dict[str, Any]:
    """Parameters of a trained model, and its latency on one core."""
    file = folder / "facts.json"
    if not file.is_file():
        from policies.runtime.benchmark import MEASURES
        from vla.pretrained import load

        model, _ = load(folder / "policy")
        measured = MEASURES["latency"](config.env, str(folder / "policy"), 5.0, 1, 1)
        facts = {"parameters": model.num_parameters(), **measured}
        write_whole(file, json.dumps(facts, indent=1) + "\n")
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def _rate(metrics: Mapping[str, Any]) -> str:
    low, high = metrics["interval"]
    return f"{metrics['success_rate']:.1%} ({low:.1%} to {high:.1%})"


def _page(config: Compare, rows: list[tuple[str, tuple[str, ...], dict[str, Any], dict[str, Any]]]) -> str:
    """The table as Markdown."""
    columns = list(config.evaluations)
    head = ["model", *columns, f"wrong object ({columns[0]})", "parameters", "latency p50, ms"]
    lines = [f"# {config.title}", "", _how(config), "", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, _, found, facts in rows:
        cells = [
            name,
            *(_rate(found[column]) for column in columns),
            f"{found[columns[0]]['wrong_object_rate']:.1%}",
            f"{facts['parameters'] / 1e6:.2f} M",
            f"{facts['latency_p50_ms']:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "What each changes:", ""]
    lines += [
        f"- {name}: {' '.join(f'`{o}`' for o in overrides) or 'nothing'}" for name, overrides, *_ in rows
    ]
    lines += ["", config.note] if config.note else []
    return "\n".join(lines) + "\n"


def _how(config: Compare) -> str:
    return (
        f"Success with Wilson 95% intervals over {config.episodes} episodes of {', '.join(config.skills)} "
        f"(split {config.split}, seeds {config.seed} to {config.seed + config.episodes - 1}, the same scenes "
        f"for every model). Latency from an observation to a chunk on one core. All trained with "
        f"`{' '.join(config.train)}`. Made by `python scripts/compare.py`; date, machine and commit: LOG.md."
    )


if __name__ == "__main__":
    main()
