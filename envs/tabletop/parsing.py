"""From a sentence back to its Task: words become tokens, tokens a skeleton string, the skeleton a form.

Every token is one letter: ``S`` a shape, ``C`` a container, ``Z`` a zone, ``r`` and ``s`` a relation with and
without "of", and for other phrases the letters of `_TAGS`. "please put the red cube in the blue bowl" has
the skeleton ``vSiC``. Forms are regular expressions over skeletons, so a user's own sentence is understood
when its structure is, whatever its synonyms. A new sentence structure is a new form; a new word is a tag.
"""

import difflib
import re
from functools import cache

from envs.tabletop.grammar import NOUNS, all_words, nouns_of
from envs.tabletop.tasks import CONTAINERS, ZONE, Task, Thing
from envs.tabletop.vocabulary import vocabulary as words_of
from vla.errors import BadInput

__all__ = ["parse"]

_TAGS: dict[str, tuple[str, ...]] = {
    # Said for politeness or rhythm: no token.
    "": (
        *("please", "now", "robot", "hey", "just", "first", "too", "both", "for me", "thanks"),
        *("can you", "could you", "would you", "i want you to", "i need you to", "i would like you to"),
        *("go and", "with your gripper", "use your gripper to", "across table", "over table"),
    ),
    # Verbs: to bring to a place; to get; to lift; to touch; to look for; to fill; to want; to be or belong.
    "v": (
        *("put", "place", "set", "lay", "drop", "move", "bring", "carry", "push", "slide", "shove"),
        *("nudge", "stack", "balance", "give", "make tower with"),
    ),
    "g": ("take", "get"),
    "l": ("lift", "raise", "pick", "hold", "grab", "grasp"),
    "x": ("touch", "tap", "poke", "make contact with", "reach for", "reach out", "reach out to", "go to"),
    "f": ("find",),
    "F": ("fill", "top"),
    "n": ("i want", "i need", "i would like"),
    "e": (
        *("is", "goes", "go", "belongs", "belong", "should be", "should go", "should belong"),
        *("be", "to be", "to go", "is one to"),
    ),
    # Prepositions, capital where they also say that something moves there.
    "i": ("in", "inside"),
    "I": ("into",),
    "o": ("on", "on top of"),
    "O": ("onto", "onto top of", "to top of"),
    "t": ("to", "over to"),
    "u": ("up", "off table", "in air", "into air"),
    "d": ("beside", "next to"),
    "w": ("with", "together with", "along with", "do same with"),
    # The small words that hold a sentence together.
    "a": ("and", "then", "and then"),
    "p": ("it", "them"),
    "y": ("there",),
    "q": ("until", "so that"),
    "j": ("where",),
    "h": ("your gripper",),
    "U": ("use",),
    "W": ("to top",),
}
"""Token letter -> its phrases, without articles; the longest phrase that fits is taken."""

_EXAMPLE = "put the red cube in the blue bowl"
_PHRASES = {phrase: tag for tag, phrases in _TAGS.items() for phrase in phrases}
_SIDES = {"left": "left", "right": "right", "front": "front", "back": "behind"}


class _Lexicon:
    """The words of one vocabulary. kinds: noun -> kind; lexer: matches the next token of a sentence."""

    def __init__(self, vocabulary: str) -> None:
        known = words_of(vocabulary)
        self.words, self.colors = frozenset(all_words(vocabulary)), known.colors
        kinds = dict.fromkeys((*known.shapes, *NOUNS))
        self.kinds = {noun: kind for kind in kinds for noun in nouns_of(kind)}
        self.lexer = re.compile(
            rf"(?:(?P<color>{'|'.join(self.colors)}) (?P<noun>{'|'.join(self.kinds)})"
            # The first "right" of "right in front of" only stresses it.
            r"|(?:right (?=in |behind|at |to |on |next |beside))?(?:"
            r"(?:(?:to|on|at|in) )?(?P<of>left|right|front|back)(?: side)? of|(?P<behind>behind)(?! it\b)"
            r"|(?:to|on|at|in) (?:its )?(?P<side>left|right|front|back)(?: side)?|(?P<behind_it>behind) it"
            rf"|(?P<phrase>{'|'.join(sorted(_PHRASES, key=len, reverse=True))})))(?: |$)"
        )


_lexicon = cache(_Lexicon)


