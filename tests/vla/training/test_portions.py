"""A batch cut into portions is the same batch; and what is measured beside, in one process."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ranks import apart, curve
from toy import Counted, Toy, batches, mixed, save_policy

from vla.errors import BadInput
from vla.training.config import OptimConfig, TrainerConfig
from vla.training.trainer import Trainer

OPTIM = OptimConfig(lr=2e-2, warmup=16, ema=0.9, clip=0.5)


def run(out: Path, accumulate: int = 1, model: Any = None, **more: Any) -> Trainer:
    samples = more.pop("samples", 96)
    parts = {name: more.pop(name, None) for name in ("validation", "evaluate", "roll_out")}
    make = more.pop("make", mixed(8))
    usual: dict[str, Any] = {"log_every": 8, "save_every": 32, "validate_every": 32, "bf16": False}
    config = TrainerConfig(
        samples, 8, accumulate, device="cpu", trackers=(), optim=OPTIM, **{**usual, **more}
    )
    net = Counted() if model is None else model
    trainer = Trainer(net, make, config, out, save_policy=save_policy, seed=3, **parts)
    trainer.run()
    return trainer


@pytest.mark.parametrize("accumulate", [2, 4, 8])
def test_the_cut_changes_nothing(tmp_path: Path, accumulate: int) -> None:
    run(tmp_path / "whole")
    run(tmp_path / "cut", accumulate, make=mixed(8, front=accumulate == 8))
    assert apart(tmp_path / "whole", tmp_path / "cut") < 1e-5
    names = {name for line in curve(tmp_path / "cut") for name in line}
    assert {"train/loss", "train/grad_norm", "train/robot_batch_off", "train/web_batch_off"} <= names


def test_a_weight_is_moved_only_where_something_was_learned(tmp_path: Path) -> None:
    cut = run(tmp_path, 4)
    steps = {n: cut.optimizer.state.get(p, {}).get("step") for n, p in cut.model.named_parameters()}
    assert steps["idle.weight"] is None and steps["frozen.weight"] is None
    assert steps["heads.robot_batch.weight"] == 12
    assert steps["heads.web_batch.weight"] == 9, "every fourth batch has no web rows"


class Stop(Exception):
    pass


@pytest.mark.parametrize("accumulate", [1, 4])
def test_resumed_with_its_rarer_steps_is_bitwise_the_same(tmp_path: Path, accumulate: int) -> None:
    def crash(start: int, part: int) -> None:
        if start >= 72:
            raise Stop

    whole = run(tmp_path / "whole", accumulate, Counted(0.3))
    with pytest.raises(Stop):
        run(tmp_path / "cut", accumulate, Counted(0.3), make=mixed(8, hook=crash))
    resumed = run(tmp_path / "cut", accumulate, Counted(0.3))
    one, two = whole.model.state_dict(), resumed.model.state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    web = resumed.model.get_parameter("heads.web_batch.weight")
    assert resumed.optimizer.state[web]["step"] == 9


def test_a_model_without_totals_is_not_cut(tmp_path: Path) -> None:
    run(tmp_path, model=Toy(), make=batches(8), samples=16)
    with pytest.raises(BadInput, match=r"tells no totals: .*trainer\.accumulate=1"):
        run(tmp_path / "cut", 2, Toy(), make=batches(8))


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(1, 7), min_size=1, max_size=4), step=st.integers(0, 9))
def test_validation_is_over_rows_not_batches(tmp_path: Path, sizes: list[int], step: int) -> None:
    size = sum(sizes)
    whole = mixed(size)(4 * step * size, 0, 1)["robot_batch"]  # every fourth batch has robot rows alone

    def validation(part: int, parts: int) -> Iterator[Any]:
        rows = torch.arange(size).split(sizes)
        yield from [{"robot_batch": {k: v[own] for k, v in whole.items()}} for own in rows][part::parts]

    trainer = Trainer(
        Counted(),
        mixed(8),
        TrainerConfig(8, 8, device="cpu", trackers=(), bf16=False),
        tmp_path,
        save_policy=save_policy,
        validation=validation,
    )
    assert trainer.validation is not None
    found, (loss, scalars) = trainer.validation(trainer.model), trainer.model.loss({"robot_batch": whole})
    assert found["loss"] == pytest.approx(loss.item(), abs=1e-5)
    assert found["robot_batch_off"] == pytest.approx(scalars["robot_batch_off"].item(), abs=1e-5)


def test_what_is_measured_is_logged_under_its_own_name(tmp_path: Path) -> None:
    seen: list[bool] = []

    def evaluate(model: torch.nn.Module) -> dict[str, float]:
        seen.append(model.training or torch.is_grad_enabled())
        torch.rand(3)  # random numbers that the training must not miss
        return {"vqa/accuracy": 0.25}

    measured = run(tmp_path / "a", evaluate=evaluate)
    assert seen == [False] * 3, "at each validation, without gradients, in evaluation mode"
    assert [line["vqa/accuracy"] for line in curve(tmp_path / "a") if "vqa/accuracy" in line] == [0.25] * 3
    plain = run(tmp_path / "b")
    one, two = measured.model.state_dict(), plain.model.state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_activations_again_needs_a_model_that_can(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"trainer\.checkpointing=true: this model cannot"):
        run(tmp_path, checkpointing=True)
    asked: list[bool] = []
    model = Counted()
    model.checkpoint_activations = asked.append  # type: ignore[assignment]
    run(tmp_path, model=model, checkpointing=True, samples=8)
    assert asked == [True]
