"""A policy's side names the table's skills and joints without importing the table: the names must agree."""

from typing import get_type_hints

from envs.tabletop.arm import JOINT_NAMES
from envs.tabletop.env import SPLITS
from envs.tabletop.tasks import SKILLS
from envs.tabletop.vocabulary import VOCABULARIES
from policies.runtime import collection, report, world


def test_both_sides_use_the_same_names() -> None:
    assert world.SKILLS == SKILLS
    assert collection.JOINTS == JOINT_NAMES
    assert tuple(name.replace(" ", "_") for name in report.JOINTS) == JOINT_NAMES
    assert world.World().skills == SKILLS
    assert set(world.Split.__args__) == set(SPLITS)
    assert set(get_type_hints(world.World)["vocabulary"].__args__) == set(VOCABULARIES)
