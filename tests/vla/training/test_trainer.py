import json
import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from toy import batches, trainer

from vla.errors import BadInput
from vla.training.config import OptimConfig
from vla.training.trainer import Diverged


def weights(policy: Path) -> dict[str, torch.Tensor]:
    return load_file(policy / "model.safetensors")


def assert_same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_learns_and_logs(tmp_path: Path) -> None:
    trainer(tmp_path, 3200).run()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = [line["train/loss"] for line in lines if "train/loss" in line]
    assert losses[-1] < losses[0] / 5
    assert any("validation/loss" in line for line in lines)
    assert lines[-1]["samples"] == 3200
    named = {"train/lr", "train/grad_norm", "speed/samples_per_second", "speed/waiting_share"}
    assert named <= lines[0].keys()


class Stop(Exception):
    pass


@pytest.mark.parametrize("at", [40, 64, 72, 150])
def test_resumed_run_is_bitwise_the_same(tmp_path: Path, at: int) -> None:
    def crash(start: int) -> None:
        if start >= at:
            raise Stop

    whole = trainer(tmp_path / "whole").run()
    with pytest.raises(Stop):
        trainer(tmp_path / "cut", make=batches(8, hook=crash)).run()
    resumed = trainer(tmp_path / "cut")
    assert_same(weights(whole), weights(resumed.run()))
    log = (tmp_path / "cut" / "metrics.jsonl").read_text()
    steps = [json.loads(line)["step"] for line in log.splitlines()]
    assert steps == sorted(steps) and steps[-1] == 20


def test_finished_run_only_hands_over_its_policy(tmp_path: Path) -> None:
    first = weights(trainer(tmp_path).run())
    again = trainer(tmp_path, make=batches(8, poison=0))
    assert_same(first, weights(again.run()))


def test_longer_budget_goes_on(tmp_path: Path) -> None:
    trainer(tmp_path, 80).run()
    longer = trainer(tmp_path, 160)
    longer.run()
    assert longer.step == 20


def test_other_settings_are_refused(tmp_path: Path) -> None:
    trainer(tmp_path).run()
    other = trainer(tmp_path)
    other.identity = {"batch": 16}
    with pytest.raises(BadInput, match="batch was 8, is 16"):
        other.run()


def test_nan_loss_stops_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(Diverged, match=r"good checkpoint is .*step-000000012: go on") as caught:
        trainer(tmp_path, make=batches(8, poison=100)).run()
    assert "step 13" in str(caught.value) and "\n" not in str(caught.value)
    tensors = load_file(tmp_path / "checkpoints" / "step-000000012" / "training.safetensors")
    assert all(torch.isfinite(value).all() for value in tensors.values())


def test_infinite_growth_is_divergence(tmp_path: Path) -> None:
    optim = OptimConfig(lr=1e30, warmup=0, ema=0.9)
    with pytest.raises(Diverged, match=r"lower trainer\.optim\.lr"):
        trainer(tmp_path, 4000, optim=optim).run()


def test_full_disk_keeps_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import vla.training.checkpoint as module

    write, count = module.write_tensors, [0]

    def filling(path: Path, pieces: Any) -> None:
        count[0] += 1
        if count[0] > 2:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        write(path, pieces)

    monkeypatch.setattr(module, "write_tensors", filling)
    with pytest.raises(BadInput, match=r"no space left on the disk; the last whole one is .*step-000000008"):
        trainer(tmp_path).run()
    monkeypatch.undo()
    names = sorted(path.name for path in (tmp_path / "checkpoints").glob("*step*"))
    assert names == ["step-000000004", "step-000000008"]
    resumed = trainer(tmp_path).run()
    assert_same(weights(resumed), weights(trainer(tmp_path / "whole").run()))


def test_another_kind_is_named_before_what_it_changes(tmp_path: Path) -> None:
    place = "model.decoder.tokenizer"
    fast = {f"{place}.kind": "fast", f"{place}.scale": 10.0, f"{place}.vocabulary": 1024, "augment": None}
    bins = {f"{place}.kind": "bins", f"{place}.count": 256, f"{place}.spacing": "uniform", "augment": 1}
    run, other = trainer(tmp_path, 80), trainer(tmp_path)
    run.identity = fast
    run.run()
    other.identity = bins
    with pytest.raises(BadInput, match=rf"\({place}.kind was 'fast', is 'bins'\)"):
        other.run()
    other.identity = {**fast, f"{place}.scale": 20.0}
    with pytest.raises(BadInput, match=rf"\({place}.scale was 10.0, is 20.0\)"):
        other.run()


def test_half_written_checkpoint_is_ignored(tmp_path: Path) -> None:
    trainer(tmp_path, 80).run()
    half = tmp_path / "checkpoints" / ".writing-step-000000999"
    half.mkdir()
    (half / "state.json").write_text("{}")
    resumed = trainer(tmp_path)
    resumed.run()
    assert resumed.step == 20 and not half.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_saves_and_leaves(tmp_path: Path, number: int) -> None:
    def hit(start: int) -> None:
        if start == 80:
            os.kill(os.getpid(), number)

    with pytest.raises(KeyboardInterrupt, match="the same command goes on"):
        trainer(tmp_path / "cut", 1600, make=batches(8, hook=hit), save_every=0).run()
    cut = trainer(tmp_path / "cut", 1600)
    cut._resume()
    assert cut.step > 0
    assert_same(weights(trainer(tmp_path / "cut", 1600).run()), weights(trainer(tmp_path / "w", 1600).run()))


def test_roll_outs_choose_the_best(tmp_path: Path) -> None:
    scores = iter([0.3, 0.9, 0.4, 0.5])
    seen: list[int] = []

    def roll_out(policy: Path, step: int) -> dict[str, float]:
        assert (policy / "model.safetensors").is_file()
        seen.append(step)
        return {"success_rate": next(scores)}

    run = trainer(tmp_path, roll_out=roll_out, rollout_every=40)
    run.run()
    assert seen == [5, 10, 15, 20]
    best = run.checkpoints.best()
    assert best is not None and best["step"] == 10
    assert run.checkpoints.steps() == [10, 16, 20]


def test_roll_outs_do_not_change_the_training(tmp_path: Path) -> None:
    def roll_out(policy: Path, step: int) -> dict[str, float]:
        torch.rand(5)
        return {"success_rate": 0.0}

    with_them = trainer(tmp_path / "a", roll_out=roll_out, rollout_every=40).run()
    assert_same(weights(with_them), weights(trainer(tmp_path / "b").run()))


def test_time_budget_ends_the_run_with_the_rate_at_its_end(tmp_path: Path) -> None:
    settings = {"log_every": 8, "save_every": 0, "validate_every": 0}
    run = trainer(tmp_path, 10**9, max_minutes=1.5 / 60, **settings)
    run.run()
    assert run.elapsed >= 1.5
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    rates = [line["train/lr"] for line in lines if "train/lr" in line]
    assert rates[-1] < 0.6 * max(rates) and math.isclose(max(rates), 1e-2, rel_tol=1e-3)
    assert rates[4:] == sorted(rates[4:], reverse=True)
