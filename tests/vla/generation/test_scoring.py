"""How good an answer is."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tiny model

from answering import TURNS, answering, pictures

from vla.answers import say
from vla.data.web.sample import Box, Turn, WebSample
from vla.generation.scoring import covered, normalised, score, score_answer


def test_words_are_compared_without_what_does_not_matter() -> None:
    assert normalised("The  Red cube.") == normalised("a red cube") == "red cube"
    assert normalised("Two") == "2" and normalised("it's") == "its"
    assert score_answer("Green!", Turn("", "green")) == 1
    assert score_answer("red", Turn("", "green")) == 0
    assert score_answer("sofa", Turn("", "couch", others=("sofa", "settee"))) == 1


def test_ten_people() -> None:
    people = ("red",) * 2 + ("dark red",) * 7 + ("pink",)
    turn = Turn("", "dark red", others=people)
    found = [score_answer(said, turn) for said in ("dark red", "red", "pink", "blue")]
    assert found == pytest.approx([1, 2 / 3, 1 / 3, 0])


def test_a_place_is_right_by_half() -> None:
    assert covered(Box(0, 0, 1, 1), Box(0, 0, 0.5, 1)) == 0.5
    assert covered(Box(0, 0, 0.5, 0.5), Box(0.5, 0.5, 1, 1)) == 0
    assert covered(Box(0.2, 0.2, 0.2, 0.4), Box(0.2, 0.2, 0.2, 0.4)) == 1
    turn = Turn("where", "loc0 loc0 loc8 loc8")
    assert score_answer("loc0 loc0 loc7 loc7", turn, 9) == 1
    assert score_answer("loc0 loc0 loc4 loc8", turn, 9) == 1
    assert score_answer("loc0 loc0 loc4 loc7", turn, 9) == 0
    assert score_answer("there", turn, 9) == 0
    assert score_answer("loc0 loc0 loc8 loc8", turn) == 1  # a model without places: as words


def test_a_model_is_asked_in_batches_and_told_how_sure_that_is() -> None:
    model, processor = answering(sharp=0.1)
    shown: list[np.ndarray | None] = [*pictures(6), None]
    prompts = [TURNS[i % 4][0] for i in range(7)]
    said = [say(model, processor, picture, prompt) for picture, prompt in zip(shown, prompts, strict=True)]
    pairs = [
        (WebSample(() if picture is None else (picture,), ()), Turn(prompt, text if i % 2 else "no such"))
        for i, (picture, prompt, text) in enumerate(zip(shown, prompts, said, strict=True))
        if text
    ]
    right = sum(turn.answer != "no such" for _, turn in pairs)
    assert right
    model.train()
    found = score(model, processor, iter(pairs), batch=3)
    assert model.training
    assert found["count"] == len(pairs) and found["accuracy"] == pytest.approx(right / len(pairs))
    assert 0 <= found["low"] < found["accuracy"] < found["high"] <= 1
    assert score(model, processor, []) == {"accuracy": 0.0, "count": 0, "low": 0.0, "high": 1.0}


def test_a_place_in_an_answer_is_told_in_the_models_words() -> None:
    model, processor = answering(sharp=0.1)
    box = Box(0.0, 0.0, 1.0, 1.0)
    sample = (WebSample((pictures(1)[0],), ()), Turn("where is it", "{box}", (box,)))
    assert score(model, processor, [sample])["count"] == 1
