"""A trained model as a policy: observations of several environments in one batch, chunks out."""

import contextlib
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from policies.memory import PictureMemory
from vla.checks import at_least
from vla.decoders.grounding import POINTS_PER_CAMERA
from vla.errors import BadInput, did_you_mean
from vla.generation import generate
from vla.interfaces import ActionChunk, Observation
from vla.model import VLA
from vla.pretrained import load
from vla.processor import Processor
from vla.structured import to_dataclass

__all__ = ["VLAOptions", "VLAPolicy"]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class VLAOptions:
    """The options of a trained policy, as a command's ``+options.device=cuda`` gives them.

    execute: steps of each chunk to run before planning again. threads: of torch. name: as pages show it.
    mask: cameras whose pictures are taken away, as if they were unplugged. robot: which of the model's robots
    an observation is of that does not say so itself.
    """

    execute: int | None = None
    device: str = "cpu"
    dtype: str = "float32"
    threads: int | None = None
    name: str | None = None
    mask: tuple[str, ...] = ()
    robot: str = ""

    def __post_init__(self) -> None:
        at_least(self, 1, "execute", "threads")


class VLAPolicy:
    """`horizon` steps a chunk, of which `execute` should be run before the next (half of them if not said).

    Every chunk carries its tokens, and in `info["points"]` where the model believes the target and the
    destination to be: {camera: [[x, y], [x, y]]}, in 0..1 of the picture. `info["missing"]` names the cameras
    that were masked, if any was. A model with a history sees the past through `observe`, called at every
    control step; without those calls its past is masked, as at the start of an episode.
    """

    def __init__(
        self,
        model: VLA,
        processor: Processor,
        *,
        execute: int | None = None,
        device: str = "cpu",
        dtype: str = "float32",
        threads: int | None = None,
        name: str | None = None,
        mask: Sequence[str] = (),
        robot: str = "",
    ) -> None:
        if dtype not in DTYPES:
            raise BadInput(f"dtype must be one of {', '.join(DTYPES)}, not '{dtype}'")
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise BadInput(f"device '{device}' was asked for, but torch sees no GPU")
        try:
            torch.empty(1, device=device)
        except (RuntimeError, AssertionError) as error:
            raise BadInput(f"device '{device}' cannot be used: {str(error).splitlines()[0]}") from None
        if threads is not None:
            torch.set_num_threads(threads)
        self.horizon = model.config.decoder.horizon
        self.execute = max(1, self.horizon // 2) if execute is None else execute
        if not 1 <= self.execute <= self.horizon:
            raise BadInput(f"execute must be from 1 to the chunk's {self.horizon} steps, not {execute}")
        _check_mask(mask, processor.camera_names)
        if robot and robot not in model.config.robots:
            known = did_you_mean(robot, model.config.robots) or "; the model serves one that has no name"
            raise BadInput(f"options.robot: the model knows no robot '{robot}'{known}")
        self.name = name or model.config.name
        self.model, self.processor = model.to(device).eval(), processor
        self._device, self._dtype = torch.device(device), DTYPES[dtype]
        self._mask, self._robot = frozenset(mask), robot
        history = model.config.history
        self.watching = history.frames > 1
        self._memory = PictureMemory(history.stride * (history.frames - 1))

    @classmethod
    def from_pretrained(cls, path: str | Path, **options: Any) -> "VLAPolicy":
        """From the folder of a checkpoint; options as in the constructor."""
        checked = to_dataclass(options, VLAOptions, "options")
        model, processor = load(path)
        return cls(model, processor, **dataclasses.asdict(checked))

    def reset(self, count: int) -> None:
        """Forget everything that was seen."""
        self._memory.clear()

    def observe(self, observations: Sequence[Observation], which: Sequence[int]) -> None:
        """See Watcher."""
        for observation, number in zip(observations, which, strict=True):
            self._memory.add(observation, number)

    def forget(self, which: int) -> None:
        """See Watcher."""
        self._memory.forget(which)

    def act(self, observations: Sequence[Observation], which: Sequence[int]) -> list[ActionChunk]:
        """One chunk for each observation, all in one batch."""
        if not observations:
            return []
        seen = [self._complete(each, number) for each, number in zip(observations, which, strict=True)]
        batch = _to(self.processor.batch(seen), self._device)
        with torch.inference_mode(), self._autocast():
            made = generate(self.model, batch)
        ids = made.ids.cpu().numpy()
        points = {camera: xy[:, :POINTS_PER_CAMERA].cpu().tolist() for camera, xy in made.points.items()}
        chunks = []
        for i, observation in enumerate(seen):  # one by one: robots differ in their joints
            [actions] = self.processor.decode(ids[i : i + 1], observation.state[None], observation.robot)
            missing = [name for name in self.processor.camera_names if name not in observation.images]
            info = {"points": {camera: xy[i] for camera, xy in points.items() if camera not in missing}}
            chunks.append(ActionChunk(actions, ids[i], info | ({"missing": missing} if missing else {})))
        return chunks

    def _complete(self, observation: Observation, which: int) -> Observation:
        """With the past and the robot's name, without the cameras that the options take away."""
        history = observation.history or (self._memory.history(which) if self.watching else {})
        return dataclasses.replace(
            observation,
            images={name: image for name, image in observation.images.items() if name not in self._mask},
            history={name: images for name, images in history.items() if name not in self._mask},
            robot=observation.robot or self._robot,
        )

    def _autocast(self) -> contextlib.AbstractContextManager[None]:
        if self._dtype is torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self._device.type, self._dtype)


def _check_mask(mask: Sequence[str], cameras: Sequence[str]) -> None:
    for name in mask:
        if name not in cameras:
            raise BadInput(f"options.mask: the model has no camera '{name}'{did_you_mean(name, cameras)}")
    if not set(cameras) - set(mask):
        raise BadInput(f"options.mask takes away every camera the model has: {', '.join(cameras)}")


def _to(value: Any, device: torch.device) -> Any:
    if isinstance(value, dict):
        return {key: _to(item, device) for key, item in value.items()}
    return value.to(device, non_blocking=True)
