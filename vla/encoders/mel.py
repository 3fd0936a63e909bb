"""Log-mel spectrogram in plain torch: how loud each of 80 bands of hearing is, 100 times a second.

Whisper's definition (Radford et al. 2022, section 2.2), so that a Whisper encoder hears what it was trained
on: power in a Hann window of 25 ms every 10 ms, triangular bands on Slaney's mel scale, log10, cut 8 decades
below the clip's loudest value, then (x + 4) / 4. Whisper pads a sound with silence to a fixed clip first
(30 s), and only then mirrors the clip at both ends. Here only as much of that silence is computed as can
matter. So a sound has the same features whatever row of a batch it stands in.

Shapes: B batch, S samples at 16 kHz, T frames, M mel bands, F frequencies (201, 40 Hz apart).
"""

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["CLIP", "HOP", "RATE", "log_mel", "mel_filters"]

RATE = 16_000
"""Samples a second."""
WINDOW = 400
"""Samples a frame looks at."""
HOP = 160
"""Samples between frames."""
CLIP = 30 * RATE
"""Samples of Whisper's clip."""


def _to_mel(hertz: np.ndarray) -> np.ndarray:
    """Slaney's scale: linear up to 1 kHz, which is 15; above it 27 mel for each factor of 6.4."""
    return np.where(
        hertz < 1000, 3 * hertz / 200, 15 + 27 * np.log(np.maximum(hertz, 1000) / 1000) / np.log(6.4)
    )


def _to_hertz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < 15, 200 * mel / 3, 1000 * 6.4 ** ((mel - 15) / 27))


@cache
def mel_filters(bands: int = 80) -> Tensor:
    """float32 [F, M]: triangles over 0..8 kHz, evenly spaced in mel, each of area one in hertz."""
    hertz_F = np.linspace(0, RATE / 2, WINDOW // 2 + 1)
    edges = _to_hertz(np.linspace(0, _to_mel(np.array(RATE / 2)), bands + 2))
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    rising_FM = (hertz_F[:, None] - low) / (middle - low)
    falling_FM = (high - hertz_F[:, None]) / (high - middle)
    triangles_FM = np.maximum(0, np.minimum(rising_FM, falling_FM)) * 2 / (high - low)
    with torch.inference_mode(False):  # what is kept must serve training too, whoever asked first
        return torch.tensor(triangles_FM, dtype=torch.float32, device="cpu")


def log_mel(audio_BS: Tensor, bands: int = 80, clip: int = CLIP) -> Tensor:
    """Sound [B, S] in -1..1 at 16 kHz -> float32 [B, T, M], T = S / 160 rounded up.

    The frames are the first T of what Whisper computes for the sound padded with silence to `clip` samples
    (a multiple of 160). A row of `clip` samples or more is taken as it is (T is then rounded down).
    """
    samples = audio_BS.shape[1]
    # 400 samples after the end no frame hears the sound any more, nor what is mirrored there.
    silence = min(WINDOW, max(0, clip - samples))
    with torch.autocast(audio_BS.device.type, enabled=False):  # 8 decades do not fit into bfloat16
        row_BS = F.pad(audio_BS.float(), (0, silence))
        window = torch.hann_window(WINDOW, device=row_BS.device)
        spectrum_BFT = torch.stft(row_BS, WINDOW, HOP, window=window, return_complex=True)[..., :-1]
        power_BTF = spectrum_BFT.abs().square().transpose(1, 2)
        levels_BTM = (power_BTF @ mel_filters(bands).to(row_BS.device)).clamp(min=1e-10).log10()
        loudest_B11 = levels_BTM.amax((1, 2), keepdim=True)
        features_BTM = (torch.maximum(levels_BTM, loudest_B11 - 8) + 4) / 4
    return features_BTM[:, : -(-samples // HOP)]
