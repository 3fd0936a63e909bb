"""A trained model as a policy: what it remembers, what is taken away from it, whose joints it moves."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "vla"))  # the tiny model

from tiny import SENTENCES, observations, raw_batch, tiny, tiny_config

from policies.base import Watcher
from policies.random import RandomPolicy
from policies.runtime.chunks import ChunkExecutor
from policies.runtime.rollout import Rollout, cases_of, roll_out_here
from policies.runtime.world import World
from policies.vla import VLAOptions, VLAPolicy
from vla.configuration import HistoryConfig, StateConfig
from vla.errors import BadInput
from vla.interfaces import ActionChunk, Observation
from vla.model import VLA
from vla.processor import Processor
from vla.structured import to_dataclass
from vla.tokens.text import TextTokenizer


def policy(options: dict[str, Any] | None = None, **parts: Any) -> VLAPolicy:
    model, processor = tiny(**parts)
    with torch.no_grad():  # fresh weights say nearly the same of everything
        model.decoder.head.weight *= 30  # type: ignore[union-attr, operator]
    return VLAPolicy(model, processor, **(options or {}))


PAST = HistoryConfig(frames=3, stride=2)


class Spy(VLAPolicy):
    """Keeps what the processor is given."""

    def __init__(self, **parts: Any) -> None:
        super().__init__(*tiny(**parts))
        self.given: list[Observation] = []
        real = self.processor.batch

        def batch(data: Any) -> dict[str, Any]:
            self.given += data
            return real(data)

        self.processor.batch = batch  # type: ignore[method-assign]


def step(number: int, which: int = 0) -> Observation:
    """Every pixel tells the step and the environment."""
    [one] = observations(1)
    picture = np.full((32, 32, 3), 10 * which + number, np.uint8)
    return dataclasses.replace(one, images={"front": picture, "wrist": picture})


def seen(observation: Observation) -> list[int]:
    history = observation.history.get("wrist", np.zeros((0, 1, 1, 1), np.uint8))
    return [int(picture[0, 0, 0]) for picture in history]


def test_the_past_of_each_environment_is_its_own_and_ends_with_the_episode() -> None:
    spy = Spy(history=PAST)
    executor = ChunkExecutor(spy, 2)
    assert executor.watching
    for number in range(8):
        if number == 6:
            executor.forget(1)
        now = [step(number, 0), step(number, 1)]
        executor.observe(now, [0, 1])
        spy.act(now, [0, 1])
    pasts = [(seen(spy.given[2 * i]), seen(spy.given[2 * i + 1])) for i in range(8)]
    assert pasts[0] == ([], []) and pasts[1] == ([0], [10])
    assert pasts[5] == ([4, 3, 2, 1], [14, 13, 12, 11])  # stride 2, 2 past frames: 4 steps are kept
    assert pasts[6] == ([5, 4, 3, 2], []) and pasts[7] == ([6, 5, 4, 3], [16])
    spy.reset(2)
    spy.act([step(0)], [0])
    assert seen(spy.given[-1]) == []


def test_a_picture_is_kept_as_it_was() -> None:
    spy, now = Spy(history=PAST), step(1)
    spy.observe([now], [0])
    now.images["wrist"][:] = 99
    spy.observe([step(2)], [0])
    spy.act([step(2)], [0])
    assert seen(spy.given[-1]) == [1]


def test_the_past_changes_what_is_done_only_where_it_is_looked_at() -> None:
    for parts, watching in (({}, False), ({"history": HistoryConfig(frames=2, stride=1)}, True)):
        made = policy(**parts)
        assert made.watching == watching == ChunkExecutor(made, 1).watching
        blank = {name: np.full((1, 32, 32, 3), 200, np.uint8) for name in ("front", "wrist")}
        told = [dataclasses.replace(one, history=blank) for one in observations(8)]
        pairs = zip(made.act(observations(8), range(8)), made.act(told, range(8)), strict=True)
        assert any((one.actions != other.actions).any() for one, other in pairs) == watching


class Counting(RandomPolicy):
    """Counts what it is shown."""

    watching = True

    def __init__(self) -> None:
        super().__init__()
        self.shown: dict[int, list[int]] = {}
        self.acted: list[tuple[int, int]] = []

    def observe(self, observations: Sequence[Observation], which: Sequence[int]) -> None:
        for number in which:
            self.shown[number][-1] += 1

    def forget(self, which: int) -> None:
        self.shown.setdefault(which, []).append(0)

    def act(self, observations: Sequence[Observation], which: Sequence[int]) -> list[ActionChunk]:
        self.acted += [(number, self.shown[number][-1]) for number in which]
        return super().act(observations, which)


def test_the_runner_shows_every_step_and_says_when_an_episode_begins() -> None:
    counting, world = Counting(), World(image_size=8, skills=("touch",))
    assert isinstance(counting, Watcher) and not ChunkExecutor(RandomPolicy(), 1).watching
    how = Rollout(world, "random", side_by_side=2)
    results = list(roll_out_here(counting, how, cases_of(world, 3, seed=1)))
    assert sorted(n for shown in counting.shown.values() for n in shown) == sorted(r.steps for r in results)
    assert all(count % counting.execute == 1 for _, count in counting.acted)  # shown first, then asked


# -- what is taken away ----------------------------------------------------------------------------


def test_a_masked_camera_is_an_unplugged_one() -> None:
    whole, masked = policy(), policy({"mask": ("wrist",)})
    plugged, which = observations(8), list(range(8))

    def wrist(picture: Any) -> list[Observation]:
        changed = [{"front": o.images["front"], **picture(o.images["wrist"])} for o in plugged]
        return [dataclasses.replace(o, images=images) for o, images in zip(plugged, changed, strict=True)]

    unplugged, spoilt = wrist(lambda _: {}), wrist(lambda picture: {"wrist": 255 - picture})
    wanted, full = whole.act(unplugged, which), whole.act(plugged, which)
    for given in (plugged, spoilt, unplugged):
        for chunk, other in zip(masked.act(given, which), wanted, strict=True):
            np.testing.assert_array_equal(chunk.actions, other.actions)
            assert chunk.info["missing"] == ["wrist"] and chunk.info["points"].keys() == {"front"}
    assert any((a.actions != b.actions).any() for a, b in zip(full, wanted, strict=True))
    assert "missing" not in full[0].info and full[0].info["points"].keys() == {"front", "wrist"}


def test_the_past_of_a_masked_camera_is_gone_too() -> None:
    spy = Spy(history=PAST)
    spy._mask = frozenset({"front"})
    for number in range(3):
        spy.observe([step(number)], [0])
    spy.act([step(2)], [0])
    assert spy.given[-1].images.keys() == spy.given[-1].history.keys() == {"wrist"}


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"mask": ["wirst"]}, "options.mask: the model has no camera 'wirst' (did you mean 'wrist'?)"),
        ({"mask": ["wrist", "front"]}, "options.mask takes away every camera the model has: front, wrist"),
        ({"robot": "so101"}, "the model knows no robot 'so101'; the model serves one that has no name"),
    ],
)
def test_bad_options_are_one_line(options: dict[str, Any], line: str) -> None:
    checked = dataclasses.asdict(to_dataclass(options, VLAOptions, "options"))
    with pytest.raises(BadInput) as error:
        policy(checked)
    assert line in str(error.value) and "\n" not in str(error.value)


# -- robots ----------------------------------------------------------------------------------------


def test_robots_of_different_widths_act_in_one_batch() -> None:
    tokenizer, raw = TextTokenizer.train(SENTENCES), raw_batch(100, 3)
    config = tiny_config(tokenizer.size, state=StateConfig(hidden=16, robots=("wide", "narrow")))
    samples = {
        "wide": (raw["state"], raw["actions"], None),
        "narrow": (raw["state"][:, :4], raw["actions"][..., :4], None),
    }
    parts = VLA(config).eval(), Processor.fit(config, tokenizer, samples)
    wide, narrow = observations(2)
    narrow = dataclasses.replace(narrow, robot="narrow", state=narrow.state[:4])
    chunks = VLAPolicy(*parts, robot="wide").act([wide, narrow], [0, 1])
    assert [chunk.actions.shape for chunk in chunks] == [(3, 6), (3, 4)]
    with pytest.raises(BadInput, match="does not say which robot"):
        VLAPolicy(*parts).act([wide], [0])
    with pytest.raises(BadInput, match=r"knows no robot 'wid' \(did you mean 'wide'"):
        VLAPolicy(*parts, robot="wid")
