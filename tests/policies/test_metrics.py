"""Wilson intervals, and the exact shape of metrics.json."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.runtime import metrics
from policies.runtime.metrics import summarize, swap_summary, table, wilson, write_metrics
from policies.runtime.results import EpisodeResult


def test_a_commit_of_somebody_elses_repository_is_not_ours(tmp_path: Path) -> None:
    """Installed inside a user's own repository, that one's HEAD says nothing about the code that runs."""
    root = Path(metrics.__file__).resolve().parents[2]
    for package in ("policies", "vla"):
        shutil.copytree(
            root / package, tmp_path / "site" / package, ignore=shutil.ignore_patterns("pretrained")
        )
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "theirs"], check=True)
    code = "from policies.runtime.metrics import commit; print(commit())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "site", capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "unknown"


COUNTS = st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def result(index: int, outcome: str = "success", skill: str = "lift", **more: object) -> EpisodeResult:
    given_: dict[str, object] = {"target": "red cube", "first_touched": "red cube", "swapped": False, **more}
    return EpisodeResult(
        index=index,
        seed=index,
        skill=skill,
        task="lift the red cube",
        outcome=outcome,
        success=outcome == "success",
        steps=10,
        control_hz=40.0 + index,
        actions=np.zeros((10, 6), np.float32),
        states=np.zeros((10, 6), np.float32),
        **given_,  # type: ignore[arg-type]
    )


@given(COUNTS)
def test_the_interval_holds_the_rate_and_lies_in_0_to_1(counts: tuple[int, int]) -> None:
    good, trials = counts
    low, high = wilson(good, trials)
    assert 0.0 <= low <= good / trials <= high <= 1.0
    assert low < high


@given(COUNTS)
def test_success_and_failure_mirror_each_other(counts: tuple[int, int]) -> None:
    good, trials = counts
    low, high = wilson(good, trials)
    assert wilson(trials - good, trials) == pytest.approx((1 - high, 1 - low))


@given(COUNTS, st.integers(2, 9))
def test_more_trials_at_the_same_rate_narrow_it(counts: tuple[int, int], times: int) -> None:
    good, trials = counts
    low, high = wilson(good, trials)
    more_low, more_high = wilson(times * good, times * trials)
    assert more_high - more_low < high - low


@given(COUNTS)
def test_the_bounds_solve_the_score_equation(counts: tuple[int, int]) -> None:
    """At each bound b: (rate - b)^2 = z^2 b (1 - b) / n, the definition of the interval."""
    good, trials = counts
    for bound in wilson(good, trials):
        squared = 1.959963984540054**2 * bound * (1 - bound) / trials
        assert (good / trials - bound) ** 2 == pytest.approx(squared, abs=1e-9)


def test_a_known_value_and_no_trials() -> None:
    assert wilson(81, 100) == pytest.approx((0.7222, 0.8749), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError):
        wilson(3, 2)


def test_metrics_have_the_promised_keys(tmp_path: Path) -> None:
    results = [result(0), result(1, "wrong_object"), result(2, "timeout", "push"), result(3)]
    metrics = summarize(results, policy="expert", seed=7, split="seen")
    promised = {
        *("episodes", "success_rate", "interval", "wrong_object_rate", "tasks"),
        *("control_hz", "seed", "policy", "commit"),
    }
    assert promised <= metrics.keys()
    assert metrics["episodes"] == 4 and metrics["success_rate"] == 0.5
    assert metrics["wrong_object_rate"] == 0.25
    assert metrics["tasks"]["lift"]["episodes"] == 3 and metrics["tasks"]["push"]["success_rate"] == 0.0
    assert metrics["outcomes"] == {"success": 2, "timeout": 1, "wrong_object": 1}
    written = json.loads(write_metrics(metrics, tmp_path).read_text())
    assert written == metrics and [p.name for p in tmp_path.iterdir()] == ["metrics.json"]
    assert "lift" in table(metrics) and "50.0%" in table(metrics)


def test_the_swap_test_counts_where_the_arm_went() -> None:
    pairs = [
        result(0),
        result(1, swapped=True),
        result(2),
        result(3, "timeout", swapped=True),  # touched the named thing first, then ran out of time
        result(4),
        result(5, "wrong_object", swapped=True, first_touched="blue cube"),
        result(6),
        result(7, "timeout", swapped=True, first_touched=""),
    ]
    found = swap_summary(pairs)
    assert (found["pairs"], found["followed"], found["rate"], found["successes"]) == (4, 2, 0.5, 1)
