"""How well a robot would hear: ``python scripts/speech.py measure corpus=FOLDER samples=300``.

On a corpus's utterances: when a command is ready, and whether it is one; the stop word in every test voice,
and how often it is heard where nobody said it; what silence, noise and music do; and how a third party's
recogniser reads each engine. A table is printed, and written as JSON.
"""

import json
from collections import defaultdict
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vla.checks import at_least, check_seed
from vla.config import command
from vla.folders import writable_folder, write_whole

if TYPE_CHECKING:
    from vla.speech.augment import Augmenter
    from vla.speech.corpus import Clip
    from vla.speech.measuring import Ears

__all__ = ["MeasureSpeech", "main"]


@dataclass(frozen=True)
class MeasureSpeech:
    """Options of the command; see conf/speech_measure.yaml."""

    corpus: Path = Path("outputs/speech/corpus")
    samples: int = 300
    decibels: float = 10.0
    seconds: float = 120.0
    seed: int = 0
    out: Path = Path("outputs/speech/measured.json")

    def __post_init__(self) -> None:
        at_least(self, 1, "samples", "seconds")
        at_least(self, -20.0, "decibels")
        check_seed(self)


@command("speech_measure", MeasureSpeech)
def main(config: MeasureSpeech) -> None:
    """Measure, print each line as it is known, write the file."""
    from envs.tabletop.language import all_sentences_sample
    from vla.speech.augment import AugmentConfig, Augmenter
    from vla.speech.corpus import Corpus
    from vla.speech.measuring import Ears
    from vla.speech.stop import StopWord

    writable_folder(config.out.parent)
    corpus = Corpus(config.corpus)
    step = max(1, len(corpus) // config.samples)
    clips = [corpus[i] for i in range(0, len(corpus), step)]
    sentences = all_sentences_sample(3000, config.seed + 1)
    ears = Ears(StopWord(sentences))
    room = {"speed": 0.0, "telephone": 0.0, "dull": 0.0, "clipping": 0.0, "silence": 0.0, "noise": 1.0}
    bounds = {"decibels": (config.decibels,) * 2, "peaks": (-20.0, -3.0)}
    kinds = {"white": 1.0, "pink": 1.0, "motors": 1.0}
    noisy = Augmenter(AugmentConfig(**room, **bounds, noises=kinds), config.seed)  # type: ignore[arg-type]
    found: dict[str, str] = {}

    def tell(rows: dict[str, str]) -> None:
        found.update(rows)
        print("\n".join(f"{what:<46}{value}" for what, value in rows.items()), flush=True)

    for name, augment in (("clean", None), (f"{config.decibels:g} dB and rooms", noisy)):
        tell(_commands(ears, clips, name, augment))
        tell(_stops(ears, name, augment))
    tell(_nothing(ears, config))
    tell(_costs(ears))
    tell(_words(clips, sentences))
    write_whole(config.out, json.dumps({"corpus": corpus.note, "found": found}, indent=1) + "\n")
    print(config.out)


def _commands(ears: "Ears", clips: "list[Clip]", name: str, augment: "Augmenter | None") -> dict[str, str]:
    import numpy as np

    from vla.data.sound import RATE
    from vla.speech.measuring import Endpoints, end_of_speech, share

    endpoints, alarms, seconds = Endpoints(), 0, 0.0
    for number, clip in enumerate(clips):
        end = RATE + end_of_speech(clip.sound)
        sound = np.pad(clip.sound, RATE)
        sound = sound if augment is None else augment(sound, number)
        heard, stops = ears.hear(sound)
        endpoints.add(heard, end / RATE)
        alarms, seconds = alarms + len(stops), seconds + len(sound) / RATE
    rate = f"{alarms} in {seconds / 60:.0f} minutes, {3600 * alarms / seconds:.1f} an hour"
    return {
        f"commands, {name}": endpoints.told(),
        f"false stops, {name}": f"{rate}; utterances {share(alarms, len(clips))}",
    }


def _stops(ears: "Ears", name: str, augment: "Augmenter | None") -> dict[str, str]:
    import numpy as np

    from vla.data.sound import RATE
    from vla.speech.engines import open_engine
    from vla.speech.measuring import end_of_speech, share
    from vla.speech.stop import STOP_WORDS
    from vla.speech.voices import voices_of

    hits: dict[str, list[bool]] = defaultdict(list)
    delays, number = [], 0
    for split in ("train", "test"):
        for kind in ("flite", "festival", "espeak"):
            voices = voices_of(split, (kind,))
            engine = open_engine(kind) if voices else None
            for voice in voices[:: max(1, len(voices) // 18)]:
                for word, rate in product(STOP_WORDS, (0.85, 1.0, 1.2) if kind != "espeak" else (1.0,)):
                    assert engine is not None
                    said = engine.say(word, voice.name, rate)
                    sound = np.pad(said, RATE)
                    sound = sound if augment is None else augment(sound, number)
                    _, stops = ears.hear(sound)
                    who = f"stop, {name}, {kind} {split if kind == 'espeak' else voice.name}"
                    hits[who].append(bool(stops))
                    delays += [1000 * (at - 1 - end_of_speech(said) / RATE) for at in stops[:1]]
                    number += 1
            if engine is not None:
                engine.close()
    rows = {who: share(sum(each), len(each)) for who, each in hits.items()}
    low, middle, high = np.percentile(delays or [np.nan], (5, 50, 95))
    rows[f"stop, {name}, delay"] = f"{middle:.0f} ms after the word's end (5% {low:.0f}, 95% {high:.0f})"
    return rows


def _nothing(ears: "Ears", config: MeasureSpeech) -> dict[str, str]:
    """Sounds in which nobody speaks, at a usual level and loud."""
    import numpy as np

    from vla.data.sound import RATE
    from vla.speech.augment import generator
    from vla.speech.noises import NOISES, music

    rows, n = {}, int(config.seconds * RATE)
    for name, make in {"silence": None, "music": music, **NOISES}.items():
        utterances = alarms = 0
        for number, level in enumerate((0.02, 0.1, 0.3)):
            sound = np.zeros(n) if make is None else make(n, generator(config.seed, number)) * level
            heard, stops = ears.hear(np.clip(sound, -1, 1).astype(np.float32))
            utterances, alarms = utterances + len(heard), alarms + len(stops)
        told = f"{utterances} utterances, {alarms} stops in {3 * config.seconds / 60:.0f} minutes"
        rows[f"nobody speaks: {name}"] = told
    return rows


def _costs(ears: "Ears") -> dict[str, str]:
    import numpy as np

    rows = {}
    for name, cost in (("speech detector", ears.speech_ms), ("stop word", ears.stop_ms)):
        middle, high = np.percentile(cost, (50, 99))
        told = f"mean {np.mean(cost):.2f} ms, median {middle:.2f}, 99% {high:.2f}, worst {max(cost):.1f}"
        rows[f"a chunk of 32 ms, {name}"] = told
    return rows


def _words(clips: "list[Clip]", sentences: list[str]) -> dict[str, Any]:
    from vla.speech.recognise import Recogniser
    from vla.speech.word_errors import word_errors

    ear = Recogniser(sentences)
    said, heard = defaultdict(list), defaultdict(list)
    for clip in clips:
        about = clip.about
        who = f"{about.engine} {about.split if about.engine == 'espeak' else about.voice}"
        said[who].append(about.text.split())
        heard[who].append(ear(clip.sound))
    return {f"word errors, {who}": str(word_errors(said[who], heard[who])) for who in sorted(said)}


if __name__ == "__main__":
    main()
