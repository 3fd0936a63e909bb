"""say and parse are inverse over everything the grammar can build; parse also follows a user's own words."""

import itertools
import string
from collections.abc import Iterator

import numpy as np
import pytest

from envs.tabletop import grammar, parsing
from envs.tabletop.language import (
    HELD_OUT_TEMPLATES,
    all_sentences_sample,
    all_words,
    parse,
    say,
    templates,
)
from envs.tabletop.tasks import COLORS, CONTAINERS, RELATIONS, SHAPES, SKILLS, ZONE, Task, Thing
from vla.errors import BadInput

RED_CUBE, BLUE_BALL, GREEN_BRICK = Thing("cube", "red"), Thing("ball", "blue"), Thing("brick", "green")
CAN, BLUE_BOWL, ZONE_PINK = Thing("cylinder", "orange"), Thing("bowl", "blue"), Thing("zone", "pink")


def things(kinds: tuple[str, ...]) -> list[Thing]:
    return [Thing(kind, color) for kind in kinds for color in COLORS]


def all_tasks() -> Iterator[Task]:
    """Every task there is, held-out pairs included: about 21 thousand."""
    for target in things(SHAPES):
        yield Task("touch", target)
        yield Task("lift", target)
        yield from (Task("put_into", target, place) for place in things(CONTAINERS))
        yield from (Task("push", target, place) for place in things((ZONE,)))
        for other in things(SHAPES):
            if other != target:
                yield Task("stack", target, other)
                yield from (Task("put_beside", target, other, relation) for relation in RELATIONS)
                yield from (Task("put_both", target, place, None, other) for place in things(CONTAINERS))


def one_task_of_each_form(skill: str, target: Thing = RED_CUBE, other: Thing = BLUE_BALL) -> list[Task]:
    """The tasks of a skill up to colours and shapes: one for each kind of reference, or relation."""
    places = [Thing(kind, other.color) for kind in CONTAINERS]
    return {
        "touch": [Task("touch", target)],
        "lift": [Task("lift", target)],
        "put_into": [Task("put_into", target, place) for place in places],
        "push": [Task("push", target, Thing(ZONE, other.color))],
        "stack": [Task("stack", target, other)],
        "put_beside": [Task("put_beside", target, other, relation) for relation in RELATIONS],
        "put_both": [Task("put_both", target, place, None, other) for place in places],
    }[skill]


@pytest.mark.parametrize("skill", SKILLS)
def test_enough_templates_and_no_overlap(skill: str) -> None:
    train, held_out = templates(skill, "train"), templates(skill, "held_out")
    assert templates(skill, "seen") == train and held_out == HELD_OUT_TEMPLATES[skill]
    assert len(set(train)) == len(train) >= 15 and len(set(held_out)) == len(held_out) >= 3
    assert len(train) + len(held_out) >= 18
    assert not set(train) & set(held_out)


def test_no_held_out_sentence_is_a_training_sentence() -> None:
    """A template's choices could spell another template's sentence; across the splits none does."""
    for skill in SKILLS:
        for task in one_task_of_each_form(skill):
            train = {s for t in templates(skill) for s in spellings(t, task)}
            held_out = {s for t in templates(skill, "held_out") for s in spellings(t, task)}
            assert not train & held_out, sorted(train & held_out)[:3]


def spellings(template: str, task: Task) -> Iterator[str]:
    """The template's sentences over all choices but the names of things, which are the usual ones."""
    choices = grammar.choices(task) | {
        slot: (f"the {thing}",)
        for slot, thing in (("a", task.target), ("b", task.reference), ("c", task.second))
        if thing is not None
    }
    names = list(dict.fromkeys(grammar.slots(template)))
    for said in itertools.product(*(choices[name] for name in names)):
        yield template.format(**dict(zip(names, said, strict=True)))


@pytest.mark.parametrize("skill", SKILLS)
def test_every_template_with_every_choice_of_words(skill: str) -> None:
    for task in one_task_of_each_form(skill):
        for template in templates(skill) + templates(skill, "held_out"):
            for sentence in spellings(template, task):
                assert parse(sentence) == task, sentence


@pytest.mark.parametrize("skill", SKILLS)
def test_every_name_of_every_thing_in_every_slot_of_every_template(skill: str) -> None:
    for target, other in zip(things(SHAPES), reversed(things(SHAPES)), strict=True):
        for task in one_task_of_each_form(skill, target, other):
            named = {"a": task.target, "b": task.reference, "c": task.second}
            usual = {name: options[0] for name, options in grammar.choices(task).items()}
            for template in templates(skill) + templates(skill, "held_out"):
                for slot in named.keys() & grammar.slots(template):
                    for phrase in grammar.choices(task)[slot]:
                        sentence = template.format(**usual | {slot: phrase})
                        assert parse(sentence) == task, sentence


