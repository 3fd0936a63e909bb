"""Datasets of one robot in other units, or with deltas beside absolute actions, are refused; others never."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_episodes import JOINTS

from vla.data.batches import ChunkData, Source
from vla.data.episodes import EpisodeDataset
from vla.data.inspection import inspect_robot
from vla.data.lerobot_writer import EpisodeWriter
from vla.data.meaning import check_same_meaning
from vla.data.motion import LEAST_ROWS, Motion, look_at_motion, motion_of
from vla.data.motion_check import check_same_motion
from vla.errors import BadInput

FPS = 20
Floats = npt.NDArray[np.float64]
Change = Callable[[Floats, Floats], tuple[Floats, Floats]]

HOME = np.array([10.0, -60.0, 70.0, 40.0, 90.0, 5.0])
REACH = np.array([45.0, 40.0, 35.0, 25.0, 30.0, 15.0])
"""Degrees: about where a small arm's joints are, and how far they go from there."""

UNITS: dict[str, Change] = {
    "radians": lambda s, a: (s / 57.3, a / 57.3),
    "actions in radians": lambda s, a: (s, a / 57.3),
    "states in radians": lambda s, a: (s / 57.3, a),
    "per cent of a range": lambda s, a: (s / 100, a / 100),
    "thousandths": lambda s, a: (s * 1000, a * 1000),
    "all but the gripper": lambda s, a: (s / _UNITS, a / _UNITS),
}
STEPS: dict[str, Change] = {
    "from the state": lambda s, a: (s, a - s),
    "rates": lambda s, a: (s, FPS * (a - s)),
    "normalised": lambda s, a: (s, (a - s) / 10),
    "in radians": lambda s, a: (s / 57.3, (a - s) / 57.3),
}
_UNITS = np.array([57.3] * 5 + [1.0])


