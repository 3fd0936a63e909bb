"""Every text is true of its picture, by what its pixels and segments show; boxes are what they bound."""

import re
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from reading import ANY_PHRASE, COLOR, NOUN, RELATION, Eye, either

from envs.gallery.colors import ANCHORS
from envs.gallery.grammar import (
    BOX,
    HELD_OUT_TEMPLATES,
    KINDS,
    MORE,
    NUMBERS,
    PHRASES,
    SURFACES,
    TRAIN_TEMPLATES,
)
from envs.gallery.language import Said, Split, converse
from envs.gallery.limits import Limits
from envs.gallery.picture import sight
from envs.gallery.shapes import plural
from envs.gallery.sight import Sight

PICTURES = 130
PLURAL = {plural(noun): noun for noun in (*NOUN, "thing", "object")}


@cache
def said() -> list[tuple[Sight, Eye, Said]]:
    """All kinds of turns about many pictures, of both sets of templates."""
    found = []
    for index in range(PICTURES):
        seen = sight(7, index)
        split: Split = "train" if index % 3 else "validation"
        turns = converse(seen, np.random.default_rng(index), Limits(), split, len(KINDS))
        found += [(seen, Eye(seen), turn) for turn in turns]
    return found


def of(kind: str) -> list[tuple[Sight, Eye, Said]]:
    chosen = [turn for turn in said() if turn[2].kind == kind]
    assert len(chosen) > 8, f"hardly any {kind}"
    return chosen


def slots(turn: Said) -> dict[str, str]:
    """What fills the template that the prompt was made of."""
    something = rf"an? (?:(?:{either(list(COLOR))}) )?(?:{either([*NOUN, 'thing', 'object'])})"
    options = {
        "more": either([words for options in MORE.values() for words in options]),
        "rel": either(list(RELATION)),
        **{slot: either(list(words)) for slot, words in PHRASES.items()},
        **{"c": r"\S+", "s": "floor|wall", "n": ".+?", "p": something, "x": ANY_PHRASE, "y": ANY_PHRASE},
    }
    for template in (*TRAIN_TEMPLATES[turn.kind], *HELD_OUT_TEMPLATES[turn.kind]):
        pattern, seen = "", set()
        for literal, slot in re.findall(r"([^{]*)(?:\{(\w+)\})?", template):
            pattern += re.escape(literal)
            if slot:
                pattern += f"(?:{options[slot]})" if slot in seen else f"(?P<{slot}>{options[slot]})"
                seen.add(slot)
        match = re.fullmatch(pattern, turn.prompt)
        if match:
            return match.groupdict()
    raise AssertionError(f"no template made {turn.prompt!r}")


def boxes(things: list) -> list:
    return [thing.box for thing in things]


def meant(eye: Eye, turn: Said) -> list:
    """The things that the prompt's phrase can mean."""
    return eye.meant(slots(turn)["x"])


@pytest.mark.parametrize("kind", ["color", "shape", "describe", "point", "attribute", "pattern"])
def test_a_phrase_means_exactly_one_thing_and_the_first_box_is_its(kind: str) -> None:
    for _, eye, turn in of(kind):
        assert boxes(meant(eye, turn)) == [turn.boxes[0]], turn


def test_boxes_are_tight_around_segments() -> None:
    for seen, _, _ in said():
        for thing in seen.things:
            rows, columns = np.nonzero(seen.shown == thing.number)
            edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert thing.box == tuple(e / len(seen.shown) for e in edges)


def test_colors_can_be_seen() -> None:
    """By another measure of likeness than the generator's: weighted RGB (Riemersma's "redmean"), a cruder one
    that takes some shade for another colour; so the right name need only be among its first two."""
    first, second, total = 0, 0, 0
    for seen in {id(s): s for s, _, _ in said()}.values():
        for thing in seen.things:
            pixels = seen.image[seen.shown == thing.number].astype(float)
            rgb = np.median(pixels[pixels.sum(axis=1) >= np.median(pixels.sum(axis=1))], axis=0)
            anchors = 255 * np.array(list(ANCHORS.values()))
            red = (anchors[:, 0] + rgb[0]) / 2
            weights = np.stack([2 + red / 256, np.full_like(red, 4), 2 + (255 - red) / 256], axis=1)
            order = [list(ANCHORS)[i] for i in (weights * (anchors - rgb) ** 2).sum(axis=1).argsort()]
            first, second = first + (order[0] == thing.color), second + (thing.color in order[:2])
            total += 1
    assert first / total > 0.85
    assert second / total > 0.97


