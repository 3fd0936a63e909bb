"""The whole model's config, and which choices go together."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from vla.configuration.answer import AnswerConfig
from vla.configuration.audio import AudioConfig
from vla.configuration.backbone import BackboneConfig, SmallConfig, TransformersConfig
from vla.configuration.connector import ConnectorConfig, LinearConfig
from vla.configuration.decoder import DecoderConfig, FlowConfig
from vla.configuration.fusion import FusionConfig, LateConfig, NativeFusionConfig, UnifiedConfig
from vla.configuration.image import HistoryConfig, ImageConfig, NativeConfig, VLMVisionConfig
from vla.configuration.processing import ProcessorConfig
from vla.configuration.state import StateConfig
from vla.configuration.text import PooledTextConfig, TextConfig, WordsConfig
from vla.configuration.training import AlignmentConfig, TuningConfig
from vla.errors import BadInput
from vla.structured import to_dataclass

__all__ = ["VLAConfig"]

Segment = Literal["bos", "text", "images", "audio", "state"]


@dataclass(frozen=True)
class VLAConfig:
    """Everything that shapes the network and its processor. `vocabulary` is the number of known words.

    answer: what it says in words beside its actions (None: nothing). connector: for every camera. order: how
    the senses stand in the sequence; ``bos`` is the tokenizer's own start token, before anything else.
    """

    name: str = "tabletop-small"
    vocabulary: int = 128
    image: ImageConfig = field(default_factory=ImageConfig)
    history: HistoryConfig = field(default_factory=HistoryConfig)
    audio: AudioConfig | None = None
    text: TextConfig = field(default_factory=PooledTextConfig)
    state: StateConfig | None = field(default_factory=StateConfig)
    connector: ConnectorConfig = field(default_factory=LinearConfig)
    fusion: FusionConfig = field(default_factory=UnifiedConfig)
    backbone: BackboneConfig = field(default_factory=SmallConfig)
    decoder: DecoderConfig | FlowConfig = field(default_factory=DecoderConfig)
    processor: ProcessorConfig = field(default_factory=ProcessorConfig)
    order: tuple[Segment, ...] = ("text", "images", "audio", "state")
    tuning: TuningConfig = field(default_factory=TuningConfig)
    alignment: AlignmentConfig | None = None
    answer: AnswerConfig | None = None

    def __post_init__(self) -> None:
        _check_processor(self)
        _check_parts(self)
        missing = {"text", "images", "audio", "state"} - set(self.order)
        if missing or len(set(self.order)) != len(self.order):
            raise BadInput(
                f"order must name text, images, audio and state once each (and bos), not {list(self.order)}"
            )

    @property
    def language(self) -> bool:
        """Whether words are those of a pretrained language model: its tokenizer, its table, its head."""
        own = isinstance(self.text, WordsConfig) and bool(self.text.tokenizer)
        return own and isinstance(self.backbone, TransformersConfig)

    @property
    def robots(self) -> tuple[str, ...]:
        """Names of the robots that the model serves; none for a single one without a name."""
        return self.processor.robots if self.state is None else self.state.robots

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists, numbers and strings: what config.json holds."""
        return _plain(dataclasses.asdict(self))

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "VLAConfig":
        """The inverse of `to_dict`; strict. Raises BadInput naming an unknown or wrong key."""
        return to_dataclass(raw, cls)


def _check_processor(config: VLAConfig) -> None:
    dim = config.decoder.dim
    if config.processor.robots and config.state is not None:
        raise BadInput("processor.robots is for a model without state; name them in state.robots")
    for name in ("relative", "normalised"):
        mask = getattr(config.processor, name)
        if mask is not None and len(mask) != dim:
            raise BadInput(f"processor.{name} has {len(mask)} joints, decoder.dim is {dim}")
    if any(config.processor.relative) and (config.state is None or config.state.dim != dim):
        found = "no state" if config.state is None else config.state.dim
        raise BadInput(f"relative actions need a state of decoder.dim {dim}, not {found}")


def _check_parts(config: VLAConfig) -> None:
    pretrained = isinstance(config.backbone, TransformersConfig)
    encoder = config.image.encoder
    native = isinstance(encoder, NativeConfig)
    if isinstance(config.fusion, NativeFusionConfig) and not native:
        raise BadInput(
            f"fusion.kind=native needs image.encoder.kind=native, not {encoder.kind} "
            "(model/encoder=native model/cameras=patches)"
        )
    if (native or isinstance(encoder, VLMVisionConfig)) and config.connector != LinearConfig():
        raise BadInput(
            f"image.encoder.kind={encoder.kind} already gives tokens of the backbone's width: "
            f"leave connector.kind=linear, without a budget"
        )
    if isinstance(encoder, VLMVisionConfig) and not pretrained:
        raise BadInput("image.encoder.kind=vlm is the tower of a VLM: it needs backbone.kind=transformers")
    if config.image.max_tiles and config.history.frames > 1:
        raise BadInput("image.max_tiles and history.frames do not go together: one picture is many already")
    if isinstance(config.text, WordsConfig):
        if config.text.tokenizer == "backbone" and not pretrained:
            raise BadInput("text.tokenizer=backbone needs backbone.kind=transformers")
    elif "bos" in config.order:
        raise BadInput("order holds bos, which needs text.kind=words")
    spoken = config.audio is not None and config.audio.role == "instruction"
    if spoken and not isinstance(config.text, PooledTextConfig):
        raise BadInput(
            "audio.role=instruction is read by the sentence encoder: it needs text.kind=pooled; where the "
            "backbone reads the words, audio.role=sense does the same"
        )
    if isinstance(config.decoder, FlowConfig):
        if isinstance(config.fusion, LateConfig):
            raise BadInput("decoder.kind=flow reads one prefix, of which fusion.kind=late has several")
    elif config.decoder.ids == "overwrite" and not (pretrained and isinstance(config.text, WordsConfig)):
        raise BadInput("decoder.ids=overwrite needs backbone.kind=transformers and text.kind=words")
    if config.tuning.insulate and not isinstance(config.decoder, FlowConfig):
        raise BadInput(
            f"tuning.insulate keeps a flow's gradient out of the backbone; decoder.kind="
            f"{config.decoder.kind} writes with the backbone itself: use decoder.kind=flow"
        )
    if config.answer is not None and config.answer.eos is not None:
        if not config.language:
            raise BadInput("answer.eos is an id of a language model's own tokenizer (text.tokenizer)")
        if config.answer.eos >= config.vocabulary:
            raise BadInput(f"answer.eos={config.answer.eos} is none of the {config.vocabulary} words")
    if config.alignment is not None:
        named = {name for pair in config.alignment.pairs for name in pair}
        if "audio" in named and config.audio is None:
            raise BadInput("alignment.pairs names audio, but the model has no audio encoder")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
