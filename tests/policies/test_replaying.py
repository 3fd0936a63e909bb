"""Replaying recorded frames: what a policy is shown, and what is said of one that is wrong on purpose."""

import copy
import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "vla" / "data"))

from synthetic_episodes import features

from policies.expert import ExpertPolicy
from policies.random import RandomPolicy
from policies.runtime import replay as logic
from policies.runtime.replay.fitted import Fitted, best_order
from policies.runtime.replay.grippers import undecided
from vla.data.batches import ChunkData, Source
from vla.data.episodes import EpisodeDataset
from vla.data.lerobot_writer import EpisodeWriter
from vla.errors import BadInput
from vla.interfaces import ActionChunk, Observation

Rows = npt.NDArray[np.float32]
LENGTHS = [30, 45, 20, 38, 26, 33, 41, 29, 35, 24]
HORIZON = 6


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ChunkData:
    """Every joint wanders on its own, the gripper opens and closes; each picture tells its frame."""
    writer = EpisodeWriter(tmp_path_factory.mktemp("replay") / "data", fps=20, features=features())
    rng, frame = np.random.default_rng(0), 0
    for episode, length in enumerate(LENGTHS):
        time = np.arange(length + 1)[:, None]
        wave = np.sin(time * rng.uniform(0.1, 0.3, 5) + rng.uniform(0, 6, 5)) * rng.uniform(15, 40, 5)
        path = wave + np.array([0, -20, 30, 60, 90])
        gripper = np.where(np.sin(time * 0.25 + rng.uniform(0, 6)) > 0, 36.0, 2.0)
        motion = np.concatenate([path, gripper], axis=1).astype(np.float32)
        state = motion[:-1].copy()
        state[:, 5] += rng.normal(0, 4, length)
        pictures = {"front": [], "wrist": []}
        for step in range(length):
            number = frame + step
            for camera, mark in (("front", 1), ("wrist", 2)):
                picture = np.full((16, 16, 3), mark, np.uint8)
                picture[0, 0] = number // 256, number % 256, mark
                pictures[camera].append(picture)
        frames = {
            "observation.images.front": pictures["front"],
            "observation.images.wrist": pictures["wrist"],
            "observation.state": list(state),
            "action": list(motion[1:]),
            "subtask": ["reach"] * length,
            "annotation.points": list(np.zeros((length, 12), np.float32)),
            "annotation.valid": [int((episode, step) != (1, 7)) for step in range(length)],
        }
        writer.write_episode(episode, frames, f"lift object {episode}", {"skill": "lift"})
        frame += length
    writer.finalize()
    return ChunkData([Source(EpisodeDataset(writer.root))], HORIZON)


def shown(picture: npt.NDArray[np.uint8]) -> int:
    """The frame that a picture is of."""
    return int(picture[0, 0, 0]) * 256 + int(picture[0, 0, 1])


class Oracle:
    """Knows the recording by the front camera's picture; `change` spoils what it says."""

    name, horizon = "oracle", HORIZON

    def __init__(self, data: ChunkData, change: Callable[[Rows, Rows], Rows] = lambda a, s: a) -> None:
        self.data, self.change = data, change
        self.asked: list[tuple[int, int]] = []
        self.rng = np.random.default_rng(0)

    def reset(self, count: int) -> None:
        self.count = count

    def act(self, observations: Sequence[Observation], which: Sequence[int]) -> list[ActionChunk]:
        return [self.answer(*pair) for pair in zip(observations, which, strict=True)]

    def answer(self, observation: Observation, which: int) -> ActionChunk:
        frame = shown(observation.images["front"])
        self.asked.append((frame, which))
        np.testing.assert_array_equal(observation.state, self.data.state[frame])
        assert observation.task == self.data.tasks[self.data.task_index[frame]]
        assert observation.frame_index == frame - self.data.start[frame]
        actions = self.data.gather(np.array([frame]))["actions"][0]
        noisy = actions + self.rng.normal(0, 0.5, actions.shape).astype(np.float32)
        return ActionChunk(self.change(noisy.copy(), observation.state))


class Rememberer(Oracle):
    """Looks back, and draws random numbers."""

    watching = True

    def __init__(self, data: ChunkData) -> None:
        super().__init__(data)
        self.seen: dict[int, list[int]] = {}
        self.seeds: dict[int, int] = {}

    def begin(self, which: int, seed: int) -> None:
        self.seeds[which] = seed

    def forget(self, which: int) -> None:
        self.seen[which] = []

    def observe(self, observations: Sequence[Observation], which: Sequence[int]) -> None:
        for observation, slot in zip(observations, which, strict=True):
            self.seen[slot].append(shown(observation.images["wrist"]))

    def answer(self, observation: Observation, which: int) -> ActionChunk:
        frame = shown(observation.images["front"])
        assert self.seen[which] == list(range(self.data.start[frame], frame + 1))
        return super().answer(observation, which)