# How one thing, or a pair (T), is brought to a goal (G: a preposition and the reference R).
_GOAL_FORMS = (
    "(?:n|[vg]{0,2})T(?:e|v)*G",  # put T in R; T in R; T should go in R; i want T to be in R
    "[fglvx]u?Tu?a?[vgl]u?pG",  # pick T up and put it in R
    "lu?Tu?(?=[IO])G",  # lift T onto R; but "lift T in R" may only say where T is
    "G[vge]{1,2}T",  # in R put T
    "[vg]GT",  # put in R T
    "[vg]Tu?qp?eG",  # push T until it is in R
    "qTeG[vg]p",  # until T is in R push it
    "GejTe+",  # in R is where T goes
)
# Forms in which the reference's kind alone says that things go in or on it.
_PLACE_FORMS = (
    "RejTe+",  # R is where T goes
    "FRwT",  # fill R with T
    "vTt?Ra?[vg]p(?:[io]p?|iy)",  # carry T to R and drop it in
)
_STACK_FORMS = ("FRwT", "UTWR")  # top R with T; use T to top R
_BESIDE_FORMS = ("dR[vg]Ts",)  # beside R put T on the left
_BOTH_FORMS = ("[vg]?T(?:e|v)*Ga{1,2}[vgw]{0,2}(?P<u>S)(?:i?y|[iIoOt](?P<again>C))?",)  # put T in R, then U
_TOUCH_FORMS = (
    *("(?:xa)?xT(?:axp)?", "(?:xa)?vtT(?:axp)?"),  # reach out and touch T; move to T and touch it
    *("fTa?xp", "Tex", "Txp", "vh[ot]T"),  # T is the one to touch; put your gripper on T
)
_LIFT_FORMS = (
    *("[lg]u?Tu{0,2}", "[fglx]Tu?a?[lg]u?pu{0,2}"),  # pick T up; find T and lift it up
    *("u[lg]u?T", "Te[lg]u{0,2}", "T[lg]u?pu{0,2}"),  # off the table lift T; T is the one to lift
    "nTu{1,2}",  # i want T up in the air
)
_ONE = "(?P<t>S)"
_PAIR = "(?P<t>S)(?:a|w|aw)(?P<u>S)"


def _compile(
    forms: tuple[str, ...], thing: str = _ONE, reference: str = "", goals: tuple[str, ...] = ("",)
) -> list[re.Pattern[str]]:
    """Write T, R and G into the forms, once for each way to say the goal."""
    reference = f"(?P<r>{reference})"
    # G first, it holds an R; what is written for T and R holds none of the three letters.
    written = [form.replace("G", goal) for goal in goals for form in forms]
    return [re.compile(form.replace("T", thing).replace("R", reference)) for form in written]


_INTO = ("[iIoOt]R",)
_FORMS: dict[str, list[re.Pattern[str]]] = {
    "touch": _compile(_TOUCH_FORMS),
    "lift": _compile(_LIFT_FORMS),
    "put_into": _compile(_GOAL_FORMS + _PLACE_FORMS, _ONE, "C", _INTO),
    "push": _compile(_GOAL_FORMS + _PLACE_FORMS, _ONE, "Z", _INTO),
    "put_beside": _compile(_GOAL_FORMS, _ONE, "S", ("rR", "dRs", "sdR")) + _compile(_BESIDE_FORMS, _ONE, "S"),
    "stack": _compile(_GOAL_FORMS + _STACK_FORMS, _ONE, "S", ("[oO]R",)),
    "put_both": _compile(_GOAL_FORMS + _PLACE_FORMS, _PAIR, "C", _INTO)
    + _compile(_BOTH_FORMS, _ONE, "C", _INTO),
}
_SKILLS_OF_THINGS = {
    "S": ("touch", "lift"),
    "CS": ("put_into",),
    "SZ": ("push",),
    "SS": ("put_beside", "stack"),
    "CSS": ("put_both",),
    "CCSS": ("put_both",),
}


