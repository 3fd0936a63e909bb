"""Between the robot's numbers and the model's tensors: numpy in, torch out, and back.

Statistics come from the checkpoint and from nowhere else.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vla.configuration import VLAConfig
from vla.data.statistics import FeatureStatistics, Statistics
from vla.data.transforms import Chain, Normalise, RelativeActions
from vla.encoders.image import resize
from vla.errors import BadInput, did_you_mean
from vla.interfaces import Observation
from vla.tokens.actions.bins import BinTokenizer
from vla.tokens.text import TextTokenizer
from vla.tokens.vocabulary import Vocabulary

__all__ = ["Processor"]

MIN_PICTURE = 8
"""Pixels a side: smaller pictures are surely a mistake."""

Floats = npt.NDArray[np.float32]


class Processor:
    """Checks observations, normalises, tokenises; and decodes action ids. Picklable, no state."""

    def __init__(self, config: VLAConfig, tokenizer: TextTokenizer, statistics: Statistics) -> None:
        self.config, self.tokenizer, self.statistics = config, tokenizer, statistics
        self.vocabulary = Vocabulary(config.vocabulary, config.decoder.bins)
        self.bins = BinTokenizer(config.decoder.bins)
        chunk = (config.decoder.horizon, config.decoder.dim)
        for name, shape in (("state", (config.state.dim,)), ("actions", chunk)):
            if statistics[name].shape != shape:
                found = list(statistics[name].shape)
                raise BadInput(
                    f"the statistics of '{name}' have shape {found}, the model needs {list(shape)}"
                )
        if tokenizer.size != config.vocabulary:
            raise BadInput(f"the tokenizer knows {tokenizer.size} words, the model {config.vocabulary}")
        self._state = Normalise.by_convention("state", statistics["state"], config.processor.state)
        self._actions = Chain(
            (
                RelativeActions(config.processor.relative),
                Normalise.by_convention("actions", statistics["actions"], config.processor.actions),
            )
        )

    @classmethod
    def fit(
        cls,
        config: VLAConfig,
        tokenizer: TextTokenizer,
        state: Floats,
        actions: Floats,
        is_pad: npt.NDArray[np.bool_] | None = None,
    ) -> "Processor":
        """Statistics from a sample of the training data (100 thousand frames are plenty).

        state: [N, D]. actions: [N, H, D], absolute. is_pad: bool [N, H], steps to leave out.
        """
        relative = RelativeActions(config.processor.relative)
        offsets = relative({"state": state, "actions": actions})["actions"]
        features = {
            "state": FeatureStatistics.from_array(state),
            "actions": FeatureStatistics.from_array(offsets, None if is_pad is None else ~is_pad),
        }
        return cls(config, tokenizer, Statistics(features))

    @cached_property
    def camera_names(self) -> tuple[str, ...]:
        """The cameras the model looks through."""
        return tuple(camera.name for camera in self.config.image.cameras)

    def batch(self, data: Sequence[Observation] | Mapping[str, Any]) -> dict[str, Any]:
        """The tensors `VLA` wants, on the CPU, from observations or from a raw training batch.

        A raw batch holds images {camera: uint8 [B, H, W, 3]} (arrays or tensors on any device, or left out),
        state [B, D], task list[str], and where they are there actions [B, H, D], action_is_pad [B, H] and
        points [B, 4, 3]. Raises BadInput for whatever cannot be what the model was trained on.
        """
        raw = data if isinstance(data, Mapping) else self._stack(data)
        state = np.asarray(raw["state"], dtype=np.float32)
        text, mask = self.words(raw["task"])
        out: dict[str, Any] = {"text": text, "text_mask": mask, "state": self.state(state)}
        if raw.get("images"):
            out["images"] = self._images(raw["images"])
        if "actions" in raw:
            pad = raw.get("action_is_pad", np.zeros(raw["actions"].shape[:2], bool))
            out["targets"] = self.targets(state, raw["actions"])
            out["action_is_pad"] = torch.from_numpy(np.asarray(pad, dtype=bool))
        if "points" in raw:
            out["points"] = torch.from_numpy(np.asarray(raw["points"], dtype=np.float32))
        return out

    def words(self, sentences: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Sentences -> ids int64 [B, L], mask bool [B, L]; L is the model's longest sentence."""
        length, pad = self.config.text.max_length, self.vocabulary.pad
        rows = [self.tokenizer.ids(sentence, length) for sentence in sentences]
        ids = np.full((len(rows), length), pad, dtype=np.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
        return torch.from_numpy(ids), torch.from_numpy(ids != pad)

    def state(self, state: Floats) -> Tensor:
        """Joint states [B, D] in the robot's units -> float32 [B, D] in about [-1, 1]."""
        if state.shape[-1] != self.config.state.dim:
            raise BadInput(
                f"the state has {state.shape[-1]} numbers, the model wants {self.config.state.dim}"
            )
        if not np.all(np.isfinite(state)):
            raise BadInput("the state is not finite")
        return torch.from_numpy(self._state({"state": state})["state"])

    def targets(self, state: Floats, actions: Floats) -> Tensor:
        """state [B, D], actions [B, H, D], absolute, in the robot's units -> action ids int64 [B, H, D]."""
        chunk = self._actions({"state": np.asarray(state), "actions": np.asarray(actions)})["actions"]
        return torch.from_numpy(self.bins.encode(chunk) + self.vocabulary.action_range.start)

    def decode(self, ids: Tensor | npt.NDArray[np.int64], state: Floats) -> Floats:
        """Action ids [B, H, D] and the states they were chosen in [B, D] -> absolute targets, float32.

        Raises BadInput for an id outside the action range.
        """
        codes = np.asarray(ids.cpu() if isinstance(ids, Tensor) else ids) - self.vocabulary.action_range.start
        sample = {"state": np.asarray(state, dtype=np.float32), "actions": self.bins.decode(codes)}
        return self._actions.inverse(sample)["actions"].astype(np.float32)

    def _stack(self, observations: Sequence[Observation]) -> dict[str, Any]:
        for observation in observations:
            observation.validate()
            for name in self.camera_names:
                if name not in observation.images:
                    raise BadInput(f"no picture of camera '{name}'{did_you_mean(name, observation.images)}")
                height, width = observation.images[name].shape[:2]
                if height != width or height < MIN_PICTURE:
                    raise BadInput(
                        f"'observation.images.{name}' is {width} x {height} pixels; a square of at least "
                        f"{MIN_PICTURE} is needed, as the model was trained on (crop it, do not stretch it)"
                    )
            if len(observation.state) != self.config.state.dim:
                raise BadInput(
                    f"'observation.state' has {len(observation.state)} numbers, "
                    f"the model wants {self.config.state.dim}"
                )
        # Resized one by one: the worlds of a batch need not share a picture size.
        images = {
            camera.name: torch.cat(
                [resize(_tensor(o.images[camera.name])[None], camera.size) for o in observations]
            )
            for camera in self.config.image.cameras
        }
        state = np.stack([o.state for o in observations])
        return {"images": images, "state": state, "task": [o.task for o in observations]}

    def _images(self, images: Mapping[str, Any]) -> dict[str, Tensor]:
        out = {}
        for camera in self.config.image.cameras:
            if camera.name not in images:
                raise BadInput(f"no pictures of camera '{camera.name}'{did_you_mean(camera.name, images)}")
            out[camera.name] = resize(_tensor(images[camera.name]), camera.size)
        return out


def _tensor(images: Any) -> Tensor:
    """uint8 [..., height, width, 3], a tensor as it is or an array without copying where it can be shared."""
    if isinstance(images, Tensor):
        return images
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape[-1] != 3:
        kind = f"{getattr(images, 'dtype', type(images).__name__)} {list(getattr(images, 'shape', []))}"
        raise BadInput(f"pictures must be uint8 [..., height, width, 3], not {kind}")
    writable = images.flags.writeable and images.flags.c_contiguous
    return torch.from_numpy(images if writable else np.array(images))
