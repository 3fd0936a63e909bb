"""The arms take equally many robot samples; cells of another configuration are refused; counts pool."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.runtime.metrics import wilson
from policies.runtime.results import EpisodeResult
from policies.runtime.transfer.cells import Cell, cells_of, kept
from policies.runtime.transfer.measuring import summary
from policies.runtime.transfer.options import Arm, Budget
from policies.runtime.transfer.pooling import pooled, ratio
from policies.runtime.transfer.report import plot, table
from vla.config import load_config
from vla.errors import BadInput

BUDGET = Budget(samples=6400, batch=32, warmup=640)
ARMS = {"a": Arm("robot"), "b": Arm("before", pretrain=320), "c": Arm("both", robot_share=0.5)}
LABELS = {name: arm.label for name, arm in ARMS.items()}


def counts(successes: int, wrong: int, episodes: int = 10) -> dict:
    plain = {"episodes": episodes, "successes": successes, "wrong": wrong, "reached": successes}
    return {**plain, "skills": {"touch": plain}}


def vqa(right: float, asked: int) -> dict:
    none = {"right": 0.0, "asked": 0}
    return {
        "all": {"right": right, "asked": asked},
        "unseen": none,
        "other": {"right": right, "asked": asked},
    }


@given(share=st.sampled_from([0.25, 0.5, 0.66, 0.75, 1.0]), pretrain=st.sampled_from([0, 500]))
def test_every_arm_takes_the_same_robot_samples_in_the_same_steps(share: float, pretrain: int) -> None:
    from scripts.train import Train

    arm = Arm("x", pretrain=pretrain, robot_share=share)
    config = load_config("train", ["experiment=transfer", *arm.training(BUDGET), "out=x"], Train)
    last = config.of_stage(len(config.stages), None) if config.stages else config
    robots = last.trainer.samples * last.mixture.robot_share
    assert abs(robots - BUDGET.samples) <= 0.5
    steps = last.trainer.samples / last.trainer.batch
    assert steps == pytest.approx(BUDGET.samples / BUDGET.batch, rel=0.02)
    if pretrain:
        first = config.of_stage(1, None)
        assert (first.trainer.samples, first.mixture.robot_share) == (pretrain, 0.0)


def test_an_arm_without_robots_is_refused() -> None:
    with pytest.raises(BadInput, match="robot_share must be above 0"):
        Arm("x", robot_share=0.0)


def test_cells_come_seed_by_seed_in_folders_of_their_own() -> None:
    cells = cells_of(ARMS, [3, 5], BUDGET, {"train": ["experiment=transfer"]}, Path("out"))
    assert [(cell.seed, cell.arm) for cell in cells] == [(s, a) for s in (3, 5) for a in ARMS]
    assert len({cell.folder for cell in cells}) == 6
    assert all(f"seed={cell.seed}" in cell.overrides for cell in cells)


def test_a_cell_of_other_settings_is_refused(tmp_path: Path) -> None:
    def cell(train: list[str], **more: object) -> Cell:
        return Cell("a", 0, tmp_path / "a", tuple(train), {"train": train, **more})

    cell(["x=1", "y=2"], pictures=7).begin()
    cell(["x=1", "y=2"], pictures=7).begin()  # going on is no fault
    with pytest.raises(BadInput, match=r"pictures=7, now it is 8.*another out="):
        cell(["x=1", "y=2"], pictures=8).begin()
    with pytest.raises(BadInput, match=r"train=\['y=2'\], now it is \['y=3'\]"):
        cell(["x=1", "y=3"], pictures=7).check()
    (tmp_path / "b" / "train").mkdir(parents=True)
    with pytest.raises(BadInput, match="holds a training but no"):
        Cell("b", 0, tmp_path / "b", (), {}).check()


def test_numbers_are_kept_with_their_settings(tmp_path: Path) -> None:
    path = tmp_path / "seen.json"
    assert kept(path, {"episodes": 5}) is None
    path.write_text('{"settings": {"epis')  # cut short
    assert kept(path, {"episodes": 5}) is None
    path.write_text(json.dumps({"settings": {"episodes": 5}, "numbers": {"successes": 3}}))
    assert kept(path, {"episodes": 5}) == {"successes": 3}
    with pytest.raises(BadInput, match="episodes=5, now it is 6"):
        kept(path, {"episodes": 6})


def test_a_summary_counts_every_episode_once() -> None:
    def result(index: int, skill: str, outcome: str) -> EpisodeResult:
        return EpisodeResult(index, index, skill, "touch it", outcome, outcome == "success", 3, 20.0)

    outcomes = ["success", "wrong_object", "timeout", "success"]
    results = [result(i, ("touch", "lift")[i % 2], outcome) for i, outcome in enumerate(outcomes)]
    found = summary(results[::-1])
    assert (found["episodes"], found["successes"], found["wrong"]) == (4, 2, 1)
    assert found["skills"]["touch"]["successes"] == 1 and found["skills"]["lift"]["wrong"] == 1
    assert [one["outcome"] for one in found["list"]] == outcomes
    json.dumps(found)


@given(st.lists(st.tuples(st.integers(0, 10), st.integers(0, 10)), min_size=1, max_size=4))
def test_pooling_adds_up_the_seeds(seeds: list[tuple[int, int]]) -> None:
    numbers = {
        ("a", i): {"seen": counts(good, bad), "vqa": vqa(good / 2, 10)} for i, (good, bad) in enumerate(seeds)
    }
    found = pooled(numbers, ["a", "b"])
    share = found["a"]["seen"]
    total = sum(good for good, _ in seeds)
    assert (share["count"], share["of"]) == (total, 10 * len(seeds))
    assert share["interval"] == list(wilson(total, share["of"])) and len(share["seeds"]) == len(seeds)
    assert found["a"]["seen/wrong"]["count"] == sum(bad for _, bad in seeds)
    assert found["a"]["vqa"]["rate"] == pytest.approx(total / 2 / share["of"])
    assert found["a"]["vqa/unseen"]["rate"] is None and found["b"] == {}


def test_ratios_of_rates() -> None:
    one, other = ({"count": n, "of": 100, "rate": n / 100} for n in (60, 30))
    times = ratio(one, other)
    assert times is not None and times[0] == pytest.approx(2.0)
    # Katz: the logarithm's standard error is sqrt(1/60 - 1/100 + 1/30 - 1/100).
    spread = 1.959964 * math.sqrt(1 / 60 - 1 / 100 + 1 / 30 - 1 / 100)
    assert times[1:] == pytest.approx((2 * math.exp(-spread), 2 * math.exp(spread)), rel=1e-5)
    assert ratio(one, {"count": 0, "of": 100, "rate": 0.0}) is None


def test_table_and_plot_of_some_arms(tmp_path: Path) -> None:
    """The comparison stands while a seed of an arm, and one arm altogether, is still missing."""
    numbers = {
        ("a", 0): {"seen": counts(9, 0), "unseen_both": counts(2, 7), "vqa": vqa(1.0, 10)},
        ("a", 1): {"seen": counts(7, 1), "unseen_both": counts(2, 6), "vqa": vqa(0.0, 10)},
        ("c", 0): {"seen": counts(8, 1), "unseen_both": counts(6, 3), "vqa": vqa(7.0, 10)},
    }
    found, columns = pooled(numbers, list(ARMS)), ["seen", "unseen_both"]
    text = table(found, LABELS, columns)
    rows = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if line.startswith("| ")}
    assert "| success | seen | unseen both |" in text and "| wrong object | seen | unseen both |" in text
    assert "**80.0%** (16/20, 58.4% to 91.9%; seeds 90%, 70%)" in text
    assert "both, times the success of robot: seen 1.00" in text and "unseen both 3.00" in text
    assert rows["before"].count("–") >= 1
    written = plot(found, LABELS, columns, tmp_path / "p.png")
    assert written.read_bytes()[:4] == b"\x89PNG" and [p.name for p in tmp_path.iterdir()] == ["p.png"]
