"""The numbers of a trained cell: roll-outs on each split, and answers to questions about pictures."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from policies.runtime.delays import fingerprint
from policies.runtime.results import EpisodeResult
from policies.runtime.rollout import Rollout, cases_of, roll_out
from policies.runtime.transfer.cells import Cell, kept
from policies.runtime.world import Split, World
from vla.errors import BadInput
from vla.folders import write_whole

if TYPE_CHECKING:
    from vla.answers import AnswerCoder

__all__ = ["Measures", "asked_about", "measure", "roll_out_split", "summary"]


@dataclass(frozen=True)
class Measures:
    """What is measured of every cell. name: of the phase, in file names. seed: of the first scene.

    questions: about held-out pictures; words: those about which they are counted by themselves too.
    """

    name: str
    world: World
    splits: tuple[Split, ...]
    episodes: int
    seed: int
    questions: int
    words: tuple[str, ...] = ()


def measure(
    cell: Cell, what: Measures, pictures: Callable[[], Path], workers: int = 1
) -> dict[str, dict[str, Any]]:
    """Column (a split, or ``vqa``) -> numbers of a trained cell, from its folder where they are there.

    pictures: makes the held-out pictures, if need be, and tells their folder. Raises BadInput for numbers
    that were found under other settings.
    """
    weights = fingerprint(str(cell.policy))
    found: dict[str, dict[str, Any]] = {}
    for split in what.splits:
        settings = {
            "weights": weights,
            "world": asdict(what.world),
            "split": split,
            "episodes": what.episodes,
            "seed": what.seed,
        }

        def rolled(split: Split = split) -> dict[str, Any]:
            with tqdm(total=what.episodes, unit="ep", desc=split, dynamic_ncols=True) as bar:
                return roll_out_split(what, cell.policy, split, workers, bar.update)

        found[split] = _kept_or(cell.folder / f"{what.name}-{split}.json", settings, rolled)
    if what.questions:
        settings = {"weights": weights, "questions": what.questions, "pictures": cell.settings["pictures"]}

        def asked() -> dict[str, Any]:
            return asked_about(cell.policy, pictures(), what.questions, what.words)

        found["vqa"] = _kept_or(cell.folder / f"{what.name}-vqa.json", settings, asked)
    return found


def _kept_or(path: Path, settings: Mapping[str, Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    numbers = kept(path, settings)
    if numbers is None:
        numbers = make()
        write_whole(path, json.dumps({"settings": settings, "numbers": numbers}, indent=1) + "\n")
    return numbers


def roll_out_split(
    what: Measures,
    policy: Path,
    split: Split,
    workers: int = 1,
    progress: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """Run a policy on the scenes of a split; see `summary`."""
    how = Rollout(what.world, str(policy), split=split, policy_options={"threads": 1})
    results = []
    for result in roll_out(how, cases_of(what.world, what.episodes, what.seed), workers):
        results.append(result)
        progress()
    return summary(results)


def summary(results: Sequence[EpisodeResult]) -> dict[str, Any]:
    """Counts of all episodes and of each skill, and what became of every one."""
    results = sorted(results, key=lambda r: r.index)
    skills = sorted({r.skill for r in results})
    return {
        **_counts(results),
        "skills": {skill: _counts([r for r in results if r.skill == skill]) for skill in skills},
        "list": [_told(result) for result in results],
    }


def _counts(results: Sequence[EpisodeResult]) -> dict[str, int]:
    return {
        "episodes": len(results),
        "successes": sum(r.success for r in results),
        "wrong": sum(r.outcome == "wrong_object" for r in results),
        "reached": sum(r.went_to_target for r in results),
    }


def _told(result: EpisodeResult) -> dict[str, Any]:
    names = ("seed", "skill", "task", "outcome", "target", "first_touched", "steps")
    return {name: getattr(result, name) for name in names}


def asked_about(policy: Path, pictures: Path, questions: int, words: Sequence[str]) -> dict[str, Any]:
    """Ask a policy about pictures in a folder of shards: one turn of each record, the turns in rotation.

    words: questions and answers in which one of them stands are counted by themselves too, as ``unseen``.
    Returns group -> ``right`` (a sum of shares, see vla/generation/scoring.py) and ``asked``. A question with
    a word that the policy never met is not answered, and counts as wrong.
    """
    from vla.answers import AnswerCoder
    from vla.generation.scoring import score
    from vla.pretrained import load

    model, processor = load(policy)
    coder, wanted = AnswerCoder(processor.config, processor.tokenizer), set(words)
    groups: dict[str, list[Any]] = {"unseen": [], "other": []}
    for sample, turn in _turns(pictures, questions):
        said = f"{turn.prompt} {turn.answer}".split()
        groups["unseen" if wanted.intersection(said) else "other"].append((sample, turn))
    found: dict[str, Any] = {}
    for name, pairs in groups.items():
        read = [pair for pair in pairs if _readable(coder, pair[1].prompt)]
        scored: Mapping[str, float] = score(model, processor, read) if read else {"accuracy": 0.0}
        found[name] = {"right": scored["accuracy"] * len(read), "asked": len(pairs)}
    total = {key: sum(group[key] for group in found.values()) for key in ("right", "asked")}
    return {"all": total, **found}


def _readable(coder: "AnswerCoder", prompt: str) -> bool:
    try:
        coder.prompts([prompt])
    except BadInput:
        return False
    return True


def _turns(pictures: Path, questions: int) -> Iterator[Any]:
    """(record, one of its turns) of the first so many records; turns without a prompt are passed over."""
    from vla.configuration.web import ShardsConfig
    from vla.data.web import open_source

    source = open_source("held out", ShardsConfig(path=str(pictures)))
    for number in range(min(questions, len(source))):
        sample = source[number]
        turns = [turn for turn in sample.turns if turn.prompt]
        if turns:
            yield sample, turns[number % len(turns)]
