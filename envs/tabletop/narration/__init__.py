"""What is true of a running episode, in words: a simulator knows, so what a model explains can be scored.

`facts.py` says what is so, `words.py` how it is said; `motion.py` says where the hand goes next.
"""

from envs.tabletop.narration.facts import Moment, Relation, look
from envs.tabletop.narration.motion import MOTIONS, motion
from envs.tabletop.narration.words import KINDS, plan_of, say_plan, say_relation, say_subtask, say_why, tell

__all__ = [
    "KINDS",
    "MOTIONS",
    "Moment",
    "Relation",
    "look",
    "motion",
    "plan_of",
    "say_plan",
    "say_relation",
    "say_subtask",
    "say_why",
    "tell",
]
