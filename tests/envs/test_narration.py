"""What is said of an episode is true of it."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.tabletop.arm import ARM_JOINTS
from envs.tabletop.env import TabletopEnv
from envs.tabletop.expert import OPEN, SUBTASKS
from envs.tabletop.narration import KINDS, MOTIONS, Moment, look, motion, plan_of, tell
from envs.tabletop.tasks import SKILLS

Episode = list[tuple[Moment, dict[str, str]]]
SEEDS = range(5)


@pytest.fixture(scope="module")
def env() -> Iterator[TabletopEnv]:
    made = TabletopEnv(image_size=16)
    yield made
    made.close()


def now(env: TabletopEnv) -> Moment:
    return look(env.sim, env.judge, env.expert())


def moments(env: TabletopEnv, skill: str, seed: int) -> Episode:
    """An episode of the expert's, a moment each step."""
    env.skills = (skill,)
    env.reset(seed=seed)
    seen: Episode = []
    done = False
    while not done:
        moment = now(env)
        seen.append((moment, tell(moment)))
        _, _, ended, cut, info = env.step(env.expert().act())
        done = ended or cut
    assert info["success"]
    return seen


@pytest.mark.parametrize("skill", SKILLS)
def test_an_episode_is_told_as_it_goes(env: TabletopEnv, skill: str) -> None:
    for seed in SEEDS:
        episode = moments(env, skill, seed)
        said = [words["subtask"] for _, words in episode]
        assert said[0] == f"reach for the {env.scene.task.target}"
        assert not any("lost" in each for each in said)
        assert {moment.subtask for moment, _ in episode} <= set(SUBTASKS)
        assert len({words["plan"] for _, words in episode}) == 1  # a plan does not change on the way
        assert all(words["why"].startswith(f"you asked for the {now.subject} ") for now, words in episode)
        if env.scene.task.second is not None:
            assert str(env.scene.task.second) in plan_of(env.scene.task)[-1]
            assert any(str(env.scene.task.second) in each for each in said)


def test_looking_changes_nothing(env: TabletopEnv) -> None:
    env.reset(seed=3)
    joints, subtask = env.sim.data.qpos.copy(), env.expert().subtask
    assert now(env) == now(env)
    assert np.array_equal(env.sim.data.qpos, joints)
    assert env.expert().subtask == subtask


@pytest.mark.parametrize("seed", range(30))
def test_boxes_and_sides_are_those_of_the_picture(env: TabletopEnv, seed: int) -> None:
    env.skills = SKILLS
    env.reset(seed=seed)
    moment = now(env)
    x, y, seen = env.sim.project("front", env.sim.position(env.scene.index(moment.subject)))
    assert seen
    assert moment.box is not None
    left, top, right, bottom = moment.box
    assert left < x < right
    assert top < y < bottom
    assert 0.02 < right - left < 0.25
    assert 0.02 < bottom - top < 0.25
    relation = moment.relation
    if relation is None or relation.side in ("on", "in"):
        return
    every = (*env.scene.objects, *env.scene.fixtures)
    places = {placed.thing: np.array([*placed.xy, 0.01]) for placed in every}
    one, other = (env.sim.project("front", places[thing]) for thing in (relation.one, relation.other))
    rightwards, downwards = one[0] - other[0], one[1] - other[1]
    sides = {"left": -rightwards, "right": rightwards, "front": downwards, "behind": -downwards}
    assert sides[relation.side] > 0


def test_what_is_dropped_is_missed(env: TabletopEnv) -> None:
    env.skills = ("put_into",)
    env.reset(seed=1)
    while now(env).subtask != "carry":
        env.step(env.expert().act())
    carried = now(env)
    assert carried.held
    assert carried.relation is None
    assert not carried.lost
    for _ in range(25):
        command = env.sim.state
        command[ARM_JOINTS] = OPEN
        env.step(command)
    dropped = now(env)
    assert dropped.lost
    assert tell(dropped)["subtask"] == f"i lost the {dropped.subject} and reach for it again"


def test_why_tells_what_else_is_like_it(env: TabletopEnv) -> None:
    env.skills = SKILLS
    for seed in range(40):
        env.reset(seed=seed)
        moment = now(env)
        why = tell(moment)["why"]
        color = [other for other in moment.others if other.color == moment.subject.color]
        kind = [other for other in moment.others if other.kind == moment.subject.kind]
        if color:
            assert all(f" {other.kind}" in why.split(" and the other ")[1] for other in color)
        elif kind:
            assert all(f" {other.color}" in why.split(" and the other ")[1] for other in kind)
        else:
            assert "nothing else" in why


def test_kinds_are_those_that_are_told(env: TabletopEnv) -> None:
    env.reset(seed=0)
    assert set(tell(now(env))) <= set(KINDS)


metres = st.floats(-0.3, 0.3)


@given(st.tuples(metres, metres, metres), st.integers(0, 2), st.sampled_from([-1, 1]))
def test_a_motion_is_named_by_its_largest_part(hand: tuple[float, ...], axis: int, sign: int) -> None:
    later = np.array(hand)
    later[axis] += sign * 0.05
    later[(axis + 1) % 3] += 0.01
    names = (("back", "forward"), ("left", "right"), ("down", "up"))
    assert motion(np.array(hand), later, 30, 30) == names[axis][sign > 0]


def test_a_hand_that_rests_opens_closes_or_stays() -> None:
    here = np.zeros(3)
    assert motion(here, here, 10, 40) == "open"
    assert motion(here, here, 40, 10) == "close"
    assert motion(here, here + 0.001, 10, 11) == "stay"
    assert {"open", "close", "stay"} <= set(MOTIONS)
