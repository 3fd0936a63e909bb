"""The twin that gives an arm pictures, and the bodies that it draws: no simulator is needed."""

import threading
import time

import mujoco
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from peers import until

from envs.arms.body_fr3 import fr3_body
from envs.arms.body_wxai import wxai_body
from envs.arms.simulators import simulator
from envs.arms.twin import Twin, TwinCameras, posable, pose
from vla.arm import ArmFault, Body
from vla.errors import BadInput

BODIES = {"fr3": fr3_body(), "wxai": wxai_body()}
REST = {
    "fr3": np.array([0, 0, 0, -np.pi / 2, 0, np.pi / 2, np.pi / 4, 0.04]),
    "wxai": np.array([0, 0.6, 0.6, 0, 0, 0, 0.02]),
}


def _place(body: Body, positions: np.ndarray, name: str) -> np.ndarray:
    model, data = posable(body)
    pose(model, data, body, positions)
    return np.array(data.site(name).xpos)


def test_known_places_of_the_tools() -> None:
    # The pose in which libfranka's examples begin, and where Franka says that its tool is then.
    ready = np.array([0, -np.pi / 4, 0, -3 * np.pi / 4, 0, np.pi / 2, np.pi / 4, 0.0])
    np.testing.assert_allclose(_place(BODIES["fr3"], ready, "tool"), [0.3069, 0, 0.4869], atol=1e-3)
    np.testing.assert_allclose(_place(BODIES["wxai"], np.zeros(7), "tool"), [0.2537, 0, 0.1635], atol=1e-3)


@pytest.mark.parametrize("name", BODIES)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_first_joint_turns_the_tool_about_the_base(name: str, seed: int) -> None:
    body, random = BODIES[name], np.random.default_rng(seed)
    positions = REST[name] + random.uniform(-0.3, 0.3, len(REST[name])) * (np.arange(len(REST[name])) < 6)
    before = _place(body, positions, "tool")
    angle = random.uniform(-1, 1)
    positions[0] += angle
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    np.testing.assert_allclose(_place(body, positions, "tool"), turn @ before, atol=1e-9)


@pytest.mark.parametrize("name", BODIES)
def test_bodies_name_what_there_is_and_do_not_collide_at_rest(name: str) -> None:
    body = BODIES[name]
    model, data = posable(body)
    for joint in filter(None, body.joints):
        model.joint(joint)
    pose(model, data, body, REST[name])
    mujoco.mj_collision(model, data)
    apart = [(model.geom(c.geom1).name, model.geom(c.geom2).name) for c in data.contact if c.dist < -1e-3]
    ours = [pair for pair in apart if not all("finger" in geom or geom == "palm" for geom in pair)]
    assert not ours


@pytest.mark.parametrize("name", BODIES)
def test_both_fingers_open_together(name: str) -> None:
    body = BODIES[name]
    model, data = posable(body)
    parts = ("left_finger", "right_finger") if name == "fr3" else ("carriage_left", "carriage_right")
    gaps = []
    for width in (0.0, 0.03):
        positions = REST[name].copy()
        positions[-1] = width
        pose(model, data, body, positions)
        gaps.append(np.linalg.norm(data.body(parts[0]).xpos - data.body(parts[1]).xpos))
    assert gaps[1] - gaps[0] == pytest.approx(0.03 if name == "fr3" else 0.06, abs=1e-6)


@pytest.mark.parametrize("name", BODIES)
def test_pictures_follow_and_carry_the_time_of_what_they_show(name: str) -> None:
    twin = TwinCameras(Twin(height=40, width=56, hz=100), BODIES[name])
    assert twin.pictures() == {}
    twin.start(REST[name])
    try:
        first = twin.pictures()
        assert set(first) == set(twin.sizes) == {"front", "wrist"}
        assert all(picture.pixels.shape == (40, 56, 3) for picture in first.values())
        time.sleep(0.2)
        assert twin.pictures()["front"].time == first["front"].time, "nothing new was said"
        moved, said = REST[name].copy(), time.monotonic()
        moved[0] += 0.8
        twin.follow(moved)
        assert until(lambda: twin.pictures()["front"].time >= said)
        for camera in first:
            changed = (twin.pictures()[camera].pixels != first[camera].pixels).mean()
            assert changed > 0.02, camera
    finally:
        twin.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "twin"]


def test_asking_for_pictures_never_waits() -> None:
    twin = TwinCameras(Twin(height=512, width=512, hz=100), BODIES["wxai"])
    twin.start(REST["wxai"])
    try:
        took = []
        for _ in range(200):
            twin.follow(REST["wxai"])
            began = time.perf_counter()
            twin.pictures()
            took.append(time.perf_counter() - began)
        assert np.median(took) < 1e-3
    finally:
        twin.close()


def test_a_twin_that_cannot_draw_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise BadInput("MuJoCo cannot draw off screen\nand more")

    monkeypatch.setattr("envs.tabletop.camera.Camera.__init__", refuse)
    twin = TwinCameras(Twin(), BODIES["wxai"])
    with pytest.raises(ArmFault, match=r"cannot draw: MuJoCo cannot draw off screen$"):
        twin.start(REST["wxai"])


@pytest.mark.parametrize("bad", [{"height": 4}, {"hz": 0}, {"front": (0.3, 0.0, 1.0)}])
def test_cameras_that_cannot_be(bad: dict[str, object]) -> None:
    with pytest.raises(BadInput, match="cameras"):
        Twin(**bad)  # type: ignore[arg-type]


def test_simulators_that_cannot_be_started() -> None:
    with pytest.raises(BadInput, match="did you mean 'trossen'"), simulator("trosen"):
        pass
