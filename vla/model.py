"""VLA: encoders -> connectors -> fusion -> backbone -> decoders.

A batch is a dictionary of tensors, made by `vla.processor.Processor`:
    text int64 [B, L], text_mask bool [B, L]
    images {camera: uint8 or float 0..1 [B, S, S, 3], or [B, V, S, S, 3] with V views: the present frame, then
        past ones; or the whole picture, then its tiles}
    state float32 [B, D], normalised
and where they apply
    image_mask {camera: bool [B] or [B, V]}, whether the picture is there    tile_grid {camera: int64 [B, 2]}
    audio float32 [B, samples], 16 kHz    audio_length int64 [B], samples, 0 for none
    state_mask bool [B, D], the joints this robot has    robot int64 [B]
and for training
    targets int64 [B, G, n], action ids in G groups of n    target_mask bool [B, G, n], which of them count
    forced int64 [B], optional: how many of the first control steps are given
    points float32 [B, 2 * cameras, 3], optional (see decoders/grounding.py)
or, where the answer is continuous, for targets
    actions float32 [B, H, D], normalised    action_mask bool [B, H, D]    noise_seed int64 [], optional
Shapes: B batch, P prefix tokens, W backbone width, H horizon, D joints, G groups of n codes, Q codes to
choose from, K points.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vla.alignment import Alignment, same_rows
from vla.attention import attention_mask, positions
from vla.backbones import build_backbone
from vla.backbones.base import Backbone, Modules
from vla.configuration import FlowConfig, TuningConfig, VLAConfig
from vla.decoders.action import ActionDecoder, action_loss, build_decoder
from vla.decoders.flow import FlowDecoder, Past, remember
from vla.decoders.grounding import POINTS_PER_CAMERA, grounding_loss
from vla.encoders.base import Tokens, masked_mean
from vla.encoders.image import ImageEncoder
from vla.fusion import Context, build_fusion, with_pictures
from vla.instructions import InstructionCache
from vla.origin import completed, paths
from vla.senses import Batch, Sensed, Senses
from vla.tokens.vocabulary import Vocabulary
from vla.training.tuning import merge_lora, tune

__all__ = ["VLA", "Batch", "Prefix"]


@dataclass(frozen=True)
class Prefix:
    """What the model makes of an observation before it answers: the passes for the backbone, the senses they
    were made of."""

    contexts: list[Context]
    senses: Sensed

    @property
    def points(self) -> dict[str, Tensor]:
        """Where each camera's points are: float32 [B, K, 2], x and y in 0..1."""
        return self.senses.points