def parse(sentence: str, vocabulary: str = "base") -> Task:
    """The one Task a sentence means; case, punctuation, articles and extra spaces do not matter.

    vocabulary: of the things that it may name.

    Raises BadInput, in one line, where the sentence is empty, has an unknown word or is not understood.
    """
    if not isinstance(sentence, str):
        raise BadInput(f"the instruction must be a sentence (str), not {type(sentence).__name__}")
    text = sentence.lower().replace("\u2019", "'").replace("i'd", "i would")
    words = re.findall(r"[^\W_]+(?:'[^\W_]+)*", text)
    if not words:
        raise BadInput(f"the instruction is empty; say for instance '{_EXAMPLE}'")
    lexicon = _lexicon(vocabulary)
    _check_words(words, lexicon, vocabulary)
    bare = [word for word in words if word not in ("a", "an", "the")]
    skeleton, meanings = _tokens(bare, sentence, lexicon)
    kinds = "".join(sorted(letter for letter in skeleton if letter in "SCZ"))
    for skill in _SKILLS_OF_THINGS.get(kinds, ()):
        for form in _FORMS[skill]:
            if found := form.fullmatch(skeleton):
                places = {name: found.start(name) for name, letter in found.groupdict().items() if letter}
                named = {name: meant for name, i in places.items() if isinstance(meant := meanings[i], Thing)}
                if named.get("again", named.get("r")) != named.get("r"):
                    continue
                relation = next((said for said in meanings if isinstance(said, str)), None)
                return _checked(Task(skill, named["t"], named.get("r"), relation, named.get("u")))
    raise _not_understood(sentence, [thing for thing in meanings if isinstance(thing, Thing)])


def _check_words(words: list[str], lexicon: _Lexicon, vocabulary: str) -> None:
    """Raise BadInput naming the first word that no template can produce, and the nearest known words."""
    for word in words:
        if word not in lexicon.words:
            near = difflib.get_close_matches(word, all_words(vocabulary), n=3, cutoff=0.6)
            hint = f"nearest known: {', '.join(near)}" if near else f"an example: '{_EXAMPLE}'"
            raise BadInput(f"unknown word '{word[:40]}' in the instruction ({hint})")


def _tokens(words: list[str], sentence: str, lexicon: _Lexicon) -> tuple[str, list[Thing | str | None]]:
    """The skeleton, and for each of its letters the thing or the relation it stands for, or None."""
    text, at = " ".join(words), 0
    skeleton: list[str] = []
    meanings: list[Thing | str | None] = []
    while at < len(text):
        found = lexicon.lexer.match(text, at)
        if found is None:
            raise _stray_word(text[at:].split()[0], sentence, lexicon)
        at = found.end()
        said = found.groupdict()
        if said["color"]:
            kind = lexicon.kinds[said["noun"]]
            skeleton.append("Z" if kind == ZONE else "C" if kind in CONTAINERS else "S")
            meanings.append(Thing(kind, said["color"]))
        elif said["phrase"] is not None:
            tag = _PHRASES[said["phrase"]]
            skeleton.append(tag)
            meanings += [None] * len(tag)
        else:
            skeleton.append("r" if said["of"] or said["behind"] else "s")
            side = said["of"] or said["side"]
            meanings.append(_SIDES[side] if side else "behind")
    return "".join(skeleton), meanings


def _checked(task: Task) -> Task:
    if task.target in (task.reference, task.second):
        raise BadInput(f"the instruction names the {task.target} twice; name two different things")
    return task


def _stray_word(word: str, sentence: str, lexicon: _Lexicon) -> BadInput:
    """Why no token begins at a known word."""
    if word in lexicon.colors:
        return BadInput(f"the colour '{word}' needs its shape right after it, as in 'the {word} cube'")
    if word in lexicon.kinds and word != "can":
        return BadInput(f"'{word}' needs its colour right before it, as in 'the red {word}'")
    return _not_understood(sentence, [])


def _not_understood(sentence: str, things: list[Thing]) -> BadInput:
    """All words known, no task found: show a sentence that would be right, with the same things if it can."""
    shapes = [thing for thing in things if thing.kind != ZONE and thing.kind not in CONTAINERS]
    places = [thing for thing in things if thing not in shapes]
    shown = " ".join(sentence.split())
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    example = _EXAMPLE
    if len(shapes) == 1 and not places:
        example = f"pick up the {shapes[0]}"
    elif len(shapes) == 1 and len(places) == 1:
        how = "push" if places[0].kind == ZONE else "put"
        example = f"{how} the {shapes[0]} {'to' if how == 'push' else 'in'} the {places[0]}"
    elif len(shapes) == 2 and not places and shapes[0] != shapes[1]:
        example = f"put the {shapes[0]} to the left of the {shapes[1]}"
    return BadInput(f"cannot tell what to do from '{shown}'; say for instance '{example}'")
