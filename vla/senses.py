"""Senses: a batch's raw inputs -> each sense's tokens, at the backbone's width. Encoders, then connectors.

One entry for each camera, "text", "audio" and "state", as the config asks for them.
Shapes: B batch, V views (past frames or tiles), S side, N tokens, C an encoder's channels, W backbone width,
K points.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from vla.backbones.base import Backbone
from vla.configuration import (
    CameraConfig,
    LinearConfig,
    TransformersConfig,
    VLAConfig,
    VLMVisionConfig,
    WordsConfig,
)
from vla.connectors import build_connector
from vla.encoders.audio import build_audio_encoder
from vla.encoders.base import Tokens
from vla.encoders.image import ImageEncoder, build_image_encoder
from vla.encoders.state import StateEncoder
from vla.encoders.text import PooledTextEncoder, WordsEncoder
from vla.encoders.tiles import TilePlaces
from vla.encoders.video import History, key_frames
from vla.instructions import InstructionCache, Rows, fingerprints

__all__ = ["Sensed", "Senses"]

Batch = dict[str, Any]


@dataclass
class Sensed:
    """tokens: sense -> Tokens [B, N, W], in the order in which they stand. maps: camera -> log-odds float32
    [B, K, h, w]. points: camera -> float32 [B, K, 2]. Of a VLM's own tower: sides, camera -> side of its
    square of tokens; deep: camera -> features for the first decoder layers [D, B, N, W]."""

    tokens: dict[str, Tokens]
    maps: dict[str, Tensor] = field(default_factory=dict)
    points: dict[str, Tensor] = field(default_factory=dict)
    sides: dict[str, int] = field(default_factory=dict)
    deep: dict[str, Tensor] = field(default_factory=dict)


class Senses(nn.Module):
    """Encoders and connectors of all senses. A language model as backbone lends them its table of words and,
    if it has one, its vision tower."""

    def __init__(self, config: VLAConfig, vocabulary: int, backbone: Backbone) -> None:
        super().__init__()
        self.config = config
        text, width = config.text, backbone.width
        pretrained = isinstance(config.backbone, TransformersConfig)
        own_table = not (pretrained and isinstance(text, WordsConfig) and text.tokenizer)
        self._spoken = config.audio is not None and config.audio.role == "instruction"
        # In a tuple: the backbone's weights are not registered here a second time.
        self._backbone = None if own_table else (backbone,)
        summary: int | None = None
        self.encoders, self.connect, self.views = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        self.place = nn.ParameterDict()
        if not isinstance(text, WordsConfig):
            self.encoders["text"] = PooledTextEncoder(text, vocabulary)
            self.connect["text"] = build_connector(LinearConfig(), text.width, text.tokens, width)
            summary = text.width
        elif own_table:
            self.encoders["text"] = WordsEncoder(text, vocabulary, width)
        for camera in config.image.cameras:
            first = config.image.cameras[0].name
            if isinstance(config.image.encoder, VLMVisionConfig):
                from vla.backbones.vision import VLMPictures

                encoder: nn.Module = VLMPictures(backbone, camera)
            elif config.image.shared and camera.name != first:
                encoder = self.encoders[first]
            else:
                encoder = build_image_encoder(config.image, camera, summary, width)
            if not config.image.shared or camera.name == first:
                self.encoders[camera.name] = encoder
            self._add_camera(camera, cast(ImageEncoder, encoder), width)
        if config.audio is not None:
            audio = build_audio_encoder(config.audio)
            self.encoders["audio"] = audio
            reader = width if summary is None or not self._spoken else summary
            self.connect["audio"] = build_connector(
                config.audio.connector, audio.channels, audio.tokens, reader
            )
        if config.state is not None:
            self.encoders["state"] = StateEncoder(config.state)
            self.connect["state"] = build_connector(LinearConfig(), config.state.hidden, 1, width)

    def _add_camera(self, camera: CameraConfig, encoder: ImageEncoder, width: int) -> None:
        name, image, views = camera.name, self.config.image, 1
        if image.max_tiles:
            views = 1 + image.max_tiles
            self.views[name] = TilePlaces(encoder.channels, image.max_tiles)
        elif self.config.history.frames > 1:
            history = History(self.config.history, encoder.channels)
            views = history.frames_out
            self.views[name] = history
        count, asks = views * encoder.tokens, self.config.connector.kind in ("q_former", "perceiver")
        if asks:  # such a connector does not see which token is where
            self.place[name] = nn.Parameter(torch.randn(count, encoder.channels) * 0.02)
        if image.encoder.kind not in ("native", "vlm"):
            square = views == 1 and camera.points == 0
            self.connect[name] = build_connector(
                self.config.connector, encoder.channels, count, width, picture=square
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The senses, in the order in which their tokens stand."""
        cameras = [camera.name for camera in self.config.image.cameras]
        groups = {
            "bos": ["bos"],
            "text": ["text"],
            "images": cameras,
            "audio": ["audio"] if self.config.audio is not None and not self._spoken else [],
            "state": ["state"] if self.config.state is not None else [],
        }
        return tuple(name for group in self.config.order for name in groups[group])

    @property
    def all_names(self) -> tuple[str, ...]:
        """With the sound that is read as a sentence and has no tokens of its own."""
        return (*self.names, "audio") if self._spoken else self.names

    def camera(self, name: str) -> ImageEncoder:
        """The encoder that looks at a camera's pictures."""
        image = self.config.image
        return cast(ImageEncoder, self.encoders[image.cameras[0].name if image.shared else name])

    def forward(self, batch: Batch, instructions: InstructionCache | None = None) -> Sensed:
        """A batch (see `vla.model`) -> the tokens of every sense that is in it. instructions: of whoever runs
        the model; is not used while it learns."""
        sensed = Sensed({})
        if self.training or torch.is_grad_enabled():
            instructions = None
        summary, found = self._read(batch, instructions)
        shown = batch.get("images", {})
        for camera in (each for each in self.config.image.cameras if each.name in shown):
            found[camera.name] = self._see(camera.name, batch, summary, sensed)
        if self.config.audio is not None and not self._spoken and "audio" in batch:
            found["audio"] = self._hear(batch, instructions)
        if self.config.state is not None and "state" in batch:
            state = self.encoders["state"](batch["state"], batch.get("state_mask"), batch.get("robot"))
            mask = batch.get("state_mask")
            felt = Tokens(state, None if mask is None else mask.any(1, keepdim=True))
            found["state"] = self.connect["state"](felt)
        sensed.tokens = {name: found[name] for name in self.names if name in found}
        return sensed

    def _read(
        self, batch: Batch, instructions: InstructionCache | None
    ) -> tuple[Tensor | None, dict[str, Tokens]]:
        """-> the sentence's summary [B, C], where there is one, and "text" (and "bos")."""
        ids, mask = batch["text"], batch["text_mask"]
        if not isinstance(self.config.text, WordsConfig):
            packed = "answer_segment" in batch  # only then a prompt may be without words
            sound = self._sound(batch) if self._spoken and "audio" in batch else None
            if sound is not None and sound[1].device.type == "cpu" and not bool(sound[1].any()):
                sound = None  # nobody speaks; asking a GPU would cost more than encoding silence

            def pooled(rows: Rows) -> tuple[Tensor | None, ...]:
                heard = None if sound is None else self._heard(sound[0][rows], sound[1][rows])
                tokens, summary = self.encoders["text"](ids[rows], mask[rows], heard)
                connected = self.connect["text"](Tokens(tokens))
                some = mask[rows].any(1) if heard is None else mask[rows].any(1) | heard.present()
                seen = some[:, None].expand(connected.x.shape[:2])
                return connected.x, seen if packed else None, summary

            said: tuple[Tensor, ...] = (ids, mask) if sound is None else (ids, mask, *sound)
            readers: tuple[str, ...] = ("text",) if sound is None else ("text", "audio")
            x, seen, summary = self._once(readers, said, pooled, instructions)
            assert x is not None
            return summary, {"text": Tokens(x, seen)}
        # A row of a table for each word: nothing to be kept.
        ids = ids.masked_fill(~mask, 0)
        if self._backbone is None:
            return None, {"text": self.encoders["text"](ids, mask)}
        embedded = self._backbone[0].embed(ids)
        if "bos" not in self.config.order:
            return None, {"text": Tokens(embedded, mask)}
        return None, {"bos": Tokens(embedded[:, :1]), "text": Tokens(embedded[:, 1:], mask[:, 1:])}

    def _see(self, name: str, batch: Batch, summary: Tensor | None, sensed: Sensed) -> Tokens:
        pictures = batch["images"][name]
        mask = batch.get("image_mask", {}).get(name)
        ages = None
        if pictures.ndim == 4:
            pictures = pictures[:, None]
            mask = None if mask is None else mask.reshape(-1, 1)
        history = self.config.history
        if history.frames > 1 and history.reduce == "keyframes":
            pictures, mask, ages = key_frames(pictures, mask, history.keep)
        b, v = pictures.shape[:2]
        told = summary if summary is None or v == 1 else summary.repeat_interleave(v, 0)
        seen = self.camera(name)(pictures.flatten(0, 1), told)
        if seen.maps is not None:  # the present frame's, or the thumbnail's
            sensed.maps[name] = seen.maps.unflatten(0, (b, v))[:, 0]
            sensed.points[name] = seen.points.unflatten(0, (b, v))[:, 0]
        if v == 1 and self.config.image.encoder.kind == "vlm":
            sensed.sides[name] = math.isqrt(seen.tokens.shape[1])
            if getattr(seen, "deep", None) is not None:
                sensed.deep[name] = seen.deep  # type: ignore[attr-defined]
        tokens = self._join(name, seen.tokens.unflatten(0, (b, v)), mask, ages, batch)
        if name in self.place:
            tokens = Tokens(tokens.x + self.place[name], tokens.mask)
        return self.connect[name](tokens) if name in self.connect else tokens

    def _join(
        self, name: str, x_BVNC: Tensor, mask_BV: Tensor | None, ages: Tensor | None, batch: Batch
    ) -> Tokens:
        """A picture's views as one sequence."""
        if name in self.views and self.config.history.frames > 1:
            return self.views[name](x_BVNC, mask_BV, ages=ages)
        if name in self.views:
            x_BVNC = self.views[name](x_BVNC, batch["tile_grid"][name])
        mask = None if mask_BV is None else mask_BV.repeat_interleave(x_BVNC.shape[2], 1)
        return Tokens(x_BVNC.flatten(1, 2), mask)

    def _hear(self, batch: Batch, instructions: InstructionCache | None) -> Tokens:
        audio, length = self._sound(batch)

        def encoded(rows: Rows) -> tuple[Tensor | None, ...]:
            heard = self._heard(audio[rows], length[rows])
            return heard.x, heard.mask

        x, mask = self._once(("audio",), (audio, length), encoded, instructions)
        assert x is not None
        return Tokens(x, mask)

    def _sound(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """float [B, S], and how many samples of each row are sound, int64 [B]."""
        audio, length = batch["audio"], batch.get("audio_length")
        if length is None:
            length = torch.full((len(audio),), audio.shape[1], device=audio.device)
        return audio, length

    def _heard(self, audio_BS: Tensor, length_B: Tensor) -> Tokens:
        return self.connect["audio"](self.encoders["audio"](audio_BS, length_B))

    def _once(
        self,
        names: tuple[str, ...],
        said: tuple[Tensor, ...],
        encode: Callable[[Rows], tuple[Tensor | None, ...]],
        instructions: InstructionCache | None,
    ) -> tuple[Tensor | None, ...]:
        """What `encode`, using the encoders and connectors `names`, makes of all rows, or of those that were
        not heard before."""
        if instructions is None:
            return encode(slice(None))
        modules = [part[name] for name in names for part in (self.encoders, self.connect)]
        return instructions.rows("+".join(names), fingerprints(*said), modules, encode, said[0].device)
