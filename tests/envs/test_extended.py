"""The extended vocabulary: nothing of the base table moves, and scenes hold what each split promises."""

import hashlib

import numpy as np
import pytest

from envs.gallery.colors import ANCHORS
from envs.gallery.shapes import SHAPES as GALLERY_SHAPES
from envs.tabletop.env import SPLITS, TabletopEnv
from envs.tabletop.extended import LIFTED, name_another, sample_extended, seen
from envs.tabletop.grammar import HELD_OUT_TEMPLATES, NEW_NOUNS, TRAIN_TEMPLATES, nouns_of
from envs.tabletop.language import all_words, parse, say
from envs.tabletop.mjcf import scene_xml
from envs.tabletop.solids import SOLIDS
from envs.tabletop.tasks import COLORS, HELD_OUT_PAIRS, SHAPES, SKILLS, Task, Thing
from envs.tabletop.vocabulary import NEW_COLORS, NEW_SHAPES, RGB, UNSEEN_SPLITS, VOCABULARIES
from vla.errors import BadInput

BASE_SPLITS = ("train", "validation", "seen", "held_out_sentences", "held_out_objects")
BEFORE = "1dac65343be247eab09755f21f48c7328208fc19d0119d8f2e2e7615e18f3578"
"""Of the worlds, sentences and words that the base vocabulary gave before there was another."""


def scenes(split: str, skill: str, count: int) -> list:
    place = SPLITS.index(split)
    return [sample_extended(np.random.default_rng([place, i]), skill, split) for i in range(count)]


def test_the_base_table_is_as_it_was_bit_for_bit() -> None:
    digest = hashlib.sha256(" ".join(all_words()).encode())
    for split in BASE_SPLITS:
        for varied in (False, True):
            env = TabletopEnv(split=split, visual_randomization=varied)
            for seed in range(25):
                scene, sentence = env._draw(np.random.default_rng([SPLITS.index(split), seed]), {})
                digest.update(scene_xml(scene).encode() + sentence.encode() + scene.start.tobytes())
    assert digest.hexdigest() == BEFORE


def test_the_base_vocabulary_neither_says_nor_understands_new_words() -> None:
    new = {*NEW_COLORS, *(noun for nouns in NEW_NOUNS.values() for noun in nouns)}
    assert not new & set(all_words())
    assert set(all_words("extended")) == new | set(all_words())
    for word in ("teal", "star"):
        sentence = f"touch the {word} cube" if word in NEW_COLORS else f"touch the red {word}"
        with pytest.raises(BadInput, match=f"unknown word '{word}'"):
            parse(sentence)
        assert parse(sentence, "extended").skill == "touch"


def test_names_and_colours_are_those_of_the_pictures() -> None:
    """What the pictures call teal looks teal here, and every name of a new shape is one of theirs."""
    assert all(ANCHORS[name] == rgb for name, rgb in RGB.items())
    for kind in (*SHAPES, *NEW_SHAPES):
        assert set(nouns_of(kind)) <= set(GALLERY_SHAPES[kind].nouns)
        assert nouns_of(kind)[0] == GALLERY_SHAPES[kind].nouns[0]


@pytest.mark.parametrize("skill", ["touch", "lift"])
def test_what_is_said_of_new_things_is_understood(skill: str) -> None:
    rng = np.random.default_rng(0)
    for kind in NEW_SHAPES:
        for color in RGB:
            task = Task(skill, Thing(kind, color))
            for split in ("train", "held_out"):
                assert parse(say(task, rng, split), "extended") == task
    assert set(TRAIN_TEMPLATES) == set(HELD_OUT_TEMPLATES) == set(SKILLS)


@pytest.mark.parametrize("skill", ["touch", "lift"])
@pytest.mark.parametrize("split", ["train", "validation", "seen", "held_out_sentences"])
def test_demonstrations_show_and_name_seen_things_alone(split: str, skill: str) -> None:
    words = set(all_words("base"))
    rng = np.random.default_rng(0)
    for scene in scenes(split, skill, 120):
        assert all(seen(placed.thing) for placed in scene.objects) and not scene.fixtures
        assert set(say(scene.task, rng).split()) <= words


@pytest.mark.parametrize("skill", ["touch", "lift"])
@pytest.mark.parametrize("split", list(UNSEEN_SPLITS))
def test_unseen_targets_are_hidden_among_their_like(split: str, skill: str) -> None:
    new_color, new_shape = UNSEEN_SPLITS[split]
    for scene in scenes(split, skill, 200):
        target = scene.task.target
        assert (target.color in NEW_COLORS, target.kind in NEW_SHAPES) == (new_color, new_shape)
        assert skill == "touch" or target.kind in LIFTED
        others = [placed.thing for placed in scene.objects if placed.thing != target]
        assert len(others) == len(scene.objects) - 1
        assert any(t.color == target.color for t in others) and any(t.kind == target.kind for t in others)
        # Another thing is new in the same way, so that novelty does not tell; and something known is there.
        assert any(
            (new_color and t.color in NEW_COLORS) or (new_shape and t.kind in NEW_SHAPES) for t in others
        )
        assert any(t.color in COLORS or t.kind in SHAPES for t in others)
        # Of the colours and shapes alone that are not asked about, nothing is new.
        assert new_color or all(t.color in COLORS for t in others)
        assert new_shape or all(t.kind in SHAPES for t in others)
        if split != "unseen_both":  # the known word leaves three candidates at least
            known = (lambda t: t.kind) if new_color else (lambda t: t.color)
            assert sum(known(t) == known(target) for t in others) >= 2


