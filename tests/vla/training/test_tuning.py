import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from parted import LLAMA, Parted, tuned
from safetensors.torch import load_file
from torch import Tensor, nn
from toy import batches, save_policy

from vla.backbones.small import SmallBackbone
from vla.configuration import PartConfig, SmallConfig, TransformersConfig, TuningConfig
from vla.errors import BadInput
from vla.training.config import OptimConfig, TrainerConfig
from vla.training.optim import Ema, build_optimizer
from vla.training.trainer import Trainer
from vla.training.tuning import merge_lora, parts_of, tune

FROZEN, LORA = PartConfig("frozen"), PartConfig("lora", rank=4, alpha=8)
X = torch.randn(6, 8, generator=torch.Generator().manual_seed(1))


def trained(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def names(model: nn.Module, *starts: str) -> set[str]:
    return {name for name, _ in model.named_parameters() if name.startswith(starts)}


def test_by_default_all_of_it_learns() -> None:
    model = tuned()
    assert trained(model) == set(dict(model.named_parameters()))
    assert model.train().eye.blocks[0].training


def test_frozen_parts() -> None:
    model = tuned(vision=FROZEN, language=FROZEN)
    assert trained(model) == {"connect.0.weight", "connect.0.bias", "newline", "out.0.weight", "out.0.bias"}
    assert trained(tuned(connector=FROZEN, rest=FROZEN)) == names(model, "eye.", "backbone.")


def test_last_layers() -> None:
    model = tuned(vision=PartConfig("last", layers=1), language=PartConfig("last", layers=2))
    core = "backbone.model.model."
    wanted = names(model, "eye.blocks.2.", "eye.norm.", "connect", "newline", "out")
    wanted |= names(model, f"{core}layers.1.", f"{core}layers.2.", f"{core}norm.")
    assert trained(model) == wanted
    everything = tuned(vision=PartConfig("last", layers=9))
    assert names(everything, "eye.") <= trained(everything)


def test_lora() -> None:
    model = tuned(language=LORA, vision=FROZEN, rest=FROZEN, connector=FROZEN)
    linears = [f"self_attn.{p}_proj" for p in "qkvo"] + [f"mlp.{p}_proj" for p in ("gate", "up", "down")]
    assert trained(model) == {
        f"backbone.model.model.layers.{i}.{linear}.lora_{side}.default.weight"
        for i in range(3)
        for linear in linears
        for side in "AB"
    }
    shapes = {
        p.shape for n, p in model.named_parameters() if n.endswith("0.mlp.up_proj.lora_A.default.weight")
    }
    assert shapes == {torch.Size([4, 16])}
    assert "backbone.model.lm_head.weight" in model.state_dict()  # the head is left as it is


def test_a_fresh_adapter_changes_nothing() -> None:
    plain, adapted = tuned().eval(), tuned(vision=LORA, language=LORA).eval()
    assert len(adapted.state_dict()) > len(plain.state_dict())
    assert torch.equal(adapted(X), plain(X))


def test_built_again_it_has_the_same_names() -> None:
    one, two = (tuned(vision=LORA, connector=LORA, language=LORA, rest=LORA) for _ in range(2))
    shapes = [{n: v.shape for n, v in model.state_dict().items()} for model in (one, two)]
    assert shapes[0] == shapes[1]
    nudge(one)
    two.load_state_dict(one.state_dict())
    assert torch.equal(two.eval()(X), one.eval()(X))


def nudge(model: nn.Module) -> None:
    """As if it had been trained."""
    random = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=random))


def test_merged_adapters_give_the_same() -> None:
    plain, model = tuned().eval(), tuned(vision=LORA, language=LORA).eval()
    nudge(model)
    wanted = model(X)
    assert (wanted - plain(X)).abs().max() > 1e-2
    merge_lora(model)
    assert model.state_dict().keys() == plain.state_dict().keys()
    torch.testing.assert_close(model(X), wanted, atol=1e-5, rtol=1e-5)
    plain.load_state_dict(model.state_dict())
    torch.testing.assert_close(plain(X), wanted, atol=1e-5, rtol=1e-5)


def test_adapters_of_short_weights_are_float32() -> None:
    tuning = TuningConfig(language=LORA)
    model = Parted(tuning, config=LLAMA, dtype="bfloat16")
    kinds = {("lora_" in n, p.dtype) for n, p in model.backbone.named_parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}
    model(X).square().mean().backward()
    grads = [p.grad for n, p in model.named_parameters() if "lora_B" in n]
    assert all(grad is not None and grad.abs().max() > 0 for grad in grads)


def test_gradients_reach_every_adapter() -> None:
    model = tuned(vision=LORA, connector=LORA, language=LORA, rest=LORA)
    nudge(model)
    model(X).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters() if p.requires_grad)


