"""Answers in words: what they see, what can come out, and that every way of computing them agrees."""

import dataclasses
from typing import Any

import pytest
import torch
from answering import (
    ANSWER,
    AUDIO,
    BACKBONES,
    FLOW,
    FUSIONS,
    TURNS,
    answering,
    fusion_parts,
    open_gates,
    pictures,
    raw_web,
    rows,
)
from tiny import raw_batch, tiny
from torch import Tensor

from vla.answers import AnswerCoder, say
from vla.attention import within_segments
from vla.configuration import BinsConfig, DecoderConfig
from vla.errors import BadInput
from vla.generation import generate
from vla.generation.text import answer
from vla.model import VLA

MODELS: dict[str, dict[str, Any]] = {
    **{f"fusion {name}": {**fusion_parts(name), "audio": AUDIO} for name in FUSIONS},
    **{f"backbone {name}": parts for name, parts in BACKBONES.items()},
    "blockwise": {"kind": "blockwise"},
    "autoregressive": {"kind": "autoregressive"},
    "flow": {"decoder": FLOW},
    "overwrite": {
        **BACKBONES["language"],
        "decoder": DecoderConfig("autoregressive", "overwrite", horizon=3, tokenizer=BinsConfig(count=8)),
    },
}


def logits(model: VLA, batch: dict[str, Any]) -> Tensor:
    with torch.no_grad():
        return model.answer_logits(model.encode(batch), batch)


@pytest.mark.parametrize("name", MODELS)
def test_cached_equals_uncached_equals_one_pass(name: str) -> None:
    model, processor = answering(sharp=0.1, **MODELS[name])
    batch = processor.web_batch(raw_web())
    found = answer(open_gates(model), batch)
    assert found == answer(model, batch, use_cache=False)
    assert len({tuple(each) for each in found}) > 1, "rows do not differ: this shows nothing"
    decoder = model.text_decoder
    assert decoder is not None
    for i, ids in enumerate(found):
        said = torch.tensor([[*ids, decoder.eos][: decoder.groups]])
        again = decoder.ids(logits(model, {**rows(batch, slice(i, i + 1)), "answer": said}).argmax(-1))
        assert again[0, : len(ids)].tolist() == ids
        assert len(ids) == decoder.groups or int(again[0, -1]) == decoder.eos


@pytest.mark.parametrize("name", MODELS)
def test_packed_equals_one_by_one(name: str) -> None:
    model, processor = answering(sharp=0.1, **MODELS[name])
    open_gates(model)
    coder = AnswerCoder(processor.config, processor.tokenizer)
    raw = {"images": pictures(2), "prompt": ["", ""]}
    packed = processor.web_batch(
        {**raw, "answer": [[TURNS[0], TURNS[2]], [("", "green"), ("", "two cubes")]]}
    )
    whole = logits(model, packed)
    for i, turns in enumerate(([TURNS[0], TURNS[2]], [("", "green"), ("", "two cubes")])):
        place = 0
        for turn in turns:
            alone = processor.web_batch({**raw, "answer": [[turn], [turn]]})
            length = len(coder.ids(turn[1], turn[0])[0])
            torch.testing.assert_close(
                whole[i, place : place + length], logits(model, alone)[i, :length], atol=2e-5, rtol=1e-4
            )
            place += length


def test_segments_are_counted_from_their_own_start() -> None:
    segment = torch.tensor([[1, 1, 1, 2, 2, 0], [3, 5, 5, 5, 0, 0]])
    assert within_segments(segment).tolist() == [[0, 1, 2, 0, 1, 0], [0, 0, 1, 2, 0, 1]]


@pytest.mark.parametrize("name", ["fusion unified", "backbone llama", "backbone language"])
def test_a_word_sees_those_before_it_and_nothing_sees_padding(name: str) -> None:
    model, processor = answering(sharp=0.1, **MODELS[name])
    batch = processor.web_batch(raw_web())
    base, changed = logits(model, batch), batch["answer"].clone()
    changed[:, 2] = (changed[:, 2] + 1) % 5
    other = logits(model, {**batch, "answer": changed})
    assert torch.equal(base[:, :3], other[:, :3])
    assert not torch.allclose(base[:, 3], other[:, 3], atol=1e-4)
    length = int(batch["answer_mask"][0].sum())
    alone = {**rows(batch, slice(0, 1)), "answer": batch["answer"][:1, :length]}
    torch.testing.assert_close(base[:1, :length], logits(model, alone), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e3])
@pytest.mark.parametrize("name", ["fusion unified", "fusion late", "backbone language", "flow"])
def test_only_words_come_out(name: str, scale: float) -> None:
    model, processor = answering(**MODELS[name])
    torch.manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn_like(p) * scale)
    for ids in answer(model, processor.web_batch(raw_web())):
        assert len(ids) <= 12
        assert all(each in model.vocabulary.text_range for each in ids)


def test_an_action_that_stands_for_a_word_does_not_come_out() -> None:
    model, processor = answering(sharp=1.0, **MODELS["overwrite"])
    assert model.vocabulary.action_range.stop == model.vocabulary.text
    batch = processor.web_batch(raw_web())
    scores = logits(model, batch)
    taken = model.vocabulary.action_range
    assert (scores[..., taken.start : taken.stop] < -1e30).all()
    with torch.no_grad():
        model.backbone.model.get_output_embeddings().weight[taken.start : taken.stop] *= 1e4
    assert all(each not in taken for ids in answer(model, batch) for each in ids)
    assert torch.isfinite(model.loss(batch)[0])
    word = {id: word for word, id in processor.tokenizer.words.items()}[taken[-1]]
    with pytest.raises(BadInput, match="stands for an action"):
        processor.web_batch(raw_web(answer=[word] * 4))


