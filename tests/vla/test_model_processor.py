import dataclasses

import numpy as np
import pytest
import torch
from tiny import observations, raw_batch, tiny

from vla.errors import BadInput, UndecodableChunk
from vla.interfaces import Observation
from vla.processor import Processor


def decoded(processor: Processor, ids: torch.Tensor, state: np.ndarray) -> np.ndarray:
    return np.stack([processor.decode(row, own) for row, own in zip(ids, state, strict=True)])


def test_targets_and_decode_are_inverse() -> None:
    _, processor = tiny()
    raw = raw_batch(20, seed=5)
    ids = processor.answers(raw["state"], raw["actions"])["targets"]
    assert ids.shape == (20, 3, 6)
    assert all(i in processor.vocabulary.action_range for i in ids.flatten().tolist())
    back = decoded(processor, ids, raw["state"])
    actions = processor.joints[""].actions
    normalise = actions.transforms[1]
    inside = np.abs(actions(raw)["actions"]) < 1
    half_bin = np.broadcast_to(normalise.scale / 256, inside.shape)  # type: ignore[attr-defined]
    assert (np.abs(back - raw["actions"])[inside] <= half_bin[inside] + 1e-3).all()
    assert torch.equal(processor.answers(raw["state"], back)["targets"], ids)


def test_observations_and_raw_arrays_agree() -> None:
    _, processor = tiny()
    one, two = processor.batch(observations(3)), processor.batch(raw_batch(3))
    for key in ("text", "text_mask", "state"):
        assert torch.equal(one[key], two[key])
    for name, images in one["images"].items():
        assert torch.equal(images, two["images"][name])
    assert one["images"]["wrist"].shape == (3, 16, 16, 3)


def spoil(**changes: object) -> list[Observation]:
    good = observations(2)
    return [good[0], dataclasses.replace(good[1], **changes)]  # type: ignore[arg-type]


IMAGE = np.zeros((32, 32, 3), np.uint8)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"images": {"frnt": IMAGE, "wrist": IMAGE}},
            "has camera 'frnt' (did you mean 'front'?), the model was trained with front, wrist",
        ),
        (
            {"images": {"top": IMAGE, "wrist": IMAGE}},
            "has camera 'top', the model was trained with front, wrist",
        ),
        ({"images": {}}, "has no picture; the model needs at least one of its cameras: front, wrist"),
        ({"images": {"front": IMAGE, "wrist": IMAGE.astype(np.float32)}}, "must be a uint8 array"),
        ({"images": {"front": IMAGE[..., 0], "wrist": IMAGE}}, "[height, width, 3]"),
        ({"state": np.zeros(5, np.float32)}, "has 5 numbers, the model wants 6"),
        ({"state": np.zeros(0, np.float32)}, "has no 'observation.state'; the model needs 6 numbers"),
        ({"state": np.full(6, np.nan, np.float32)}, "not finite"),
        ({"task": "lift the moon"}, "unknown word 'moon'"),
        ({"task": ""}, "the sentence is empty"),
        ({"audio": np.zeros((2, 2), np.float32)}, "'observation.audio' must be a float vector"),
        ({"audio": np.zeros(9, np.float32), "audio_rate": 0.5}, "whole number of samples a second, not 0.5"),
        ({"robot": None}, "'robot' must be a name"),
        ({"history": {"front": IMAGE}}, "must have shape [T, height, width, 3], not [32, 32, 3]"),
    ],
)
def test_bad_observations_are_one_line(changes: dict, line: str) -> None:
    _, processor = tiny()
    with pytest.raises(BadInput) as error:
        processor.batch(spoil(**changes))
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_ids_outside_the_action_range_are_refused() -> None:
    _, processor = tiny()
    for wrong in (0, processor.vocabulary.pad):
        with pytest.raises(UndecodableChunk, match="is not an action code"):
            processor.decode(np.full((3, 6), wrong), np.zeros(6, np.float32))


def test_states_out_of_range_still_decode_relative_to_themselves() -> None:
    _, processor = tiny()
    state = np.full((1, 6), 500.0, np.float32)
    assert processor.state(state).abs().max() <= 1
    actions = state[:, None] + np.zeros((1, 3, 6), np.float32)
    back = decoded(processor, processor.answers(state, actions)["targets"], state)
    assert np.abs(back - actions)[..., :5].max() < 0.2


def test_statistics_of_another_shape_are_refused() -> None:
    model, processor = tiny(horizon=3)
    other, _ = tiny(horizon=4)
    with pytest.raises(BadInput, match="statistics of 'actions'"):
        type(processor)(other.config, processor.tokenizer, processor.statistics)
    words = dataclasses.replace(model.config, vocabulary=7)
    with pytest.raises(BadInput, match="the model 7"):
        type(processor)(words, processor.tokenizer, processor.statistics)


@pytest.mark.parametrize("shape", [(480, 640, 3), (1, 1, 3), (1, 5000, 3)])
def test_a_stretched_or_tiny_picture_is_refused(shape: tuple[int, int, int]) -> None:
    _, processor = tiny()
    images = {"front": np.zeros(shape, np.uint8), "wrist": np.zeros((16, 16, 3), np.uint8)}
    observation = Observation(images, np.zeros(6, np.float32), "lift it")
    with pytest.raises(BadInput, match=r"observation\.images\.front.*square"):
        processor.batch([observation])