@pytest.mark.parametrize("split", ["seen", *UNSEEN_SPLITS])
def test_a_blind_guess_succeeds_in_a_quarter_to_a_fifth(split: str) -> None:
    counts = [len(scene.objects) for scene in scenes(split, "touch", 400)]
    assert set(counts) == {4, 5}
    assert 0.2 < np.mean([1 / count for count in counts]) < 0.25
    places = [
        scene.objects.index(next(p for p in scene.objects if p.thing == scene.task.target))
        for scene in scenes(split, "touch", 400)
    ]
    assert set(places) == {0, 1, 2, 3, 4}  # its place in the list does not tell either


def test_held_out_pairs_stay_held_out() -> None:
    for scene in scenes("held_out_objects", "touch", 60):
        assert (scene.task.target.kind, scene.task.target.color) in HELD_OUT_PAIRS
    for split in ("train", *UNSEEN_SPLITS):
        for scene in scenes(split, "touch", 60):
            assert not {(p.thing.kind, p.thing.color) for p in scene.objects} & HELD_OUT_PAIRS


def test_swap_names_another_thing_of_the_same_table() -> None:
    for scene in scenes("unseen_shapes", "lift", 30):
        swapped = name_another(scene, np.random.default_rng(0))
        assert swapped.objects == scene.objects and swapped.task.target != scene.task.target
        assert swapped.task.target.kind in LIFTED


def test_an_episode_with_unseen_words_plays_like_any_other() -> None:
    env = TabletopEnv(split="unseen_both", skills=("touch",), vocabulary="extended", image_size=16)
    first, _ = env.reset(seed=3)
    again, info = env.reset(seed=3)
    assert np.array_equal(first["observation.images.front"], again["observation.images.front"])
    assert first["task"] == again["task"] and info["target"] == str(env.scene.task.target)
    asked, _ = env.reset(seed=3, options={"sentence": "pick up the teal star"})
    assert env.scene.task == Task("lift", Thing("star", "teal")) and asked["task"] == "pick up the teal star"
    env.close()


@pytest.mark.parametrize("kind", NEW_SHAPES)
def test_the_expert_touches_new_shapes_and_lifts_those_it_says(kind: str) -> None:
    for skill in ("touch", "lift") if kind in LIFTED else ("touch",):
        env = TabletopEnv(split="validation", skills=(skill,), vocabulary="extended", image_size=8)
        wins = 0
        for seed in range(4):
            env.reset(seed=seed, options={"task": Task(skill, Thing(kind, "lime"))})
            done = False
            while not done:
                *_, terminated, truncated, info = env.step(env.expert().act())
                done = terminated or truncated
            wins += info["success"]
        env.close()
        assert wins >= 3


def test_every_solid_rests_where_it_says() -> None:
    """Dropped by half a millimetre, a thing comes to rest at its own height, upright."""
    env = TabletopEnv(split="validation", skills=("touch",), vocabulary="extended", image_size=8)
    for kind in SOLIDS:
        env.reset(seed=1, options={"task": Task("touch", Thing(kind, "lime"))})
        index = env.scene.index(Thing(kind, "lime"))
        for _ in range(4):
            env.step(env.sim.state)
        assert abs(env.sim.position(index)[2] - SOLIDS[kind].rest) < 1e-3
        assert env.sim.rotation(index)[2, 2] > 0.99
    env.close()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"split": "unseen_colors"}, "split=unseen_colors needs vocabulary=extended"),
        ({"vocabulary": "extendet"}, "did you mean 'extended'"),
        ({"vocabulary": "extended"}, "vocabulary=extended has no skill 'put_into'"),
        ({"vocabulary": "extended", "skills": ("touch",), "sentence": "touch the tael cube"}, "teal"),
    ],
)
def test_wrong_options_say_what_would_be_right(options: dict[str, object], line: str) -> None:
    with pytest.raises(BadInput, match=line):
        TabletopEnv(**options)


@pytest.mark.parametrize(
    ("sentence", "line"),
    [
        ("put the teal star in the red bowl", "has no 'put_into'; its skills: touch, lift"),
        ("pick up the teal cross", "the teal cross cannot be lifted; name a cube"),
    ],
)
def test_what_the_extended_table_cannot_do_is_said(sentence: str, line: str) -> None:
    env = TabletopEnv(skills=("touch",), vocabulary="extended", image_size=8)
    with pytest.raises(BadInput, match=line):
        env.reset(seed=0, options={"sentence": sentence})
    env.close()


def test_the_vocabularies_agree_with_their_parts() -> None:
    assert VOCABULARIES["base"].skills == SKILLS and VOCABULARIES["base"].shapes == SHAPES
    assert set(VOCABULARIES["extended"].shapes) == set(SOLIDS)
    assert set(LIFTED) < set(SOLIDS) and set(NEW_NOUNS) == set(NEW_SHAPES)
