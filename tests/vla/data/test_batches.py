from pathlib import Path

import numpy as np
import pytest
from synthetic_episodes import write_dataset

from vla.configuration import HistoryConfig
from vla.data.batches import ChunkData, Prefetcher, Source
from vla.data.cache import open_cache
from vla.data.episodes import EpisodeDataset
from vla.data.images import host_images
from vla.data.weighting import weighted_frames
from vla.errors import BadInput

LENGTHS = [5, 3, 7]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "set", LENGTHS, invalid=((2, 4), (2, 5)))


@pytest.fixture(scope="module")
def data(root: Path) -> ChunkData:
    return ChunkData([Source(EpisodeDataset(root))], horizon=4)


def test_chunk_inside_an_episode(data: ChunkData) -> None:
    batch = data.gather(np.array([0]))
    assert batch["actions"][0, :, 0].tolist() == [0, 1, 2, 3]
    assert not batch["action_is_pad"].any()
    assert batch["state"][0, 0] == -0.5


def test_last_action_repeats_and_is_marked(data: ChunkData) -> None:
    batch = data.gather(np.array([3, 4, 7]))
    assert batch["actions"][:, :, 0].tolist() == [[3, 4, 4, 4], [4, 4, 4, 4], [102, 102, 102, 102]]
    assert batch["action_is_pad"].tolist() == [[False, False, True, True]] + 2 * [[False, True, True, True]]


