"""Rolling out in the real world: same command, same numbers; films; the swap test."""

from pathlib import Path

import av
import numpy as np
import pytest

from policies import find_checkpoint, load
from policies.runtime.results import EpisodeResult
from policies.runtime.rollout import Rollout, cases_of, roll_out, roll_out_here, swap_cases
from policies.runtime.world import World
from vla.errors import BadInput

WORLD = World(image_size=32, skills=("touch", "lift"))


def rows(results: list[EpisodeResult]) -> list[tuple[object, ...]]:
    results = sorted(results, key=lambda r: r.index)
    return [(r.index, r.seed, r.skill, r.task, r.outcome, r.actions.tobytes()) for r in results]


def test_the_same_command_gives_the_same_numbers() -> None:
    how = Rollout(WORLD, "random", side_by_side=2)
    cases = cases_of(WORLD, 4, seed=5)
    once = rows(list(roll_out(how, cases)))
    assert once == rows(list(roll_out(how, cases)))
    alone = Rollout(WORLD, "random", side_by_side=1)
    assert once == rows(list(roll_out(alone, cases))), "an episode depends on what runs beside it"


@pytest.mark.slow
def test_processes_do_not_change_the_numbers() -> None:
    how, cases = Rollout(WORLD, "random"), cases_of(WORLD, 4, seed=5)
    assert rows(list(roll_out(how, cases, workers=2))) == rows(list(roll_out(how, cases)))


def test_the_skills_take_turns_and_the_expert_succeeds() -> None:
    results = sorted(roll_out(Rollout(WORLD, "expert"), cases_of(WORLD, 6, seed=100)), key=lambda r: r.index)
    assert [r.skill for r in results] == ["touch", "lift"] * 3
    assert sum(r.success for r in results) >= 5
    assert all(r.went_to_target and r.steps == len(r.actions) == len(r.states) for r in results if r.success)


def test_the_film_shows_the_whole_episode(tmp_path: Path) -> None:
    how = Rollout(WORLD, "expert", out=tmp_path, videos=1, video_size=64)
    results = {r.index: r for r in roll_out(how, cases_of(WORLD, 2, seed=0))}
    assert results[0].video == "episode-0000.mp4" and results[1].video is None
    with av.open(str(tmp_path / "videos" / "episode-0000.mp4")) as film:
        stream = film.streams.video[0]
        pictures = [frame.to_ndarray(format="rgb24") for frame in film.decode(stream)]
        assert stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p"
    assert pictures[0].shape == (64, 128, 3)
    assert len(pictures) >= results[0].steps
    assert np.abs(pictures[0].astype(int) - pictures[-1]).mean() > 0.1  # the arm moved
    assert (tmp_path / "videos" / "episode-0000.jpg").is_file()


def test_swapped_cases_share_the_scene_and_change_the_target() -> None:
    results = {r.index: r for r in roll_out(Rollout(WORLD, "expert"), swap_cases(WORLD, "seen", 3, seed=0))}
    for pair in range(3):
        own, other = results[2 * pair], results[2 * pair + 1]
        assert own.seed == other.seed and (own.swapped, other.swapped) == (False, True)
        assert own.target != other.target
        np.testing.assert_array_equal(own.states[0], other.states[0])


def test_a_sentence_makes_its_scene() -> None:
    from policies.runtime.rollout import Case

    (result,) = roll_out_here(
        load("expert"), Rollout(WORLD, "expert"), [Case(0, 3, sentence="touch the red cube")]
    )
    assert (result.task, result.target, result.skill) == ("touch the red cube", "red cube", "touch")


def test_unknown_policies_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="did you mean 'expert'"):
        find_checkpoint("expertt")
    with pytest.raises(BadInput, match="has no config"):
        load(str(tmp_path))
    with pytest.raises(BadInput, match=r"unknown skill 'lft'.*did you mean 'lift'"):
        World(skills=("lft",))
