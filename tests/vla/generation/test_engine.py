"""What can come out of a decoder, whatever its weights, and that every way of computing it agrees."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tiny model

from tiny import raw_batch, tiny

from vla.configuration import (
    BinsConfig,
    DecoderConfig,
    FastConfig,
    FlowConfig,
    ResidualConfig,
    SmallConfig,
    SplineConfig,
    TransformersConfig,
)
from vla.decoders.guidance import Plan
from vla.errors import BadInput
from vla.generation import Noise, Sampling, generate
from vla.interfaces import InFlight
from vla.model import VLA
from vla.processor import Processor

HORIZON = 8
DECODERS = {
    "bins, parallel": DecoderConfig(horizon=HORIZON),
    "bins, parallel, forced": DecoderConfig(horizon=HORIZON, forced=4),
    "bins, blocks of 1": DecoderConfig("blockwise", horizon=HORIZON),
    "bins, blocks of 4": DecoderConfig("blockwise", horizon=HORIZON, block=4),
    "bins, one by one": DecoderConfig("autoregressive", horizon=HORIZON),
    "quantile bins": DecoderConfig(horizon=HORIZON, tokenizer=BinsConfig(count=32, spacing="quantile")),
    "spline": DecoderConfig(horizon=HORIZON, tokenizer=SplineConfig()),
    "spline, blockwise": DecoderConfig("blockwise", horizon=HORIZON, tokenizer=SplineConfig()),
    "residual": DecoderConfig(horizon=HORIZON, tokenizer=ResidualConfig(levels=4, codes=16)),
    "residual, one by one": DecoderConfig(
        "autoregressive", horizon=HORIZON, tokenizer=ResidualConfig(levels=4, codes=16)
    ),
    "fast": DecoderConfig("autoregressive", horizon=HORIZON, tokenizer=FastConfig(vocabulary=400)),
}
TIME_LOCAL = [name for name in DECODERS if name.startswith("bins")]
GUIDED = [*TIME_LOCAL, "quantile bins"]


def built(name: str, sharp: float = 30.0, **parts: object) -> tuple[VLA, Processor]:
    """Fresh weights say nearly the same of everything; sharper ones choose differently for each input."""
    model, processor = tiny(horizon=HORIZON, decoder=DECODERS[name], **parts)
    with torch.no_grad():
        model.decoder.head.weight *= sharp
        if "residual" in name:  # the likeliest of few codes hardly differs, unless what was sensed says more
            model.decoder.query *= 0.02
            for block in model.backbone.blocks:
                block.out.weight *= 50
    return model, processor


def asked(processor: Processor, count: int = 4) -> dict:
    batch = processor.batch(raw_batch(count, HORIZON))
    return {name: value for name, value in batch.items() if name not in ("targets", "target_mask")}


@pytest.mark.parametrize("name", DECODERS)
def test_cached_equals_uncached_and_all_of_it_decodes(name: str) -> None:
    model, processor = built(name)
    batch = asked(processor)
    made = generate(model, batch, tokenizer=processor.actions)
    slow = generate(model, batch, use_cache=False, tokenizer=processor.actions)
    assert made.ids is not None and made.lengths is not None and made.probabilities is not None
    assert torch.equal(made.ids, slow.ids) and torch.equal(made.lengths, slow.lengths)
    torch.testing.assert_close(made.probabilities, slow.probabilities, rtol=0, atol=2e-5)
    if name != "residual":  # fresh weights choose among few codes by the place alone
        assert len({tuple(row.tolist()) for row in made.ids}) > 1, "rows do not differ: this shows nothing"
    for i, length in enumerate(made.lengths.tolist()):
        row, state = made.ids[i, :length], np.zeros(6, np.float32)
        assert all(code in model.vocabulary.action_range for code in row.tolist())
        assert not made.ids[i, length:].any()
        assert processor.decode(row, state).shape == (HORIZON, 6)


@pytest.mark.parametrize("name", DECODERS)
def test_rows_of_a_batch_do_not_know_of_each_other(name: str) -> None:
    """Sentences of different lengths, and answers that end at different times."""
    model, processor = built(name)
    raw = raw_batch(4, HORIZON)
    together = generate(model, asked(processor), tokenizer=processor.actions)
    for i in range(4):
        one = {
            key: {c: v[i : i + 1] for c, v in value.items()} if isinstance(value, dict) else value[i : i + 1]
            for key, value in raw.items()
        }
        alone = generate(model, processor.batch(one), tokenizer=processor.actions)
        length = int(alone.lengths[0])
        assert int(together.lengths[i]) == length
        assert torch.equal(together.ids[i, :length], alone.ids[0, :length])


@pytest.mark.parametrize("weights", ["small", "zero", "huge"])
def test_a_grammar_leaves_only_what_decodes(weights: str) -> None:
    model, processor = built("fast")
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            scale = {"small": 1.0, "zero": 0.0, "huge": 1e3}[weights]
            parameter.copy_(torch.randn(parameter.shape) * scale)
    sampling = Sampling(temperature=2.0)
    lengths = set()
    for seed in range(5):
        noise = Noise.seeded(seed, 4)
        made = generate(model, asked(processor), tokenizer=processor.actions, sampling=sampling, noise=noise)
        assert made.reasons == ("",) * 4
        for row, length in zip(made.ids, made.lengths.tolist(), strict=True):
            processor.decode(row[:length], np.zeros(6, np.float32))
            lengths.add(length)
    assert weights != "small" or len(lengths) > 1, "no answer ended before another"


def test_codes_of_variable_length_need_their_tokenizer() -> None:
    model, processor = built("fast")
    with pytest.raises(ValueError, match="need their tokenizer"):
        generate(model, asked(processor))


@pytest.mark.parametrize("name", ["bins, parallel", "bins, blocks of 4", "bins, one by one", "fast"])
def test_sampling_is_each_rows_own_and_cold_sampling_is_the_mode(name: str) -> None:
    model, processor = built(name)
    batch, codes = asked(processor), processor.actions

    def drawn(seed: int, temperature: float = 1.0) -> Tensor:
        noise = Noise.seeded(seed, 4)
        sampling = Sampling(temperature)
        return generate(model, batch, tokenizer=codes, sampling=sampling, noise=noise).ids

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    cold = drawn(3, 1e-4)
    made = generate(model, batch, tokenizer=codes)
    if name == "bins, parallel":  # its read-out is the median, so the mode is asked of the probabilities
        wanted = made.probabilities.argmax(-1) + model.vocabulary.action_range.start
        assert (cold == wanted).float().mean() > 0.99
    elif name == "fast":
        assert torch.equal(cold, made.ids)


def test_sampling_draws_by_probability() -> None:
    model, processor = built("bins, parallel", sharp=1.0)
    batch = {k: v for k, v in asked(processor, 1).items()}
    made = generate(model, batch)
    place = made.probabilities[0, 0]
    counts = torch.zeros_like(place)
    for seed in range(400):
        drawn = generate(model, batch, sampling=Sampling(1.0), noise=Noise.seeded(seed, 1))
        counts[drawn.ids[0, 0] - model.vocabulary.action_range.start] += 1
    mean = (counts / 400 * torch.arange(256)).sum()
    wanted = (place * torch.arange(256)).sum()
    deviation = ((place * torch.arange(256) ** 2).sum() - wanted**2).sqrt()
    assert (mean - wanted).abs() < 4 * deviation / 20


# -- a plan in flight ------------------------------------------------------------------------------


def flying(processor: Processor, delay: list[int], weight: float = 0.0) -> Plan:
    rng = np.random.default_rng(5)
    chunk = torch.from_numpy(rng.uniform(-0.9, 0.9, (4, HORIZON, 6)).astype(np.float32))
    steps = torch.arange(HORIZON)
    weights = torch.where(steps < torch.tensor(delay)[:, None], 1.0, weight)
    return Plan(chunk, weights, torch.tensor(delay))


def chunks(processor: Processor, ids: Tensor) -> np.ndarray:
    assert processor.actions is not None
    first = processor.vocabulary.action_range.start
    return np.stack([processor.actions.decode(row.numpy() - first) for row in ids])


@pytest.mark.parametrize("name", GUIDED)
@pytest.mark.parametrize("delay", [[2, 2, 2, 2], [0, 1, 3, 5]])
def test_forced_steps_are_the_plans_and_cached_equals_uncached(name: str, delay: list[int]) -> None:
    model, processor = built(name)
    batch, plan = asked(processor), flying(processor, delay)
    made = generate(model, batch, tokenizer=processor.actions, plan=plan)
    slow = generate(model, batch, use_cache=False, tokenizer=processor.actions, plan=plan)
    assert torch.equal(made.ids, slow.ids)
    codes = processor.actions
    assert codes is not None
    wanted = codes.encode_batch(plan.chunk.numpy()).ids.reshape(4, HORIZON, 6)
    found = made.ids.view(4, HORIZON, 6).numpy() - model.vocabulary.action_range.start
    for row, forced in enumerate(delay):
        np.testing.assert_array_equal(found[row, :forced], wanted[row, :forced])


@pytest.mark.parametrize("name", GUIDED)
def test_a_plan_that_binds_nothing_changes_nothing(name: str) -> None:
    model, processor = built(name)
    batch = asked(processor)
    free = generate(model, batch, tokenizer=processor.actions)
    bound = generate(model, batch, tokenizer=processor.actions, plan=flying(processor, [0] * 4))
    assert torch.equal(free.ids, bound.ids)


@pytest.mark.parametrize("name", GUIDED)
def test_the_more_a_plan_weighs_the_nearer_the_answer_comes(name: str) -> None:
    model, processor = built(name, sharp=3.0)
    batch = asked(processor)
    off = []
    for weight in (0.0, 0.5, 0.9, 1.0):
        plan = flying(processor, [0] * 4, weight)
        made = generate(model, batch, tokenizer=processor.actions, plan=plan)
        off.append(np.abs(chunks(processor, made.ids) - plan.chunk.numpy()).mean())
    assert off[0] > off[1] >= off[2] - 1e-3 >= off[3] - 2e-3
    assert off[3] < 0.05


@pytest.mark.parametrize("name", ["bins, parallel, forced", "bins, blocks of 1", "bins, one by one"])
def test_what_is_forced_is_known_to_what_follows(name: str) -> None:
    """...while a parallel decoder that never learned it goes on as if nothing had been said."""
    model, processor = built(name)
    batch = asked(processor)
    with torch.no_grad():
        model.decoder.table.weight *= 5
    free = generate(model, batch, tokenizer=processor.actions).ids.view(4, HORIZON, 6)
    bound = generate(model, batch, tokenizer=processor.actions, plan=flying(processor, [2] * 4))
    assert not torch.equal(bound.ids.view(4, HORIZON, 6)[:, 2:], free[:, 2:])
    model, processor = built("bins, parallel")
    free = generate(model, batch, tokenizer=processor.actions).ids.view(4, HORIZON, 6)
    bound = generate(model, batch, tokenizer=processor.actions, plan=flying(processor, [2] * 4))
    assert torch.equal(bound.ids.view(4, HORIZON, 6)[:, 2:], free[:, 2:])


def test_training_with_given_steps_is_what_is_done_with_a_plan() -> None:
    """The scores of the steps after the forced ones, in training and in acting."""
    model, processor = built("bins, parallel, forced")
    batch, plan = asked(processor), flying(processor, [3] * 4)
    made = generate(model, batch, tokenizer=processor.actions, plan=plan)
    codes = processor.actions.encode_batch(plan.chunk.numpy()).ids.reshape(4, HORIZON, 6)
    targets = torch.from_numpy(codes) + model.vocabulary.action_range.start
    with torch.no_grad():
        logits, _ = model({**batch, "targets": targets, "forced": torch.tensor([3] * 4)})
    scores = logits.softmax(-1).flatten(1, 2)
    torch.testing.assert_close(made.probabilities, scores, rtol=0, atol=1e-5)


def test_given_steps_carry_no_loss() -> None:
    model, processor = built("bins, parallel, forced")
    batch = processor.batch(raw_batch(4, HORIZON))
    batch["forced"] = torch.tensor([2] * 4)
    loss, _ = model.loss(batch)
    loss.backward()
    assert model.decoder.query.grad[:2].abs().max() > 0  # the others look at them
    changed = dict(batch)
    model.zero_grad()
    with torch.no_grad():
        hidden = {**changed, "target_mask": batch["target_mask"].clone()}
        hidden["target_mask"][:, :2] = False
        assert model.loss(hidden)[0].item() == pytest.approx(loss.item())


# -- other trunks and a continuous answer ----------------------------------------------------------


def test_a_flow_answers_in_range_by_its_seed() -> None:
    config = FlowConfig(horizon=HORIZON, width=16, mlp=32, steps=3)
    model, processor = tiny(horizon=HORIZON, decoder=config)
    batch = asked(processor)
    one, same, other = (generate(model, batch, noise=Noise.seeded(seed, 4)).chunk for seed in (1, 1, 2))
    assert one.shape == (4, HORIZON, 6) and torch.equal(one, same) and not torch.equal(one, other)
    assert generate(model, batch).ids is None
    loss, scalars = model.loss(processor.batch(raw_batch(4, HORIZON)))
    loss.backward()
    assert torch.isfinite(loss) and "action_loss" in scalars


@pytest.mark.parametrize("name", ["bins, blocks of 1", "fast"])
@pytest.mark.parametrize("trunk", ["llama", "transformers"])
def test_other_trunks_agree_with_themselves(name: str, trunk: str) -> None:
    own = SmallConfig(block="llama", width=32, layers=2, heads=4, kv_heads=2, mlp=64)
    foreign = TransformersConfig(
        config={
            "model_type": "llama",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": 128,
        }
    )
    model, processor = built(name, backbone=own if trunk == "llama" else foreign)
    batch = asked(processor)
    made = generate(model, batch, tokenizer=processor.actions)
    slow = generate(model, batch, use_cache=False, tokenizer=processor.actions)
    assert torch.equal(made.ids, slow.ids)


def test_a_temperature_that_no_float_can_bear_is_refused() -> None:
    """...and the coldest one there is still draws what is likeliest, not the first code of all."""
    with pytest.raises(BadInput, match="temperature=1e-39: 0, where nothing is drawn, or at least"):
        Sampling(temperature=1e-39)
    model, processor = built("bins, one by one", sharp=1e6)
    made = generate(model, asked(processor), sampling=Sampling(temperature=1e-4))
    codes = made.ids - model.vocabulary.action_range.start
    assert (codes == made.probabilities.argmax(-1)).float().mean() > 0.99


@pytest.mark.parametrize(
    ("plan", "line"),
    [
        (InFlight(np.zeros((5, 5), np.float32), 0, np.zeros(5, np.float32)), "[n, 6], not [5, 5]"),
        (InFlight(np.full((3, 6), np.nan, np.float32), 0, np.zeros(3, np.float32)), "not finite"),
        (InFlight(np.zeros((3, 6), np.float32), 0, np.zeros(7, np.float32)), "of 3 steps has weights of"),
        (InFlight(np.zeros((3, 6), np.float32), 0, np.full(3, 2, np.float32)), "outside 0 to 1"),
        (InFlight(np.zeros((3, 6), np.float32), 8, np.zeros(3, np.float32)), "a delay of 8"),
        (InFlight(np.zeros((3, 6), np.float32), -2, np.zeros(3, np.float32)), "a delay of -2"),
    ],
)
def test_what_cannot_be_a_plan_is_refused(plan: InFlight, line: str) -> None:
    _, processor = built("bins, parallel")
    with pytest.raises(BadInput, match="plan in flight") as error:
        processor.plan([plan], np.zeros((1, 6), np.float32), [""])
    assert line in str(error.value)
