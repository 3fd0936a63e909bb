"""Frames of recorded episodes through a policy, just as a running robot would ask it.

Legend: N frames, H the policy's horizon, D numbers of an action, S of a state.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from policies.base import Policy, Seeded, Watcher
from policies.runtime.demonstration import attempt_seed
from policies.runtime.replay.checks import Setting
from policies.runtime.replay.draw import Draw, FrameReader
from vla.data.batches import ChunkData
from vla.errors import BadInput
from vla.interfaces import ACTION, STATE, Observation

__all__ = ["Replayed", "replay"]

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Replayed:
    """frames: int64 [N], numbers in the dataset. episode: int64 [N], the number of its `Draw`.
    predicted, recorded: float32 [N, H, D]. real: bool [N, H], where both are there: the policy gave a plan
    and the recording goes on. state: float32 [N, S]. holds: why the policy gave no plan, for each time.
    seconds: of the policy's own computing, for one observation."""

    frames: npt.NDArray[np.int64]
    episode: npt.NDArray[np.int64]
    predicted: Floats
    recorded: Floats
    real: npt.NDArray[np.bool_]
    state: Floats
    holds: tuple[str, ...]
    seconds: float


def replay(
    policy: Policy,
    data: ChunkData,
    draws: Sequence[Draw],
    setting: Setting,
    *,
    seed: int = 0,
    side_by_side: int = 8,
    swap: tuple[str, str] | None = None,
    progress: Callable[[int], object] = lambda done: None,
) -> Replayed:
    """Ask `policy` about the frames of `draws`, several episodes side by side.

    A policy with a memory is shown every step of an episode up to the last one asked about; a seeded one is
    told when an episode begins. swap: show each of these two cameras the other's pictures. progress: called
    with the number of frames done.
    """
    dataset = data.sources[0].dataset
    readers = {camera: FrameReader(dataset, camera) for camera in setting.cameras}
    exchange = {} if swap is None else {swap[0]: swap[1], swap[1]: swap[0]}
    answers: dict[int, Floats] = {}
    holds: list[str] = []
    watching = isinstance(policy, Watcher) and policy.watching
    states = int(dataset.features[STATE]["shape"][0])
    dim = int(dataset.features[ACTION]["shape"][0])
    seconds = 0.0

    def seen(draw: Draw, frame: int) -> Observation:
        step = frame - draw.start
        observation = Observation(
            images={camera: readers[exchange.get(camera, camera)].read(frame) for camera in setting.cameras},
            state=data.state[frame, :states],
            task=data.tasks[data.task_index[frame]],
            robot=setting.robot,
            timestamp=step / dataset.fps,
            frame_index=step,
        )
        observation.validate()
        return observation

    policy.reset(side_by_side)
    for first in range(0, len(draws), side_by_side):
        group = list(enumerate(draws[first : first + side_by_side]))
        for slot, draw in group:
            if isinstance(policy, Watcher):
                policy.forget(slot)
            if isinstance(policy, Seeded):
                policy.begin(slot, attempt_seed(seed, draw.episode))
        steps = [_steps(draw, watching) for _, draw in group]
        for turn in range(max(map(len, steps))):
            now = [(slot, draw, steps[slot][turn]) for slot, draw in group if turn < len(steps[slot])]
            observations = {slot: seen(draw, frame) for slot, draw, frame in now}
            asked = [(slot, frame) for slot, draw, frame in now if frame in draw.frames]
            which = [slot for slot, _ in asked]
            started = time.perf_counter()
            if watching:
                assert isinstance(policy, Watcher)
                policy.observe([observations[slot] for slot, _, _ in now], [slot for slot, _, _ in now])
            if asked:
                chunks = policy.act([observations[slot] for slot in which], which)
                seconds += time.perf_counter() - started
                for (_, frame), chunk in zip(asked, chunks, strict=True):
                    if chunk.valid:
                        answers[frame] = _whole(chunk.actions, policy, dim)
                    else:
                        holds.append(chunk.hold)
                        answers[frame] = np.full((policy.horizon, dim), np.nan, np.float32)
                progress(len(asked))
    frames = np.concatenate([draw.frames for draw in draws])
    found = _recorded(data, draws, frames, policy.horizon, dim)
    predicted = np.stack([answers[int(frame)] for frame in frames])
    return dataclasses.replace(
        found,
        predicted=predicted,
        real=found.real & np.isfinite(predicted).all(axis=-1),
        state=data.state[frames, :states],
        holds=tuple(holds),
        seconds=seconds / max(len(frames), 1),
    )


def _steps(draw: Draw, watching: bool) -> list[int]:
    """The frames of an episode that are shown."""
    return list(range(draw.start, int(draw.frames[-1]) + 1)) if watching else draw.frames.tolist()


def _whole(actions: Floats, policy: Policy, dim: int) -> Floats:
    if actions.shape != (policy.horizon, dim):
        raise BadInput(
            f"the policy '{policy.name}' answers with chunks {list(actions.shape)}, the data's action needs "
            f"[{policy.horizon}, {dim}]"
        )
    return actions


def _recorded(
    data: ChunkData, draws: Sequence[Draw], frames: npt.NDArray[np.int64], horizon: int, dim: int
) -> Replayed:
    steps = frames[:, None] + np.arange(horizon)
    recorded = data.actions[np.minimum(steps, data.end[frames, None] - 1), :dim]
    episode = np.repeat(np.arange(len(draws)), [len(draw.frames) for draw in draws])
    nothing = np.zeros(0, np.float32)
    return Replayed(frames, episode, nothing, recorded, steps < data.stop[frames, None], nothing, (), 0.0)
