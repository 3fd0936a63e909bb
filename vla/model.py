"""VLA: encoders -> connectors -> one sequence -> backbone -> action decoder.

A batch is a dictionary of tensors, made by `vla.processor.Processor`:
    images: {camera: uint8 or float 0..1 [B, S, S, 3]}     text: int64 [B, L]     text_mask: bool [B, L]
    state: float32 [B, D], normalised
and for training
    targets: int64 [B, H, D], action ids     action_is_pad: bool [B, H]
    points: float32 [B, 2 * cameras, 3], optional (see decoders/grounding.py)
Shapes: B batch, P prefix tokens, W backbone width, H horizon, D joints, Q bins, K points.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vla.backbones.small import Backbone, prefix_lm_mask
from vla.configuration import VLAConfig
from vla.connectors import LinearConnector
from vla.decoders.action import ActionDecoder, AutoregressiveDecoder, ParallelDecoder, action_loss
from vla.decoders.grounding import POINTS_PER_CAMERA, grounding_loss
from vla.encoders.image import CameraEncoder
from vla.encoders.state import StateEncoder
from vla.encoders.text import TextEncoder
from vla.tokens.vocabulary import Vocabulary

__all__ = ["VLA", "Batch", "Prefix"]

Batch = dict[str, Any]


@dataclass(frozen=True)
class Prefix:
    """What the model makes of an observation before it answers.

    tokens: [B, P, W]. maps: camera -> log-odds float32 [B, K, h, w]. points: camera -> float32 [B, K, 2].
    """

    tokens: Tensor
    maps: dict[str, Tensor]
    points: dict[str, Tensor]


class VLA(nn.Module):
    """Pictures, joints and a sentence in; a chunk of action tokens out."""

    def __init__(self, config: VLAConfig) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = Vocabulary(config.vocabulary, config.decoder.bins)
        width = config.backbone.width
        self.text = TextEncoder(config.text, self.vocabulary.size)
        self.cameras = nn.ModuleDict(
            {c.name: CameraEncoder(config.image, c, config.text.width) for c in config.image.cameras}
        )
        self.state = StateEncoder(config.state)
        self.connect = nn.ModuleDict(
            {
                "text": LinearConnector(config.text.width, config.text.tokens, width),
                "state": LinearConnector(config.state.hidden, 1, width),
            }
        )
        self.connect_cameras = nn.ModuleDict(
            {c.name: self._camera_connector(c.name) for c in config.image.cameras}
        )
        self.backbone = Backbone(config.backbone)
        kind = AutoregressiveDecoder if config.decoder.kind == "autoregressive" else ParallelDecoder
        self.decoder: ActionDecoder = kind(config.decoder, self.vocabulary, width)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _camera_connector(self, name: str) -> LinearConnector:
        encoder = self.cameras[name]
        assert isinstance(encoder, CameraEncoder)
        return LinearConnector(encoder.channels, encoder.tokens, self.config.backbone.width)

    def encode(self, batch: Batch) -> Prefix:
        """Every sense becomes tokens: text, then each camera, then the state."""
        words, summary = self.text(batch["text"], batch["text_mask"])
        parts, maps, points = [self.connect["text"](words)], {}, {}
        for name, encoder in self.cameras.items():
            tokens, maps[name], points[name] = encoder(batch["images"][name], summary)
            parts.append(self.connect_cameras[name](tokens))
        parts.append(self.connect["state"](self.state(batch["state"])))
        return Prefix(torch.cat(parts, 1), maps, points)

    def forward(self, batch: Batch) -> tuple[Tensor, Prefix]:
        """-> logits float32 [B, H, D, Q] (with `targets` as what was said so far, if autoregressive)."""
        prefix = self.encode(batch)
        count = prefix.tokens.shape[1]
        answers = self.decoder.embed(len(prefix.tokens), batch.get("targets"))
        mask = prefix_lm_mask(count, answers.shape[1], self.decoder.causal, answers.device)
        x = torch.cat([prefix.tokens, answers.to(prefix.tokens.dtype)], 1)
        return self.decoder.logits(self.backbone(x, mask, last=answers.shape[1])), prefix

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The training loss and what it is made of (scalars, detached): action_loss, action_l1 (in bins),
        action_accuracy, grounding_loss and grounding_error (in picture widths)."""
        logits, prefix = self(batch)
        bins = batch["targets"] - self.vocabulary.action_range.start
        loss, scalars = action_loss(logits, bins, batch["action_is_pad"], self.config.decoder.smoothing)
        scalars["action_loss"] = loss.detach()
        if batch.get("points") is not None and self.config.image.grounding_weight > 0:
            grounding, error = self._grounding(prefix, batch["points"])
            loss = loss + self.config.image.grounding_weight * grounding
            scalars |= {"grounding_loss": grounding.detach(), "grounding_error": error}
        return loss, scalars

    def _grounding(self, prefix: Prefix, points_BM3: Tensor) -> tuple[Tensor, Tensor]:
        n, sigma = POINTS_PER_CAMERA, self.config.image.grounding_sigma
        labels = dict(zip(prefix.maps, points_BM3.split(n, dim=1), strict=True))
        losses = [grounding_loss(prefix.maps[c][:, :n], labels[c], sigma) for c in labels]
        with torch.no_grad():
            seen = points_BM3[..., 2]
            found = torch.cat([prefix.points[c][:, :n] for c in labels], 1)
            error = (found - points_BM3[..., :2]).norm(dim=-1) * seen
            mean_error = error.sum() / seen.sum().clamp(min=1.0)
        return torch.stack(losses).mean(), mean_error

    @torch.no_grad()
    def act(self, batch: Batch) -> Tensor:
        """The chunk chosen for each observation, as ids of the action range: int64 [B, H, D]."""
        from vla.generation import generate

        return generate(self, batch).ids

    def num_parameters(self) -> int:
        """Number of weights."""
        return sum(p.numel() for p in self.parameters())

    def save_pretrained(self, path: str | Path, **parts: Any) -> None:
        """Write the folder; see `vla.pretrained.save` for the parts beside the weights."""
        from vla.pretrained import save

        save(Path(path), self, **parts)

    @classmethod
    def from_pretrained(cls, path: str | Path) -> "VLA":
        """The model of a folder, in evaluation mode; `vla.pretrained.load` brings its processor too."""
        from vla.pretrained import load

        return load(Path(path))[0]
