"""Texts about pictures <-> tensors: nothing is cut off, nothing is told wrongly, mistakes are one line."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from answering import ANSWER, BACKBONES, TURNS, answering, pictures, raw_web
from hypothesis import given
from hypothesis import strategies as st
from tiny import observations, tiny_image

from vla.answers import AnswerCoder, for_tokenizer, say
from vla.config import load_config
from vla.configuration import BinsConfig, FlowConfig, HistoryConfig, VitConfig, VLAConfig, WordsConfig
from vla.data.pictures import from_pictures
from vla.errors import BadInput
from vla.processor import Processor
from vla.tokens.text import TextTokenizer

PROCESSOR = answering()[1]
CODER = AnswerCoder(PROCESSOR.config, PROCESSOR.tokenizer)
WORDS = st.lists(st.sampled_from(["red", "green", "two", "loc3", "the", "cube"]), max_size=5).map(" ".join)
PAIRS = st.tuples(WORDS, WORDS.filter(bool))


def test_an_answer_comes_back_and_ends() -> None:
    batch = CODER.encode([answer for _, answer in TURNS])
    assert batch["answer"].shape == batch["answer_mask"].shape == (4, 9)
    for row, mask, (_, answer) in zip(batch["answer"], batch["answer_mask"], TURNS, strict=True):
        length = len(answer.split())
        assert CODER.decode(row[mask].tolist()) == answer
        assert row[length] == CODER.eos and (row[length + 1 :] == CODER.vocabulary.pad).all()
        assert mask.tolist() == [i <= length for i in range(9)]


@given(st.lists(PAIRS, min_size=1, max_size=6))
def test_packing_keeps_every_turn_and_its_order(turns: list[tuple[str, str]]) -> None:
    rows = CODER.pack(turns)
    assert [turn for row in rows for turn in row] == turns
    lengths = [len(CODER.ids(answer, prompt)[0]) for prompt, answer in turns]
    assert len(rows) <= len(turns)
    batch = CODER.encode_packed(rows)
    assert batch["answer"].shape[1] <= ANSWER.max_length
    assert int((batch["answer_segment"] > 0).sum()) == sum(lengths)
    for i, row in enumerate(
        rows
    ):  # each segment: prompt, which does not count, then answer and end, which do
        for number, (prompt, answer) in enumerate(row, start=1):
            own = batch["answer_segment"][i] == number
            ids, counts = batch["answer"][i][own], batch["answer_mask"][i][own]
            assert CODER.decode(ids[~counts].tolist()) == prompt
            assert CODER.decode(ids[counts].tolist()) == answer
            assert ids[-1] == CODER.eos
        if i:  # what began a row would not have fitted into the one before
            first = len(CODER.ids(row[0][1], row[0][0])[0])
            assert int((batch["answer_segment"][i - 1] > 0).sum()) + first > ANSWER.max_length


def test_a_web_batch() -> None:
    batch = PROCESSOR.web_batch(raw_web(weight=[1, 2, 1, 1]))
    assert set(batch) == {
        *("text", "text_mask", "images", "image_mask", "answer", "answer_mask", "points", "weight")
    }
    assert batch["images"]["front"].shape == (4, 32, 32, 3) and batch["images"]["front"].dtype == torch.uint8
    assert batch["image_mask"]["front"].tolist() == [True, False, True, True]
    assert (
        batch["points"].shape == (4, 4, 3)
        and not batch["points"][:, 2:].any()
        and not batch["points"][1].any()
    )
    assert torch.equal(batch["points"][0, :2], torch.from_numpy(raw_web()["points"][0]))
    assert batch["weight"].tolist() == [1, 2, 1, 1] and batch["weight"].dtype == torch.float32
    other = PROCESSOR.web_batch(raw_web(camera="wrist"))
    assert set(other["images"]) == {"wrist"} and other["images"]["wrist"].shape == (4, 16, 16, 3)
    assert torch.equal(other["points"][:, 2:], batch["points"][:, :2])
    array = np.stack(pictures(4))
    assert torch.equal(PROCESSOR.web_batch(raw_web(images=array))["images"]["front"], torch.from_numpy(array))
    blind = PROCESSOR.web_batch({"prompt": ["what is this"], "images": [None], "answer": ["two"]})
    assert blind["images"] == {} and "image_mask" not in blind and "points" not in blind
    assert torch.equal(PROCESSOR.web_batch({"prompt": ["what is this"]})["text"], blind["text"])


def test_turns_that_do_not_fit_one_row_take_another_with_the_same_picture() -> None:
    raw = raw_web(2, prompt=["", ""], answer=[[TURNS[0], TURNS[3]], [("", "two")]], weight=[3, 1])
    batch = PROCESSOR.web_batch(raw)
    assert batch["answer_segment"].max(1).values.tolist() == [1, 1, 1]
    assert torch.equal(batch["images"]["front"][0], batch["images"]["front"][1])
    assert batch["weight"].tolist() == [3, 3, 1]
    assert torch.equal(batch["points"][0], batch["points"][1])


def test_a_picture_is_seen_now_whatever_the_camera_remembers() -> None:
    shown: list[Any] = [*pictures(1, side=40), None]
    history = HistoryConfig(frames=3, stride=1)
    seen = from_pictures(shown, "front", tiny_image(), history)
    assert seen.images["front"].shape == (2, 3, 32, 32, 3)
    assert seen.mask["front"].tolist() == [[True, False, False], [False] * 3]
    model, processor = answering(history=history)
    assert isinstance(say(model, processor, shown[0], "what is this"), str)
    tiles = tiny_image(VitConfig(width=16, layers=1, heads=2, mlp=32), points=False, max_tiles=4)
    model, processor = answering(image=tiles)
    assert isinstance(say(model, processor, np.zeros((70, 40, 3), np.uint8), "what is this"), str)


def test_points_move_with_a_letterbox() -> None:
    image = tiny_image(fit="letterbox")
    _, processor = answering(image=image)
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:10] = 255  # the upper half is white
    raw = {"prompt": ["what is this"], "images": [wide], "points": [[[0.5, 0.5, 1], [1, 0, 1]]]}
    points = processor.web_batch(raw)["points"][0, :2]
    torch.testing.assert_close(points, torch.tensor([[0.5, 0.5, 1], [1, 1 / 3, 1]]))


def test_a_robots_template_is_not_put_around_a_question() -> None:
    text = WordsConfig(max_length=10, template="please {task}")
    _, processor = answering(text=text)
    batch = processor.web_batch({"prompt": ["what is this"]})
    assert CODER.decode(batch["text"][0][batch["text_mask"][0]].tolist()) == "what is this"


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        ({"prompt": ["what", ""]}, "row 1 has an empty prompt"),
        ({"prompt": ["what"], "answer": [" "]}, "the answer to '' is empty"),
        ({"prompt": ["what"], "answer": ["yellow"]}, "unknown word 'yellow'"),
        ({"prompt": ["who"], "answer": ["red"]}, "unknown word 'who'"),
        (
            {"prompt": ["what"], "answer": ["red " * 12]},
            r"has 12 tokens; at most 11 fit \(model.answer.max_length\)",
        ),
        ({"prompt": ["what " * 11]}, r"has 11 tokens; at most 10 fit \(model.text.max_length\)"),
        ({"prompt": ["what"], "answer": ["red " * 50_000]}, "has 199,999 letters"),
        (
            {"prompt": [""], "answer": [[("what " * 6, "red " * 6)]]},
            "have 13 tokens with the end, the model reads at most 12",
        ),
        ({"prompt": ["what"], "camera": "wrst"}, "no camera 'wrst' .did you mean 'wrist'"),
        ({"prompt": ["what"], "images": [np.zeros((4, 4), np.uint8)]}, "must be uint8"),
        ({"prompt": ["what"], "images": [np.zeros((4, 4, 3))]}, "must be uint8"),
    ],
)
def test_mistakes_are_one_line(raw: dict[str, Any], line: str) -> None:
    with pytest.raises(BadInput, match=line) as told:
        PROCESSOR.web_batch(raw)
    assert "\n" not in str(told.value) and len(str(told.value)) < 250


def test_a_row_that_is_too_long_says_which() -> None:
    with pytest.raises(
        BadInput, match="the 2 turns of row 1 have 18 tokens together, the model reads at most 12"
    ):
        CODER.encode_packed([[("", "red")], [TURNS[0], TURNS[3]]])


def test_the_end_of_a_pretrained_tokenizer_is_used_where_it_has_one() -> None:
    class Spoken:
        size, eos = 40, 2

    language = dataclasses.replace(answering(**BACKBONES["language"])[1].config)
    assert for_tokenizer(language, Spoken()).answer == dataclasses.replace(ANSWER, eos=2)  # type: ignore[arg-type]
    assert for_tokenizer(language, Spoken()).vocabulary == 40  # type: ignore[arg-type]
    own = for_tokenizer(PROCESSOR.config, TextTokenizer.train(["a b c"]))
    assert own.answer == ANSWER and own.vocabulary == 3
    assert for_tokenizer(VLAConfig(), TextTokenizer.train(["a"])).answer is None


def test_old_configs_load_and_new_ones_come_back() -> None:
    old = VLAConfig().to_dict()
    for key in ("answer",):
        assert old.pop(key) is None
    old["tuning"].pop("insulate")
    assert VLAConfig.from_dict(old) == VLAConfig()
    again = VLAConfig.from_dict(PROCESSOR.config.to_dict())
    assert again == PROCESSOR.config


@pytest.mark.parametrize(
    ("overrides", "longest"), [([], None), (["model/answer=words"], 48), (["model=transfer"], 24)]
)
def test_the_config_group(overrides: list[str], longest: int | None) -> None:
    from scripts.train import Train

    model = load_config("train", ["experiment=tabletop_debug", *overrides], Train).model  # type: ignore[attr-defined]
    assert (model.answer and model.answer.max_length) == longest


def test_a_model_that_answers_is_saved_and_loaded(tmp_path: Any) -> None:
    from vla.pretrained import load, save

    model, processor = answering(sharp=0.1)
    assert isinstance(processor, Processor)
    save(tmp_path / "it", model, processor)
    other, known = load(tmp_path / "it")
    picture = pictures(1)[0]
    assert say(other, known, picture, "what is this") == say(model, processor, picture, "what is this")


def test_a_flow_with_codes_beside_it_is_saved_loaded_and_acts(tmp_path: Any) -> None:
    from policies.vla import VLAPolicy
    from vla.pretrained import load, save

    flow = FlowConfig(horizon=3, width=16, mlp=32, auxiliary=0.5, tokenizer=BinsConfig(count=16))
    model, processor = answering(sharp=0.1, decoder=flow)
    save(tmp_path / "it", model, processor)
    other, known = load(tmp_path / "it")
    assert known.actions is not None and other.config == model.config
    acts = [VLAPolicy(m, p).act(observations(2), [0, 1]) for m, p in ((model, processor), (other, known))]
    for one, two in zip(*acts, strict=True):
        assert one.tokens is None and one.valid
        np.testing.assert_array_equal(one.actions, two.actions)
