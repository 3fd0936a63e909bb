"""Would this policy do on this robot what was recorded? ``python scripts/replay.py policy=NAME data=FOLDER``.

Recorded frames go through the inference path that a robot would use, and what comes out is set beside the
recorded actions: wrong statistics, an inverted gripper or joints in another order show before an arm moves.
Exit status: 0 nothing looks wrong, 1 there is a warning, 2 policy and data cannot be compared.
"""

import itertools
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vla.checks import at_least, check_seed
from vla.config import command
from vla.errors import BadInput
from vla.folders import output_folder, write_whole

if TYPE_CHECKING:
    from policies.base import Policy
    from policies.runtime.replay import Draw, Setting, Verdict
    from vla.data.batches import ChunkData

__all__ = ["Replay", "main"]

PROBED = 64
"""Frames for which cameras are exchanged."""


@dataclass(frozen=True)
class Replay:
    """Options of the command; see conf/replay.yaml."""

    data: Path
    policy: str = "tabletop-small"
    options: dict[str, Any] = field(default_factory=dict)
    frames: int = 400
    seed: int = 0
    episodes: int = 3
    gripper: int | None = None
    cameras: bool = True
    out: Path | None = None
    side_by_side: int = 8

    def __post_init__(self) -> None:
        at_least(self, 1, "frames", "side_by_side")
        at_least(self, 0, "episodes", "gripper")
        check_seed(self)


@command("replay", Replay)
def main(config: Replay) -> None:
    """Replay, print and write what was found; status 1 if something looks wrong."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from policies.runtime.rollout import check_policy
    from vla.data.info import read_info

    check_policy(config.policy)
    read_info(config.data)
    name = f"{_last(config.policy)}-{config.data.resolve().name}"
    with output_folder(config.out or Path("outputs/replay") / name) as out:
        warned = _replay(config, out)
    if warned:
        raise SystemExit(1)


def _replay(config: Replay, out: Path) -> bool:
    from tqdm import tqdm

    from policies import load
    from policies.runtime import replay as logic
    from vla.data.batches import ChunkData, Source
    from vla.data.episodes import EpisodeDataset

    dataset = EpisodeDataset(config.data)
    policy = load(config.policy, **config.options)
    setting = logic.check_setting(policy, dataset, config.gripper)
    data = ChunkData([Source(dataset)], policy.horizon)
    if not data.valid.any():
        raise BadInput(f"{dataset.root}: no frame is valid (annotation.valid), there is nothing to replay")
    processor = getattr(policy, "processor", None)
    fitted = [] if processor is None else logic.compare_fitted(processor, dataset, setting.robot)
    draws = logic.draw_frames(data, config.frames, config.seed, config.episodes)
    total = sum(len(draw.frames) for draw in draws)
    with tqdm(total=total, unit="frame", desc="replay", mininterval=1.0) as bar:
        found = logic.replay(
            policy,
            data,
            draws,
            setting,
            seed=config.seed,
            side_by_side=config.side_by_side,
            progress=bar.update,
        )
    measures = logic.measure(found, data.actions[data.valid], setting.grippers)
    verdicts = logic.judge(setting, found, measures, fitted)
    if config.cameras and processor is not None:
        verdicts = _exchange(config, policy, data, draws, setting) + verdicts
    parts = setting, found, measures, fitted, verdicts
    text, plain = logic.report(*parts), logic.as_json(*parts)
    plain["settings"] = {"policy": config.policy, "data": str(config.data), "seed": config.seed}
    write_whole(out / "replay.json", json.dumps(plain, indent=1) + "\n")
    picture = logic.replay_plot(found, draws, setting.names, dataset.fps, out / "replay.png")
    title = f"# {config.policy} on {config.data}\n\n![predicted against recorded]({picture.name})\n\n"
    write_whole(out / "replay.md", f"{title}{text}\n")
    print(f"{text}\n\n{out / 'replay.md'}\n{picture}")
    return bool(verdicts)


def _exchange(
    config: Replay, policy: "Policy", data: "ChunkData", draws: "list[Draw]", setting: "Setting"
) -> "list[Verdict]":
    """Whether the policy does better with the pictures of two cameras exchanged."""
    from policies.runtime import replay as logic

    few, count = [], 0
    for draw in draws[config.episodes :] or draws:
        few.append(draw)
        count += len(draw.frames)
        if count >= PROBED:
            break

    def skill(swap: tuple[str, str] | None) -> float:
        found = logic.replay(
            policy, data, few, setting, seed=config.seed, side_by_side=config.side_by_side, swap=swap
        )
        measures = logic.measure(found, data.actions[data.valid], setting.grippers)
        return float("inf") if measures is None else logic.skill(measures)

    pairs = list(itertools.combinations(setting.cameras, 2))
    own = skill(None) if pairs else 0.0
    return [verdict for pair in pairs for verdict in logic.judge_swap(pair, own, skill(pair))]


def _last(policy: str) -> str:
    return policy.rstrip("/").rsplit("/", 1)[-1]


if __name__ == "__main__":
    main()
