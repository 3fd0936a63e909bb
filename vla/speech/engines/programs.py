"""Engines that are programs: found or asked for, run, their WAV read."""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vla.errors import BadInput
from vla.speech.engines.base import at_16_khz

__all__ = ["find_program", "read_wav", "run_to_wav"]

LIMIT = 30.0
"""Seconds that a program may take for a sentence."""


def find_program(name: str, package: str) -> str:
    """The program's path, or BadInput that names Debian's package."""
    found = shutil.which(name)
    if found is None:
        raise BadInput(f"the engine {name} is not installed: apt-get install {package}")
    return found


def run_to_wav(command: Sequence[str]) -> tuple[npt.NDArray[np.float32], str]:
    """Run with {wav} in `command` replaced by a file to write; its sound at 16 kHz, and what was printed."""
    with tempfile.TemporaryDirectory(prefix="speech-") as folder:
        wav = Path(folder) / "said.wav"
        filled = [str(wav) if word == "{wav}" else word for word in command]
        try:
            done = subprocess.run(
                filled,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=LIMIT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise BadInput(f"{Path(command[0]).name} did not answer within {LIMIT:.0f} s") from None
        if done.returncode or not wav.is_file():
            told = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            raise BadInput(f"{Path(command[0]).name} failed: {told}")
        return read_wav(wav), done.stdout


def read_wav(path: Path) -> npt.NDArray[np.float32]:
    """A program's WAV, mono and of 16 bits -> float32 [n] at 16 kHz."""
    from scipy.io import wavfile

    rate, samples = wavfile.read(path)
    return at_16_khz(samples, int(rate))
