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
A camera, the sound or the state that no row has may be left out: its tokens are then left out of the
sequence, which is the same as masking them. And for training
    weight float32 [B], optional: how much each row's losses count (1)
    targets int64 [B, G, n], action ids in G groups of n    target_mask bool [B, G, n], which of them count
    forced int64 [B], optional: how many of the first control steps are given
    points float32 [B, 2 * cameras, 3], optional (see decoders/grounding.py)
or, where the answer is continuous, for (or, with codes learned beside it, as well as) targets
    actions float32 [B, H, D], normalised    action_mask bool [B, H, D]
    noise float32 [B, H, D] and noise_time float32 [B, 1], uniform in 0..1; or noise_seed int64 []; optional
where the answer is in words, for all of these but points
    answer int64 [B, A], ids that end in eos, then pad    answer_mask bool [B, A], which of them count
    answer_segment int64 [B, A], optional: several turns packed into one row, each a segment s >= 1 (0: none)
        that holds its prompt's words too, and sees the prefix and itself alone
Robots and the web learned at once: {"robot_batch": flat batch, "web_batch": flat batch}, either of which may
be missing.
Shapes: B batch, P prefix tokens, W backbone width, H horizon, D joints, G groups of n codes, Q codes (or
words) to choose from, A tokens of an answer in words, K points.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vla import losses
from vla.alignment import Alignment
from vla.attention import attention_mask, positions, within_segments
from vla.backbones import build_backbone
from vla.backbones.base import Backbone, Modules
from vla.configuration import FlowConfig, TuningConfig, VLAConfig
from vla.decoders.action import ActionDecoder, build_decoder
from vla.decoders.flow import FlowDecoder, Past, remember
from vla.decoders.text import TextDecoder
from vla.encoders.base import Tokens
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
    """Every sense in; a chunk of actions out, and words."""

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
        # Last, so that they draw no random number that an older part would have drawn.
        self.text_decoder = None
        if config.answer is not None:
            self.text_decoder = TextDecoder(config, self.vocabulary, self.backbone)
        self.auxiliary: ActionDecoder | None = None
        if isinstance(config.decoder, FlowConfig) and config.decoder.codes is not None:
            self.auxiliary = build_decoder(config.decoder.codes, self.vocabulary, self.backbone)
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
        """-> logits of codes float32 [B, G, n, Q], with `targets` as what was said so far."""
        prefix = self.encode(batch)
        return self.code_logits(prefix, batch), prefix

    def code_logits(self, prefix: Prefix, batch: Batch) -> Tensor:
        """Of the action codes (of a flow, those learned beside it): float32 [B, G, n, Q]."""
        decoder = self.auxiliary if isinstance(self.decoder, FlowDecoder) else self.decoder
        assert decoder is not None
        said, count = batch["targets"], batch["targets"].shape[1]
        known = said if decoder.block == decoder.groups else said[:, : count - decoder.block]
        answers = decoder.embed(len(said), known, batch.get("forced"))
        logits = [decoder.logits(self.read(each, answers, decoder.block)) for each in prefix.contexts]
        return self.fusion.combine(logits, prefix.contexts)

    def answer_logits(self, prefix: Prefix, batch: Batch) -> Tensor:
        """Of the words, each given those before it in `answer`: float32 [B, A, Q]."""
        decoder, segment = self.text_decoder, batch.get("answer_segment")
        assert decoder is not None
        words = decoder.embed(batch["answer"][:, :-1], segment)
        read = [self.read(each, words, decoder.block, segment) for each in prefix.contexts]
        return self.fusion.combine([decoder.logits(hidden) for hidden in read], prefix.contexts)

    def remember(self, context: Context, *, insulated: bool = False) -> Past:
        """What a continuous decoder looks at: the keys and values of a context. insulated: no gradient of
        what it learns passes through them (see `TuningConfig`)."""
        tokens = context.tokens
        with torch.set_grad_enabled(torch.is_grad_enabled() and not insulated):
            return remember(
                self.backbone,
                tokens.x,
                self.attention_mask(tokens, 0),
                tokens.mask,
                self.places(context, 0),
                context.first_pass,
            )

    def read(
        self,
        context: Context,
        answers_BAW: Tensor,
        block: int | None = None,
        segment_BA: Tensor | None = None,
    ) -> Tensor:
        """The backbone over a context and all answers in one pass: the answers' hidden vectors, [B, A, W].
        block, segment_BA: see `attention_mask`."""
        x, count = context.tokens.x, answers_BAW.shape[1]
        return self.backbone(
            torch.cat([x, answers_BAW.to(x.dtype)], 1),
            self.attention_mask(context.tokens, count, block, segment_BA),
            last=count,
            positions=self.places(context, count, segment_BA),
            before=context.first_pass,
        )

    def places(self, context: Context, answers: int, segment_BA: Tensor | None = None) -> Tensor:
        """Where each token stands: int64 [B, T], or [3, B, T] (time, row, column) for models that place
        pictures in the plane. The tokens of a segment are counted from where the prefix ends."""
        if segment_BA is not None:
            begun = self.places(context, 1)
            begun = begun.expand(*begun.shape[:-2], len(segment_BA), -1)
            return torch.cat([begun[..., :-1], begun[..., -1:] + within_segments(segment_BA)], -1)
        places = positions(context.tokens, answers)
        if self.backbone.places_in_plane and context.squares:
            from vla.backbones.vision import grid_positions

            return grid_positions(places, context.squares)
        return places

    def attention_mask(
        self, prefix: Tokens, answers: int, block: int | None = None, segment_BA: Tensor | None = None
    ) -> Tensor:
        """Who looks at whom: bool [T, T] or [B, 1, T, T]. block: how many answers are written at a time; of
        the actions if not told. segment_BA: int64 [B, A], of answers packed into one row."""
        if block is None:
            block = answers if isinstance(self.decoder, FlowDecoder) else self.decoder.block
        causal = self.backbone.causal
        return attention_mask(prefix, answers, causal_prefix=causal, block=block, segment_BA=segment_BA)

    def loss(
        self, batch: Batch, totals: Mapping[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The training loss of a batch, flat or mixed, and what it is made of (scalars, detached):
        action_loss, and action_accuracy and action_l1 (in codes) or flow's own; auxiliary_loss and
        auxiliary_accuracy; answer_loss and answer_accuracy; grounding_loss and grounding_error (in picture
        widths), and the same of the web's pictures, web_grounding_...; those of the alignment.

        totals: of the whole batch that this one is a part of (`totals`, added up); loss, gradients and
        scalars then are shares that add up to the whole's.
        """
        return losses.loss(self, batch, totals)

    def totals(self, batch: Batch) -> dict[str, Tensor]:
        """By what each loss of a batch is divided, from its masks and weights alone: float32 scalars (see
        `vla.losses`). Different parts of a batch may have different names."""
        return losses.totals(self.config, batch)

    def checkpoint_activations(self, on: bool = True) -> None:
        """Compute the backbone's activations again in the backward pass instead of keeping them: less memory
        for about a third more time; loss and gradients stay as they are."""
        self.backbone.checkpoint_activations(on)

    def parts(self) -> dict[str, Modules]:
        """The modules of each part that can be trained in its own way (see `TuningConfig`)."""
        senses, trunk = self.senses, self.backbone
        eyes = [each for each in senses.encoders.values() if isinstance(each, ImageEncoder)]
        vision: Modules = [part for eye in eyes for part in eye.vision_modules]
        audio: Modules = [each for name, each in senses.encoders.items() if name == "audio"]
        joining: Modules = [part for eye in eyes for part in eye.connector_modules]
        joining += [senses.connect, senses.place, senses.views, self.fusion]
        rest: Modules = [each for name, each in senses.encoders.items() if name in ("text", "state")]
        rest += [self.decoder]
        rest += [each for each in (self.alignment, self.text_decoder, self.auxiliary) if each is not None]
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