class VLA(nn.Module):
    """Every sense in; a chunk of action tokens out."""

    def __init__(self, config: VLAConfig) -> None:
        super().__init__()
        self.vocabulary = Vocabulary.of(config)
        self.backbone: Backbone = build_backbone(config)
        self.senses = Senses(config, self.vocabulary.size, self.backbone)
        self.fusion = build_fusion(
            config.fusion, self.backbone.width, len(self.backbone.layer_list), self.senses.names
        )
        self.decoder: ActionDecoder | FlowDecoder
        if isinstance(config.decoder, FlowConfig):
            self.decoder = FlowDecoder(config.decoder, self.backbone)
        else:
            self.decoder = build_decoder(config.decoder, self.vocabulary, self.backbone)
        self.alignment = None
        if config.alignment is not None:
            senses = {name for pair in config.alignment.pairs for name in pair}
            self.alignment = Alignment(config.alignment, dict.fromkeys(sorted(senses), self.backbone.width))
        self.config = completed(config, self)
        tune(self, config.tuning)
        self.left_out = self._left_out()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def encode(self, batch: Batch, instructions: InstructionCache | None = None) -> Prefix:
        """Every sense becomes tokens, and the fusion brings them together. instructions: what was said before
        and is already encoded; not used in training."""
        senses = self.senses(batch, instructions)
        return Prefix([with_pictures(each, senses) for each in self.fusion(senses.tokens)], senses)

    def forward(self, batch: Batch) -> tuple[Tensor, Prefix]:
        """-> logits float32 [B, G, n, Q], with `targets` as what was said so far."""
        decoder, prefix = self.decoder, self.encode(batch)
        assert not isinstance(decoder, FlowDecoder)
        said, count = batch["targets"], batch["targets"].shape[1]
        known = said if decoder.block == decoder.groups else said[:, : count - decoder.block]
        answers = decoder.embed(len(said), known, batch.get("forced"))
        logits = [decoder.logits(self.read(context, answers)) for context in prefix.contexts]
        return self.fusion.combine(logits, prefix.contexts), prefix

    def remember(self, context: Context) -> Past:
        """What a continuous decoder looks at: the keys and values of a context."""
        tokens = context.tokens
        return remember(
            self.backbone,
            tokens.x,
            self.attention_mask(tokens, 0),
            tokens.mask,
            self.places(context, 0),
            context.first_pass,
        )

    def read(self, context: Context, answers_BAW: Tensor) -> Tensor:
        """The backbone over a context and all answers in one pass: the answers' hidden vectors, [B, A, W]."""
        x, count = context.tokens.x, answers_BAW.shape[1]
        return self.backbone(
            torch.cat([x, answers_BAW.to(x.dtype)], 1),
            self.attention_mask(context.tokens, count),
            last=count,
            positions=self.places(context, count),
            before=context.first_pass,
        )

    def places(self, context: Context, answers: int) -> Tensor:
        """Where each token stands: int64 [B, T], or [3, B, T] (time, row, column) for models that place
        pictures in the plane."""
        places = positions(context.tokens, answers)
        if self.backbone.places_in_plane and context.squares:
            from vla.backbones.vision import grid_positions

            return grid_positions(places, context.squares)
        return places

    def attention_mask(self, prefix: Tokens, answers: int) -> Tensor:
        """Who looks at whom: bool [T, T] or [B, 1, T, T]."""
        block = answers if isinstance(self.decoder, FlowDecoder) else self.decoder.block
        return attention_mask(prefix, answers, causal_prefix=self.backbone.causal, block=block)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The training loss and what it is made of (scalars, detached): action_loss, and action_accuracy and
        action_l1 (in codes) or flow's own; grounding_loss and grounding_error (in picture widths); those of
        the alignment."""
        loss, scalars, prefix = self._action_loss(batch)
        scalars["action_loss"] = loss.detach()
        weight = self.config.image.grounding_weight
        if batch.get("points") is not None and weight > 0 and prefix.senses.maps:
            grounding, error = self._grounding(prefix, batch["points"])
            loss = loss + weight * grounding
            scalars |= {"grounding_loss": grounding.detach(), "grounding_error": error}
        if self.alignment is not None and self.config.alignment is not None:
            aligned, found = self.alignment(self._pooled(prefix), same_rows(batch["text"]))
            loss = loss + self.config.alignment.weight * aligned
            scalars |= found
        return loss, scalars

    def _action_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor], Prefix]:
        config = self.config.decoder
        if isinstance(config, FlowConfig):
            prefix = self.encode(batch)
            assert isinstance(self.decoder, FlowDecoder)
            past = self.remember(prefix.contexts[0])
            random = self._random(batch.get("noise_seed"), batch["actions"].device)
            actions, mask, forced = batch["actions"], batch["action_mask"], batch.get("forced")
            return *self.decoder.loss(past, actions, mask, forced, random), prefix
        logits, prefix = self(batch)
        codes = batch["targets"] - self.vocabulary.action_range.start
        ordered = config.layout.ordered
        smoothing = config.smoothing if ordered else 0.0
        counts = batch["target_mask"]
        if "forced" in batch:
            steps = torch.arange(codes.shape[1], device=codes.device)
            counts = counts & (steps >= batch["forced"][:, None])[..., None]
        return *action_loss(logits, codes, counts, smoothing, ordered), prefix

    def _random(self, seed: Tensor | None, device: torch.device) -> torch.Generator | None:
        """Of a batch that tells its seed, so that a resumed training draws what it would have drawn; in
        evaluation always the same; else torch's own."""
        if seed is None and self.training:
            return None
        return torch.Generator(device).manual_seed(0 if seed is None else int(seed))

    def _grounding(self, prefix: Prefix, points_BM3: Tensor) -> tuple[Tensor, Tensor]:
        n, sigma = POINTS_PER_CAMERA, self.config.image.grounding_sigma
        cameras = [camera.name for camera in self.config.image.cameras]
        labels = dict(zip(cameras, points_BM3.split(n, dim=1), strict=True))
        maps = prefix.senses.maps
        losses = [grounding_loss(maps[c][:, :n], labels[c], sigma) for c in maps]
        with torch.no_grad():
            wanted = torch.cat([labels[c] for c in maps], 1)
            found = torch.cat([prefix.points[c][:, :n] for c in maps], 1)
            seen = wanted[..., 2]
            error = (found - wanted[..., :2]).norm(dim=-1) * seen
            mean_error = error.sum() / seen.sum().clamp(min=1.0)
        return torch.stack(losses).mean(), mean_error

    def _pooled(self, prefix: Prefix) -> dict[str, tuple[Tensor, Tensor]]:
        """Sense -> its mean token [B, W], and whether it is there, bool [B]; all cameras are `image`."""
        tokens = prefix.senses.tokens
        cameras = [tokens[camera.name] for camera in self.config.image.cameras]
        image = Tokens(torch.cat([c.x for c in cameras], 1), torch.cat([c.full_mask() for c in cameras], 1))
        named = {"image": image}
        named |= {name: tokens[name] for name in ("text", "audio") if name in tokens}
        return {name: (masked_mean(each), each.present()) for name, each in named.items()}

    def parts(self) -> dict[str, Modules]:
        """The modules of each part that can be trained in its own way (see `TuningConfig`)."""
        senses, trunk = self.senses, self.backbone
        eyes = [each for each in senses.encoders.values() if isinstance(each, ImageEncoder)]
        vision: Modules = [part for eye in eyes for part in eye.vision_modules]
        audio: Modules = [each for name, each in senses.encoders.items() if name == "audio"]
        joining: Modules = [part for eye in eyes for part in eye.connector_modules]
        joining += [senses.connect, senses.place, senses.views, self.fusion]
        rest: Modules = [each for name, each in senses.encoders.items() if name in ("text", "state")]
        rest += [self.decoder] if self.alignment is None else [self.decoder, self.alignment]
        return {
            "vision": vision + trunk.vision_modules,
            "audio": audio,
            "connector": joining + trunk.connector_modules,
            "language": trunk.language_modules,
            "rest": rest,
        }

    def _left_out(self) -> frozenset[str]:
        """Weights that a saved model need not hold: frozen, and read from another checkpoint's folder."""
        foreign = tuple(paths(self.config))
        return frozenset(
            name
            for name, parameter in self.named_parameters()
            if foreign and name.startswith(foreign) and not parameter.requires_grad
        )

    def retune(self, config: TuningConfig) -> None:
        """Learn in another way from here on; adapters are folded in first."""
        merge_lora(self)
        # What was trained is no longer what the other folder holds; nor what had an adapter folded in, which
        # was named `base_layer` until now.
        untouched = self.left_out & {name for name, _ in self.named_parameters()}
        self.requires_grad_(True)
        self.config = dataclasses.replace(self.config, tuning=config)
        tune(self, config)
        now = self._left_out()
        self.left_out = frozenset(name for name in now if name.replace(".base_layer.", ".") in untouched)

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
