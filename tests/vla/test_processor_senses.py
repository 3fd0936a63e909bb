"""The processor with every sense: cameras that come and go, views, sound, several robots, words."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from tiny import SENTENCES, observations, raw_batch, tiny_config, tiny_image

from vla.configuration import (
    AudioConfig,
    HistoryConfig,
    ProcessorConfig,
    StateConfig,
    VLAConfig,
    WordsConfig,
)
from vla.errors import BadInput
from vla.interfaces import Observation
from vla.processor import Processor
from vla.tokens.text import TextTokenizer

ABSOLUTE = ProcessorConfig(relative=(False,) * 6)


def processor(**parts: Any) -> Processor:
    tokenizer = TextTokenizer.train(SENTENCES)
    raw = raw_batch(200, 3, seed=1)
    return Processor.fit(
        tiny_config(tokenizer.size, **parts), tokenizer, raw["state"], raw["actions"], raw["action_is_pad"]
    )


def without(observation: Observation, *cameras: str) -> Observation:
    images = {name: image for name, image in observation.images.items() if name not in cameras}
    return dataclasses.replace(observation, images=images)


# -- cameras ---------------------------------------------------------------------------------------


def test_a_complete_batch_has_no_masks() -> None:
    assert set(processor().batch(observations())) == {"text", "text_mask", "state", "images"}


def test_an_absent_camera_is_masked_and_said_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vla.notice._told", set())
    made, full = processor(), observations(3)
    batch = made.batch([full[0], without(full[1], "wrist"), full[2]])
    made.batch([without(full[1], "wrist")])
    assert batch["image_mask"].keys() == {"wrist"}
    assert batch["image_mask"]["wrist"].tolist() == [True, False, True]
    assert not batch["images"]["wrist"][1].any()
    whole = made.batch(full)
    assert torch.equal(batch["images"]["front"], whole["images"]["front"])
    assert torch.equal(batch["images"]["wrist"][[0, 2]], whole["images"]["wrist"][[0, 2]])
    assert capsys.readouterr().err.count("camera 'wrist' is absent") == 1


def test_an_extra_camera_changes_nothing() -> None:
    made, [one] = processor(), observations(1)
    extra = dataclasses.replace(one, images={**one.images, "top": one.images["front"]})
    batch = made.batch([extra])
    assert batch["images"].keys() == {"front", "wrist"} and "image_mask" not in batch


def test_an_absent_camera_in_a_raw_batch_is_masked_too() -> None:
    raw = raw_batch(4)
    del raw["images"]["wrist"]
    batch = processor().batch(raw)
    assert batch["image_mask"]["wrist"].tolist() == [False] * 4
    assert batch["images"]["wrist"].shape == (4, 16, 16, 3)


def past(observation: Observation, count: int) -> Observation:
    """With `count` past pictures a camera, of which entry t is all t + 1."""
    ages = np.arange(1, count + 1, dtype=np.uint8)[:, None, None, None]
    history = {name: np.broadcast_to(ages, (count, 32, 32, 3)).copy() for name in observation.images}
    return dataclasses.replace(observation, history=history)


@pytest.mark.parametrize(("given", "there"), [(0, 1), (3, 1), (4, 2), (11, 3), (12, 4), (40, 4)])
def test_views_are_strides_apart_and_masked_before_the_beginning(given: int, there: int) -> None:
    made = processor(history=HistoryConfig(frames=4, stride=4))
    [one] = observations(1)
    batch = made.batch([past(one, given)])
    for name, size in (("front", 32), ("wrist", 16)):
        views = batch["images"][name]
        assert views.shape == (1, 4, size, size, 3)
        assert torch.equal(views[:, 0], processor().batch([one])["images"][name])
        assert views[0, 1:, 0, 0, 0].tolist() == [4 * k if k < there else 0 for k in (1, 2, 3)]
        mask = batch.get("image_mask", {}).get(name, torch.ones(1, 4, dtype=torch.bool))
        assert mask.tolist() == [[view < there for view in range(4)]]


def test_an_absent_camera_is_absent_in_all_views() -> None:
    made = processor(history=HistoryConfig(frames=3, stride=1))
    full, less = observations(2)
    batch = made.batch([past(full, 2), without(past(less, 2), "wrist")])
    assert batch["image_mask"].keys() == {"wrist"}
    assert batch["image_mask"]["wrist"].tolist() == [[True] * 3, [False] * 3]


def test_tiles_of_larger_pictures() -> None:
    made = processor(image=tiny_image(points=False, max_tiles=4))
    [one] = observations(1)
    wide = np.random.default_rng(0).integers(0, 256, (32, 64, 3), dtype=np.uint8)
    batch = made.batch([dataclasses.replace(one, images={"front": wide})])
    assert batch["images"]["front"].shape == (1, 5, 32, 32, 3)
    assert batch["tile_grid"]["front"].tolist() == [[1, 2]]
    assert batch["image_mask"]["front"].tolist() == [[True, True, True, False, False]]
    tiles = batch["images"]["front"][0, 1:3]
    np.testing.assert_array_equal(np.concatenate(list(tiles.numpy()), 1), wide)
    assert batch["image_mask"]["wrist"].tolist() == [[False] * 5]
    raw = {**raw_batch(1), "images": {"front": wide[None]}}
    for key in ("images", "image_mask", "tile_grid"):
        for name, tensor in made.batch(raw)[key].items():
            assert torch.equal(tensor, batch[key][name])
    with pytest.raises(BadInput, match="a picture of at least 8"):
        made.batch([dataclasses.replace(one, images={"front": wide[:4]})])


# -- sound -----------------------------------------------------------------------------------------


def test_sound_is_padded_and_its_absence_has_length_zero() -> None:
    made = processor(audio=AudioConfig(seconds=0.5))
    first, second = observations(2)
    sound = np.linspace(-0.5, 0.5, 3000, dtype=np.float32)
    batch = made.batch([dataclasses.replace(first, audio=sound), second])
    assert batch["audio"].shape == (2, 8000) and batch["audio_length"].tolist() == [3000, 0]
    np.testing.assert_array_equal(batch["audio"][0, :3000], sound)
    assert not batch["audio"][0, 3000:].any() and not batch["audio"][1].any()
    silent = made.batch([first, second])
    assert silent["audio"].shape == (2, 8000) and silent["audio_length"].tolist() == [0, 0]
    halved = made.batch([dataclasses.replace(first, audio=sound[::2], audio_rate=8000)])
    assert halved["audio_length"].tolist() == [3000]


def test_sound_for_a_deaf_model_is_ignored() -> None:
    [one] = observations(1)
    assert "audio" not in processor().batch([dataclasses.replace(one, audio=np.zeros(9, np.float32))])


# -- joints ----------------------------------------------------------------------------------------


def two_robots(**more: Any) -> Processor:
    """`wide` has 6 joints of about +-80, `narrow` has 4 of about +-1."""
    tokenizer = TextTokenizer.train(SENTENCES)
    config = tiny_config(tokenizer.size, state=StateConfig(hidden=16, robots=("wide", "narrow")), **more)
    raw = raw_batch(200, 3, seed=1)
    narrow = (raw["state"][:, :4] / 80, raw["actions"][..., :4] / 80, raw["action_is_pad"])
    wide = (raw["state"], raw["actions"], raw["action_is_pad"])
    return Processor.fit(config, tokenizer, {"wide": wide, "narrow": narrow})


def of_robots(made: Processor) -> dict[str, Any]:
    raw = raw_batch(4, seed=7)
    rows = [1, 3]
    raw["state"][rows] /= 80
    raw["actions"][rows] /= 80
    raw["state"][rows, 4:] = raw["actions"][rows, :, 4:] = 0
    return {**raw, "robot": ["wide", "narrow", "wide", "narrow"]}


def test_each_robot_has_its_own_statistics_and_masks() -> None:
    made = two_robots()
    raw = of_robots(made)
    batch = made.batch(raw)
    assert batch["robot"].tolist() == [0, 1, 0, 1]
    four = [True] * 4 + [False] * 2
    assert batch["state_mask"].tolist() == batch["target_mask"][:, 0].tolist() == [[True] * 6, four] * 2
    assert not batch["state"][1, 4:].any()
    assert batch["state"][1, :4].abs().max() > 0.1, "the narrow robot's range is not its own"
    for i, name in enumerate(raw["robot"]):
        width = 6 if name == "wide" else 4
        back = made.decode(batch["targets"][i], raw["state"][i, :width], name)
        assert back.shape == (3, width)
        scale = made.joints[name].actions.transforms[1].scale  # type: ignore[attr-defined]
        close = np.abs(back - raw["actions"][i, :, :width]) <= scale / 128 + 1e-4
        assert close.mean() > 0.9  # what lies outside of the fitted range is clipped


def test_one_robot_alone_gives_what_it_gives_among_others() -> None:
    made = two_robots()
    raw = of_robots(made)
    batch = made.batch(raw)
    own = [
        dataclasses.replace(one, state=raw["state"][i, :width], robot=name)
        for i, (one, name, width) in enumerate(zip(observations(4), raw["robot"], (6, 4, 6, 4), strict=True))
    ]
    for i, one in enumerate(own):
        alone = made.batch([one])
        for key in ("state", "state_mask", "robot"):
            assert torch.equal(alone[key][0], batch[key][i])


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"robot": ""}, "does not say which robot it is of ('robot'); known: wide, narrow"),
        (
            {"robot": "narow"},
            "unknown robot 'narow' (did you mean 'narrow'?); the model was trained with: wide",
        ),
        ({"robot": "narrow"}, "has 6 numbers, the model wants 4 of robot 'narrow'"),
    ],
)
def test_a_robot_that_is_not_known_is_refused(changes: dict[str, Any], line: str) -> None:
    [one] = observations(1)
    with pytest.raises(BadInput) as error:
        two_robots().batch([dataclasses.replace(one, **changes)])
    assert line in str(error.value) and "\n" not in str(error.value)


def test_a_single_robot_needs_no_name_and_its_statistics_keep_their_keys() -> None:
    made, [one] = processor(), observations(1)
    assert made.statistics.features.keys() == {"state", "actions"}
    named = made.batch([dataclasses.replace(one, robot="anything")])
    assert torch.equal(named["state"], made.batch([one])["state"]) and "robot" not in named
    assert two_robots().statistics.features.keys() == {
        f"{robot}/{name}" for robot in ("wide", "narrow") for name in ("state", "actions")
    }


def test_a_model_without_state_takes_none() -> None:
    made = processor(state=None, processor=ABSOLUTE)
    [one] = observations(1)
    blind = dataclasses.replace(one, state=np.zeros(0, np.float32))
    assert "state" not in made.batch([blind])
    raw = raw_batch(4)
    ids = made.batch(raw)["targets"]
    back = np.stack([made.decode(row) for row in ids])
    assert torch.equal(made.answers(None, back)["targets"], ids)
    assert made.statistics.features.keys() == {"actions"}


def test_joints_that_are_not_normalised_stay_raw() -> None:
    mask = (True,) * 5 + (False,)
    made = processor(processor=ProcessorConfig((False,) * 6, normalised=mask))
    raw = raw_batch(4)
    raw["actions"][..., 5] = np.linspace(-1, 1, 12).reshape(4, 3)
    ids = made.answers(raw["state"], raw["actions"])["targets"]
    back = np.stack([made.decode(row, own) for row, own in zip(ids, raw["state"], strict=True)])
    assert np.abs(back - raw["actions"])[..., 5].max() <= 1 / 256 + 1e-6


# -- words -----------------------------------------------------------------------------------------


def with_words(**text: Any) -> Processor:
    raw, words = raw_batch(200, 3, seed=1), TextTokenizer.train([*SENTENCES, "in: what to do? out:"])
    config: VLAConfig = tiny_config(words.size, text=WordsConfig(max_length=12, **text))
    return Processor.fit(config, words, raw["state"], raw["actions"])


def test_the_template_stands_around_the_instruction() -> None:
    made = with_words(template="In: {task}\nOut:")
    ids, mask = made.words(["lift it", "touch the green ball"])
    assert made.tokenizer.decode(ids[0][mask[0]].tolist()) == "in lift it out"
    assert mask.sum(1).tolist() == [4, 6] and ids.shape == (2, 12)
    assert (ids[~mask] == made.vocabulary.pad).all()


def test_a_start_token_is_first_or_missed() -> None:
    made = with_words()
    made.config = dataclasses.replace(made.config, order=("bos", "text", "images", "audio", "state"))
    with pytest.raises(BadInput, match="the tokenizer has no start token"):
        made.words(["lift it"])
    made.tokenizer.bos = 1  # type: ignore[attr-defined]
    ids, mask = made.words(["lift it"])
    assert ids[0, 0] == 1 and mask.sum() == 3


def test_observations_survive_their_keys() -> None:
    [one] = observations(1)
    full = dataclasses.replace(
        past(one, 3), audio=np.zeros(5, np.float32), audio_rate=8000, robot="so101_follower"
    )
    for given in (one, full):
        again = Observation.from_dict(given.to_dict())
        assert again.to_dict().keys() == given.to_dict().keys()
        assert (again.robot, again.audio_rate, again.task) == (given.robot, given.audio_rate, given.task)
        for key, value in given.to_dict().items():
            np.testing.assert_array_equal(again.to_dict()[key], value)
