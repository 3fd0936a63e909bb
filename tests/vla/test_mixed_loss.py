"""Robots and the web in one loss: what is left out, weighed, split, kept apart or computed again changes
nothing that it should not."""

import dataclasses
from typing import Any

import pytest
import torch
from answering import (
    AUDIO,
    BACKBONES,
    FLOW,
    FUSIONS,
    TURNS,
    answering,
    fusion_parts,
    open_gates,
    raw_web,
    rows,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import raw_batch
from torch import Tensor

from vla.configuration import AlignmentConfig, BinsConfig, DecoderConfig, FastConfig, TuningConfig
from vla.errors import BadInput
from vla.model import VLA
from vla.processor import Processor

BOTH = dataclasses.replace(FLOW, auxiliary=1.0, tokenizer=BinsConfig(count=16), forced=1)
LEARNERS: dict[str, dict[str, Any]] = {
    "codes": {},
    "forced": {"decoder": DecoderConfig(horizon=3, forced=2)},
    "autoregressive": {"kind": "autoregressive"},
    "flow": {"decoder": FLOW},
    "flow and codes": {"decoder": BOTH},
    "late": fusion_parts("late"),
    "language": BACKBONES["language"],
}


def mixed(processor: Processor, count: int = 6) -> dict[str, Any]:
    """Everything that a batch can hold, each row of another weight."""
    raw = raw_batch(count)
    raw["action_is_pad"][0, 1:] = True
    robot = processor.batch(raw)
    random = torch.Generator().manual_seed(4)
    robot["weight"] = torch.rand(count, generator=random) + 0.2
    decoder = processor.config.decoder
    if "actions" in robot:
        robot["noise"] = torch.randn(robot["actions"].shape, generator=random)
        robot["noise_time"] = torch.rand(count, 1, generator=random)
    if decoder.forced:
        robot["forced"] = torch.arange(count) % (decoder.forced + 1)
    web = processor.web_batch(raw_web(count, weight=[0.5, 1, 2, 1, 0, 0.3]))
    return {"robot_batch": robot, "web_batch": web}


def learned(
    model: VLA, batches: list[dict[str, Any]], totals: Any = None
) -> tuple[float, dict[str, Tensor], dict]:
    """Loss, gradients and scalars, added up over batches."""
    model.zero_grad()
    loss, told = 0.0, {}
    for batch in batches:
        term, scalars = model.loss(batch, totals)
        term.backward()
        loss += term.item()
        for name, value in scalars.items():
            told[name] = told.get(name, 0.0) + value.item()
    return loss, {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}, told


def added(model: VLA, batches: list[dict[str, Any]]) -> dict[str, Tensor]:
    """The totals of parts, as a trainer adds them up."""
    whole: dict[str, Tensor] = {}
    for batch in batches:
        for name, value in model.totals(batch).items():
            assert value.dtype == torch.float32 and value.ndim == 0
            whole[name] = whole.get(name, 0.0) + value
    return whole


def same(one: Any, other: Any, atol: float = 1e-5) -> None:
    assert one[0] == pytest.approx(other[0], abs=1e-6, rel=1e-6)
    for name in one[1].keys() | other[1].keys():
        left, right = (each[1].get(name) for each in (one, other))
        left = torch.zeros_like(right) if left is None else left
        right = torch.zeros_like(left) if right is None else right
        torch.testing.assert_close(
            left, right, atol=atol * max(1.0, float(right.abs().max())), rtol=1e-4, msg=name
        )


@pytest.mark.parametrize("name", LEARNERS)
def test_any_split_gives_the_loss_and_gradients_of_the_whole(name: str) -> None:
    model, processor = answering(sharp=0.05, **LEARNERS[name])
    batch = mixed(processor)
    whole = learned(model, [batch])
    robot, web = batch["robot_batch"], batch["web_batch"]
    splits = [
        [{"robot_batch": robot}, {"web_batch": web}],
        [
            {"robot_batch": rows(robot, slice(i, None, 3)), "web_batch": rows(web, slice(i, None, 3))}
            for i in range(3)
        ],
        [
            {"robot_batch": rows(robot, [0])},
            {"web_batch": rows(web, [4])},  # of weight 0
            {"robot_batch": rows(robot, [5, 1, 2]), "web_batch": rows(web, [1])},  # without a picture
            {"robot_batch": rows(robot, [3, 4]), "web_batch": rows(web, [0, 2, 3, 5])},
        ],
    ]
    for parts in splits:
        found = learned(model, parts, added(model, parts))
        same(found, whole)
        for scalar, value in whole[2].items():
            assert found[2][scalar] == pytest.approx(value, abs=1e-5), scalar
    assert whole[2].keys() >= {"action_loss", "answer_loss", "answer_accuracy"}
    totals = model.totals(batch)
    assert {each: float(v) for each, v in added(model, splits[1]).items()} == pytest.approx(
        {each: float(v) for each, v in totals.items()}
    )
    same(learned(model, [batch], totals), whole, atol=1e-7)


@settings(max_examples=10, deadline=None)
@given(where=st.lists(st.integers(0, 3), min_size=6, max_size=6), seed=st.integers(0, 9))
def test_any_partition_of_rows(where: list[int], seed: int) -> None:
    model, processor = answering()
    batch = mixed(processor)
    parts = []
    for part in range(4):
        robot = [i for i, each in enumerate(where) if each == part]
        web = [i for i, each in enumerate(where) if (each + seed) % 4 == part]
        held = {}
        if robot:
            held["robot_batch"] = rows(batch["robot_batch"], robot)
        if web:
            held["web_batch"] = rows(batch["web_batch"], web)
        parts.append(held)
    same(learned(model, parts, added(model, parts)), learned(model, [batch]))


def test_a_weight_counts_a_row_so_often() -> None:
    for parts in (LEARNERS["codes"], LEARNERS["flow and codes"]):
        model, processor = answering(sharp=0.05, **parts)
        batch = mixed(processor, 6)
        twice = torch.tensor([0, 0, 1, 2, 2, 2, 3])
        for kind in batch:
            del batch[kind]["weight"]
        often = {kind: rows(flat, twice) for kind, flat in batch.items()}
        weighed = {kind: rows(flat, [0, 1, 2, 3]) for kind, flat in batch.items()}
        for flat in weighed.values():
            flat["weight"] = torch.tensor([2.0, 1.0, 3.0, 1.0])
        same(learned(model, [weighed]), learned(model, [often]))


def test_the_parts_of_a_mixed_loss_are_those_of_its_flat_batches() -> None:
    model, processor = answering(sharp=0.05)
    batch = mixed(processor)
    del batch["robot_batch"]["weight"], batch["web_batch"]["weight"]
    both, told = model.loss(batch)
    robot, own = model.loss(batch["robot_batch"])
    web, others = model.loss({"web_batch": batch["web_batch"]})
    assert both.item() == pytest.approx(robot.item() + web.item(), rel=1e-6)
    assert set(others) == {"answer_loss", "answer_accuracy", "web_grounding_loss", "web_grounding_error"}
    assert set(own) == {"action_loss", "action_accuracy", "action_l1", "grounding_loss", "grounding_error"}
    for name, value in {**own, **others}.items():
        assert told[name].item() == pytest.approx(value.item(), abs=1e-6), name
    assert torch.equal(model.loss(batch["web_batch"])[0], web)
    config = model.config
    logits = model.answer_logits(model.encode(batch["web_batch"]), batch["web_batch"])
    counts = batch["web_batch"]["answer_mask"]
    right = model.text_decoder.choices(batch["web_batch"]["answer"])[counts]
    mean = torch.nn.functional.cross_entropy(logits[counts], right)
    assert others["answer_loss"].item() == pytest.approx(mean.item(), rel=1e-5)
    assert web.item() == pytest.approx(
        (config.answer.weight * mean + config.image.grounding_weight * others["web_grounding_loss"]).item(),
        rel=1e-5,
    )
    assert model.loss({})[0].item() == 0


# -- what is not there ---------------------------------------------------------------------------------------


CASES = {
    **{f"fusion {name}": {**fusion_parts(name), "audio": AUDIO} for name in FUSIONS},
    **{
        f"backbone {name}": parts
        for name, parts in BACKBONES.items()
        if name in ("llama", "gemma3_text", "causal")
    },
    "flow": {"decoder": FLOW},
    "aligned": {"alignment": AlignmentConfig(width=8)},
}


@pytest.mark.parametrize("name", CASES)
def test_leaving_out_equals_masking(name: str) -> None:
    model, processor = answering(sharp=0.1, **CASES[name])
    open_gates(model)
    web = processor.web_batch(raw_web())
    assert set(web["images"]) == {"front"} and "state" not in web
    nothing = torch.zeros(4, dtype=torch.bool)
    size = next(c.size for c in model.config.image.cameras if c.name == "wrist")
    random = torch.randint(0, 256, (4, size, size, 3), dtype=torch.uint8)
    masked = {
        **web,
        "images": {**web["images"], "wrist": random},
        "image_mask": {**web["image_mask"], "wrist": nothing},
        "state": torch.randn(4, 6),
        "state_mask": torch.zeros(4, 6, dtype=torch.bool),
    }
    if model.config.audio is not None:
        masked |= {"audio": torch.randn(4, 16_000), "audio_length": torch.zeros(4, dtype=torch.int64)}
    same(learned(model, [web]), learned(model, [masked]))
    blind = {**web, "images": {}, "image_mask": {}}  # text alone
    front = torch.randint_like(web["images"]["front"], 256)
    masked |= {
        "images": {"front": front, "wrist": random},
        "image_mask": {"front": nothing, "wrist": nothing},
    }
    same(learned(model, [{**blind, "points": None}]), learned(model, [{**masked, "points": None}]))
    acting = processor.batch(raw_batch())
    if "actions" in acting:
        acting |= {"noise": torch.randn(4, 3, 6), "noise_time": torch.rand(4, 1)}
    gone = {**acting, "image_mask": {"wrist": nothing}, "points": None}
    gone["state_mask"] = masked["state_mask"]
    left = {
        key: value for key, value in gone.items() if key not in ("state", "state_mask", "image_mask", "audio")
    }
    left["images"] = {"front": acting["images"]["front"]}
    same(learned(model, [left]), learned(model, [gone]))


@pytest.mark.parametrize(
    "name", ["fusion unified", "fusion late", "fusion intermediate", "fusion cross_attention"]
)
def test_a_prompt_without_words_is_no_token(name: str) -> None:
    model, processor = answering(sharp=0.1, **CASES[name])
    batch = processor.web_batch(
        {"prompt": ["", ""], "answer": [[TURNS[0]], [TURNS[1]]], "images": raw_web(2)["images"]}
    )
    assert not batch["text_mask"].any()
    other = {**batch, "text": torch.randint(0, 5, batch["text"].shape)}
    with torch.no_grad():
        one, two = (model.answer_logits(model.encode(each), each) for each in (batch, other))
        tokens = model.encode(batch).senses.tokens["text"]
    assert torch.equal(one, two) and torch.isfinite(one).all()
    assert tokens.mask is not None and not tokens.mask.any()


# -- who teaches whom ----------------------------------------------------------------------------------------


def teaches(model: VLA, batch: dict[str, Any]) -> dict[str, float]:
    """Part -> size of its gradient."""
    gradients = learned(model, [batch])[1]
    sizes: dict[str, float] = {}
    for name, gradient in gradients.items():
        part = ".".join(name.split(".")[: 3 if name.startswith("senses") else 1])
        sizes[part] = max(sizes.get(part, 0.0), float(gradient.abs().max()))
    return sizes


@pytest.mark.parametrize("backbone", ["plain", "qwen2"])
def test_an_insulated_expert_teaches_nothing_but_itself(backbone: str) -> None:
    parts = {**BACKBONES[backbone], "decoder": FLOW, "tuning": TuningConfig(insulate=True)}
    model, processor = answering(sharp=0.05, **parts)
    batch = mixed(processor)
    robot = {**batch["robot_batch"], "points": None}
    found = teaches(model, robot)
    assert found.pop("decoder") > 0
    assert not any(found.values())
    assert teaches(model, {"web_batch": batch["web_batch"]})["backbone"] > 0
    placed = teaches(model, batch["robot_batch"])  # grounding goes on teaching the eyes
    assert placed["senses.encoders.front"] > 0 and placed.get("backbone", 0.0) == 0
    plain, _ = answering(sharp=0.05, **{**parts, "tuning": TuningConfig()})
    assert torch.equal(plain.loss(robot)[0], model.loss(robot)[0])
    assert teaches(plain, robot)["backbone"] > 0


def test_codes_beside_a_flow_teach_the_backbone_while_the_expert_is_insulated() -> None:
    model, processor = answering(sharp=0.05, decoder=BOTH, tuning=TuningConfig(insulate=True))
    batch = mixed(processor)["robot_batch"]
    assert {"targets", "actions"} <= batch.keys()
    found = teaches(model, batch)
    for part in ("backbone", "decoder", "auxiliary", "senses.encoders.state", "senses.encoders.front"):
        assert found[part] > 0, part
    _, told = model.loss(batch)
    assert {"auxiliary_loss", "auxiliary_accuracy", "action_error"} <= told.keys()
    codes = learned(model, [batch])[1]
    alone = {name: value for name, value in batch.items() if name != "targets"}
    flow = learned(model, [{**alone, "points": None}])[1]
    for name, gradient in flow.items():  # what the flow teaches itself is the same with and without
        if name.startswith("decoder."):
            torch.testing.assert_close(gradient, codes[name])


def test_settings_that_do_not_go_together() -> None:
    with pytest.raises(BadInput, match=r"use decoder\.kind=flow"):
        answering(tuning=TuningConfig(insulate=True))
    with pytest.raises(BadInput, match="choose model/tokenizer"):
        dataclasses.replace(FLOW, auxiliary=1.0)
    variable = dataclasses.replace(FLOW, auxiliary=1.0, tokenizer=FastConfig(vocabulary=300))
    assert variable.codes is not None and variable.codes.kind == "autoregressive"


# -- noise, and memory ---------------------------------------------------------------------------------------


def test_noise_of_the_batch_is_the_noise_that_a_seed_would_have_drawn() -> None:
    model, processor = answering(decoder=FLOW)
    batch = processor.batch(raw_batch())
    random = torch.Generator().manual_seed(11)
    drawn = {
        "noise": torch.randn(4, 3, 6, generator=random),
        "noise_time": torch.rand(4, 1, generator=random),
    }
    seeded = model.loss({**batch, "noise_seed": torch.tensor(11)})[0]
    assert torch.equal(seeded, model.loss({**batch, **drawn})[0])
    assert not torch.equal(seeded, model.loss({**batch, **drawn, "noise": drawn["noise"].flip(0)})[0])


@pytest.mark.parametrize("name", ["plain", "llama", "qwen2", "gemma3_text", "gpt_neox", "causal"])
@pytest.mark.parametrize("decoder", [DecoderConfig(horizon=3), FLOW], ids=["codes", "flow"])
def test_activations_may_be_computed_again(name: str, decoder: Any) -> None:
    model, processor = answering(sharp=0.05, **BACKBONES[name], decoder=decoder)
    batch, layer = mixed(processor), model.backbone.layer_list[0]
    kept = learned(model.train(), [batch])
    passes = []
    hook = (layer.mlp if hasattr(layer, "mlp") else layer.up).register_forward_pre_hook(
        lambda *_: passes.append(1)
    )
    model.checkpoint_activations()
    again = learned(model, [batch])
    assert len(passes) == 2 * 2  # robots and web, each forwards and again backwards
    same(again, kept, atol=1e-7)
    model.checkpoint_activations(False)
    passes.clear()
    same(learned(model, [batch]), kept, atol=1e-7)
    assert len(passes) == 2
    hook.remove()


def test_gates_and_checkpoints_go_together() -> None:
    model, processor = answering(sharp=0.05, **fusion_parts("cross_attention"))
    batch = mixed(processor)
    kept = learned(open_gates(model), [batch])
    model.checkpoint_activations()
    same(learned(model, [batch]), kept, atol=1e-7)
