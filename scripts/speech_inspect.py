"""What a spoken corpus holds: ``python scripts/speech.py inspect``: a table, and a page to listen to.

On the page each of some utterances has a player, its spectrogram, and itself as a model in training hears it.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vla.checks import at_least, check_seed
from vla.config import command
from vla.speech.augment import AugmentConfig

if TYPE_CHECKING:
    from vla.data.page import Card
    from vla.speech.augment import Augmenter
    from vla.speech.corpus import Corpus

__all__ = ["InspectSpeech", "main"]


@dataclass(frozen=True)
class InspectSpeech:
    """Options of the command; see conf/speech_inspect.yaml."""

    corpus: Path = Path("outputs/speech/corpus")
    samples: int = 12
    seed: int = 0
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    page: Path | None = Path("outputs/speech/inspect.html")

    def __post_init__(self) -> None:
        at_least(self, 1, "samples")
        check_seed(self)


@command("speech_inspect", InspectSpeech)
def main(config: InspectSpeech) -> None:
    """Check the hashes, print the table, write the page."""
    import numpy as np

    from vla.data.page import Section, check_place, write_page
    from vla.data.samples import told
    from vla.speech.augment import Augmenter
    from vla.speech.corpus import Corpus
    from vla.speech.inspection import table

    check_place(config.page)
    corpus = Corpus(config.corpus)
    corpus.check()
    rows = table(corpus)
    print(told(rows))
    if config.page is None:
        return
    chosen = np.random.default_rng(config.seed).permutation(len(corpus))[: config.samples]
    augment = Augmenter(config.augment, config.seed, corpus.sounds())
    cards = [card for number in sorted(chosen.tolist()) for card in _cards(corpus, number, augment)]
    note = f"{len(corpus)} utterances; {len(chosen)} chosen by seed {config.seed}, each plain and augmented"
    write_page(config.page, "Speech", note, [Section(str(config.corpus), rows, cards)])
    print(config.page)


def _cards(corpus: "Corpus", number: int, augment: "Augmenter") -> "list[Card]":
    from vla.data.page import Card
    from vla.speech.inspection import player, spectrogram

    heard = corpus[number]
    about = heard.about
    who = f"{number}: {about.engine} {about.voice}, rate {about.rate}, {about.split}"
    noisy = augment(heard.sound, number)
    phones = " ".join(phone.name for phone in about.phones)
    return [
        Card([spectrogram(heard.sound)], [(who, about.text)], note=phones, sound=player(heard.sound)),
        Card([spectrogram(noisy)], [("augmented", about.text)], sound=player(noisy)),
    ]


if __name__ == "__main__":
    main()
