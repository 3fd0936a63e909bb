"""A trained model as a policy: observations of several environments in one batch, chunks out."""

import contextlib
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from policies.memory import PictureMemory
from vla.checks import at_least
from vla.configuration import FlowConfig
from vla.data.robots import widen
from vla.decoders.grounding import POINTS_PER_CAMERA
from vla.errors import BadInput, UndecodableChunk, did_you_mean
from vla.generation import Generated, Memory, Noise, Sampling, generate
from vla.interfaces import ActionChunk, InFlight, Observation
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
    uncertainty: tell with each chunk how sure it is. temperature, seed, guidance: see `Sampling`.
    int8, compile: see `vla.acceleration.accelerate`.
    """

    execute: int | None = None
    device: str = "cpu"
    dtype: str = "float32"
    threads: int | None = None
    name: str | None = None
    mask: tuple[str, ...] = ()
    robot: str = ""
    uncertainty: bool = True
    temperature: float = 0.0
    seed: int = 0
    guidance: float = 0.3
    int8: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        at_least(self, 1, "execute", "threads")


class VLAPolicy:
    """`horizon` steps a chunk, of which `execute` should be run before the next (half of them if not said).

    Every chunk carries its tokens, its time stamps, its uncertainty, and in `info["points"]` where the model
    believes the target and the destination to be: {camera: [[x, y], [x, y]]}, in 0..1 of the picture.
    `info["missing"]` names the cameras that were masked, if any was. An answer that is no chunk comes back as
    one that says `hold`.

    continues: whether it takes a plan in flight into account itself (codes that say one control step each, or
    a flow); chunks of other codes are joined by whoever runs them. What is random is each environment's own,
    determined by the episode's seed where `begin` tells it.

    A model with a history sees the past through `observe`, called at every control step; without those calls
    its past is masked, as at the start of an episode.
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
        uncertainty: bool = True,
        temperature: float = 0.0,
        seed: int = 0,
        guidance: float = 0.3,
        int8: bool = False,
        compile: bool = False,
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
        if int8 or compile:
            from vla.acceleration import accelerate

            accelerate(self.model, int8=int8, compile=compile)
        self._device, self._dtype = torch.device(device), DTYPES[dtype]
        self._mask, self._robot = frozenset(mask), robot
        self._uncertainty, self._sampling = uncertainty, Sampling(temperature, seed, guidance)
        # A flow may have codes beside it, from which it learns and does not act.
        codes = None if isinstance(model.config.decoder, FlowConfig) else processor.actions
        self.continues = codes is None or codes.layout.time_local
        self._random: dict[int, torch.Generator] = {}
        self._kept = Memory()
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
        self._random.clear()

    def begin(self, which: int, seed: int) -> None:
        """See Seeded."""
        self._random[which] = torch.Generator().manual_seed(self._sampling.seed * 1_000_003 + seed)

    def observe(self, observations: Sequence[Observation], which: Sequence[int]) -> None:
        """See Watcher."""
        for observation, number in zip(observations, which, strict=True):
            self._memory.add(observation, number)

    def forget(self, which: int) -> None:
        """See Watcher."""
        self._memory.forget(which)

    def act(
        self,
        observations: Sequence[Observation],
        which: Sequence[int],
        in_flight: Sequence[InFlight | None] | None = None,
    ) -> list[ActionChunk]:
        """One chunk for each observation, all in one batch; in_flight: see Continuing."""
        if not observations:
            return []
        seen = [self._complete(each, number) for each, number in zip(observations, which, strict=True)]
        batch = _to(self.processor.batch(seen), self._device)
        plan = None
        if in_flight is not None and any(in_flight) and self.continues:
            dim = self.model.config.decoder.dim
            states = np.stack([widen(each.state[:dim], dim) for each in seen])
            found = self.processor.plan(in_flight, states, [each.robot for each in seen])
            plan = dataclasses.replace(found, **_to(vars(found), self._device))
        with torch.inference_mode(), self._autocast():
            made = generate(
                self.model,
                batch,
                tokenizer=self.processor.actions,
                plan=plan,
                sampling=self._sampling,
                noise=Noise([self._generator(number) for number in which]),
                memory=self._kept,
            )
        rows = _Rows(made)
        return [self._chunk(rows, i, observation) for i, observation in enumerate(seen)]

    def _generator(self, which: int) -> torch.Generator:
        if which not in self._random:
            self.begin(which, which)
        return self._random[which]

    def _chunk(self, made: "_Rows", i: int, observation: Observation) -> ActionChunk:
        """One row's answer, in the robot's own units."""
        processor, robot = self.processor, observation.robot
        missing = [name for name in processor.camera_names if name not in observation.images]
        info: dict[str, Any] = {"points": {c: xy[i] for c, xy in made.points.items() if c not in missing}}
        info |= {"missing": missing} if missing else {}
        spread = None
        try:
            if made.reasons[i]:
                raise UndecodableChunk(made.reasons[i])
            tokens = made.ids[i]
            if tokens is None or processor.actions is None:
                chunk = made.chunks[i].clip(-1.0, 1.0)
            else:
                codes = tokens - processor.vocabulary.action_range.start
                chunk = processor.actions.decode(codes)
                if self._uncertainty:
                    deviation = processor.actions.spread(codes, made.probabilities[i][: len(codes)])
                    spread = processor.spread(deviation.astype(np.float32), robot)
        except UndecodableChunk as error:
            return ActionChunk.holding(str(error), observation, processor.action_dim(robot))
        hz = self.model.config.processor.control_hz
        begun = observation.timestamp or 0.0
        return ActionChunk(
            processor.absolute(chunk, observation.state, robot),
            tokens,
            info,
            observed_at=observation.timestamp,
            frame_index=observation.frame_index,
            timestamps=None if hz is None else begun + np.arange(self.horizon) / hz,
            uncertainty=spread,
        )

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


class _Rows:
    """What was generated, as numpy, row by row."""

    def __init__(self, made: Generated) -> None:
        self.reasons = made.reasons
        self.points = {camera: xy[:, :POINTS_PER_CAMERA].cpu().tolist() for camera, xy in made.points.items()}
        count = len(made.reasons)
        self.ids: list[Any] = [None] * count
        self.probabilities: Any = [None] * count
        self.chunks: Any = [None] * count
        if made.chunk is not None:
            self.chunks = made.chunk.float().cpu().numpy()
        if made.ids is not None and made.lengths is not None and made.probabilities is not None:
            ids, lengths = made.ids.cpu().numpy(), made.lengths.tolist()
            self.ids = [row[:length] for row, length in zip(ids, lengths, strict=True)]
            self.probabilities = made.probabilities.cpu().numpy()


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
