"""Facts in words: lower case, no punctuation, words that the sentences have, and as few others as will do."""

from collections.abc import Callable, Sequence

from envs.tabletop.narration.facts import Moment, Relation
from envs.tabletop.tasks import Task, Thing

__all__ = ["KINDS", "plan_of", "say_plan", "say_relation", "say_subtask", "say_why", "tell"]

_SIDES = {
    "left": "to the left of",
    "right": "to the right of",
    "front": "in front of",
    "behind": "behind",
    "on": "on",
    "in": "in",
}


def plan_of(task: Task) -> tuple[str, ...]:
    """The sub-tasks of a task in their order, in words."""
    thing, goal = f"the {task.target}", _goal(task)
    if task.skill == "touch":
        return (f"reach for {thing}", "touch it")
    if task.skill == "push":
        return (f"reach for {thing}", f"push it {goal}")
    if task.skill == "lift":
        return (f"reach for {thing}", "grasp it", "lift it")
    steps = (f"reach for {thing}", "grasp it", f"carry it {goal}", "let it go")
    return steps if task.second is None else (*steps, f"do the same with the {task.second}")


def say_plan(moment: Moment) -> str:
    """All sub-tasks, those that are over too."""
    return " then ".join(plan_of(moment.task))


def say_subtask(moment: Moment) -> str:
    """What the arm is at."""
    thing = f"the {moment.subject}"
    if moment.lost:
        return f"i lost {thing} and reach for it again"
    return {
        "reach": f"reach for {thing}",
        "grasp": f"grasp {thing}",
        "lift": f"lift {thing}",
        "carry": f"carry {thing} {_goal(moment.task)}",
        "release": f"let {thing} go",
        "touch": f"touch {thing}",
        "push": f"push {thing} {_goal(moment.task)}",
        "retreat": "done",
    }[moment.subtask]


def say_relation(relation: Relation) -> str:
    """Where a thing stands."""
    return f"the {relation.one} is {_SIDES[relation.side]} the {relation.other}"


def say_why(moment: Moment) -> str:
    """Why this thing and none of the others: what was asked, and what else is like it."""
    subject, shapes = moment.subject, [other for other in moment.others if other != moment.subject]
    asked = f"you asked for the {subject}"
    colour = [other for other in shapes if other.color == subject.color]
    kind = [other for other in shapes if other.kind == subject.kind]
    if colour:
        return f"{asked} and the other {subject.color} {_things(len(colour))} {_listed(_kinds(colour))}"
    if kind:
        return f"{asked} and the other {subject.kind}{' is' if len(kind) == 1 else 's are'} {_colors(kind)}"
    return f"{asked} and nothing else is {subject.color} or a {subject.kind}"


KINDS: dict[str, Callable[[Moment], str | None]] = {
    "plan": say_plan,
    "subtask": say_subtask,
    "why": say_why,
    "relation": lambda moment: None if moment.relation is None else say_relation(moment.relation),
}
"""Kind of explanation -> its words; None where there is nothing to be said."""


def tell(moment: Moment) -> dict[str, str]:
    """All kinds that say something."""
    said = ((kind, words(moment)) for kind, words in KINDS.items())
    return {kind: text for kind, text in said if text is not None}


def _goal(task: Task) -> str:
    if task.reference is None:
        return ""
    if task.skill == "put_beside":
        assert task.relation is not None
        return f"{_SIDES[task.relation]} the {task.reference}"
    before = {"put_into": "into", "put_both": "into", "push": "onto", "stack": "onto"}[task.skill]
    before = "onto" if task.reference.kind == "tray" else before
    return f"{before} the {task.reference}"


def _things(count: int) -> str:
    return "thing is" if count == 1 else "things are"


def _kinds(things: Sequence[Thing]) -> list[str]:
    return sorted(f"{'an' if thing.kind[0] in 'aeiou' else 'a'} {thing.kind}" for thing in things)


def _colors(things: Sequence[Thing]) -> str:
    return _listed(sorted(thing.color for thing in things))


def _listed(words: Sequence[str]) -> str:
    return " and ".join(words)