def arm(
    seed: int, episodes: int = 8, at: Floats = HOME, reach: Floats = REACH
) -> list[tuple[Floats, Floats]]:
    """Episodes of (state, action) [N, 6] in degrees: an arm that lags its absolute targets, which go from one
    random place to the next."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(episodes):
        frames = int(rng.integers(30, 70))
        knots = at + reach * rng.uniform(-1, 1, (frames // 12 + 2, 6))
        time = np.linspace(0, len(knots) - 1, frames)
        action = np.stack([np.interp(time, range(len(knots)), joint) for joint in knots.T], axis=1)
        state = action.copy()
        for now in range(1, frames):
            state[now] = state[now - 1] + 0.4 * (action[now - 1] - state[now - 1])
        found.append((state + rng.normal(0, 0.05, state.shape), action))
    return found


def seen(episodes: list[tuple[Floats, Floats]], change: Change = lambda s, a: (s, a)) -> Motion:
    parts = [change(*each) for each in episodes]
    lengths = [len(state) for state, _ in parts]
    place = np.stack([np.repeat(np.arange(len(parts)), lengths), np.arange(sum(lengths))], axis=1)
    state, action = (np.concatenate([part[i] for part in parts]) for i in range(2))
    found = motion_of(state, action, place, FPS, [(i, i) for i in range(6)])
    assert found is not None
    return found


def compare(first: Motion, second: Motion) -> None:
    """In both orders."""
    check_same_motion(Path("second"), second, Path("first"), first)
    check_same_motion(Path("first"), first, Path("second"), second)


seeds = st.integers(0, 10_000)


@settings(max_examples=12, deadline=None)
@given(seeds, st.lists(st.integers(0, 39), min_size=2, max_size=20, unique=True), st.integers(2, 39))
def test_any_episodes_of_one_dataset_go_together(seed: int, chosen: list[int], cut: int) -> None:
    every = arm(seed, 40)
    compare(seen([every[i] for i in chosen]), seen(every))
    compare(seen(every[:cut]), seen(every[-cut:]))
    for change in STEPS.values():
        compare(seen([every[i] for i in chosen], change), seen(every, change))


@settings(max_examples=40, deadline=None)
@given(seeds, st.floats(0.2, 1), st.sampled_from(range(6)), st.floats(-80, 80))
def test_other_tasks_of_one_robot_go_together(seed: int, share: float, still: int, shift: float) -> None:
    """A smaller part of the workspace, another place, a joint that never moves in one of them."""
    rng = np.random.default_rng(seed)
    reach = REACH * rng.uniform(share, 1, 6)
    reach[still] = 0.0
    other = seen(arm(seed + 1, at=HOME + shift * rng.uniform(-1, 1, 6), reach=reach))
    compare(seen(arm(seed)), other)


@pytest.mark.parametrize("moving", [1, 2, 3])
def test_an_arm_that_holds_most_joints_goes_with_one_that_moves_all(moving: int) -> None:
    reach = REACH * (np.arange(6) < moving)
    compare(seen(arm(0)), seen(arm(1, reach=reach)))


@settings(max_examples=10, deadline=None)
@given(seeds, st.sampled_from(sorted(UNITS)), st.floats(0.4, 1), st.integers(3, 30))
def test_other_units_are_always_refused(seed: int, unit: str, share: float, episodes: int) -> None:
    """Also where the task, too, is another one."""
    other = arm(seed + 1, episodes, at=HOME * 0.9, reach=share * REACH)
    with pytest.raises(
        BadInput, match=r"(?s)^[^\n]*(first|second) and (first|second) are of one robot.*units"
    ):
        compare(seen(arm(seed)), seen(other, UNITS[unit]))


@settings(max_examples=20, deadline=None)
@given(seeds, st.sampled_from(sorted(STEPS)), st.integers(5, 30))
def test_deltas_beside_absolute_actions_are_always_refused(seed: int, kind: str, episodes: int) -> None:
    assert seen(arm(seed)).relation == "absolute"
    deltas = seen(arm(seed + 1, episodes), STEPS[kind])
    assert deltas.relation == "delta"
    with pytest.raises(BadInput, match=r"^first and second are .*absolute.*delta.*convert one.*robot_type"):
        check_same_motion(Path("second"), deltas, Path("first"), seen(arm(seed)))


def test_normalised_velocities_in_both_go_together() -> None:
    def velocities(s: Floats, a: Floats) -> tuple[Floats, Floats]:
        return s, np.clip((a - s) / 10, -1, 1)

    slow = lambda s, a: (s, velocities(s, a)[1] / 3)  # noqa: E731
    compare(seen(arm(0), velocities), seen(arm(1, reach=REACH / 2), slow))


def test_noise_has_no_relation() -> None:
    rng = np.random.default_rng(0)
    found = seen([(rng.normal(size=(200, 6)), rng.normal(size=(200, 6)))])
    assert found.relation == "unclear" and np.isnan(found.slopes).all()
    compare(found, seen(arm(0, reach=REACH / 40, at=0 * HOME)))


# -- folders --------------------------------------------------------------------------------------------


def write(root: Path, episodes: list[tuple[Floats, Floats]], change: Change = lambda s, a: (s, a)) -> Path:
    vector = {"dtype": "float32", "shape": [6], "names": JOINTS}
    features = {"observation.state": vector, "action": vector}
    writer = EpisodeWriter(root, fps=FPS, features=features, robot_type="so101_follower")
    for number, each in enumerate(episodes):
        state, action = (values.astype(np.float32) for values in change(*each))
        writer.write_episode(number, {"observation.state": list(state), "action": list(action)}, "lift", {})
    writer.finalize()
    return root


def sets(*roots: Path) -> list[EpisodeDataset]:
    return [EpisodeDataset(root) for root in roots]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (UNITS["radians"], ["other units", "degrees and radians", "'observation.state'", "goes from"]),
        (UNITS["actions in radians"], ["other units", "'action' is"]),
        (STEPS["from the state"], ["absolute", "delta", "of 6 numbers"]),
    ],
)
def test_a_training_names_both_folders_and_the_remedy(
    tmp_path: Path, change: Change, words: list[str]
) -> None:
    one, other = write(tmp_path / "one", arm(0)), write(tmp_path / "other", arm(1), change)
    with pytest.raises(BadInput) as caught:
        ChunkData([Source(data) for data in sets(one, other)], horizon=4)
    text = str(caught.value)
    wanted = [*words, str(one), str(other), "convert one", "model.state.robots", "reading.compare=false"]
    assert "\n" not in text and all(word in text for word in wanted), text
    meant = ChunkData([Source(data) for data in sets(one, other)], horizon=4, compare=False)
    assert len(meant.state) == sum(len(state) for seed in (0, 1) for state, _ in arm(seed))
    check_same_meaning(sets(one, other), ["one", "other"])  # told apart, each with statistics of its own


def test_a_short_or_broken_dataset_is_not_judged(tmp_path: Path) -> None:
    long = write(tmp_path / "long", arm(0))
    short = write(tmp_path / "short", [(s[:20] / 57.3, a[:20] / 57.3) for s, a in arm(1, 2)])
    assert look_at_motion(EpisodeDataset(short)) is None
    check_same_meaning(sets(long, short))
    told = dict(inspect_robot(short).rows)
    assert told["action to state"] == f"unclear: fewer than {LEAST_ROWS} frames"
    for file in (long / "data").rglob("*.parquet"):
        file.write_bytes(file.read_bytes()[:100])
    assert look_at_motion(EpisodeDataset(long)) is None


def test_looking_reads_a_bounded_number_of_rows_and_says_the_same_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vla.data.motion.ROWS", 300)
    data = EpisodeDataset(write(tmp_path / "one", arm(0, 12)))
    first, again = look_at_motion(data), look_at_motion(data)
    assert first is not None and again is not None
    assert LEAST_ROWS <= first.rows < 300 + 70 < data.num_frames and first.relations == again.relations
    assert np.array_equal(first.spans["action"].low, again.spans["action"].low)


def test_an_inspection_tells_relation_and_span(tmp_path: Path) -> None:
    told = dict(inspect_robot(write(tmp_path / "one", arm(0))).rows)
    assert told["action to state"] == "absolute"
    assert told["  action, 98% within"].count("..") == 6
    told = dict(inspect_robot(write(tmp_path / "other", arm(0), STEPS["from the state"])).rows)
    assert told["action to state"] == "delta"
