"""festival: kept running behind a pipe, as it takes a fifth of a second to start."""

import contextlib
import functools
import re
import selectors
import subprocess
import tempfile
import time
from pathlib import Path

from vla.data.sound import RATE
from vla.errors import BadInput
from vla.speech.engines.base import Engine, Phone, Spoken
from vla.speech.engines.programs import LIMIT, find_program, read_wav

__all__ = ["Festival"]

_DONE = "said-and-done"
_PHONES = (
    '(mapcar (lambda (s) (format t "%s:%f " (item.name s) (item.feat s \'end)))'
    " (utt.relation.items said 'Segment))"
)


class Festival(Engine):
    """Voices of the packages festvox-*, such as ked_diphone and cmu_us_slt_arctic_hts."""

    name = "festival"

    def __init__(self) -> None:
        self._program = find_program("festival", "festival")
        self._process: subprocess.Popen[str] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="speech-")

    @functools.cache  # noqa: B019  an engine lives as long as the process
    def voices(self) -> tuple[str, ...]:
        names = re.findall(r"[\w-]+", self._ask("(print (voice.list))"))
        if not names or names == ["nil"]:
            raise BadInput("festival has no voice: apt-get install festvox-kdlpc16k festvox-us-slt-hts")
        return tuple(sorted(names))

    @functools.cache  # noqa: B019
    def version(self) -> str:
        return self._ask("(format t festival_version)").split(":")[0].strip()

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # the interpreter may be half gone
            self.close()

    def _utter(self, text: str, voice: str, rate: float) -> Spoken:
        wav = Path(self._folder.name) / "said.wav"
        wav.unlink(missing_ok=True)
        quoted = text.replace("\\", " ").replace('"', " ")
        # An HTS voice has a speed of its own, and is loaded with its list of options anew each time.
        pace = f"(Parameter.set 'Duration_Stretch {1 / rate:.4f})"
        if voice.endswith("_hts"):
            pace = f'(set! hts_engine_params (append hts_engine_params \'(("-r" {rate:.4f}))))'
        printed = self._ask(
            f'(voice_{voice}) {pace} (set! said (utt.synth (Utterance Text "{quoted}")))'
            f' (utt.save.wave said "{wav}" \'riff) {_PHONES}'
        )
        if not wav.is_file():
            raise BadInput(f"festival failed with its voice {voice}: {printed.strip()[:200]}")
        sound, pairs = read_wav(wav), (word.rpartition(":") for word in printed.split() if ":" in word)
        lasts = len(sound) / RATE
        return Spoken(sound, tuple(Phone(name, min(round(float(end), 3), lasts)) for name, _, end in pairs))

    def _ask(self, scheme: str) -> str:
        """What festival prints for a line of Scheme."""
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [self._program, "--pipe"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(f'{scheme}\n(print "{_DONE}") (fflush nil)\n')
        process.stdin.flush()
        deadline, printed = time.monotonic() + LIMIT, ""
        with selectors.DefaultSelector() as waiting:
            waiting.register(process.stdout, selectors.EVENT_READ)
            while _DONE not in printed:
                if not waiting.select(max(0.0, deadline - time.monotonic())):
                    self.close()
                    raise BadInput(f"festival did not answer within {LIMIT:.0f} s")
                piece = process.stdout.buffer.raw.read(65536)  # type: ignore[attr-defined]
                if not piece:  # an error in Scheme ends a festival that reads from a pipe
                    self.close()
                    raise BadInput(f"festival failed: {printed.strip()[:200]}")
                printed += piece.decode("utf-8", "replace")
        return printed.partition(_DONE)[0]