def test_every_task_in_both_splits() -> None:
    rng = np.random.default_rng(0)
    longest = 0
    for task in all_tasks():
        for split in ("train", "held_out"):
            sentence = say(task, rng, split)
            assert parse(sentence) == task, sentence
            longest = max(longest, len(sentence.split()))
    assert longest <= 22


def test_no_sentence_can_be_longer_than_22_words() -> None:
    for skill in SKILLS:
        for task in one_task_of_each_form(skill):
            size = {
                name: max(len(o.split()) for o in options) for name, options in grammar.choices(task).items()
            }
            for template in templates(skill) + templates(skill, "held_out"):
                literal = sum(len(text.split()) for text, *_ in string.Formatter().parse(template))
                assert literal + sum(size[name] for name in grammar.slots(template)) <= 22, template


def words_of(split: str) -> set[str]:
    """Every word the split's templates can produce."""
    found: set[str] = set()
    for skill in SKILLS:
        for target, other in zip(things(SHAPES), reversed(things(SHAPES)), strict=True):
            for task in one_task_of_each_form(skill, target, other):
                choices = grammar.choices(task)
                for template in templates(skill, split):
                    found |= {w for text, *_ in string.Formatter().parse(template) for w in text.split()}
                    found |= {w for name in grammar.slots(template) for o in choices[name] for w in o.split()}
    return found


def test_held_out_templates_use_only_words_of_training_templates() -> None:
    train, held_out = words_of("train"), words_of("held_out")
    assert held_out <= train, held_out - train
    assert set(all_words()) == train, set(all_words()) ^ train
    assert all_words() == sorted(all_words())


def test_every_word_the_parser_has_a_meaning_for_is_a_known_word() -> None:
    meant = {w for phrases in parsing._TAGS.values() for phrase in phrases for w in phrase.split()}
    assert meant <= set(all_words()), meant - set(all_words())


def test_say_is_deterministic_and_varied() -> None:
    task = Task("put_beside", RED_CUBE, BLUE_BALL, "front")
    first = [say(task, np.random.default_rng(seed)) for seed in range(50)]
    assert first == [say(task, np.random.default_rng(seed)) for seed in range(50)]
    assert len(set(first)) > 40


def test_say_uses_all_templates_of_its_split_only() -> None:
    rng = np.random.default_rng(1)
    task = Task("touch", RED_CUBE)
    for split in ("train", "seen", "held_out"):
        possible = [set(spellings(t, task)) for t in templates("touch", split)]
        said = {say(task, rng, split) for _ in range(3000)}
        assert all(options & said for options in possible)
        usual = {s for s in said if "the red cube" in s}
        assert usual <= set().union(*possible)


def test_sample_is_seeded_and_never_held_out() -> None:
    sample = all_sentences_sample(300, seed=5)
    assert sample == all_sentences_sample(300, seed=5) != all_sentences_sample(300, seed=6)
    assert len(sample) == 300 and {parse(s).skill for s in sample} == set(SKILLS)
    assert {w for s in all_sentences_sample(6000, seed=0) for w in s.split()} == set(all_words())


@pytest.mark.parametrize(
    ("sentence", "task"),
    [
        ("put the red cube in the blue bowl", Task("put_into", RED_CUBE, BLUE_BOWL)),
        ("In the blue bowl, put the red cube.", Task("put_into", RED_CUBE, BLUE_BOWL)),
        ("  PUT   red BLOCK   inside a blue dish!! ", Task("put_into", RED_CUBE, BLUE_BOWL)),
        ("red cube in blue bowl", Task("put_into", RED_CUBE, BLUE_BOWL)),
        ("Pick up the red cube, then place it into the blue bowl", Task("put_into", RED_CUBE, BLUE_BOWL)),
        ("move the red cube to the blue bowl", Task("put_into", RED_CUBE, BLUE_BOWL)),
        ("I\u2019d like the red box to go in the blue bowl", Task("put_into", RED_CUBE, BLUE_BOWL)),
        ("can you put the orange can in the blue bowl?", Task("put_into", CAN, BLUE_BOWL)),
        ("pick up the blue ball", Task("lift", BLUE_BALL)),
        ("pick the blue ball up off the table, please", Task("lift", BLUE_BALL)),
        ("take the blue sphere", Task("lift", BLUE_BALL)),
        ("Could you tap the orange can?", Task("touch", CAN)),
        ("move to the orange can", Task("touch", CAN)),
        (
            "please place the green brick left of the red cube",
            Task("put_beside", GREEN_BRICK, RED_CUBE, "left"),
        ),
        ("put the red cube right of the blue ball", Task("put_beside", RED_CUBE, BLUE_BALL, "right")),
        (
            "put the red cube right in front of the blue ball",
            Task("put_beside", RED_CUBE, BLUE_BALL, "front"),
        ),
        ("move the red cube behind the blue ball", Task("put_beside", RED_CUBE, BLUE_BALL, "behind")),
        ("behind the blue ball goes the red cube", Task("put_beside", RED_CUBE, BLUE_BALL, "behind")),
        ("put red cube next to blue ball on the right", Task("put_beside", RED_CUBE, BLUE_BALL, "right")),
        ("push the red cube to the pink zone", Task("push", RED_CUBE, ZONE_PINK)),
        ("slide a red cube over to the pink area now", Task("push", RED_CUBE, ZONE_PINK)),
        ("put the red cube on top of the green brick", Task("stack", RED_CUBE, GREEN_BRICK)),
        ("lift the red cube onto the green bar", Task("stack", RED_CUBE, GREEN_BRICK)),
        ("on the green brick, stack the red cube", Task("stack", RED_CUBE, GREEN_BRICK)),
        (
            "put the red cube and the green brick in the blue bowl",
            Task("put_both", RED_CUBE, BLUE_BOWL, None, GREEN_BRICK),
        ),
        (
            "Put the red cube in the blue bowl. Then put the green brick in the blue dish.",
            Task("put_both", RED_CUBE, BLUE_BOWL, None, GREEN_BRICK),
        ),
    ],
)
def test_a_users_own_sentences(sentence: str, task: Task) -> None:
    assert parse(sentence) == task


