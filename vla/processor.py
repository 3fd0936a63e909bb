"""Between the robot's numbers and the model's tensors: numpy in, torch out, and back.

Statistics come from the checkpoint and from nowhere else. Legend: B batch, L text tokens, H horizon, D joints
of the widest robot, d those of one robot.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vla.configuration import VLAConfig
from vla.data import pictures
from vla.data.robots import Joints, Sample, fitted, robot_names, rows_by_robot, widen
from vla.data.sound import RATE, prepare
from vla.data.statistics import Statistics
from vla.errors import BadInput, did_you_mean
from vla.interfaces import Observation
from vla.notice import say_once
from vla.tokens.actions.base import ActionTokenizer
from vla.tokens.actions.bins import BinTokenizer
from vla.tokens.actions.openvla import OpenVLABins
from vla.tokens.base import WordTokenizer, phrase
from vla.tokens.vocabulary import Vocabulary

__all__ = ["Processor"]

Floats = npt.NDArray[np.float32]


class Processor:
    """Checks observations, normalises, tokenises; and decodes action ids. Picklable, no state."""

    def __init__(self, config: VLAConfig, tokenizer: WordTokenizer, statistics: Statistics) -> None:
        self.config, self.tokenizer, self.statistics = config, tokenizer, statistics
        overwrite, bins = config.decoder.ids == "overwrite", config.decoder.bins
        self.vocabulary = Vocabulary(config.vocabulary, bins, overwrite)
        self.bins: ActionTokenizer = OpenVLABins(bins) if overwrite else BinTokenizer(bins)
        self.joints = {name: Joints.of(config, statistics, name) for name in robot_names(config)}
        # Ids past a pretrained vocabulary, of which actions are the last, are no words (OpenVLA's padding).
        if tokenizer.size != config.vocabulary and not (overwrite and tokenizer.size > config.vocabulary):
            raise BadInput(f"the tokenizer knows {tokenizer.size} words, the model {config.vocabulary}")

    @classmethod
    def fit(
        cls,
        config: VLAConfig,
        tokenizer: WordTokenizer,
        state: Floats | Mapping[str, Sample] | None,
        actions: Floats | None = None,
        is_pad: npt.NDArray[np.bool_] | None = None,
    ) -> "Processor":
        """Statistics from a sample of the training data (100 thousand frames are plenty).

        state: [N, D], None where the model takes none. actions: [N, H, D], absolute. is_pad: bool [N, H],
        steps to leave out. For named robots instead of all three a mapping from each name to its own.
        """
        samples: Mapping[str, Any] = state if isinstance(state, Mapping) else {"": (state, actions, is_pad)}
        return cls(config, tokenizer, Statistics(fitted(config, samples)))

    @cached_property
    def camera_names(self) -> tuple[str, ...]:
        """The cameras the model looks through."""
        return tuple(camera.name for camera in self.config.image.cameras)

    def batch(self, data: Sequence[Observation] | Mapping[str, Any]) -> dict[str, Any]:
        """The tensors `VLA` wants, on the CPU, from observations or from a raw training batch.

        A raw batch holds task list[str] and, where they are there or wanted: images {camera: uint8
        [B, H, W, 3] or [B, V, H, W, 3]} (arrays or tensors on any device) with image_mask {camera: bool [B]
        or [B, V]}; state [B, D] and actions [B, H, D] (a narrower robot's filled up to D), action_is_pad
        [B, H], robot list[str]; audio, a list of float32 [n] or None, at audio_rate list[int] (16000 if left
        out); points [B, 2 * cameras, 3]. Raises BadInput for what cannot be what the model was trained on.
        """
        raw = data if isinstance(data, Mapping) else self._stack(data)
        text, mask = self.words(raw["task"])
        out: dict[str, Any] = {"text": text, "text_mask": mask}
        out |= self._senses(raw)
        robots = self._robots(raw.get("robot"), len(text))
        if self.config.state is not None:
            out["state"] = self.state(raw["state"], robots)
        if self.config.state is not None and self.config.state.robots:
            places = {name: i for i, name in enumerate(self.config.state.robots)}
            out["robot"] = torch.tensor([places[name] for name in robots])
            out["state_mask"] = _own([self.joints[r].state_dim for r in robots], self.config.state.dim)
        if "actions" in raw:
            pad = raw.get("action_is_pad", np.zeros(raw["actions"].shape[:2], bool))
            out["targets"] = self.targets(raw.get("state"), raw["actions"], robots)
            out["action_is_pad"] = torch.from_numpy(np.asarray(pad, dtype=bool))
            if self.config.robots:
                width = self.config.decoder.dim
                out["action_mask"] = _own([self.joints[r].action_dim for r in robots], width)
        if "points" in raw:
            out["points"] = torch.from_numpy(np.asarray(raw["points"], dtype=np.float32))
        return out

    def words(self, sentences: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Instructions -> ids int64 [B, L], mask bool [B, L]; L is the model's longest text, with the start
        token first where the config's `order` has one."""
        rows = [self._ids(phrase(sentence, self.config.text)) for sentence in sentences]
        ids = np.full((len(rows), self.config.text.max_length), self.vocabulary.pad, dtype=np.int64)
        mask = np.zeros(ids.shape, dtype=bool)
        for i, row in enumerate(rows):
            ids[i, : len(row)], mask[i, : len(row)] = row, True
        return torch.from_numpy(ids), torch.from_numpy(mask)

    def _ids(self, text: str) -> tuple[int, ...]:
        length = self.config.text.max_length
        if "bos" not in self.config.order:
            return self.tokenizer.ids(text, length)
        bos = getattr(self.tokenizer, "bos", None)
        if bos is None:
            raise BadInput("order names bos, but the tokenizer has no start token: leave bos out")
        ids = self.tokenizer.ids(text, length - 1)
        return ids if ids[0] == bos else (bos, *ids)

    def state(self, state: Floats, robot: Sequence[str] | None = None) -> Tensor:
        """Joint states [B, D] in the robots' units -> float32 [B, D] in about [-1, 1]; 0 for a joint that a
        robot does not have."""
        assert self.config.state is not None
        state, wanted = np.asarray(state, dtype=np.float32), self.config.state.dim
        if state.shape[-1] < wanted and self.config.state.robots:
            state = widen(state, wanted)
        if state.shape[-1] != wanted:
            raise BadInput(f"the state has {state.shape[-1]} numbers, the model wants {wanted}")
        if not np.all(np.isfinite(state)):
            raise BadInput("the state is not finite")
        out = np.zeros_like(state)
        for name, rows in rows_by_robot(self._robots(robot, len(state))):
            joints = self.joints[name]
            assert joints.state is not None
            own = {"state": state[rows, : joints.state_dim]}
            out[rows, : joints.state_dim] = joints.state(own)["state"]
        return torch.from_numpy(out)

    def targets(self, state: Floats | None, actions: Floats, robot: Sequence[str] | None = None) -> Tensor:
        """state [B, D], actions [B, H, D], absolute, in the robots' units -> action ids int64 [B, H, D]."""
        chunk = np.zeros((*actions.shape[:2], self.config.decoder.dim), np.float32)
        for name, rows in rows_by_robot(self._robots(robot, len(actions))):
            joints = self.joints[name]
            sample = _sample(joints, None if state is None else state[rows], actions[rows])
            chunk[rows, :, : joints.action_dim] = joints.actions(sample)["actions"]
        return torch.from_numpy(self.bins.encode(chunk) + self.vocabulary.action_range.start)

    def decode(
        self, ids: Tensor | npt.NDArray[np.int64], state: Floats | None = None, robot: str = ""
    ) -> Floats:
        """Action ids [B, H, D] and the states they were chosen in [B, d] -> absolute targets of one robot,
        float32 [B, H, d].

        Raises BadInput for an id outside the action range, or for an unknown robot.
        """
        codes = np.asarray(ids.cpu() if isinstance(ids, Tensor) else ids) - self.vocabulary.action_range.start
        joints = self.joints[self._robots([robot], 1)[0]]
        sample = _sample(joints, state, self.bins.decode(codes))
        return joints.actions.inverse(sample)["actions"].astype(np.float32)

    def _robots(self, given: Sequence[str] | None, count: int) -> Sequence[str]:
        """Each sample's robot, as the statistics name it."""
        if "" in self.joints:  # a single robot needs no name
            return [""] * count
        known = ", ".join(self.joints)
        only = next(iter(self.joints)) if len(self.joints) == 1 else ""
        names = [name or only for name in given or [""] * count]
        for name in dict.fromkeys(names):
            if not name:
                raise BadInput(f"the observation does not say which robot it is of ('robot'); known: {known}")
            if name not in self.joints:
                hint = did_you_mean(name, self.joints)
                near = hint if "did you mean" in hint else ""
                raise BadInput(f"unknown robot '{name}'{near}; the model was trained with: {known}")
        return names

    def _stack(self, observations: Sequence[Observation]) -> dict[str, Any]:
        for observation in observations:
            observation.validate()
        seen = pictures.from_observations(observations, self.config.image, self.config.history)
        raw: dict[str, Any] = {
            "pictures": seen,
            "task": [o.task for o in observations],
            "robot": [o.robot for o in observations],
            "audio": [o.audio for o in observations],
            "audio_rate": [o.audio_rate for o in observations],
        }
        if self.config.state is not None:
            robots = self._robots(raw["robot"], len(observations))
            for observation, robot in zip(observations, robots, strict=True):
                self._check_state(len(observation.state), self.joints[robot].state_dim, robot)
            dim = self.config.state.dim
            raw["state"] = np.stack([widen(o.state, dim) for o in observations])
        return raw

    def _check_state(self, found: int, wanted: int, robot: str) -> None:
        whose = f" of robot '{robot}'" if robot else ""
        if found == 0:
            raise BadInput(
                f"the observation has no 'observation.state'; the model needs {wanted} numbers{whose}"
            )
        if found != wanted:
            raise BadInput(f"'observation.state' has {found} numbers, the model wants {wanted}{whose}")

    def _senses(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Pictures and sound."""
        out: dict[str, Any] = {}
        config = self.config
        if "pictures" in raw:
            out |= raw["pictures"].to_batch()
        elif raw.get("images"):
            masks = raw.get("image_mask", {})
            out |= pictures.from_arrays(raw["images"], masks, config.image, config.history).to_batch()
        heard = raw.get("audio") or [None] * len(raw["task"])
        if config.audio is not None:
            out |= _sound(heard, raw.get("audio_rate"), config.audio.seconds)
        elif any(sound is not None for sound in heard):
            say_once("audio ignored", "the observation's audio is ignored: the model has no audio encoder")
        return out


def _own(widths: Sequence[int], width: int) -> Tensor:
    """bool [B, width]: the first of each row."""
    return torch.arange(width) < torch.tensor(widths)[:, None]


def _sample(joints: Joints, state: Floats | None, actions: Floats) -> dict[str, Any]:
    """A robot's own numbers out of rows filled up to the model's width."""
    dim = joints.action_dim
    own = None if state is None else np.asarray(state, dtype=np.float32)[..., :dim]
    return {"state": own, "actions": np.asarray(actions)[..., :dim]}


def _sound(heard: Sequence[Floats | None], rates: Sequence[int] | None, seconds: float) -> dict[str, Tensor]:
    """Sounds at any rate, or None -> audio float32 [B, samples], audio_length int64 [B] (0: none)."""
    rates = rates or [RATE] * len(heard)
    count = round(seconds * RATE)
    length = torch.zeros(len(heard), dtype=torch.int64)
    if all(sound is None for sound in heard):  # nothing to hold: one row of silence, seen by all
        return {"audio": torch.zeros(1, count).expand(len(heard), -1), "audio_length": length}
    audio = torch.zeros(len(heard), count)
    for i, (sound, rate) in enumerate(zip(heard, rates, strict=True)):
        if sound is not None:
            ready = torch.from_numpy(prepare(sound, rate, seconds)[:count])
            audio[i, : len(ready)], length[i] = ready, len(ready)
    return {"audio": audio, "audio_length": length}
