"""A trained model as a policy: observations of several environments in one batch, chunks out."""

import contextlib
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vla.checks import at_least
from vla.decoders.grounding import POINTS_PER_CAMERA
from vla.errors import BadInput
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
    """

    execute: int | None = None
    device: str = "cpu"
    dtype: str = "float32"
    threads: int | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        at_least(self, 1, "execute", "threads")


class VLAPolicy:
    """`horizon` steps a chunk, of which `execute` should be run before the next (half of them if not said).

    Every chunk carries its tokens, and in `info["points"]` where the model believes the target and the
    destination to be: {camera: [[x, y], [x, y]]}, in 0..1 of the picture.
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
        self.name = name or model.config.name
        self.model, self.processor = model.to(device).eval(), processor
        self._device, self._dtype = torch.device(device), DTYPES[dtype]

    @classmethod
    def from_pretrained(cls, path: str | Path, **options: Any) -> "VLAPolicy":
        """From the folder of a checkpoint; options as in the constructor."""
        checked = to_dataclass(options, VLAOptions, "options")
        model, processor = load(path)
        return cls(model, processor, **dataclasses.asdict(checked))

    def reset(self, count: int) -> None:
        """Nothing to forget: every chunk is made from the present observation alone."""

    def act(self, observations: Sequence[Observation], which: Sequence[int]) -> list[ActionChunk]:
        """One chunk for each observation, all in one batch."""
        if not observations:
            return []
        state = np.stack([observation.state for observation in observations])
        batch = _to(self.processor.batch(observations), self._device)
        with torch.inference_mode(), self._autocast():
            made = generate(self.model, batch)
        ids = made.ids.cpu().numpy()
        actions = self.processor.decode(ids, state)
        points = {camera: xy[:, :POINTS_PER_CAMERA].cpu().tolist() for camera, xy in made.points.items()}
        return [
            ActionChunk(actions[i], ids[i], {"points": {camera: xy[i] for camera, xy in points.items()}})
            for i in range(len(observations))
        ]

    def _autocast(self) -> contextlib.AbstractContextManager[None]:
        if self._dtype is torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self._device.type, self._dtype)


def _to(value: Any, device: torch.device) -> Any:
    if isinstance(value, dict):
        return {key: _to(item, device) for key, item in value.items()}
    return value.to(device, non_blocking=True)