def test_gradients_reach_every_adapter_of_the_own_transformer() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = SmallBackbone(SmallConfig(width=16, layers=2, heads=2, mlp=16))

        def parts(self) -> dict[str, list[nn.Module]]:
            return {"language": self.backbone.language_modules}

    torch.manual_seed(0)
    model = Own()
    tune(model, TuningConfig(language=LORA))
    nudge(model)
    model.backbone(torch.randn(2, 5, 16), last=2).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters() if p.requires_grad)


# -- evaluation mode -----------------------------------------------------------------------------------------


def test_what_is_frozen_stays_in_evaluation_mode() -> None:
    model = tuned(vision=FROZEN).train()
    assert model.training and model.connect.training and not model.eye.training
    statistics = model.eye.blocks[0][1].running_mean.clone()
    assert torch.equal(model.eye(X), model.eye(X))
    assert torch.equal(model.eye.blocks[0][1].running_mean, statistics)
    part = tuned(vision=PartConfig("last", layers=1)).train().eye
    assert [block.training for block in part.blocks] == [False, False, True]
    assert not any(module.training for module in part.blocks[0].modules())
    assert part.blocks[2][2].training  # its dropout works
    other = copy.deepcopy(model).train()
    assert not other.eye.training and other.connect.training
    assert torch.equal(other.eye(X), model.eye(X))


# -- learning rates and steps --------------------------------------------------------------------------------


def test_each_part_has_its_own_rate() -> None:
    tuning = {"vision": PartConfig(lr=0.1), "language": PartConfig("lora", lr=2.0), "connector": FROZEN}
    model = tuned(**tuning)
    groups = build_optimizer(model, OptimConfig(weight_decay=0.1)).param_groups
    kinds = {(g["part"], g["lr_factor"], g["weight_decay"]) for g in groups}
    assert kinds == {
        ("vision", 0.1, 0.1),
        ("vision", 0.1, 0.0),
        ("language", 2.0, 0.1),
        ("rest", 1.0, 0.1),
        ("rest", 1.0, 0.0),
    }
    inside = [p for group in groups for p in group["params"]]
    assert len(inside) == len({id(p) for p in inside}) == len(trained(model))
    parts = {n: parts_of(model)[p].name for n, p in model.named_parameters()}
    assert {parts[n] for n in names(model, "eye.")} == {"vision"} and parts["newline"] == "connector"


def test_without_parts_there_are_two_groups() -> None:
    groups = build_optimizer(nn.Sequential(nn.Linear(2, 2)), OptimConfig()).param_groups
    assert [group["lr_factor"] for group in groups] == [1.0, 1.0]


def trainer(model: nn.Module, out: Path, samples: int, make: Any = None) -> Trainer:
    optim = OptimConfig(lr=1e-2, warmup=0, schedule="wsd", decay=1e-6, ema=0.9)
    config = TrainerConfig(
        samples=samples, batch=8, device="cpu", bf16=False, log_every=16, save_every=16, validate_every=0,
        rollout_every=0, trackers=(), optim=optim,
    )  # fmt: skip
    return Trainer(model, make or batches(8), config, out, save_policy=save_policy, seed=3)


def test_frozen_tensors_do_not_move(tmp_path: Path) -> None:
    model = tuned(vision=PartConfig("last", layers=1), language=LORA, connector=PartConfig(lr=1e-3))
    start = {name: value.clone() for name, value in model.state_dict().items()}
    run = trainer(model, tmp_path, 24)
    assert run.ema is not None
    average = dict(run.ema.model.named_parameters())
    run.run()
    rates = {group["part"]: group["lr"] for group in run.optimizer.param_groups}
    assert rates["connector"] == pytest.approx(1e-3 * rates["rest"])
    for name, parameter in model.named_parameters():
        moved = not torch.equal(parameter, start[name])
        assert moved == parameter.requires_grad, name
        assert (average[name] is parameter) == (not parameter.requires_grad), name
    state = model.state_dict()
    assert torch.equal(state["eye.blocks.0.1.running_mean"], start["eye.blocks.0.1.running_mean"])
    assert not torch.equal(state["eye.blocks.2.1.running_mean"], start["eye.blocks.2.1.running_mean"])


def test_the_average_follows_what_is_trained() -> None:
    model = tuned(language=FROZEN)
    ema = Ema(model, 0.9)
    start = copy.deepcopy(model.connect[0].weight.detach())
    nudge(model)
    ema.update(model.parameters(), model.buffers(), step=0)
    wanted = torch.lerp(start, model.connect[0].weight.detach(), 0.9)
    torch.testing.assert_close(ema.model.connect[0].weight, wanted)
    assert ema.model.backbone.core.layers[0] is not model.backbone.core.layers[0]
    assert torch.isfinite(ema.model(X)).all()


