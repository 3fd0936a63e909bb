"""What a trained policy's chunks carry, and what becomes of an answer that is none."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "vla"))  # the tiny model

from tiny import observations, tiny

from policies.base import Continuing, Seeded
from policies.runtime.chunking import Chunking
from policies.runtime.chunks import ChunkExecutor
from policies.vla import VLAPolicy
from vla.configuration import BinsConfig, DecoderConfig, FlowConfig, ProcessorConfig, SplineConfig
from vla.interfaces import InFlight

HORIZON = 6
TIMED = ProcessorConfig(control_hz=20.0)


def policy(decoder: Any = None, options: dict[str, Any] | None = None, **parts: Any) -> VLAPolicy:
    decoder = decoder or DecoderConfig(horizon=HORIZON)
    model, processor = tiny(horizon=HORIZON, decoder=decoder, processor=TIMED, **parts)
    if not isinstance(decoder, FlowConfig):
        with torch.no_grad():
            model.decoder.head.weight *= 30  # type: ignore[union-attr, operator]
    return VLAPolicy(model, processor, **(options or {}))


def test_chunks_carry_stamps_tokens_and_uncertainty() -> None:
    made = policy()
    first, second = observations(2)
    first = dataclasses.replace(first, timestamp=3.5, frame_index=70)
    one, two = made.act([first, second], [0, 1])
    assert (one.observed_at, one.frame_index, two.observed_at, two.frame_index) == (3.5, 70, None, None)
    np.testing.assert_allclose(one.timestamps, 3.5 + np.arange(HORIZON) / 20)
    np.testing.assert_allclose(two.timestamps, np.arange(HORIZON) / 20)
    for chunk in (one, two):
        assert chunk.valid and chunk.tokens is not None and chunk.tokens.shape == (HORIZON * 6,)
        assert chunk.uncertainty is not None and chunk.uncertainty.shape == (HORIZON, 6)
        assert (chunk.uncertainty > 0).all()


def test_uncertainty_is_in_the_robots_units() -> None:
    """All weight on two bins: half their distance, by the scale of each step and joint."""
    made = policy()
    with torch.no_grad():
        head = made.model.decoder.head
        head.weight.zero_()
        head.bias.fill_(-1e4)
        head.bias.view(6, 256)[:, [100, 140]] = 0.0
    [chunk] = made.act(observations(1), [0])
    scale = made.processor.joints[""].actions.transforms[1].scale  # type: ignore[attr-defined]
    np.testing.assert_allclose(chunk.uncertainty, 20 * 2 / 256 * np.abs(scale), rtol=1e-4)
    assert policy(options={"uncertainty": False}).act(observations(1), [0])[0].uncertainty is None


@pytest.mark.parametrize("delay", [0, 2])
def test_an_answer_that_is_none_holds_the_arm(delay: int) -> None:
    made = policy()
    [seen] = observations(1)
    runner = ChunkExecutor(made, 1, Chunking(delay=delay), 6)
    with torch.no_grad():
        made.model.decoder.head.weight[0, 0] = float("nan")
    for _ in range(8):
        if runner.waiting([0]):
            runner.plan([seen], [0])
        action, chunk = runner.next(0)
        np.testing.assert_array_equal(action, seen.state)
    assert not chunk.valid and "not finite" in chunk.hold
    assert len(runner.holds(0)) == 8


def test_one_bad_row_does_not_stop_the_others() -> None:
    """Scores that are not finite for one environment, as where one camera's picture breaks a sum."""
    made, good = policy(), policy()
    real = made.model.decoder.logits

    def spoiled(hidden: torch.Tensor) -> torch.Tensor:
        out = real(hidden).clone()
        out[1] = float("nan")
        return out

    made.model.decoder.logits = spoiled  # type: ignore[method-assign, assignment]
    asked = observations(3)
    chunks, wanted = made.act(asked, [0, 1, 2]), good.act(asked, [0, 1, 2])
    assert [chunk.valid for chunk in chunks] == [True, False, True]
    assert chunks[1].actions.shape == (0, 6)
    for i in (0, 2):
        np.testing.assert_array_equal(chunks[i].actions, wanted[i].actions)


@pytest.mark.parametrize(
    ("decoder", "continues"),
    [
        (DecoderConfig(horizon=HORIZON), True),
        (DecoderConfig("autoregressive", horizon=HORIZON), True),
        (DecoderConfig(horizon=HORIZON, tokenizer=BinsConfig(spacing="quantile")), True),
        (DecoderConfig(horizon=HORIZON, tokenizer=SplineConfig()), False),
        (FlowConfig(horizon=HORIZON, width=16, mlp=32, forced=3), True),
    ],
)
def test_a_plan_in_flight_is_kept_where_it_is_certain(decoder: Any, continues: bool) -> None:
    made = policy(decoder)
    assert isinstance(made, Continuing) and made.continues == continues
    asked = observations(2)
    before = made.act(asked, [0, 1])
    # What is in flight was planned two steps ago; the arm has not moved since, so it can be said exactly.
    rows = before[0].actions[2:]
    weights = np.array([1, 1, 0.5, 0.2], np.float32)
    after = made.act(asked, [0, 1], [InFlight(rows, 2, weights), None])
    if not continues:
        np.testing.assert_array_equal(after[0].actions, before[0].actions)
        return
    scale = np.abs(made.processor.joints[""].actions.transforms[1].scale)  # type: ignore[attr-defined]
    held = rows[np.minimum(np.arange(HORIZON), len(rows) - 1)]
    offset = made.processor.normalised(asked[0].state[None], held[None])[0, :2]
    inside = np.abs(offset) < 1  # a plan past what this step's statistics reach is cut to their edge
    off = np.abs(after[0].actions[:2] - rows[:2])
    assert inside.any() and (off[inside] <= (scale[:2] / 100)[inside]).all()
    if not isinstance(decoder, FlowConfig):
        np.testing.assert_array_equal(after[1].actions, before[1].actions)


def test_what_is_drawn_is_determined_by_the_episodes_seed() -> None:
    made = policy(options={"temperature": 1.0})
    assert isinstance(made, Seeded)
    asked = observations(2)

    def drawn(seeds: tuple[int, int], which: tuple[int, int]) -> list[np.ndarray]:
        made.reset(2)
        for number, seed in zip(which, seeds, strict=True):
            made.begin(number, seed)
        return [chunk.actions for chunk in made.act(asked, which)]

    one, two = drawn((5, 6), (0, 1)), drawn((5, 6), (1, 0))
    np.testing.assert_array_equal(one[0], two[0])  # whichever environment it runs in
    other = drawn((7, 6), (0, 1))
    assert not np.array_equal(other[0], one[0])
    np.testing.assert_array_equal(other[1], one[1])
