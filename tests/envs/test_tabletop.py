"""The table as an environment: Gymnasium's own checks, seeds, units, splits, bad input."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import envs  # noqa: F401
from envs.tabletop.arm import JOINT_NAMES, STATE_HIGH, STATE_LOW
from envs.tabletop.env import CAMERAS, SPLITS, TabletopEnv
from envs.tabletop.grammar import HELD_OUT_TEMPLATES
from envs.tabletop.language import parse
from envs.tabletop.tasks import HELD_OUT_PAIRS, SKILLS
from vla.errors import BadInput
from vla.interfaces import IMAGE_PREFIX, Observation


@pytest.fixture(scope="module")
def env():
    made = TabletopEnv(split="train")
    yield made
    made.close()


def test_gymnasium_finds_nothing_wrong():
    made = gym.make("vla/Tabletop-v0")
    check_env(made.unwrapped, skip_render_check=True)
    made.close()


def test_vectorizes():
    several = gym.make_vec("vla/Tabletop-v0", num_envs=2, vectorization_mode="sync")
    observation, _ = several.reset(seed=[1, 2])
    assert observation["observation.images.front"].shape == (2, 96, 96, 3)
    assert len(observation["task"]) == 2 and observation["task"][0] != ""
    state = observation["observation.state"]
    observation, *_ = several.step(state)
    assert np.abs(observation["observation.state"] - state).max() < 2.0
    several.close()


def test_same_seed_gives_same_scene_sentence_and_pixels(env):
    first, _ = env.reset(seed=11)
    again, _ = env.reset(seed=11)
    assert first["task"] == again["task"]
    for name in CAMERAS:
        assert np.array_equal(first[IMAGE_PREFIX + name], again[IMAGE_PREFIX + name])
    rng = np.random.default_rng(0)
    actions = rng.uniform(STATE_LOW, STATE_HIGH, (15, 6)).astype(np.float32)

    def play():
        env.reset(seed=11)
        return [env.step(action)[0] for action in actions][-1]

    one, two = play(), play()
    assert np.array_equal(one["observation.state"], two["observation.state"])
    assert np.array_equal(one["observation.images.wrist"], two["observation.images.wrist"])


def test_splits_draw_from_different_streams():
    drawn = {}
    for split in SPLITS:
        made = TabletopEnv(split=split, vocabulary="extended", skills=("touch",))
        drawn[split] = made.reset(seed=5)[0]["observation.images.front"].tobytes()
        made.close()
    assert len(set(drawn.values())) == len(SPLITS)


def test_observation_is_what_every_layer_expects(env):
    raw, _ = env.reset(seed=3)
    observation = Observation.from_dict(raw)
    assert observation.state.dtype == np.float32 and observation.state.shape == (len(JOINT_NAMES),)
    assert env.observation_space.contains(raw)


def test_held_out_pairs_never_appear_in_demonstrations(env):
    seen = set()
    for seed in range(150):
        scene, _ = env._draw(np.random.default_rng([0, seed]), {})
        seen |= {(p.thing.kind, p.thing.color) for p in scene.objects}
    assert not seen & HELD_OUT_PAIRS
    assert len(seen) == 26  # every other pair does


def test_held_out_objects_are_asked_for_in_their_split():
    made = TabletopEnv(split="held_out_objects")
    for seed in range(20):
        scene, _ = made._draw(np.random.default_rng([4, seed]), {})
        assert (scene.task.target.kind, scene.task.target.color) in HELD_OUT_PAIRS


def test_held_out_templates_are_spoken_only_in_their_split(env):
    assert set(HELD_OUT_TEMPLATES) == set(SKILLS)
    held_out = TabletopEnv(split="held_out_sentences")
    for seed in range(10):
        for made, code in ((env, 0), (held_out, 3)):
            scene, sentence = made._draw(np.random.default_rng([code, seed]), {})
            assert parse(sentence) == scene.task


def test_swap_keeps_the_table_and_changes_the_target():
    env = TabletopEnv(split="seen", skills=("touch", "lift", "put_into"))
    for seed in range(12):
        before, _ = env.reset(seed=seed)
        scene = env.scene
        after, _ = env.reset(seed=seed, options={"swap": True})
        assert env.scene.objects == scene.objects and env.scene.fixtures == scene.fixtures
        assert env.scene.task.target != scene.task.target and env.scene.task.skill == scene.task.skill
        assert np.array_equal(before["observation.images.front"], after["observation.images.front"])
        assert before["task"] != after["task"]
    env.close()


def test_a_sentence_builds_its_table(env):
    env.reset(seed=0, options={"sentence": "put the red cube in the blue bowl"})
    names = {str(p.thing) for p in (*env.scene.objects, *env.scene.fixtures)}
    assert {"red cube", "blue bowl"} <= names


def test_the_arm_follows_its_targets_and_stays_in_its_limits(env):
    env.reset(seed=2)
    target = np.array([20, -30, 20, 60, 60, 50], dtype=np.float32)
    for _ in range(25):
        observation, *_ = env.step(target)
    assert np.abs(observation["observation.state"] - target).max() < 1.5
    for _ in range(20):
        observation, *_ = env.step(np.full(6, 1e4, dtype=np.float32))
    assert np.all(observation["observation.state"] <= STATE_HIGH + 10)


def test_servo_is_no_faster_than_the_real_one(env):
    env.reset(seed=2)
    before = env.sim.state.copy()
    env.step(np.array([110, *before[1:]], dtype=np.float32))
    assert env.sim.state[0] - before[0] < 270 / 20 + 1


def test_visual_randomization_changes_pixels_alone():
    plain, varied = TabletopEnv(split="train"), TabletopEnv(split="train", visual_randomization=True)
    one, two = plain.reset(seed=3)[0], varied.reset(seed=3)[0]
    assert plain.scene.objects == varied.scene.objects and plain.scene.task == varied.scene.task
    assert one["task"] == two["task"]
    assert not np.array_equal(one["observation.images.front"], two["observation.images.front"])
    plain.close(), varied.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "sen"}, "did you mean 'seen'"),
        ({"skills": ("tuch",)}, "did you mean 'touch'"),
        ({"skills": ()}, "skills is empty"),
        ({"image_size": 4}, "out of range"),
        ({"arm_model": "mesh"}, "did you mean 'meshed'"),
        ({"sentence": ""}, "empty"),
        ({"sentence": "put the red cube in the blue bucket"}, "bucket"),
    ],
)
def test_bad_options_say_what_would_be_right(options, message):
    with pytest.raises(BadInput, match=message):
        TabletopEnv(**options)


@pytest.mark.parametrize(
    "sentence", ["stack the red cube on the blue ball", "push the blue ball onto the red zone"]
)
def test_what_this_table_cannot_do_is_said(env, sentence):
    with pytest.raises(BadInput, match="ball: it rolls off; name a cube, cylinder, brick"):
        env.reset(seed=0, options={"sentence": sentence})


def test_bad_action_is_refused(env):
    env.reset(seed=1)
    with pytest.raises(BadInput, match="finite"):
        env.step(np.array([0, 0, np.nan, 0, 0, 0], dtype=np.float32))


def test_meshed_arm_moves_the_same():
    pytest.importorskip("so101_nexus")
    states = []
    for model in ("primitive", "meshed"):
        made = TabletopEnv(split="train", arm_model=model, image_size=32)
        made.reset(seed=4)
        expert = made.expert()
        for _ in range(8):
            made.step(expert.act())
        states.append(made.sim.state)
        made.close()
    assert np.array_equal(*states)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"image_size": "x"}, "image_size=x"),
        ({"max_steps": 0}, "max_steps=0"),
        ({"skills": "touch"}, "skills must be a list"),
        ({"task": "touch"}, "task must be a Task"),
    ],
)
def test_wrong_types_are_named(options: dict[str, object], line: str) -> None:
    with pytest.raises(BadInput, match=line):
        gym.make("vla/Tabletop-v0", **options)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"swp": 1}, "did you mean 'swap'"),
        ({"task": "x"}, "must be a Task"),
        ({"scene": 3}, "must be a Scene"),
    ],
)
def test_wrong_reset_options_are_named(options: dict[str, object], line: str) -> None:
    env = gym.make("vla/Tabletop-v0", image_size=16)
    with pytest.raises(BadInput, match=line):
        env.reset(seed=0, options=options)
    env.close()
