"""The weights in the repository: whole, small, and able to do their work in the real simulator."""

import json
from pathlib import Path

import numpy as np
import pytest

import policies
from envs.tabletop.language import all_words
from policies.runtime.rollout import Rollout, cases_of, roll_out
from policies.runtime.world import World
from policies.vla import VLAPolicy

FOLDER = Path(policies.__file__).parent / "pretrained" / "tabletop-small"


@pytest.fixture(scope="module")
def policy() -> VLAPolicy:
    loaded = policies.load("tabletop-small")
    assert isinstance(loaded, VLAPolicy)
    return loaded


def test_it_is_small_and_complete() -> None:
    assert sum(f.stat().st_size for f in FOLDER.iterdir()) < 20e6
    assert {f.name for f in FOLDER.iterdir()} >= {
        "config.json",
        "model.safetensors",
        "statistics.json",
        "tokenizer.json",
        "README.md",
    }


def test_it_knows_every_word_of_the_grammar(policy: VLAPolicy) -> None:
    known = set(policy.processor.tokenizer.words)
    assert not set(all_words()) - known


def test_its_parameters_are_within_the_promised_budget(policy: VLAPolicy) -> None:
    assert 2e6 <= policy.model.num_parameters() <= 6e6


def test_the_card_names_its_results() -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert "95%" in card and "swap" in card.lower()
    assert json.loads((FOLDER / "config.json").read_text(encoding="utf-8"))["architecture"] == "vla"


@pytest.mark.slow
def test_it_follows_sentences() -> None:
    """Far below its measured rate, far above chance: random actions succeed in 0 of 14."""
    world = World(skills=("touch", "lift", "put_into", "push"))
    how = Rollout(world, "tabletop-small", split="validation", policy_options={"threads": 1})
    results = list(roll_out(how, cases_of(world, 16, seed=900_000), workers=1))
    assert np.mean([r.success for r in results]) >= 0.6, [(r.skill, r.outcome) for r in results]
