"""How likely somebody is speaking, 31 times a second: silero-vad's weights (MIT), computed with numpy alone.

The package `silero-vad` brings its weights as a safetensors file, and needs torch, which it sets to one
thread when it is imported. It never is here: its file is found and read. The network is small (300k weights):
a Fourier transform written as a convolution, four convolutions, one LSTM cell, one output.
"""

import importlib.util
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from vla.errors import BadInput

__all__ = ["CHUNK", "Silero", "weights_file"]

CHUNK = 512
"""Samples a step looks at: 32 ms at 16 kHz."""
CONTEXT = 64
"""Samples of the chunk before that it looks at too."""
_Floats = npt.NDArray[np.float32]


def weights_file() -> Path:
    """Where the package's weights for 16 kHz are. Raises BadInput where it is missing or too old."""
    found = importlib.util.find_spec("silero_vad")
    if found is None or found.origin is None:
        raise BadInput("listening needs silero-vad: pip install 'vla[speech]'")
    file = Path(found.origin).parent / "data" / "silero_vad_16k.safetensors"
    if not file.is_file():
        raise BadInput("silero-vad is too old, it has no safetensors: pip install 'silero-vad>=6.2'")
    return file


class Silero:
    """Streaming: call it with one chunk after the other; `reset` begins another sound."""

    def __init__(self) -> None:
        from safetensors.numpy import load_file

        w = load_file(weights_file())
        self._fourier: _Floats = np.ascontiguousarray(w["stft_conv.weight"][:, 0].T)  # [256, 2 x 129]
        # Each convolution as one product: [taps x in, out].
        self._convs = [
            (np.ascontiguousarray(w[f"conv{i}.weight"].transpose(2, 1, 0)), w[f"conv{i}.bias"], stride)
            for i, stride in ((1, 1), (2, 2), (3, 2), (4, 1))
        ]
        self._cell: _Floats = np.ascontiguousarray(
            np.concatenate([w["lstm_cell.weight_ih"], w["lstm_cell.weight_hh"]], 1).T
        )
        self._cell_bias: _Floats = w["lstm_cell.bias_ih"] + w["lstm_cell.bias_hh"]
        self._last, self._last_bias = w["final_conv.weight"][0, :, 0], float(w["final_conv.bias"][0])
        self.reset()

    def reset(self) -> None:
        """Forget what was heard."""
        self._context: _Floats = np.zeros(CONTEXT, np.float32)
        self._hidden: _Floats = np.zeros(128, np.float32)
        self._memory: _Floats = np.zeros(128, np.float32)

    def __call__(self, chunk: _Floats) -> float:
        """float32 [512] in -1..1 at 16 kHz -> the probability, 0 to 1, that it holds speech."""
        heard = np.concatenate([self._context, chunk])
        self._context = heard[-CONTEXT:]
        padded = np.concatenate([heard, heard[-2 : -CONTEXT - 2 : -1]])  # mirrored at the end
        frames = np.lib.stride_tricks.sliding_window_view(padded, 256)[::128]
        parts = frames @ self._fourier
        x = np.sqrt(parts[:, :129] ** 2 + parts[:, 129:] ** 2)  # [4 frames, 129]
        for weight, bias, stride in self._convs:
            x = np.maximum(_convolve(x, weight, stride) + bias, 0)
        gates = np.concatenate([x[0], self._hidden]) @ self._cell + self._cell_bias
        into, forget, new, out = gates.reshape(4, 128)
        self._memory = expit(forget) * self._memory + expit(into) * np.tanh(new)
        self._hidden = expit(out) * np.tanh(self._memory)
        return float(expit(np.maximum(self._hidden, 0) @ self._last + self._last_bias))


def _convolve(x: _Floats, weight: _Floats, stride: int) -> _Floats:
    """[T, in], [3, in, out] -> [T / stride, out], with a zero at each end."""
    padded = np.pad(x, ((1, 1), (0, 0)))
    taps, width, out = weight.shape
    rows = [padded[i : i + taps].reshape(-1) for i in range(0, len(x), stride)]
    return np.stack(rows) @ weight.reshape(taps * width, out)