def test_a_language_model_reads_and_scores_with_its_own_table_and_head() -> None:
    """With its own end it brings no weights but the start; the scores are its head's."""
    own = dataclasses.replace(ANSWER, eos=7)
    model, processor = answering(sharp=0.1, **BACKBONES["language"], answer=own)
    assert {name for name, _ in model.text_decoder.named_parameters()} == {"start"}
    batch = processor.web_batch(raw_web())
    assert (batch["answer"] == 7).any(1).all()
    prefix = model.encode(batch)
    decoder, context = model.text_decoder, prefix.contexts[0]
    words = torch.cat([decoder.start.expand(4, 1, -1), model.backbone.embed(batch["answer"][:, :1])], 1)
    hidden = model.read(context, words, 1)
    expected = model.backbone.head(hidden)[..., : model.vocabulary.text]
    torch.testing.assert_close(logits(model, batch)[:, :2], expected, atol=1e-5, rtol=1e-4)
    with pytest.raises(BadInput, match="is none of the"):
        answering(**BACKBONES["language"], answer=dataclasses.replace(ANSWER, eos=1000))
    with pytest.raises(BadInput, match="a language model's own tokenizer"):
        answering(answer=own)


@pytest.mark.parametrize(
    "name",
    [
        "fusion unified",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("backbone llama", "flow", "fusion late")),
    ],
)
def test_two_answers_are_learned_and_said(name: str) -> None:
    model, processor = answering(**MODELS[name])
    shown, asked = pictures(2), TURNS[1:3]
    raw = {"images": shown, "prompt": [p for p, _ in asked], "answer": [a for _, a in asked]}
    robots = processor.batch(raw_batch(2))
    batch = {"robot_batch": robots, "web_batch": processor.web_batch(raw)}
    optimizer = torch.optim.AdamW(model.parameters(), 4e-3, weight_decay=0.0)
    for _ in range(60):
        loss, scalars = model.train().loss(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert scalars["answer_accuracy"] == 1.0
    assert scalars["answer_loss"] < 0.1
    said = [
        say(model.eval(), processor, picture, prompt)
        for picture, (prompt, _) in zip(shown, asked, strict=True)
    ]
    assert said == [a for _, a in asked]
    generate(model, robots)  # and it still acts


def test_old_weights_are_drawn_as_they_were() -> None:
    """A model without answers has the weights it always had, and the same model with answers has them too."""
    old, config = tiny()[0], answering()[1].config
    torch.manual_seed(0)
    new = VLA(config)
    torch.manual_seed(0)
    plain = VLA(dataclasses.replace(new.config, answer=None))
    assert not any(name.startswith("text_decoder") for name in old.state_dict())
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, new.state_dict()[name])
    assert {name.split(".")[0] for name in new.state_dict().keys() - plain.state_dict().keys()} == {
        "text_decoder"
    }


def test_a_model_without_words_says_so() -> None:
    model, processor = tiny()
    with pytest.raises(BadInput, match="model/answer=words"):
        processor.web_batch(raw_web())
    with pytest.raises(BadInput, match="model/answer=words"):
        answer(model, processor.batch(raw_batch()))


def test_it_is_counted_where_a_model_is_described() -> None:
    from vla.describe import describe

    for parts in ({}, {"decoder": dataclasses.replace(FLOW, auxiliary=1.0, tokenizer=BinsConfig(count=16))}):
        config = answering(**parts)[1].config
        whole, without = describe(config), describe(dataclasses.replace(config, answer=None))
        words = config.vocabulary
        own = 32 + 32 * words + 33 * (words + 1) + ANSWER.max_length * 32
        assert whole.parameters - without.parameters == own
        assert whole.flops == without.flops  # of acting


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl", "smolvlm"])
def test_a_whole_vlm_answers_with_places_in_the_plane(name: str) -> None:
    """Packed as one by one; a camera left out as one masked; cached as uncached."""
    from test_vlm_whole import batch_of, whole

    model = whole(name, ("front", "wrist"), answer=ANSWER)
    seen = batch_of(model)
    for key in ("targets", "target_mask", "points"):
        seen.pop(key)
    ids, eos = torch.randint(0, 48, (2, 5)), model.vocabulary.eos
    ids[:, 2] = ids[:, 4] = eos
    packed = {**seen, "answer": ids, "answer_segment": torch.tensor([[1, 1, 1, 2, 2]] * 2)}
    first, second = ({**seen, "answer": own} for own in (ids[:, :3], ids[:, 3:]))
    whole_row = logits(model, packed)
    torch.testing.assert_close(whole_row[:, :3], logits(model, first), atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(whole_row[:, 3:], logits(model, second), atol=2e-5, rtol=1e-4)
    masked = {**first, "image_mask": {"wrist": torch.zeros(2, dtype=torch.bool)}}
    left = {**first, "images": {"front": seen["images"]["front"]}}
    torch.testing.assert_close(logits(model, masked), logits(model, left), atol=2e-5, rtol=1e-4)
    assert answer(model, seen) == answer(model, seen, use_cache=False)
