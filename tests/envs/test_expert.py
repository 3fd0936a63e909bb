"""The demonstrator and the judge, in the real physics."""

import mujoco
import numpy as np
import pytest

from envs.tabletop.arm import from_radians, to_radians
from envs.tabletop.env import TabletopEnv
from envs.tabletop.expert import SUBTASKS, Noise
from envs.tabletop.kinematics import ArmKinematics
from envs.tabletop.scene import HOME, PAN_AXIS
from envs.tabletop.tasks import SKILLS


def play(env: TabletopEnv, seed: int, noise: Noise | None = None, **options) -> dict:
    env.reset(seed=seed, options=options)
    expert = env.expert()
    while True:
        action = expert.act()
        _, _, terminated, truncated, info = env.step(noise(action) if noise else action)
        assert expert.subtask in SUBTASKS
        if terminated or truncated:
            return info


@pytest.fixture(scope="module")
def env():
    made = TabletopEnv(split="validation", image_size=8)
    yield made
    made.close()


@pytest.mark.parametrize("skill", SKILLS)
def test_expert_masters_every_skill(skill):
    env = TabletopEnv(split="validation", skills=(skill,), image_size=8)
    outcomes = [play(env, seed)["outcome"] for seed in range(8)]
    env.close()
    assert outcomes.count("success") >= 7, outcomes


def test_expert_recovers_from_noise(env):
    noise = Noise(np.random.default_rng(0), 1.5)
    outcomes = [play(env, seed, noise)["outcome"] for seed in range(100, 114)]
    assert outcomes.count("success") >= 12, outcomes


def test_moving_the_wrong_thing_is_a_failure_with_its_own_name():
    """The expert of the swapped task acts in the unswapped episode: it lifts what nobody asked for."""
    asked = TabletopEnv(split="validation", skills=("lift",), image_size=8)
    other = TabletopEnv(split="validation", skills=("lift",), image_size=8)
    for seed in range(3):
        asked.reset(seed=seed)
        other.reset(seed=seed, options={"swap": True})
        for _ in range(100):
            action = other.expert().act()
            _, _, done, _, info = asked.step(action)
            other.step(action)
            if done:
                break
        assert info["outcome"] == "wrong_object" and not info["success"]
        assert str(other.scene.task.target) in info["moved"]
    asked.close(), other.close()


def test_doing_nothing_is_a_timeout(env):
    env.reset(seed=0)
    while True:
        _, reward, terminated, truncated, info = env.step(env.sim.state)
        if terminated or truncated:
            break
    assert truncated and info["outcome"] == "timeout" and reward == 0.0


def test_inverse_kinematics_reaches_all_over_the_table():
    kinematics = ArmKinematics("tcp")
    for radius in np.linspace(0.15, 0.3, 6):
        for angle in np.linspace(-0.8, 0.8, 5):
            for height in (0.017, 0.06):
                goal = np.array([PAN_AXIS[0] + radius * np.cos(angle), radius * np.sin(angle), height])
                tilt = float(np.clip(0.1 + 3 * (radius - 0.15) + 3 * (height - 0.03), 0.05, 0.55))
                angles = kinematics.solve(to_radians(HOME), goal, tilt, np.pi / 2, iterations=30)
                kinematics._data.qpos[:5] = angles
                mujoco.mj_kinematics(kinematics._model, kinematics._data)
                reached = kinematics._data.site("tcp").xpos
                assert np.linalg.norm(reached - goal) < 1e-3


def test_units_round_trip():
    rng = np.random.default_rng(0)
    for _ in range(20):
        command = np.append(rng.uniform(-90, 90, 5), rng.uniform(0, 100))
        assert np.allclose(from_radians(to_radians(command)), command)


def test_hints_point_at_the_target(env):
    """The projected point lies on a pixel of the target's colour in the front picture."""
    seen = TabletopEnv(split="validation", skills=("touch",), image_size=256)
    hits = 0
    for seed in range(6):
        observation, _ = seen.reset(seed=seed)
        x, y, visible = seen.expert().hints()["annotation.points"][0]
        pixel = observation["observation.images.front"][int(y * 256), int(x * 256)].astype(float)
        table = observation["observation.images.front"][250, 5].astype(float)
        hits += bool(visible and np.abs(pixel - table).max() > 30)
    seen.close()
    assert hits >= 5
