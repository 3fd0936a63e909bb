"""The collection: the same picture for the same number, balanced answers, known words, kept limits."""

import hashlib
import subprocess
import sys
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.gallery import grammar
from envs.gallery.colors import ANCHORS, jittered, nearest
from envs.gallery.limits import Limits
from envs.gallery.picture import Picture, iterate, picture, sight
from envs.gallery.shapes import SHAPES
from envs.tabletop.grammar import NEW_NOUNS, NOUNS
from envs.tabletop.vocabulary import RGB
from vla.errors import BadInput

ROOT = Path(__file__).resolve().parents[3]


def test_the_gallery_knows_the_tables_colours_and_things() -> None:
    assert {name: ANCHORS[name] for name in RGB} == RGB
    for kind, nouns in {**NOUNS, **NEW_NOUNS}.items():
        assert SHAPES[kind].nouns == nouns


def test_further_pointing_comes_after_what_would_be_said_without_it() -> None:
    for number in range(4):
        plain, more = (picture(7, number, 64, turns=3, pointing=count) for count in (0, 6))
        assert more.turns[:3] == plain.turns
        added = more.turns[3:]
        assert added
        assert {turn.kind for turn in added} == {"point"}
        prompts = [turn.prompt for turn in more.turns]
        assert len(set(prompts)) == len(prompts)


@given(st.sampled_from(sorted(ANCHORS)), st.integers(0, 2**32))
def test_a_jittered_colour_keeps_its_name(name: str, seed: int) -> None:
    assert nearest(jittered(name, np.random.default_rng(seed))) == name


def equal(a: Picture, b: Picture) -> bool:
    return bool((a.image == b.image).all()) and a.turns == b.turns


def test_a_picture_does_not_depend_on_what_was_drawn_before() -> None:
    first = [picture(3, i) for i in range(12)]
    picture(4, 99, 128)
    again = [picture(3, i) for i in reversed(range(12))][::-1]
    assert all(equal(a, b) for a, b in zip(first, again, strict=True))
    assert all(equal(a, b) for a, b in zip(first[5:9], iterate(3, 5, 4), strict=True))
    assert not equal(first[0], picture(5, 0))


def test_another_process_draws_the_same() -> None:
    code = (
        "from envs.gallery.picture import picture; import hashlib; p = picture(3, 7);"
        "print(hashlib.sha256(p.image.tobytes() + repr(p.turns).encode()).hexdigest())"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    here = picture(3, 7)
    assert run.stdout.strip() == hashlib.sha256(here.image.tobytes() + repr(here.turns).encode()).hexdigest()


@cache
def many(split: str) -> list[Picture]:
    return list(iterate(11, 0, 400 if split == "train" else 150, 64, split=split))  # type: ignore[arg-type]


def test_pictures_have_the_promised_form() -> None:
    for shown in many("train"):
        assert shown.image.shape == (64, 64, 3)
        assert shown.image.dtype == np.uint8
        assert shown.turns
        for turn in shown.turns:
            assert len(turn.prompt.split()) <= 20
            assert len(turn.answer.split()) <= 20
            for left, top, right, bottom in turn.boxes:
                assert 0 <= left < right <= 1
                assert 0 <= top < bottom <= 1


@pytest.mark.parametrize("split", ["train", "validation"])
def test_only_known_words_are_said(split: str) -> None:
    words = set(grammar.all_words())
    for shown in many(split):
        for turn in shown.turns:
            answer = turn.answer.replace(grammar.BOX, "")
            assert set(f"{turn.prompt} {answer}".split()) <= words, turn


def test_validation_prompts_use_words_of_training() -> None:
    def words(templates: dict[str, tuple[str, ...]]) -> set[str]:
        texts = [t for options in templates.values() for t in options]
        return {word for text in texts for word in text.split() if "{" not in word}

    # "and" stands in every caption.
    assert words(grammar.HELD_OUT_TEMPLATES) <= words(grammar.TRAIN_TEMPLATES) | {"and"}
    for kind, templates in grammar.HELD_OUT_TEMPLATES.items():
        assert not set(templates) & set(grammar.TRAIN_TEMPLATES[kind])


def test_answers_are_balanced() -> None:
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for shown in many("train"):
        for turn in shown.turns:
            answers[turn.kind][turn.answer] += 1
    constant = {kind: max(found.values()) / found.total() for kind, found in answers.items()}
    for kind in ("exists", "relation", "attribute", "pattern"):
        assert constant[kind] < 0.64, constant
    for kind, most in {"color": 0.15, "shape": 0.1, "count": 0.3, "which": 0.1, "what": 0.1}.items():
        assert constant[kind] < most, constant
    assert set(answers) == set(grammar.KINDS)


def test_which_of_two_is_not_given_away_by_their_order() -> None:
    first = [
        turn.prompt.index(turn.answer) for p in many("train") for turn in p.turns if turn.kind == "which"
    ]
    texts = [turn.prompt for p in many("train") for turn in p.turns if turn.kind == "which"]
    early = np.mean([place < text.index(" or ") for place, text in zip(first, texts, strict=True)])
    assert 0.3 < early < 0.7


def test_limits_are_kept_in_pictures_and_texts() -> None:
    avoid = frozenset({("cube", "red"), ("ball", "blue")})
    limits = Limits(("cube", "ball", "star"), ("red", "blue", "teal"), avoid)
    others = {
        w for s, shape in SHAPES.items() if s not in limits.shapes for n in shape.nouns for w in n.split()
    }
    others |= {c for c in ANCHORS if c not in limits.colors}
    others -= {"shape", "can"}  # of "l shape" and a tin; also words of questions
    for index in range(40):
        assert all(limits.allows(t.shape, t.color) for t in sight(1, index, 64, limits).things)
        for turn in picture(1, index, 64, limits=limits).turns:
            text = f"{turn.prompt} {turn.answer}"
            assert not others & set(text.split()), turn
            for noun in ("cube", "block", "box", "cubes", "blocks", "boxes"):
                assert f"red {noun}" not in text
            assert "blue ball" not in text
            assert "blue sphere" not in text


def test_mistakes_are_told_in_one_line() -> None:
    for make in (
        lambda: Limits(shapes=("cubee",)),
        lambda: Limits(colors=("redd",)),
        lambda: Limits(avoid=frozenset({("red", "cube")})),
        lambda: Limits(("cube",), ("red",)),
        lambda: picture(0, 0, 8),
    ):
        with pytest.raises(BadInput) as caught:
            make()
        assert "\n" not in str(caught.value)
