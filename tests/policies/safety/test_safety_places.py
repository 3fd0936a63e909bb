"""Where the arm may be: no stop ends in, or passes, the table, an obstacle, itself or the outside."""

from dataclasses import replace
from typing import Any

import mujoco
import numpy as np
import pytest
from guard import PLANAR, planar

from policies.runtime.safety import Decision, Obstacle, Safety, SafetyFilter, Workspace
from vla.arm import ArmSpec, Body, Joint
from vla.errors import BadInput

HZ = 100.0
BOX = Obstacle("post", (0.45, 0.0, 0.62), (0.1, 0.1, 0.1), yaw=30)


def drive(safety: Safety, goals: Any, ticks: int = 250, start: Any = (0, 0, 0, 0)) -> list[Decision]:
    made = SafetyFilter(planar(), safety, HZ)
    at, out = np.array(start, float), []
    made.start(at)
    for goal in goals:
        for _ in range(ticks):
            out.append(made.decide(np.array(goal, float), at))
            at = out[-1].command
    return out


class Twin:
    """The same model, asked directly."""

    def __init__(self, *obstacles: str) -> None:
        xml = PLANAR.replace("</worldbody>", "".join(obstacles) + "</worldbody>")
        self.model = mujoco.MjModel.from_xml_string(xml)
        self.data = mujoco.MjData(self.model)

    def pose(self, command: np.ndarray) -> None:
        self.data.qpos[:] = np.deg2rad(command[:3])
        mujoco.mj_kinematics(self.model, self.data)

    def site(self, command: np.ndarray, name: str = "tip") -> np.ndarray:
        self.pose(command)
        return self.data.site(name).xpos.copy()

    def distance(self, command: np.ndarray, one: str, other: str) -> float:
        self.pose(command)
        return mujoco.mj_geomDistance(
            self.model, self.data, self.model.geom(one).id, self.model.geom(other).id, 2.0, None
        )


def kinds(decisions: list[Decision]) -> set[str]:
    return {each.kind for decision in decisions for each in decision.interventions}


def test_the_tip_stops_above_the_table_at_full_speed() -> None:
    done = drive(Safety(table=0.1), [(-90, 0, 0, 0), (60, 0, 0, 0)])
    heights = [Twin().site(d.command)[2] for d in done]
    assert "table" in kinds(done[:250])
    assert 0.1 <= min(heights) < 0.12
    assert np.abs(done[249].command - done[240].command).max() < 0.05, "it comes to rest at the table"
    assert done[-1].command[0] == 60, "and can leave it"
    detail = next(i.detail for d in done for i in d.interventions if i.kind == "table")
    assert "'tip' would be " in detail and "mm below the table's height z=0.1 m" in detail


def test_the_points_stay_in_the_workspace() -> None:
    box = Workspace((-0.5, -0.1, 0.05), (0.6, 0.1, 0.9))
    rng = np.random.default_rng(0)
    goals = rng.uniform(-170, 170, (12, 4))
    start = (40, 50, 0, 0)
    done = drive(Safety(workspace=box), goals, 60, start)
    twin = Twin()
    for decision in done:
        place = twin.site(decision.command)
        assert (place >= box.lower).all() and (place <= box.upper).all()
    assert "workspace" in kinds(done)


def test_links_keep_off_each_other_and_off_obstacles() -> None:
    margin = 0.01
    geom = '<geom name="post" type="box" pos="0.45 0 0.62" size="0.05 0.05 0.05" euler="0 0 30"/>'
    twin = Twin(geom)
    rng = np.random.default_rng(1)
    goals = np.concatenate([rng.uniform(-170, 170, (14, 4)), [(0, 170, 170, 0), (90, -170, 0, 0)]])
    done = drive(Safety(margin=margin, obstacles=(BOX,)), goals, 60)
    watched = [("hand", "upper"), ("hand", "stand"), ("fore", "stand"), ("hand", "floor"), ("fore", "floor")]
    watched += [(name, "post") for name in ("upper", "fore", "hand")]
    least = {pair: min(twin.distance(d.command, *pair) for d in done) for pair in watched}
    assert all(distance >= margin for distance in least.values()), least
    assert min(least.values()) < 1.5 * margin, "nothing came near anything: the test tests nothing"
    assert "collision" in kinds(done)
    assert any("'obstacle post'" in i.detail for d in done for i in d.interventions if i.kind == "collision")


def test_what_is_far_from_everything_passes_bit_for_bit() -> None:
    made = SafetyFilter(planar(), Safety(ramp_seconds=0, table=0.0, obstacles=(BOX,)), HZ)
    at = np.array([20.0, -20, 10, 0])
    made.start(at)
    for tick in range(400):
        wanted = at + np.array([3, 2, -4, 10]) * (1 - np.cos(tick / 60))
        decision = made.decide(wanted, wanted)
        assert decision.command.tobytes() == wanted.tobytes() and not decision.interventions


