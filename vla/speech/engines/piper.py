"""piper: neural voices on the user's side. Its package is GPL-3 and brings none: give a folder of them."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from vla.errors import BadInput
from vla.speech.engines.base import Engine, Spoken, at_16_khz

__all__ = ["Piper"]


class Piper(Engine):
    """folder: holds NAME.onnx and NAME.onnx.json of each voice."""

    name = "piper"

    def __init__(self, folder: Path | None = None) -> None:
        try:
            self._piper: Any = importlib.import_module("piper")
        except ModuleNotFoundError:
            raise BadInput(
                "the engine piper is not installed: pip install piper-tts (its licence is GPL-3)"
            ) from None
        if folder is None or not any(Path(folder).glob("*.onnx")):
            raise BadInput(
                f"piper needs a folder with its voices, files *.onnx, not {folder}; give voices=FOLDER"
            )
        self._folder = Path(folder)
        self._loaded: dict[str, Any] = {}

    def voices(self) -> tuple[str, ...]:
        return tuple(sorted(file.stem for file in self._folder.glob("*.onnx")))

    def version(self) -> str:
        return str(getattr(self._piper, "__version__", ""))

    def _utter(self, text: str, voice: str, rate: float) -> Spoken:
        if voice not in self._loaded:
            self._loaded[voice] = self._piper.PiperVoice.load(self._folder / f"{voice}.onnx")
        how = self._piper.SynthesisConfig(length_scale=1 / rate)
        chunks = list(self._loaded[voice].synthesize(text, syn_config=how))
        samples = np.concatenate([chunk.audio_float_array for chunk in chunks] or [np.zeros(0, np.float32)])
        return Spoken(at_16_khz(samples, chunks[0].sample_rate if chunks else 16_000))