def run(
    data: ChunkData, policy: Any, frames: int = 150, gripper: int | None = None, **options: Any
) -> tuple[logic.Replayed, logic.Measures, list[logic.Verdict]]:
    setting = logic.check_setting(policy, data.sources[0].dataset, gripper)
    draws = logic.draw_frames(data, frames, 0, 2)
    found = logic.replay(policy, data, draws, setting, **options)
    measures = logic.measure(found, data.actions[data.valid], setting.grippers)
    assert measures is not None
    return found, measures, logic.judge(setting, found, measures, [])


def test_frames_are_drawn_by_the_seed(data: ChunkData) -> None:
    one, again, other = (logic.draw_frames(data, 100, seed, 2) for seed in (0, 0, 1))
    frames = [np.concatenate([draw.frames for draw in draws]) for draws in (one, again, other)]
    np.testing.assert_array_equal(frames[0], frames[1])
    assert not np.array_equal(frames[0], frames[2])
    assert len(frames[0]) == len(np.unique(frames[0])) == 100 and data.valid[frames[0]].all()
    assert sum(len(draw.frames) == 8 for draw in one) >= 5
    for draw in one:
        assert (data.start[draw.frames] == draw.start).all() and (np.diff(draw.frames) > 0).all()
    everything = logic.draw_frames(data, 10_000, 0, len(LENGTHS))
    assert sum(len(draw.frames) for draw in everything) == data.valid.sum()


@pytest.mark.parametrize("side_by_side", [1, 3, 8])
def test_a_policy_sees_what_was_recorded(data: ChunkData, side_by_side: int) -> None:
    policy, progress = Oracle(data), []
    found, measures, verdicts = run(data, policy, side_by_side=side_by_side, progress=progress.append)
    assert sorted(frame for frame, _ in policy.asked) == sorted(found.frames.tolist())
    assert {which for _, which in policy.asked} <= set(range(side_by_side)) and sum(progress) == len(
        found.frames
    )
    assert not verdicts and logic.skill(measures) < 0.1
    # Steps past the end of the episode, or from the invalid frame on, are compared with nothing.
    steps = found.frames[:, None] + np.arange(HORIZON)
    np.testing.assert_array_equal(found.real, steps < data.stop[found.frames, None])
    assert not found.real.all()
    inside = np.abs(found.predicted - data.actions[np.minimum(steps, len(data.actions) - 1)])[found.real]
    np.testing.assert_allclose(inside.mean(0), measures.error, rtol=1e-5)


def test_a_policy_that_looks_back_is_shown_each_step_and_each_episode_has_its_seed(data: ChunkData) -> None:
    seeds = []
    for _ in range(2):
        policy = Rememberer(data)
        found, _, verdicts = run(data, policy, side_by_side=4)
        assert len(policy.asked) == len(found.frames) and not verdicts
        seeds.append(policy.seeds)
    assert seeds[0] == seeds[1] and len(set(seeds[0].values())) == 4


def reverse_gripper(a: Rows, s: Rows) -> Rows:
    a[:, 5] = 38 - a[:, 5]
    return a


def turn_round(a: Rows, s: Rows) -> Rows:
    a[:, 2] = 2 * s[2] - a[:, 2]
    return a


def shift(a: Rows, s: Rows) -> Rows:
    a[:, 1] += 35
    return a


def freeze(a: Rows, s: Rows) -> Rows:
    a[:, 3] = 60.0
    return a


SABOTAGE: dict[str, tuple[Callable[[Rows, Rows], Rows], str, tuple[int, ...], str]] = {
    "half": (lambda a, s: 0.5 * a, "scale", (0, 1, 2, 3, 4, 5), "0.50 times as large"),
    "radians": (lambda a, s: np.deg2rad(a), "scale", (0, 1, 2, 3, 4, 5), "degrees against radians"),
    "motion": (lambda a, s: s + 2 * (a - s), "scale", (0, 1, 2, 3, 4, 5), "as large"),
    "gripper": (reverse_gripper, "gripper", (5,), "the gripper (gripper) is inverted"),
    "exchanged": (
        lambda a, s: a[:, [1, 0, 2, 3, 4, 5]],
        "permuted",
        (0, 1),
        "shoulder_pan follows the recorded",
    ),
    "turned": (
        lambda a, s: a[:, [2, 0, 1, 3, 4, 5]],
        "permuted",
        (0, 1, 2),
        "follows the recorded elbow_flex",
    ),
    "sign": (turn_round, "sign", (2,), "elbow_flex"),
    "shifted": (shift, "offset", (1,), "shoulder_lift by +3"),
    "frozen": (freeze, "constant", (3,), "always the same"),
}