def test_no_chunk_crosses_into_the_next_episode(data: ChunkData) -> None:
    frames = np.arange(15)
    batch = data.gather(frames)
    episode = np.repeat([0, 1, 2], LENGTHS)
    assert np.all(batch["actions"] // 100 == episode[:, None, None])


def test_steps_from_an_invalid_frame_on_are_marked(data: ChunkData) -> None:
    batch = data.gather(np.array([10]))  # frame 2 of episode 2; its frames 4 and 5 are invalid
    assert batch["actions"][0, :, 0].tolist() == [202, 203, 204, 205]
    assert batch["action_is_pad"].tolist() == [[False, False, True, True]]


def test_invalid_frames_never_start_a_chunk(data: ChunkData) -> None:
    (train, weights), held = weighted_frames(data, seed=0, validation=0.0)
    assert sorted(train) == [i for i in range(15) if i not in (12, 13)]
    assert len(held) == 0 and np.all(weights == 1.0)


def test_every_nth_frame(root: Path) -> None:
    data = ChunkData([Source(EpisodeDataset(root))], horizon=4, every=2)
    (train, _), _ = weighted_frames(data, seed=0, validation=0.0)
    assert all(frame % 2 == 0 for frame in train)
    assert data.row[train].tolist() == (train // 2).tolist()


def test_pictures_and_sentences_follow_the_frames(root: Path, data: ChunkData) -> None:
    source = EpisodeDataset(root)
    images = open_cache(source, "front", workers=1)
    frames = np.array([14, 0, 6])
    batch = data.gather(frames, {"front": [host_images(images)]})
    np.testing.assert_array_equal(batch["images"]["front"], images[frames])
    assert batch["task"] == ["touch the red cube", "touch the red cube", "lift the red cube"]
    assert batch["points"].shape == (3, 4, 3)


def test_mixture_of_two_folders(root: Path, tmp_path: Path) -> None:
    extra = write_dataset(tmp_path / "extra", [4, 4])
    sources = [Source(EpisodeDataset(root)), Source(EpisodeDataset(extra), weight=3.0)]
    data = ChunkData(sources, horizon=4)
    assert len(data.tasks) == 2
    gathers = [host_images(open_cache(s.dataset, "wrist", workers=1)) for s in sources]
    frames = np.array([16, 3, 22, 0])
    batch = data.gather(frames, {"wrist": gathers})
    for row, frame in enumerate(frames):
        expected = gathers[0].images[frame] if frame < 15 else gathers[1].images[frame - 15]
        np.testing.assert_array_equal(batch["images"]["wrist"][row], expected)
    (train, weights), _ = weighted_frames(data, seed=0, validation=0.0)
    assert np.all(weights[train >= 15] == 3.0) and np.all(weights[train < 15] == 1.0)


def test_skill_weights(root: Path) -> None:
    data = ChunkData([Source(EpisodeDataset(root), skill_weights={"lift": 2.0, "touch": 0.0})], horizon=4)
    (train, weights), _ = weighted_frames(data, seed=0, validation=0.0)
    assert train.tolist() == [5, 6, 7] and np.all(weights == 2.0)


def test_openings_are_drawn_more_often(root: Path) -> None:
    source = Source(EpisodeDataset(root), opening_frames=2, opening_weight=3.0)
    data = ChunkData([source], horizon=4)
    (train, weights), _ = weighted_frames(data, seed=0, validation=0.0)
    for first, end in source.dataset.episode_bounds:
        good = [int(f) for f in train if first <= f < end]
        assert [weights[train == f].item() for f in good] == [3.0] * len(good[:2]) + [1.0] * len(good[2:])


def test_no_dataset_or_no_frame(root: Path) -> None:
    with pytest.raises(BadInput, match="no dataset"):
        ChunkData([], horizon=4)


def test_prefetcher_keeps_order_and_raises() -> None:
    def make(number: int) -> int:
        if number == 9:
            raise BadInput("broken at nine")
        return number

    prefetcher = Prefetcher(make, start=0, step=3)
    assert [next(prefetcher) for _ in range(3)] == [0, 3, 6]
    with pytest.raises(BadInput, match="nine"):
        next(prefetcher)


# -- the past, several robots, points --------------------------------------------------------------


def test_past_pictures_are_strides_apart_and_end_where_the_episode_began(root: Path) -> None:
    source = EpisodeDataset(root)
    images = open_cache(source, "front", workers=1)
    data = ChunkData([Source(source)], horizon=4, history=HistoryConfig(frames=3, stride=2))
    frames = np.array([4, 2, 5, 9, 14])  # of the episodes 0, 0, 1, 2, 2, which begin at 0, 0, 5, 8, 8
    batch = data.gather(frames, {"front": [host_images(images)]})
    wanted = [[4, 2, 0], [2, 0, 0], [5, 5, 5], [9, 8, 8], [14, 12, 10]]
    there = [[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 0, 0], [1, 1, 1]]
    np.testing.assert_array_equal(batch["images"]["front"], images[np.array(wanted)])
    assert batch["image_mask"]["front"].tolist() == np.array(there, bool).tolist()
    today = ChunkData([Source(source)], horizon=4).gather(frames, {"front": [host_images(images)]})
    assert "image_mask" not in today
    np.testing.assert_array_equal(batch["images"]["front"][:, 0], today["images"]["front"])
    for key in ("state", "actions", "points"):
        np.testing.assert_array_equal(batch[key], today[key])


def test_the_past_in_a_mixture_stays_within_its_dataset(root: Path, tmp_path: Path) -> None:
    sources = [Source(EpisodeDataset(root)), Source(EpisodeDataset(write_dataset(tmp_path / "b", [4])))]
    data = ChunkData(sources, horizon=4, history=HistoryConfig(frames=2, stride=1))
    gathers = [host_images(open_cache(s.dataset, "wrist", workers=1)) for s in sources]
    batch = data.gather(np.array([15, 17, 1]), {"wrist": gathers})
    assert batch["image_mask"]["wrist"].tolist() == [[True, False], [True, True], [True, True]]
    np.testing.assert_array_equal(batch["images"]["wrist"][1], gathers[1].images[[2, 1]])
    np.testing.assert_array_equal(batch["images"]["wrist"][2], gathers[0].images[[1, 0]])


def test_every_nth_frame_has_no_past(root: Path) -> None:
    with pytest.raises(BadInput, match=r"reading.every=2 leaves out .*history.frames=3.*use reading.every=1"):
        ChunkData([Source(EpisodeDataset(root))], horizon=4, every=2, history=HistoryConfig(frames=3))


def robot(root: Path, name: str, joints: int) -> Source:
    """A dataset of a robot with so many joints."""
    data = EpisodeDataset(write_dataset(root / name, [4], joints=joints, robot=name))
    return Source(data)


def test_robots_with_fewer_joints_are_filled_up_and_named(tmp_path: Path) -> None:
    sources = [robot(tmp_path, "big", 6), robot(tmp_path, "small", 4)]
    data = ChunkData(sources, horizon=3, robots=("small", "big"))
    batch = data.gather(np.array([0, 5]))
    assert batch["robot"] == ["big", "small"]
    assert batch["state"].shape == (2, 6) and batch["actions"].shape == (2, 3, 6)
    assert batch["actions"][1, 0].tolist() == [1, 1, 1, 1, 0, 0]
    with pytest.raises(BadInput, match=r"shape \[4\], but \[6\]"):
        ChunkData(sources, horizon=3)
    with pytest.raises(BadInput, match=r"robot_type 'big' is not one of model\.state\.robots .*'bigg'"):
        ChunkData(sources, horizon=3, robots=("small", "bigg"))


def test_points_go_by_their_cameras_names(root: Path, tmp_path: Path) -> None:
    names = [f"{c}.{t}.{p}" for c in ("wrist", "top") for t in ("target", "destination") for p in "xyv"]
    other = EpisodeDataset(write_dataset(tmp_path / "named", [3], point_names=names))
    data = ChunkData([Source(EpisodeDataset(root)), Source(other)], horizon=3)
    assert data.point_cameras == ("front", "wrist", "top")
    stored = other.columns(["annotation.points"])["annotation.points"].reshape(3, 2, 2, 3)
    found = data.gather(np.array([15, 17]))["points"].reshape(2, 3, 2, 3)
    assert not found[:, 0].any()
    np.testing.assert_array_equal(found[:, 1:], stored[[0, 2]])
    assert not data.gather(np.array([0]))["points"][:, 4:].any()


def test_a_frame_may_go_with_its_sub_task(tmp_path: Path) -> None:
    """Words that are annotated for a frame stand in for the episode's; elsewhere those stay."""
    root = write_dataset(tmp_path / "set", [4, 3], size=16)
    data = EpisodeDataset(root)
    texts, which = ["reach", "grasp"], np.array([0, 0, 1, -1, 1, -1, 0])
    data.language.labels = lambda style: (texts, which)  # type: ignore[method-assign, misc, assignment]
    chunks = ChunkData([Source(data)], 2, subtasks=True)
    said = chunks.gather(np.arange(7))["task"]
    plain = ChunkData([Source(EpisodeDataset(root))], 2).gather(np.arange(7))["task"]
    assert said == [texts[n] if n >= 0 else plain[i] for i, n in enumerate(which.tolist())]