@pytest.mark.parametrize(
    ("sentence", "parts"),
    [
        ("", ["empty"]),
        (" \t\n", ["empty"]),
        ("...!?", ["empty"]),
        ("put the red cueb in the blue bowl", ["'cueb'", "cube"]),
        ("put the brown cube in the blue bowl", ["'brown'", "nearest known: "]),
        ("don't touch the red cube", ["don't"]),
        ("xqzw the red cube", ["'xqzw'", "an example: 'put"]),
        ("\u043f\u043e\u0441\u0442\u0430\u0432\u044c the red cube", ["\u043f\u043e\u0441\u0442"]),
        ("put the red cube", ["cannot tell", "pick up the red cube"]),
        ("touch", ["cannot tell", "say for instance"]),
        ("put it in the blue bowl", ["cannot tell", "say for instance"]),
        ("touch the red cube in the blue bowl", ["cannot tell", "put the red cube in the blue bowl"]),
        ("lift the red cube in the blue bowl", ["cannot tell"]),
        ("put the red cube next to the blue ball", ["cannot tell", "to the left of the blue ball"]),
        ("stack the red cube and the blue ball", ["cannot tell"]),
        ("grab the red cube and put the blue ball in the blue bowl", ["cannot tell"]),
        ("find the red cube", ["cannot tell"]),
        ("touch the blue bowl", ["cannot tell"]),
        ("push the red cube and the blue ball to the pink zone", ["cannot tell"]),
        ("put the red cube in the blue bowl and the blue ball in the red bowl", ["cannot tell"]),
        ("pick up the red one", ["'red' needs its shape"]),
        ("pick up the red", ["'red' needs its shape"]),
        ("pick up the cube", ["'cube' needs its colour"]),
        ("put the red cube left of the red block", ["names the red cube twice"]),
        ("the " * 5000 + "red cube", ["cannot tell"]),
        ("z" * 5000, ["unknown word"]),
    ],
)
def test_bad_sentences_get_one_line_with_what_would_be_right(sentence: str, parts: list[str]) -> None:
    with pytest.raises(BadInput) as caught:
        parse(sentence)
    line = str(caught.value)
    assert "\n" not in line and len(line) < 250
    for part in parts:
        assert part in line


def test_examples_in_messages_are_themselves_understood() -> None:
    for sentence in (
        "",
        "now",
        "put the red cube",
        "touch the red cube in the blue bowl",
        "red cube red area",
    ):
        with pytest.raises(BadInput) as caught:
            parse(sentence)
        parse(str(caught.value).split("for instance '")[1].rstrip("'"))


def test_random_known_words_never_crash() -> None:
    rng = np.random.default_rng(3)
    words = np.array(all_words())
    for _ in range(3000):
        try:
            parse(" ".join(rng.choice(words, size=rng.integers(1, 12))))
        except BadInput:
            continue


def test_unknown_skill_split_and_type_are_named() -> None:
    with pytest.raises(BadInput, match="did you mean 'push'"):
        templates("pusch")
    with pytest.raises(BadInput, match="unknown language split 'test'"):
        say(Task("touch", RED_CUBE), np.random.default_rng(0), "test")
    with pytest.raises(BadInput, match="must be a sentence"):
        parse(None)  # type: ignore[arg-type]