@pytest.mark.parametrize("how", SABOTAGE)
def test_sabotage_is_named(data: ChunkData, how: str) -> None:
    change, kind, dimensions, words = SABOTAGE[how]
    _, _, verdicts = run(data, Oracle(data, change))
    [verdict] = [one for one in verdicts if one.kind == kind]
    assert verdict.dimensions == dimensions and words in verdict.text
    assert "\n" not in verdict.text
    if how in ("gripper", "sign", "shifted", "frozen", "exchanged", "turned"):
        assert len(verdicts) == 1  # what is explained once is not complained of again


def test_the_gripper_may_be_told_by_its_number(data: ChunkData) -> None:
    """Then dimension 3 turned round is an inverted gripper."""

    def change(a: Rows, s: Rows) -> Rows:
        a[:, 3] = 120 - a[:, 3]
        return a

    _, measures, verdicts = run(data, Oracle(data, change), gripper=3)
    assert [(one.kind, one.dimensions) for one in verdicts] == [("gripper", (3,))]
    assert measures.targets.tolist() == [True, True, True, False, True, False] or not measures.targets[3]


def _with_gripper(data: ChunkData, recorded: Callable[[Rows], Rows]) -> ChunkData:
    """The same recording with another gripper's command."""
    other, actions = copy.copy(data), data.actions.copy()
    actions[:, 5] = recorded(actions[:, 5])
    other.actions = actions
    return other


def test_a_gripper_that_is_constant_in_the_data_leaves_its_polarity_open(data: ChunkData) -> None:
    """No warning and no verdict on it, but a line that says so, and what would show it."""
    still = _with_gripper(data, lambda column: np.full_like(column, 2.0))

    def shut(a: Rows, s: Rows) -> Rows:
        a[:, 5] = 2.0005  # a constant comes back with rounding
        return a

    policy = Oracle(still, shut)
    found, measures, verdicts = run(still, policy)
    setting = logic.check_setting(policy, still.sources[0].dataset)
    assert verdicts == []
    text, plain = (make(setting, found, measures, [], verdicts) for make in (logic.report, logic.as_json))
    line = "The gripper is always 2 in the data: whether it is inverted cannot be told; replay an episode"
    assert line in text and "OK: nothing looks wrong." in text and plain["undecided"][0].startswith(line)


def test_predictions_that_move_beside_a_constant_gripper(data: ChunkData) -> None:
    still = _with_gripper(data, lambda column: np.full_like(column, 2.0))

    def open_and_close(a: Rows, s: Rows) -> Rows:
        a[::2, 5] = 36.0
        return a

    [verdict] = run(still, Oracle(still, open_and_close))[2]
    assert verdict.kind == "outside" and verdict.dimensions == (5,)
    assert "always 2 in the data" in verdict.text and "whether it is inverted cannot be told" in verdict.text


def test_a_gripper_that_the_policy_never_moves(data: ChunkData) -> None:
    def shut(a: Rows, s: Rows) -> Rows:
        a[:, 5] = 12.0
        return a

    [verdict] = run(data, Oracle(data, shut))[2]
    assert verdict.kind == "constant" and verdict.dimensions == (5,)
    for words in ("the gripper (gripper) is always 12", "opens and closes in the data", "cannot be told"):
        assert words in verdict.text


def test_what_is_undecided_of_a_gripper(data: ChunkData) -> None:
    setting = logic.check_setting(Oracle(data), data.sources[0].dataset)
    _, measures, _ = run(data, Oracle(data))
    assert undecided(setting, measures) == []
    _, inverted, _ = run(data, Oracle(data, reverse_gripper))
    assert undecided(setting, inverted) == []  # a verdict tells it
    [none] = undecided(dataclasses.replace(setting, grippers=()), measures)
    assert "gripper=NUMBER" in none
    rng = np.random.default_rng(0)

    def anyhow(a: Rows, s: Rows) -> Rows:
        a[:, 5] = rng.uniform(2, 36, len(a))
        return a

    [line] = undecided(setting, run(data, Oracle(data, anyhow))[1])
    assert "neither follows the recorded one nor goes against it" in line
    still = dataclasses.replace(measures, still=np.zeros(6))
    [line] = undecided(setting, still)
    assert "hardly moves in the replayed frames (2 to 36 in all the data)" in line


