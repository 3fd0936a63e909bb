from pathlib import Path

import numpy as np
import pytest
from synthetic_episodes import write_dataset

from vla.data.batches import ChunkData, Prefetcher, Source, weighted_frames
from vla.data.cache import open_cache
from vla.data.episodes import EpisodeDataset
from vla.data.images import host_images
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
