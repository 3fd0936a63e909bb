"""Queue, temporal ensembling and real-time chunking: what they promise, whatever the delay."""

import math

import numpy as np
import pytest
from acting import DIM, Continuer, Planner, run, truth
from hypothesis import given
from hypothesis import strategies as st

from policies.runtime.chunking import Chunking, Terms, build_stitcher
from policies.runtime.chunking.schedule import age_weights, overlap_weights
from policies.runtime.chunks import ChunkExecutor
from policies.runtime.metrics import summarize
from policies.runtime.rollout import Rollout, cases_of, roll_out
from policies.runtime.world import World
from vla.errors import BadInput
from vla.interfaces import ActionChunk

KINDS = ("queue", "ensemble", "real_time")
SCHEDULES = ("exp", "linear", "ones", "zeros")


@st.composite
def settings(draw: st.DrawFn, *kinds: str) -> tuple[Chunking, int]:
    """A chunking, and chunks long enough for it never to run out."""
    horizon = draw(st.integers(2, 14))
    delay = draw(st.integers(0, horizon // 2))
    execute = draw(st.integers(max(delay, 1), horizon - delay))
    kind, schedule = draw(st.sampled_from(kinds or KINDS)), draw(st.sampled_from(SCHEDULES))
    return Chunking(kind, execute, delay, schedule, draw(st.floats(-0.5, 0.5))), horizon  # type: ignore[arg-type]


# -- weights --------------------------------------------------------------------------------------


@given(st.integers(2, 60), st.data())
def test_the_weights_are_the_published_ones(horizon: int, data: st.DataObject) -> None:
    d = data.draw(st.integers(0, horizon // 2))
    s = data.draw(st.integers(max(d, 1), horizon - d))
    weights = {name: overlap_weights(horizon - s, d, name) for name in SCHEDULES}  # type: ignore[arg-type]
    for i in range(horizon - s):
        c = (horizon - s - i) / (horizon - s - d + 1)
        expected = 1.0 if i < d else c * math.expm1(c) / (math.e - 1)
        assert weights["exp"][i] == pytest.approx(expected, rel=1e-5)
        assert weights["linear"][i] == pytest.approx(1.0 if i < d else c, rel=1e-5)
        assert weights["ones"][i] == 1.0 and weights["zeros"][i] == (i < d)
    for values in weights.values():
        assert ((values >= 0) & (values <= 1)).all() and (np.diff(values) <= 0).all()
    assert (weights["exp"] <= weights["linear"] + 1e-6).all()


def test_a_delay_beyond_the_plan_forces_all_of_it() -> None:
    for name in SCHEDULES:
        np.testing.assert_array_equal(overlap_weights(3, 5, name), np.ones(3))  # type: ignore[arg-type]
        assert overlap_weights(0, 0, name).shape == (0,)  # type: ignore[arg-type]


@given(st.integers(1, 40), st.floats(0.0, 1.0))
def test_ages_weigh_as_in_act(count: int, decay: float) -> None:
    weights = age_weights(count, decay)
    assert weights.sum() == pytest.approx(1.0) and (np.diff(weights) <= 0).all()  # the oldest most
    np.testing.assert_allclose(weights[1:] / weights[:-1], math.exp(-decay))


# -- what every kind promises ---------------------------------------------------------------------


@given(settings(), st.integers(1, 60), st.booleans())
def test_who_knows_the_future_is_obeyed(given_: tuple[Chunking, int], steps: int, continues: bool) -> None:
    chunking, horizon = given_
    policy = Continuer(horizon) if continues else Planner(horizon)
    executor = ChunkExecutor(policy, 2, chunking)
    commands, chunks = run(executor, steps, 2)
    start = min(chunking.delay, steps)
    for own, from_ in zip(commands, chunks, strict=True):
        assert (own[:start] == [7, 8, 9]).all() and not any(chunk.valid for chunk in from_[:start])
        # One that is told the plan computes in single precision.
        close = 1e-4 if continues else 0.0
        np.testing.assert_allclose(own[start:], truth(np.arange(start, steps)), rtol=0, atol=close)
    assert executor.holds(0) == executor.holds(1) == tuple(range(start))


@given(st.sampled_from(KINDS[:2]), st.integers(2, 10), st.data())
def test_chunks_too_short_for_the_delay_hold_but_never_lie(
    kind: str, horizon: int, data: st.DataObject
) -> None:
    delay = data.draw(st.integers(0, horizon - 1))
    execute = data.draw(st.integers(1, horizon))
    policy = Planner(horizon)
    executor = ChunkExecutor(policy, 1, Chunking(kind, execute, delay))  # type: ignore[arg-type]
    [commands], [chunks] = run(executor, 50)
    valid = np.array([chunk.valid for chunk in chunks])
    np.testing.assert_array_equal(commands[valid], truth(np.arange(50))[valid])
    for step in np.flatnonzero(~valid)[delay:]:
        np.testing.assert_array_equal(commands[step], commands[step - 1])
    assert tuple(np.flatnonzero(~valid)) == executor.holds(0)
    assert (len(executor.holds(0)) > delay) == (delay > horizon - delay)
    assert set(np.diff([step for _, step in policy.asked])) == {executor.terms.period}


@given(settings())
def test_one_question_at_a_time_and_none_too_late(given_: tuple[Chunking, int]) -> None:
    chunking, horizon = given_
    policy = Planner(horizon)
    executor = ChunkExecutor(policy, 1, chunking)
    run(executor, 60)
    gaps = np.diff([step for _, step in policy.asked])
    assert (gaps == executor.terms.execute).all() and (gaps >= chunking.delay).all()


# -- ensembling -----------------------------------------------------------------------------------


@given(st.integers(2, 8), st.floats(0.0, 0.7), st.data())
def test_the_ensemble_is_acts_table(horizon: int, decay: float, data: st.DataObject) -> None:
    """Against the published procedure: a table [asked, due] of all predictions, averaged down its columns."""
    steps = 20
    delay = data.draw(st.integers(0, horizon // 2))
    rng = np.random.default_rng(horizon)
    noise = rng.normal(size=steps)
    policy = Planner(horizon, lambda step: noise[step])
    [commands], _ = run(ChunkExecutor(policy, 1, Chunking("ensemble", None, delay, decay=decay)), steps)
    asked = [step for _, step in policy.asked]
    assert asked == list(range(0, steps, max(delay, 1)))
    for now in range(delay, steps):
        column = [truth(now) + noise[s] for s in asked if s + delay <= now < s + horizon]  # the oldest first
        weights = np.exp(-decay * np.arange(len(column)))
        expected = (weights[:, None] * column).sum(0) / weights.sum()
        np.testing.assert_allclose(commands[now], expected, rtol=1e-5, atol=1e-4)


# -- real time ------------------------------------------------------------------------------------


@given(settings("real_time"))
def test_what_the_policy_is_told_is_what_is_executed(given_: tuple[Chunking, int]) -> None:
    chunking, horizon = given_
    policy = Continuer(horizon, lambda step: 20.0 * math.sin(7.0 * step))
    executor = ChunkExecutor(policy, 1, chunking)
    [commands], _ = run(executor, 60)
    for (_, step), plan in zip(policy.asked, policy.told, strict=True):
        if plan is None:
            assert step == 0 or executor.terms.execute == horizon
            continue
        done = commands[step : step + chunking.delay]
        np.testing.assert_array_equal(plan.actions[: len(done)], done)
        assert plan.delay == chunking.delay and len(plan.actions) == len(plan.weights)
        if step:
            assert len(plan.actions) == horizon - executor.terms.execute
            expected = overlap_weights(len(plan.actions), chunking.delay, chunking.schedule)
            np.testing.assert_array_equal(plan.weights, expected)
        else:  # nothing is planned yet, but that the arm will be held
            assert (plan.actions == [7, 8, 9]).all() and len(plan.actions) == chunking.delay


@given(st.integers(4, 16), st.floats(1.0, 50.0), st.booleans(), st.data())
def test_joins_jump_less_than_a_queues(
    horizon: int, size: float, continues: bool, data: st.DataObject
) -> None:
    delay = data.draw(st.integers(0, (horizon - 1) // 2))
    execute = data.draw(st.integers(max(delay, 1), horizon - delay - 1))
    made = 0

    def flip(step: int) -> float:
        nonlocal made
        made += 1
        return size if made % 2 else -size

    jumps = {}
    for kind in ("queue", "real_time"):
        made = 0
        policy = Continuer(horizon, flip) if continues else Planner(horizon, flip)
        executor = ChunkExecutor(policy, 1, Chunking(kind, execute, delay))  # type: ignore[arg-type]
        [commands], _ = run(executor, 80)
        offset = (commands - truth(np.arange(80))).mean(1)
        jumps[kind] = np.array([abs(offset[join] - offset[join - 1]) for join in executor.joins(0)])
    np.testing.assert_allclose(jumps["queue"], 2 * size, rtol=1e-4)
    weight = overlap_weights(horizon - execute, delay)[delay]
    assert jumps["real_time"].max() <= (1 - weight) * 2 * size + 1e-3


def test_a_policy_that_does_not_continue_any_more_is_blended() -> None:
    policy = Continuer(8)
    assert Chunking("real_time").terms(policy).continues and not Chunking("queue").terms(policy).continues
    policy.continues = False
    assert not Chunking("real_time").terms(policy).continues
    run(ChunkExecutor(policy, 1, Chunking("real_time")), 20)
    assert policy.told == [None] * len(policy.asked)


@pytest.mark.parametrize("arrives", [4, 5, 6, 7])
def test_what_a_continuing_policy_answers_is_left_as_it_is_but_for_what_was_promised(arrives: int) -> None:
    stitcher = build_stitcher(Terms(Chunking("real_time", delay=2), 8, 4, continues=True))
    stitcher.ask(0, 0, np.zeros(DIM, np.float32))
    stitcher.enter(chunk(0, rows=8), asked=0, step=0)
    for step in range(4):
        stitcher.command(step)
    assert stitcher.ask(4, 2, np.zeros(DIM, np.float32)) is not None
    for step in range(4, 8):
        if step == arrives:
            stitcher.enter(chunk(4, 30.0, rows=8), asked=4, step=step)
        goes_on = step < 6 or step < arrives  # promised until step 6, though the answer be there sooner
        expected = truth(step) + np.float32(0.0 if goes_on else 30.0)
        np.testing.assert_array_equal(stitcher.command(step).action, expected)


# -- late and out of order ------------------------------------------------------------------------

TERMS = Terms(Chunking(), horizon=4, execute=4)


def chunk(step: int, mark: float = 0.0, rows: int = 4) -> ActionChunk:
    return ActionChunk(truth(np.arange(step, step + rows)) + np.float32(mark))


def test_an_answer_to_an_older_observation_changes_nothing() -> None:
    stitcher = build_stitcher(TERMS)
    stitcher.enter(chunk(2, 100.0), asked=2, step=3)
    stitcher.enter(chunk(1), asked=1, step=3)
    stitcher.enter(ActionChunk(np.zeros((0, DIM), np.float32), hold="unsure"), asked=0, step=3)
    np.testing.assert_array_equal(stitcher.command(3).action, truth(3) + np.float32(100.0))
    assert stitcher.joins == [] and stitcher.holds == []


@given(st.integers(0, 9))
def test_a_late_answer_enters_at_the_row_that_is_due(late: int) -> None:
    for kind in KINDS:
        stitcher = build_stitcher(Terms(Chunking(kind), 4, 4))  # type: ignore[arg-type]
        assert stitcher.wants(0, 0)
        stitcher.ask(0, 0, np.zeros(DIM, np.float32))
        for step in range(late):
            assert stitcher.command(step).action.tolist() == [0.0] * DIM and not stitcher.wants(step, 0)
        stitcher.enter(chunk(0), asked=0, step=late)
        assert stitcher.wants(late, 0) == (late >= 4)  # all of it is past, so another is needed
        action, from_ = stitcher.command(late)
        assert from_.valid == (late < 4)
        np.testing.assert_array_equal(action, truth(late) if late < 4 else np.zeros(DIM))
        assert stitcher.holds == list(range(late + (late >= 4)))


# -- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_", "line"),
    [
        ({"kind": "queu"}, r"kind cannot be 'queu' \(did you mean 'queue'\?\)"),
        ({"schedule": "cubic"}, r"schedule cannot be 'cubic' \(known: exp, linear, ones, zeros\)"),
        ({"delay": -1}, "delay=-1: at least 0 is needed"),
        ({"execute": 0}, "execute=0: at least 1 is needed"),
        ({"decay": math.nan}, "decay=nan: a finite number is needed"),
        ({"delay": 8}, "delay=8: the chunks of policy 'planner' have 8 steps, so at most 7 is possible"),
        ({"execute": 9}, "execute=9: the chunks of policy 'planner' have 8 steps; at most 8 is possible"),
        ({"kind": "real_time", "delay": 5}, "delay=5: real_time needs chunks of 10 steps for it, and the ch"),
        (
            {"kind": "real_time", "delay": 3, "execute": 2},
            "execute=2: in real_time with a delay of 3 steps it must be from 3 to 5, as the chunks of policy",
        ),
        ({"kind": "real_time", "delay": 3, "execute": 6}, "execute=6: in real_time with a delay of 3 steps"),
    ],
)
def test_mistakes_are_one_line(given_: dict[str, object], line: str) -> None:
    with pytest.raises(BadInput, match=line) as error:
        Chunking(**given_).terms(Planner(8))  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_the_number_of_steps_that_nobody_chose() -> None:
    own = Planner(10, execute=4)
    assert Chunking().terms(own).execute == 4 and Chunking("ensemble").terms(own).execute == 1
    found = [Chunking("real_time", delay=delay).terms(own).execute for delay in range(6)]
    assert found == [4, 4, 4, 4, 4, 5]  # its own choice where delay <= execute <= horizon - delay


# -- in the real simulator ------------------------------------------------------------------------


def test_a_delayed_roll_out_can_be_repeated() -> None:
    world = World(image_size=32, skills=("touch",))
    chunking = Chunking("real_time", delay=2)
    how, cases = Rollout(world, "random", chunking=chunking, side_by_side=2), cases_of(world, 2, seed=5)
    results = list(roll_out(how, cases))
    alone = list(roll_out(Rollout(world, "random", chunking=chunking, side_by_side=1), cases))
    for one, other in zip(*(sorted(each, key=lambda r: r.index) for each in (results, alone)), strict=True):
        np.testing.assert_array_equal(one.actions, other.actions)
        assert one.holds == other.holds == (0, 1) and one.joins == other.joins != ()
        np.testing.assert_array_equal(one.actions[:2], one.states[[0, 0]])
    metrics = summarize(results, policy="random", seed=5, split="seen")
    assert metrics["held_steps"] == 4 and metrics["held_share"] == round(4 / sum(r.steps for r in results), 4)
    assert metrics["jerk"]["joins"]["peak"] >= metrics["jerk"]["joins"]["mean"] > 0