def test_resumed_run_is_bitwise_the_same(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def crash(start: int) -> None:
        if start >= 24:
            raise Stop

    tuning = {"vision": PartConfig("last", layers=1), "language": LORA}
    whole = load_file(trainer(tuned(**tuning), tmp_path / "whole", 48).run() / "model.safetensors")
    with pytest.raises(Stop):
        trainer(tuned(**tuning), tmp_path / "cut", 48, batches(8, hook=crash)).run()
    other = tuned(**tuning)
    with torch.no_grad():
        for parameter in other.parameters():  # nothing but the checkpoint is to be relied on
            parameter.fill_(3.0)
    resumed = load_file(trainer(other, tmp_path / "cut", 48).run() / "model.safetensors")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def packed(out: Path) -> dict[str, Tensor]:
    return load_file(max((out / "checkpoints").glob("step-*")) / "training.safetensors")


def test_a_checkpoint_holds_each_tensor_once(tmp_path: Path) -> None:
    model = tuned(language=FROZEN)
    trainer(model, tmp_path, 16).run()
    found = packed(tmp_path)
    assert {n for n in found if n.startswith("ema/")} & {
        f"ema/{n}" for n in names(model, "backbone.")
    } == set()
    assert {f"model/{n}" for n in model.state_dict()} <= found.keys()


def test_what_is_in_another_checkpoint_is_not_stored(tmp_path: Path) -> None:
    base = Parted(TuningConfig()).backbone
    base.model.save_pretrained(tmp_path / "llama")
    tuning = TuningConfig(language=LORA)

    def build() -> Parted:
        model = Parted(tuning, path=str(tmp_path / "llama"))
        frozen = {n for n, p in model.named_parameters() if n.startswith("backbone.") and not p.requires_grad}
        model.left_out = frozen  # type: ignore[assignment]
        return model

    model = build()
    assert any(name.endswith("q_proj.base_layer.weight") for name in model.left_out)  # type: ignore[union-attr]
    trainer(model, tmp_path / "run", 16).run()
    kept = {n for n in packed(tmp_path / "run") if "backbone." in n}
    assert kept and all("lora_" in name for name in kept)
    again = trainer(build(), tmp_path / "run", 16)
    again._resume()
    assert again.step == 2
    assert all(torch.equal(v, model.state_dict()[n]) for n, v in again.model.state_dict().items())


def test_a_checkpoint_of_another_way_of_training_is_refused(tmp_path: Path) -> None:
    trainer(tuned(language=FROZEN), tmp_path, 16).run()
    with pytest.raises(BadInput, match=r"of another architecture: .* tensors differ") as caught:
        trainer(tuned(language=LORA), tmp_path, 16)._resume()
    assert "\n" not in str(caught.value)


# -- bad input -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"rest": PartConfig("last")}, "tuning.rest.train=last: this part has no layers in a row; use"),
        ({"connector": PartConfig("last")}, "tuning.connector.train=last: this part has no layers"),
    ],
)
def test_what_cannot_be_tuned_so(parts: dict[str, PartConfig], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        tuned(**parts)


def test_nothing_to_train() -> None:
    model = tuned(vision=FROZEN, connector=FROZEN, language=FROZEN, rest=FROZEN)
    with pytest.raises(BadInput, match="every part is frozen, so there is nothing to train"):
        build_optimizer(model, OptimConfig())


@pytest.mark.parametrize("train", ["full", "last"])
def test_quantised_weights_are_not_trained(train: Any) -> None:
    class Linear4bit(nn.Linear):
        """Of the name of bitsandbytes' own."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer_list = [Linear4bit(2, 2)]
            self.net = nn.Sequential(*self.layer_list)

        def parts(self) -> dict[str, list[nn.Module]]:
            return {"language": [self]}

    with pytest.raises(
        BadInput, match=f"tuning.language.train={train}: weights in few bits cannot be trained"
    ):
        tune(Model(), TuningConfig(language=PartConfig(train)))


def test_a_frozen_trunk_saves_memory_too() -> None:
    """Gradients pass through it to what is before it, so its activations count."""
    backbone = TransformersConfig(config=LLAMA, gradient_checkpointing=True)
    plain = tuned(language=FROZEN)
    saving = Parted(TuningConfig(language=FROZEN), config=LLAMA, gradient_checkpointing=True)
    assert backbone.gradient_checkpointing
    saving.load_state_dict(plain.state_dict())
    saved: list[int] = []
    for model in (plain, saving):
        model.train()
        for block in model.eye.blocks:
            block[2].p = 0.0
        count = [0]

        def pack(tensor: Tensor, count: list[int] = count) -> Tensor:
            count[0] += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = model(X).square().mean()
        loss.backward()
        saved.append(count[0])
    assert saved[1] < saved[0] / 2
    torch.testing.assert_close(saving.connect[0].weight.grad, plain.connect[0].weight.grad)
