"""Sound -> tokens. Raw samples go in, so that what is stored and sent is sound and nothing derived from it.

Sounds of different lengths stand in one batch, zero-padded. Each is heard as if silence followed it for ever,
and only tokens that hold sound are attended to: how far a row is padded changes nothing.

Shapes: B batch, S samples at 16 kHz, T mel frames, N tokens, C channels.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla.backbones.small import Block
from vla.configuration import AudioConfig, LogMelConfig
from vla.encoders.base import Tokens
from vla.encoders.mel import HOP, RATE, log_mel

__all__ = ["AudioEncoder", "LogMelEncoder", "build_audio_encoder", "sinusoids"]

BANDS = 80


class AudioEncoder(nn.Module):
    """channels: width of a token. tokens: how many the longest sound makes; shorter rows are padded to it.
    hop: samples a token stands for."""

    channels: int
    tokens: int
    hop: int

    @property
    def layer_list(self) -> Sequence[nn.Module]:
        """Its transformer layers, first to last."""
        raise NotImplementedError

    def forward(self, audio_BS: Tensor, length_B: Tensor) -> Tokens:
        """float [B, S] in -1..1, int64 [B] samples of each that are sound (0: none) -> [B, N, C].

        N is `tokens`, or more for a longer row. The mask tells which tokens hold sound.
        """
        raise NotImplementedError

    def pad_rows(self, audio_BS: Tensor, length_B: Tensor) -> tuple[Tensor, Tensor]:
        """-> the rows, silent after each sound's end, N whole tokens long; the mask of sound, bool [B, N]."""
        count = max(self.tokens, -(-audio_BS.shape[1] // self.hop))
        row_BS = F.pad(audio_BS, (0, count * self.hop - audio_BS.shape[1]))
        place_S = torch.arange(row_BS.shape[1], device=row_BS.device)
        row_BS = row_BS.masked_fill(place_S >= length_B[:, None], 0.0)
        return row_BS, place_S[:: self.hop] < length_B[:, None]


def build_audio_encoder(config: AudioConfig) -> AudioEncoder:
    """The encoder the config asks for. Raises BadInput with one line where its checkpoint cannot be used."""
    if isinstance(config.encoder, LogMelConfig):
        return LogMelEncoder(config.encoder, config.seconds)
    from vla.encoders.whisper import WhisperEncoder

    return WhisperEncoder(config.encoder, config.seconds)


class LogMelEncoder(AudioEncoder):
    """Log-mel spectrogram, two convolutions that each halve the frames (25 tokens a second), sinusoidal
    places, pre-norm transformer. Small enough to learn from scratch."""

    hop = 4 * HOP

    def __init__(self, config: LogMelConfig, seconds: float) -> None:
        super().__init__()
        self.channels = config.width
        self.tokens = -(-round(seconds * RATE) // self.hop)
        self.conv_1 = nn.Conv1d(BANDS, config.width, 3, stride=2, padding=1)
        self.conv_2 = nn.Conv1d(config.width, config.width, 3, stride=2, padding=1)
        blocks = [Block(config.width, config.heads, 4 * config.width) for _ in range(config.layers)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(config.width)

    @property
    def layer_list(self) -> Sequence[nn.Module]:
        """Its transformer layers, first to last."""
        return list(self.blocks)

    def forward(self, audio_BS: Tensor, length_B: Tensor) -> Tokens:
        """As `AudioEncoder.forward`."""
        row_BS, mask_BN = self.pad_rows(audio_BS, length_B)
        # A token's convolutions end with its own last frame, so whole tokens never see the row's end.
        x_BCT = log_mel(row_BS, BANDS).to(self.conv_1.weight.dtype).transpose(1, 2)
        x_BCN = F.gelu(self.conv_2(F.gelu(self.conv_1(x_BCT))))
        x_BNC = x_BCN.transpose(1, 2)
        x_BNC = x_BNC + sinusoids(x_BNC.shape[1], self.channels, x_BNC.device).to(x_BNC.dtype)
        seen = attendable(mask_BN)
        for block in self.blocks:
            x_BNC = block(x_BNC, seen)
        return Tokens(self.norm(x_BNC), mask_BN)


def attendable(mask_BN: Tensor) -> Tensor:
    """bool [B, 1, 1, N]: which tokens may be looked at. Where no sound is, all of them: attention to nothing
    is not a number, and what comes out there is masked for whoever reads on."""
    return (mask_BN | ~mask_BN.any(1, keepdim=True))[:, None, None]


def sinusoids(count: int, width: int, device: torch.device | None = None) -> Tensor:
    """float32 [count, width]: sines, then cosines, of the place times frequencies from 1 down to 1/10000
    (Vaswani et al. 2017)."""
    pairs = -(-width // 2)
    frequencies = torch.exp(-math.log(10_000) * torch.arange(pairs, device=device) / max(1, pairs - 1))
    angles = torch.arange(count, device=device)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], 1)[:, :width]