def test_answers_about_one_thing() -> None:
    answers: dict[str, Callable] = {
        "color": lambda t: t.color,
        "shape": lambda t: t.shape,
        "describe": lambda t: f"{t.pattern} {t.color} {t.shape}".removeprefix("plain").strip(),
        "point": lambda t: BOX,
    }
    for kind, answer in answers.items():
        for _, eye, turn in of(kind):
            (thing,) = meant(eye, turn)
            assert turn.answer == answer(thing), turn


def test_yes_and_no() -> None:
    for _, eye, turn in of("attribute"):
        (thing,) = meant(eye, turn)
        assert turn.answer == ("yes" if thing.color == COLOR[slots(turn)["c"]] else "no"), turn
    for _, eye, turn in of("pattern"):
        (thing,) = meant(eye, turn)
        assert turn.answer == ("yes" if thing.pattern == slots(turn)["c"] else "no"), turn
    for _, eye, turn in of("relation"):
        parts = slots(turn)
        (a,), (b,) = eye.meant(parts["x"]), eye.meant(parts["y"])
        assert turn.answer == ("yes" if eye.so(RELATION[parts["rel"]], a, b) else "no"), turn
        assert turn.boxes == (a.box, b.box)


def test_existence_and_counts() -> None:
    for _, eye, turn in of("exists"):
        words = re.fullmatch(rf"an? (?:({either(list(COLOR))}) )?(.+)", slots(turn)["p"])
        assert words
        found = eye.named(words[1], words[2])
        assert turn.answer == ("yes" if found else "no"), turn
        assert list(turn.boxes) == boxes(found)
    for _, eye, turn in of("count"):
        words = re.fullmatch(rf"(?:({either(list(COLOR))}) )?(.+)", slots(turn)["n"])
        assert words
        found = eye.named(words[1], PLURAL[words[2]])
        assert turn.answer == NUMBERS[len(found)], turn
        assert list(turn.boxes) == boxes(found)


def test_which_and_what() -> None:
    more = {words: name for name, options in MORE.items() for words in options}
    for _, eye, turn in of("which"):
        parts = slots(turn)
        assert turn.answer in (parts["x"], parts["y"])
        other = parts["y"] if turn.answer == parts["x"] else parts["x"]
        (a,), (b,) = eye.meant(turn.answer), eye.meant(other)
        name = more[parts["more"]]
        if name in ("big", "small"):
            big, small = (a, b) if name == "big" else (b, a)
            assert eye.area[big.number] > eye.area[small.number], turn
        else:
            assert eye.so(name, a, b), turn
    for _, eye, turn in of("what"):
        parts = slots(turn)
        (anchor,) = eye.meant(parts["y"])
        found = [t for t in eye.sight.things if t is not anchor and eye.so(RELATION[parts["rel"]], t, anchor)]
        assert [f"{t.color} {t.shape}" for t in found] == [turn.answer], turn
        assert turn.boxes == (found[0].box, anchor.box)


def test_floors_and_walls() -> None:
    for kind in ("surface", "material"):
        for seen, _, turn in of(kind):
            surface = getattr(seen.scene, slots(turn)["s"])
            assert turn.answer == (surface.words if kind == "surface" else SURFACES[surface.words][1])


def test_captions_name_what_is_there() -> None:
    for seen, eye, turn in of("caption"):
        counted = 0
        body = re.split(r" (?:on|above|in front of) (?=an? \S+ (?:floor|wall)$)", turn.answer)[0]
        for part in body.split(" and "):
            number, rest = part.split(" ", 1)
            count = 1 if number in ("a", "an") else NUMBERS.index(number)
            counted += count
            if rest == "other things":
                continue
            words = [w for w in rest.split() if w not in ("striped", "checkered", "dotted")]
            noun = " ".join(words[1:])
            assert len(eye.named(words[0], noun if count == 1 else PLURAL[noun])) == count, turn
        assert counted == len(seen.things)
        assert len(turn.answer.split()) <= 20
