"""Two real processes train a small real model of actions and words; some portions lack rows of one kind."""

from pathlib import Path
from typing import Any

import pytest
from ranks import apart, curve, finish, start, train

from vla.pretrained import load

pytestmark = pytest.mark.slow

JOB: dict[str, Any] = {"samples": 32, "batch": 8, "log_every": 8, "save_every": 16, "validate_every": 16}


def assert_equal_run(one: Path, two: Path) -> None:
    losses = [
        [{k: v for k, v in line.items() if k.endswith("loss")} for line in curve(out)] for out in (one, two)
    ]
    pairs = [(a[k], b[k]) for a, b in zip(*losses, strict=True) for k in a]
    assert len(pairs) > 6 and all(abs(a - b) < 1e-5 for a, b in pairs)
    assert apart(one, two) < 1e-4  # the other numbers: up to 90 codes
    first, second = (load(out / "policy")[0].state_dict() for out in (one, two))
    assert max((first[name] - second[name]).abs().max().item() for name in first) < 1e-4


@pytest.mark.parametrize("kind", ["codes", "flow", "lora"])
def test_same_curve_as_one_process(tmp_path: Path, kind: str) -> None:
    one = {**JOB, "model": kind, "out": str(tmp_path / "one")}
    train([one, {**one, "out": str(tmp_path / "cut"), "accumulate": 4}], 1)
    jobs = [{**one, "engine": engine, "out": str(tmp_path / engine)} for engine in ("ddp", "fsdp")]
    train([*jobs, {**jobs[1], "accumulate": 2, "out": str(tmp_path / "both")}], 2)
    for name in ("cut", "ddp", "fsdp", "both"):
        assert_equal_run(tmp_path / "one", tmp_path / name)
    names = {name for line in curve(tmp_path / "both") for name in line}
    assert {"train/action_loss", "train/answer_loss", "validation/answer_accuracy", "said/ids"} <= names


def test_goes_on_with_another_number_of_processes(tmp_path: Path) -> None:
    one = {**JOB, "model": "flow", "out": str(tmp_path / "one")}
    train([one], 1)
    for name, before, after in (("down", 2, 1), ("up", 1, 2)):
        job = {**one, "out": str(tmp_path / name)}
        for count, more in ((before, {"fail": (-1, 16)}), (after, {})):
            engine = {"engine": "fsdp"} if count > 1 else {}
            ended = finish(start([{**job, **engine, **more}], count))
            assert {status for status, _, _ in ended} == {2 if more else 0}, ended
        assert_equal_run(tmp_path / "one", tmp_path / name)


@pytest.mark.parametrize("engine", ["ddp", "fsdp"])
def test_activations_computed_again(tmp_path: Path, engine: str) -> None:
    one = {**JOB, "model": "codes", "out": str(tmp_path / "one")}
    train([one], 1)
    train([{**one, "engine": engine, "checkpointing": True, "out": str(tmp_path / "two")}], 2)
    assert_equal_run(tmp_path / "one", tmp_path / "two")


def test_layers_are_cut_by_themselves(tmp_path: Path) -> None:
    """With actions alone, as every portion must hold every kind of row."""
    for kind in ("codes", "flow"):
        one = {**JOB, "model": f"{kind} alone", "out": str(tmp_path / kind)}
        train([one], 1)
        jobs = [
            {**one, "engine": "fsdp", "shard": "layers", "accumulate": n, "out": str(tmp_path / f"{kind}{n}")}
            for n in (1, 2)
        ]
        train(jobs, 2)
        assert_equal_run(tmp_path / kind, tmp_path / f"{kind}1")
        assert_equal_run(tmp_path / kind, tmp_path / f"{kind}2")
