"""Between the robot's numbers and the model's tensors: numpy in, torch out, and back.

Statistics come from the checkpoint and from nowhere else. Legend: B batch, L text tokens, H horizon, D joints
of the widest robot, d those of one robot, G groups of n action codes.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vla.action_coder import ActionCoder
from vla.answers import web_batch
from vla.configuration import VLAConfig
from vla.data import pictures
from vla.data.robots import Sample, fitted, own_rows, rows_by_robot, widen
from vla.data.sound import RATE, prepare
from vla.data.statistics import Statistics
from vla.errors import BadInput
from vla.interfaces import Observation
from vla.notice import say_once
from vla.tokens.actions import ActionTokenizer
from vla.tokens.base import WordTokenizer, phrase

__all__ = ["Processor"]

Floats = npt.NDArray[np.float32]


class Processor(ActionCoder):
    """Checks observations, normalises, tokenises; and makes actions of codes, as `ActionCoder` does."""

    def __init__(
        self,
        config: VLAConfig,
        tokenizer: WordTokenizer,
        statistics: Statistics,
        actions: ActionTokenizer | None = None,
    ) -> None:
        super().__init__(config, statistics, actions)
        self.tokenizer = tokenizer
        # Ids past a pretrained vocabulary, of which actions are the last, are no words (OpenVLA's padding).
        past_words = self.vocabulary.overwrite and tokenizer.size > config.vocabulary
        if tokenizer.size != config.vocabulary and not past_words:
            raise BadInput(f"the tokenizer knows {tokenizer.size} words, the model {config.vocabulary}")

    @classmethod
    def fit(
        cls,
        config: VLAConfig,
        tokenizer: WordTokenizer,
        state: Floats | Mapping[str, Sample] | None,
        actions: Floats | None = None,
        is_pad: npt.NDArray[np.bool_] | None = None,
        *,
        seed: int = 0,
        statistics: Statistics | None = None,
    ) -> "Processor":
        """Statistics and action codes from a sample of the training data (50 thousand frames are plenty).

        state: [N, D], None where the model takes none. actions: [N, H, D], absolute. is_pad: bool [N, H],
        steps to leave out. For named robots instead of all three a mapping from each name to its own.
        statistics: where they are known already (of all frames); the sample then serves the codes alone.
        """
        samples: Mapping[str, Any] = state if isinstance(state, Mapping) else {"": (state, actions, is_pad)}
        made = cls(config, tokenizer, statistics or Statistics(fitted(config, samples)))
        if made.actions is not None and not made.actions.fitted:
            made.actions = made.actions.fit(made.chunks(samples), seed)
        made.tell_loss(samples)
        return made

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
        robots = self.named(raw.get("robot"), len(text))
        if self.config.state is not None:
            out["state"] = self.state(raw["state"], robots)
        if self.config.state is not None and self.config.state.robots:
            places = {name: i for i, name in enumerate(self.config.state.robots)}
            out["robot"] = torch.tensor([places[name] for name in robots])
            out["state_mask"] = own_rows([self.joints[r].state_dim for r in robots], self.config.state.dim)
        if "actions" in raw:
            out |= self.answers(raw.get("state"), raw["actions"], raw.get("action_is_pad"), robots)
        if "points" in raw:
            out["points"] = torch.from_numpy(np.asarray(raw["points"], dtype=np.float32))
        return out

    def web_batch(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """The flat batch of pictures and what is said of them (see `vla.model`), on the CPU.

        raw: prompt list[str]; images, where there are some: uint8 [height, width, 3] each, or None, list or
        array; camera, whose pictures they are taken for (the model's first); answer, where it is to be
        learned, list[str], or, packed, for each row a list of (prompt, answer), all about its picture: they
        take as many rows as they need, and only then a row's own prompt may be empty; points float32 [B, 2,
        3] of the camera, in 0..1 of the picture; weight [B]. Raises BadInput for a text that the model cannot
        read or say.
        """
        return web_batch(self, raw)

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
        for name, rows in rows_by_robot(self.named(robot, len(state))):
            joints = self.joints[name]
            assert joints.state is not None
            own = {"state": state[rows, : joints.state_dim]}
            out[rows, : joints.state_dim] = joints.state(own)["state"]
        return torch.from_numpy(out)

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
            robots = self.named(raw["robot"], len(observations))
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