def test_who_stands_still_or_moves_at_random_has_learned_nothing(data: ChunkData) -> None:
    still = Oracle(data, lambda a, s: np.repeat(s[None], HORIZON, 0))
    assert "useless" in [one.kind for one in run(data, still)[2]]
    _, measures, verdicts = run(data, RandomPolicy())
    assert logic.skill(measures) > 0.9 and "useless" in [one.kind for one in verdicts]


def test_no_plan_is_told_and_compared_with_nothing(data: ChunkData) -> None:
    class Holding(Oracle):
        def answer(self, observation: Observation, which: int) -> ActionChunk:
            chunk = super().answer(observation, which)
            odd = observation.frame_index is not None and observation.frame_index % 2
            return ActionChunk.holding("no sense", observation, 6) if odd else chunk

    found, measures, verdicts = run(data, Holding(data))
    assert [one.kind for one in verdicts] == ["hold"] and "no sense" in verdicts[0].text
    assert np.isfinite(measures.error).all() and not found.real[np.isnan(found.predicted[:, 0, 0])].any()
    never = dataclasses.replace(found, real=np.zeros_like(found.real))
    setting = logic.check_setting(RandomPolicy(), data.sources[0].dataset)
    assert logic.measure(never, data.actions) is None
    text = logic.report(setting, never, None, [], logic.judge(setting, never, None, []))
    assert "WARNING hold" in text


def test_exchanged_cameras_are_found_by_trying(data: ChunkData) -> None:
    class Looker(Oracle):
        """Knows the recording only if the front camera's picture is the front camera's."""

        def answer(self, observation: Observation, which: int) -> ActionChunk:
            chunk = super().answer(observation, which)
            right = observation.images["front"][0, 0, 2] == self.mark
            return chunk if right else ActionChunk(np.repeat(observation.state[None], HORIZON, 0))

    scores = {}
    for mark in (1, 2):
        Looker.mark = mark  # type: ignore[attr-defined]
        for swap in (None, ("front", "wrist")):
            _, measures, _ = run(data, Looker(data), 40, swap=swap)
            scores[mark, swap is not None] = logic.skill(measures)
    assert logic.judge_swap(("front", "wrist"), scores[1, False], scores[1, True]) == []
    [verdict] = logic.judge_swap(("front", "wrist"), scores[2, False], scores[2, True])
    assert verdict.kind == "cameras" and "'front' and 'wrist' look exchanged" in verdict.text


def test_the_order_of_joints_is_told_by_their_ranges() -> None:
    mine = np.array([[-100.0, 100.0], [0.0, 30.0], [50.0, 90.0]])
    nothing = np.zeros(3)
    found = Fitted("state", nothing, nothing, np.zeros(3, bool), mine, mine[[2, 0, 1]] + 1.0)
    order, gain = best_order(found)
    assert order.tolist() == [1, 2, 0] and gain > 10
    assert best_order(dataclasses.replace(found, data=mine))[1] == 1.0


def test_what_cannot_be_compared_is_one_line(data: ChunkData) -> None:
    dataset = data.sources[0].dataset
    with pytest.raises(BadInput, match="acts on a simulated scene"):
        logic.check_setting(ExpertPolicy(), dataset)
    with pytest.raises(BadInput, match=r"gripper=6: the data's action has 6 numbers, 0 to 5"):
        logic.check_setting(RandomPolicy(), dataset, 6)

    class Short(Oracle):
        def answer(self, observation: Observation, which: int) -> ActionChunk:
            return ActionChunk(super().answer(observation, which).actions[:, :4])

    with pytest.raises(BadInput, match=r"answers with chunks \[6, 4\], the data's action needs \[6, 6\]"):
        run(data, Short(data))


def test_tables_and_plot(data: ChunkData, tmp_path: Path) -> None:
    policy = Oracle(data)
    setting = logic.check_setting(policy, data.sources[0].dataset)
    draws = logic.draw_frames(data, 120, 0, 2)
    found = logic.replay(policy, data, draws, setting)
    measures = logic.measure(found, data.actions, setting.grippers)
    text = logic.report(setting, found, measures, [], [])
    assert "OK: nothing looks wrong." in text and "Not judged" in text and "| shoulder_pan |" in text
    plain = logic.as_json(setting, found, measures, [], [])
    assert plain["verdict"] == "ok" and len(plain["measures"]["error"]) == 6
    path = logic.replay_plot(found, draws, setting.names, 20, tmp_path / "x.png")
    assert path.read_bytes()[:4] == b"\x89PNG" and list(tmp_path.iterdir()) == [path]
