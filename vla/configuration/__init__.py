"""The model's configuration: one frozen dataclass a component, their defaults are `tabletop-small`.

Kept apart from the components, and free of torch, so that a command can check a user's config (and answer
``--help``) at once. Each component takes its own dataclass from here and nothing else. Where a part can be
swapped, the field's type is a union of dataclasses and the key ``kind`` chooses among them.
"""

from vla.configuration.answer import AnswerConfig
from vla.configuration.audio import AudioConfig, LogMelConfig, WhisperConfig
from vla.configuration.backbone import (
    BackboneConfig,
    SmallConfig,
    TransformersConfig,
)
from vla.configuration.connector import (
    ConnectorConfig,
    LinearConfig,
    MLPConfig,
    PerceiverConfig,
    QFormerConfig,
)
from vla.configuration.decoder import DecoderConfig, FlowConfig
from vla.configuration.fusion import (
    CrossAttentionConfig,
    FusionConfig,
    IntermediateConfig,
    LateConfig,
    NativeFusionConfig,
    UnifiedConfig,
)
from vla.configuration.image import (
    CameraConfig,
    ConvConfig,
    HistoryConfig,
    ImageConfig,
    ImageEncoderConfig,
    NativeConfig,
    PrismaticConfig,
    TowerConfig,
    VitConfig,
    VLMVisionConfig,
)
from vla.configuration.model import VLAConfig
from vla.configuration.processing import AugmentConfig, Convention, ProcessorConfig
from vla.configuration.state import StateConfig
from vla.configuration.text import PooledTextConfig, TextConfig, WordsConfig
from vla.configuration.tokenizer import (
    BinsConfig,
    FastConfig,
    Layout,
    ResidualConfig,
    SplineConfig,
    TokenizerConfig,
)
from vla.configuration.training import AlignmentConfig, PartConfig, TuningConfig

__all__ = [
    "AlignmentConfig",
    "AnswerConfig",
    "AudioConfig",
    "AugmentConfig",
    "BackboneConfig",
    "BinsConfig",
    "CameraConfig",
    "ConnectorConfig",
    "ConvConfig",
    "Convention",
    "CrossAttentionConfig",
    "DecoderConfig",
    "FastConfig",
    "FlowConfig",
    "FusionConfig",
    "HistoryConfig",
    "ImageConfig",
    "ImageEncoderConfig",
    "IntermediateConfig",
    "LateConfig",
    "Layout",
    "LinearConfig",
    "LogMelConfig",
    "MLPConfig",
    "NativeConfig",
    "NativeFusionConfig",
    "PartConfig",
    "PerceiverConfig",
    "PooledTextConfig",
    "PrismaticConfig",
    "ProcessorConfig",
    "QFormerConfig",
    "ResidualConfig",
    "SmallConfig",
    "SplineConfig",
    "StateConfig",
    "TextConfig",
    "TokenizerConfig",
    "TowerConfig",
    "TransformersConfig",
    "TuningConfig",
    "UnifiedConfig",
    "VLAConfig",
    "VLMVisionConfig",
    "VitConfig",
    "WhisperConfig",
    "WordsConfig",
]
