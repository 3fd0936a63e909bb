"""Which voices a model learns from, and which it is tested on: whole speakers, none of them both.

Five people were recorded: kal, rms, awb and slt (flite), and ked (festival). festival has kal and slt too,
under other names: whoever is learned from in one engine is no test in another. So festival, which no training
hears, tests with ked and slt; its kal_diphone is left out, because flite's kal16 is the same man and is worth
more as one of only two recorded speakers to learn from.

espeak's variants are settings of one synthesizer: a held-out one is an unheard setting, not a new speaker.
There both the dialect and the variant of a test voice are unheard; one heard and one unheard is left out.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from vla.errors import BadInput
from vla.speech.engines import DIALECTS, open_engine

__all__ = ["VOICES", "Split", "Voice", "installed", "voices_of"]

Split = Literal["train", "test", "unused"]


@dataclass(frozen=True)
class Voice:
    """speaker: who was recorded, or which setting of espeak; the same name in two engines is one speaker."""

    engine: str
    name: str
    speaker: str
    split: Split
    reason: str


RECORDED = (
    Voice("flite", "kal16", "kal", "train", "diphones of an American man"),
    Voice("flite", "rms", "rms", "train", "an American man; learned from his sentences"),
    Voice("flite", "awb", "awb", "test", "a Scottish man: no other like him is learned from"),
    Voice("flite", "slt", "slt", "test", "an American woman: no recorded woman is learned from"),
    Voice("flite", "kal", "kal", "unused", "kal16 at half the band"),
    Voice("festival", "ked_diphone", "ked", "test", "an American man, in an engine that is held out"),
    Voice("festival", "cmu_us_slt_arctic_hts", "slt", "test", "the woman of flite's slt, in that engine"),
    Voice("festival", "kal_diphone", "kal", "unused", "the man of flite's kal16, who is learned from"),
    Voice("pico", "en-US", "pico", "train", "a woman; only where Debian's non-free pico is installed"),
    Voice("pico", "en-GB", "pico", "train", "the same woman"),
)
TEST_DIALECTS = ("en-gb-scotland", "en-us-nyc")
TEST_VARIANTS = ("f4", "m6", "adam", "gustave", "linda", "robert", "steph", "steph2", "steph3")
TRAIN_VARIANTS = tuple(
    "f1 f2 f3 f5 m1 m2 m3 m4 m5 m7 m8 Alex Alicia Andrea Andy Annie AnxiousAndy Denis Diogo Gene "
    "Gene2 Henrique Hugo Jacky Lee Marco Mario Michael Mike Nguyen RicishayMax RicishayMax2 "
    "RicishayMax3 Storm anika anikaRobot antonio aunty belinda benjamin boris caleb david ed edward "
    "edward2 grandma grandpa iven iven2 iven3 iven4 john kaukovalta klatt klatt2 klatt3 klatt4 "
    "marcelo max michel miguel norbert pablo paul pedro quincy rob robosoft robosoft2 robosoft3 "
    "robosoft4 sandro shelby travis victor zac".split()
)
"""Left out: what nobody speaks like (whispers, croaks, announcers) and `fast`, which is the plain voice."""


def _espeak() -> tuple[Voice, ...]:
    voices = []
    for dialect in DIALECTS:
        for variant in ("", *TRAIN_VARIANTS, *TEST_VARIANTS):
            unheard = (dialect in TEST_DIALECTS) + (variant in TEST_VARIANTS)
            split: Split = ("train", "unused", "test")[unheard]
            reason = ("", "dialect or variant is held out", "dialect and variant are held out")[unheard]
            name = f"{dialect}+{variant}" if variant else dialect
            voices.append(Voice("espeak", name, f"espeak {variant or 'plain'}", split, reason))
    return tuple(voices)


VOICES = (*RECORDED, *_espeak())
"""The table."""


def voices_of(split: str, engines: Collection[str] = ()) -> tuple[Voice, ...]:
    """The table's voices of a split, in its order; of these engines alone, where some are named."""
    return tuple(each for each in VOICES if each.split == split and (not engines or each.engine in engines))


def installed(split: str, engines: Collection[str]) -> tuple[Voice, ...]:
    """As `voices_of`. Raises BadInput where an engine or one of its voices is missing: a corpus must not
    depend on what a machine happens to have."""
    chosen = voices_of(split, engines)
    for name in engines:
        own = [each.name for each in chosen if each.engine == name]
        if not own:
            raise BadInput(f"{name} has no voice for split '{split}' (vla/speech/voices.py); leave it out")
        engine = open_engine(name)
        missing = sorted(set(own) - set(engine.voices()))
        engine.close()
        if missing:
            raise BadInput(f"{name} lacks the voice '{missing[0]}': {_remedy(name)}")
    return chosen


def _remedy(engine: str) -> str:
    if engine == "festival":
        return "apt-get install festvox-kdlpc16k festvox-us-slt-hts"
    return "install the release of espeak-ng or flite that docs/speech.md names"
