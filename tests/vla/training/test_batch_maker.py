"""From folders to batches: which pictures, which points, and what is refused."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

for _folder in ("", "data"):  # helpers beside other tests
    sys.path.insert(0, str(Path(__file__).parents[1] / _folder))

from synthetic_episodes import write_dataset
from tiny import tiny_config, tiny_image

from vla.configuration import (
    AudioConfig,
    AugmentConfig,
    CameraConfig,
    DecoderConfig,
    FlowConfig,
    HistoryConfig,
    StateConfig,
    VLAConfig,
)
from vla.data.batches import ChunkData, Source
from vla.data.episodes import EpisodeDataset
from vla.errors import BadInput
from vla.model import VLA
from vla.processor import Processor
from vla.tokens.text import TextTokenizer
from vla.training.batch_maker import BatchMaker
from vla.training.config import ReadingConfig, TrainerConfig
from vla.training.run_config import RunConfig

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "set", [6, 5], size=32)


def maker(root: Path, augment: AugmentConfig | None = None, **parts: Any) -> BatchMaker:
    model = tiny_config(128, **parts)
    data = ChunkData([Source(EpisodeDataset(root))], model.decoder.horizon, history=model.history)
    tokenizer = TextTokenizer.train(data.tasks)
    model = dataclasses.replace(model, vocabulary=tokenizer.size)
    raw = data.gather(np.arange(len(data.state)))
    processor = Processor.fit(model, tokenizer, raw["state"], raw["actions"])
    config = RunConfig(
        root, TrainerConfig(samples=1), root / "out", model, ReadingConfig(workers=1), augment, seed=3
    )
    return BatchMaker(config, data, processor, CPU)


def with_cameras(*cameras: CameraConfig, **more: Any) -> dict[str, Any]:
    return {"image": dataclasses.replace(tiny_image(**more), cameras=cameras)}


def test_the_past_reaches_the_batch(root: Path) -> None:
    batch = maker(root, history=HistoryConfig(frames=3, stride=2))(np.array([5, 1]))
    today = maker(root)(np.array([5, 1, 3]))
    for name, size in (("front", 32), ("wrist", 16)):
        views = batch["images"][name]
        assert views.shape == (2, 3, size, size, 3)
        assert torch.equal(views[:, 0], today["images"][name][:2])
        assert torch.equal(views[0, 1], today["images"][name][2])
        assert batch["image_mask"][name].tolist() == [[True] * 3, [True, False, False]]
    assert torch.equal(batch["points"], today["points"][:2])


def test_augmentation_is_the_samples_own(root: Path) -> None:
    made = maker(root, AugmentConfig(drop={"wrist": 0.5, "state": 0.5}))
    frames = np.arange(11)
    one, two, other = made(frames, 7), made(frames, 7), made(frames, 8)
    assert torch.equal(one["image_mask"]["wrist"], two["image_mask"]["wrist"])
    assert torch.equal(one["state_mask"], two["state_mask"])
    assert not torch.equal(one["images"]["front"], other["images"]["front"])
    assert "image_mask" not in made(frames)  # validation sees everything


def test_points_of_a_camera_that_nobody_labelled_are_unseen(tmp_path: Path) -> None:
    names = [f"{c}.{t}.{p}" for c in ("wrist", "top") for t in ("target", "destination") for p in "xyv"]
    batch = maker(write_dataset(tmp_path / "set", [4], size=32, point_names=names))(np.arange(4))
    assert batch["points"].shape == (4, 4, 3)
    assert not batch["points"][:, :2].any() and batch["points"][:, 2:].all()


def test_tiles_are_cut_from_the_whole_picture(root: Path) -> None:
    cameras = (CameraConfig("front", 16, 0, 0), CameraConfig("wrist", 16, 0, 0))
    made = maker(root, **with_cameras(*cameras, points=False, max_tiles=4))
    batch = made(np.array([2]))
    assert batch["images"]["front"].shape == (1, 5, 16, 16, 3)
    assert batch["tile_grid"]["front"].tolist() == [[2, 2]]
    whole = made.images["front"][0](np.array([2]))
    np.testing.assert_array_equal(batch["images"]["front"][0, 1], whole[0, :16, :16])


@pytest.mark.parametrize(
    ("parts", "augment", "line"),
    [
        (with_cameras(CameraConfig("top", 32, 3, 2)), {}, "no camera 'top'.*it has front, wrist"),
        ({}, {"drop": {"wirst": 0.1}}, "drop names 'wirst', .*did you mean 'wrist'"),
        ({}, {"drop": {"audio": 0.1}}, "drop names 'audio', which is none of the model's senses"),
        (
            {"image": tiny_image(points=False, max_tiles=2)},
            {"shift": 2},
            "shift must be 0 with image.max_tiles",
        ),
    ],
)
def test_what_cannot_be_is_one_line(
    root: Path, parts: dict[str, Any], augment: dict[str, Any], line: str
) -> None:
    with pytest.raises(BadInput, match=line) as error:
        maker(root, AugmentConfig(**augment), **parts)
    assert "\n" not in str(error.value)


def test_pictures_that_are_no_squares_are_refused_unless_they_are_made_so(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "wide", [4], size=32, width=48)
    with pytest.raises(BadInput, match=r"48 x 32 pixels, no square: model\.image\.fit=stretch"):
        maker(root)
    with pytest.raises(BadInput, match="labelled points do not fit"):
        maker(root, image=tiny_image(fit="letterbox"))
    batch = maker(root, image=tiny_image(points=False, fit="letterbox"))(np.arange(4))
    grey = batch["images"]["front"][:, 0].float()  # the bar above, 8 of 48 pixels
    assert batch["images"]["front"].shape == (4, 32, 32, 3) and grey.std(1).max() < 4
    whole = maker(root, image=tiny_image(fit="stretch"))(np.arange(4))["images"]["front"]
    assert whole[:, 0].float().std(1).max() > 20


def test_sound_may_be_dropped_where_it_is_heard(root: Path) -> None:
    made = maker(root, AugmentConfig(drop={"audio": 1.0}), audio=AudioConfig(seconds=0.5))
    assert made(np.arange(3), 0)["audio_length"].tolist() == [0, 0, 0]


def two_robots(tmp_path: Path, *names: str) -> tuple[RunConfig, VLAConfig]:
    joints = {"big": 6, "small": 4}
    folders = tuple(
        write_dataset(tmp_path / name, [8], size=32, joints=joints[name], robot=name) for name in names
    )
    model = tiny_config(128, state=StateConfig(hidden=16, robots=("small", "big")))
    trainer = TrainerConfig(samples=4, batch=4, device="cpu", trackers=(), threads=1)
    reading = ReadingConfig(workers=1, validation=0.0)
    return RunConfig(folders, trainer, tmp_path / "out", model, reading), model


def test_a_run_over_two_robots_keeps_the_statistics_of_both(tmp_path: Path) -> None:
    from vla.pretrained import load_processor
    from vla.training.run import run

    config, _ = two_robots(tmp_path, "big", "small")
    statistics = load_processor(run(config)).statistics
    assert statistics["small/actions"].shape == (3, 4) and statistics["big/state"].shape == (6,)


def test_a_robot_without_data_is_named(tmp_path: Path) -> None:
    from vla.training.run import run

    config, _ = two_robots(tmp_path, "big")
    with pytest.raises(BadInput, match="names 'small', but no dataset is of it"):
        run(config)


# -- what is random belongs to the first sample's number, so that a resumed run draws the same --------------


def test_given_steps_are_determined_by_the_samples_number(root: Path) -> None:
    made = maker(root, decoder=DecoderConfig(horizon=3, forced=2))
    frames = np.arange(8) % 3
    one, same, other = (made(frames, start)["forced"] for start in (16, 16, 24))
    assert torch.equal(one, same) and not torch.equal(one, other)
    many = torch.cat([made(frames, start)["forced"] for start in range(0, 320, 8)])
    assert set(many.tolist()) == {0, 1, 2}
    assert "forced" not in made(frames)  # validation gives none


def test_a_flows_noise_is_determined_by_the_samples_number(root: Path) -> None:
    made = maker(root, decoder=FlowConfig(horizon=3, width=16, mlp=32))
    torch.manual_seed(0)
    model = VLA(made.processor.config).train()
    with torch.no_grad():
        model.decoder.head.weight.normal_()  # type: ignore[union-attr, operator]

    def loss(start: int | None) -> float:
        return model.loss(made(np.array([0, 1, 2]), start))[0].item()

    assert loss(8) == loss(8) != loss(16)
    model.eval()
    assert loss(None) == loss(None)
