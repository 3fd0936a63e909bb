"""Settings of what is heard."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from vla.checks import at_least
from vla.configuration.connector import ConnectorConfig, PerceiverConfig
from vla.errors import BadInput

__all__ = ["AudioConfig", "AudioEncoderConfig", "LogMelConfig", "WhisperConfig"]


@dataclass(frozen=True)
class LogMelConfig:
    """Log-mel spectrogram (80 bins, 100 frames a second), two strided convolutions, a small transformer."""

    kind: Literal["log_mel"] = "log_mel"
    width: int = 128
    layers: int = 3
    heads: int = 4

    def __post_init__(self) -> None:
        at_least(self, 1, "width", "layers", "heads")
        if self.width % self.heads:
            raise BadInput(f"audio.encoder.width {self.width} must be a multiple of heads {self.heads}")


@dataclass(frozen=True)
class WhisperConfig:
    """The encoder of a Whisper checkpoint. path, config: as for a vision tower."""

    kind: Literal["whisper"] = "whisper"
    path: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.path and not self.config:
            raise BadInput("audio.encoder is Whisper's: give audio.encoder.path (a folder) or .config")


AudioEncoderConfig = LogMelConfig | WhisperConfig


@dataclass(frozen=True)
class AudioConfig:
    """seconds: the longest sound the model takes, at 16 kHz.

    role: ``sense``, its tokens stand in the sequence beside the pictures'; or ``instruction``, a spoken
    command: the connector gives it the sentence encoder's width, and its tokens are read there as words are,
    in the place of a typed sentence or after it, so that what is said steers the eyes as what is typed does.
    """

    encoder: AudioEncoderConfig = field(default_factory=LogMelConfig)
    connector: ConnectorConfig = field(default_factory=lambda: PerceiverConfig(tokens=8))
    seconds: float = 4.0
    role: Literal["sense", "instruction"] = "sense"

    def __post_init__(self) -> None:
        if not 0.1 <= self.seconds <= 30:
            raise BadInput(f"audio.seconds must be from 0.1 to 30, not {self.seconds}")