def test_an_arm_that_starts_in_a_bad_place_only_gets_better() -> None:
    start = (-35, 0, 0, 0)  # the tip is 7 cm below the plane
    done = drive(Safety(table=0.0, margin=None), [(-60, 0, 0, 0), (30, 0, 0, 0)], 200, start)
    heights = np.array([Twin().site(d.command)[2] for d in done])
    assert heights.min() >= Twin().site(np.array(start, float))[2] - 1e-9
    assert "table" in kinds(done[:200]) and done[-1].command[0] == 30
    made = SafetyFilter(planar(), Safety(table=0.0, margin=None), HZ)
    made.start(np.array(start, float))
    assert made.notes[-1].startswith("where it starts, 'tip' would be 72.8 mm below the table's height z=0 m")
    made.start(np.zeros(4))
    assert len(made.notes) == 1, "margin is null; nothing else"


def test_neighbours_are_left_out_and_touching_pairs_are_said() -> None:
    made = SafetyFilter(planar(), Safety(margin=0.02), HZ)
    assert made.notes == ()
    touching = PLANAR.replace(
        'name="stand" type="cylinder" size="0.03 0.05"', 'name="stand" type="sphere" size="0.32"'
    )
    spec = planar()
    assert spec.body is not None
    made = SafetyFilter(replace(spec, body=replace(spec.body, mjcf=touching)), Safety(), HZ)
    assert made.notes == ("not kept apart, as they touch in the model's rest pose: stand and fore",)
    made = SafetyFilter(spec, Safety(margin=None), HZ)
    assert "margin is null" in made.notes[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"points": ("tipp",)}, r"has no 'tipp' \(did you mean 'tip'\?\)"),
        ({"joints": ("one", "tow", "three", "")}, r"has no 'tow' \(did you mean 'two'\?\)"),
        ({"mjcf": "<mujoco><worldbody></body></mujoco>"}, "MuJoCo model: "),
    ],
)
def test_a_body_that_does_not_fit_is_one_line(change: dict[str, Any], says: str) -> None:
    spec = planar()
    assert spec.body is not None
    with pytest.raises(BadInput, match=says) as caught:
        SafetyFilter(replace(spec, body=replace(spec.body, **change)), Safety(table=0.0), HZ)
    assert "\n" not in str(caught.value)


def so101() -> ArmSpec:
    """The tabletop's arm: its own body tree, with primitive parts."""
    from envs.tabletop.arm import (
        GRIPPER_CLOSED_RAD,
        GRIPPER_OPEN_RAD,
        JOINT_LIMITS_DEG,
        JOINT_NAMES,
        arm_body_xml,
        arm_defaults_xml,
    )

    xml = f"<mujoco><default>{arm_defaults_xml()}</default><worldbody>{arm_body_xml('primitive', '')}"
    joints = []
    for name in JOINT_NAMES:
        low, high = JOINT_LIMITS_DEG[name]
        gripper = name == "gripper"
        joints.append(Joint(name, "percent" if gripper else "deg", low, high, 180, 1500, 20000, gripper))
    scale = (*[float(np.deg2rad(1))] * 5, (GRIPPER_OPEN_RAD - GRIPPER_CLOSED_RAD) / 100)
    offset = (*[0.0] * 5, GRIPPER_CLOSED_RAD)
    body = Body(f"{xml}</worldbody></mujoco>", JOINT_NAMES, scale, offset, ("tcp", "tip", "lower_arm"))
    return ArmSpec("so101_follower", tuple(joints), 50, body=body)


def test_the_tabletop_arm_never_dips_below_its_table() -> None:
    spec = so101()
    assert spec.body is not None
    made = SafetyFilter(spec, Safety(table=0.01, ramp_seconds=0), 50)
    model = mujoco.MjModel.from_xml_string(spec.body.mjcf)
    data = mujoco.MjData(model)
    rng, at = np.random.default_rng(3), np.zeros(6)
    made.start(at)
    low, high = spec.limits("lower"), spec.limits("upper")
    seen = set()
    for tick in range(700):
        if tick % 50 == 0:
            goal = rng.uniform(low, high)
        decision = made.decide(goal, at)
        at = decision.command
        seen |= {each.kind for each in decision.interventions}
        data.qpos[:] = np.array(spec.body.scale) * at + np.array(spec.body.offset)
        mujoco.mj_kinematics(model, data)
        heights = [data.site("tcp").xpos[2], data.site("tip").xpos[2], data.body("lower_arm").xpos[2]]
        assert min(heights) >= 0.01
    assert "table" in seen
