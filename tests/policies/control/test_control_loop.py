"""The loop on a clock that only the test moves: steps by time, faults hold, one thread, a stop at every
end."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from arms import DIM, Button, Clock, Guarded, Notes, PerfectArm, spec
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.runtime.chunking import Chunking
from policies.runtime.control import Control, ControlLoop, RunResult, Status, Watch
from policies.runtime.control.fit import doubts
from vla.errors import BadInput
from vla.interfaces import ActionChunk, Observation

HZ, POLICY_HZ = 50.0, 10.0


def truth(step: Any) -> Any:
    """The plan's row of each step, ``[..., DIM]``; small moves, so that the arm never seems to jump."""
    return (np.asarray(step, np.float64)[..., None] + np.arange(DIM)).astype(np.float32)


class Planner:
    """Plans `truth` from the observation's step on, plus an offset that tells which question it answers.

    It answers at once, or, with `gate`, when let to.
    """

    name = "planner"
    about: dict[str, Any]

    def __init__(self, horizon: int = 16, mark: float = 0.0) -> None:
        self.horizon, self.mark, self.about = horizon, mark, {}
        self.asked: list[int] = []
        self.fails: Exception | None = None
        self.gate: Callable[[], None] = lambda: None
        self.seen: list[Observation] = []

    def reset(self, count: int) -> None:
        self.asked.clear()

    def act(self, observations: Sequence[Observation], which: Sequence[int]) -> list[ActionChunk]:
        [seen] = observations
        self.seen.append(seen)
        step = seen.frame_index
        assert step is not None
        self.asked.append(step)
        if threading.current_thread().name == "inference":
            self.gate()
            if self.fails:
                raise self.fails
        rows = truth(np.arange(step, step + self.horizon)) + np.float32(self.mark * len(self.asked))
        return [ActionChunk(rows, frame_index=step)]


class Bench:
    """A loop on a fake clock with everything around it at hand. The inference thread gets its turn at each
    sleep: an answer that can be given is there before time goes on (`patient`)."""

    def __init__(self, control: Control | None = None, policy: Planner | None = None, **more: Any) -> None:
        self.clock = Clock()
        self.arm = PerfectArm(self.clock, more.pop("spec", None) or spec(hz=HZ))
        self.guard, self.stop, self.log = Guarded(self.arm), Button(), Notes()
        self.policy = policy or Planner()
        self.control = control or quick()
        chunking = more.pop("chunking", Chunking(execute=4))
        self.loop = ControlLoop(
            self.guard, self.policy, chunking, self.control, "do it",
            stop=self.stop, log=self.log, clock=self.clock, sleep=self.clock.sleep, **more,
        )  # fmt: skip
        self.clock.slept.append(self.patient)

    def patient(self) -> None:
        plan = getattr(self.loop, "_plan", None)
        end = time.monotonic() + 5
        while plan is not None and self.policy.gate.__name__ == "<lambda>" and time.monotonic() < end:
            runner = plan._runner
            if runner._asked is None or not runner._answers.empty() or runner.error:
                return
            time.sleep(0.0001)

    def at(self, when: float, do: Callable[[], None]) -> None:
        """Do something once, `when` seconds after the first tick."""
        done = []

        def look() -> None:
            began = self.loop._tally.began if hasattr(self.loop, "_tally") else 0.0
            if not done and began and self.clock.now - began >= when:
                done.append(1)
                do()

        self.clock.slept.append(look)

    def run(self) -> RunResult:
        result = self.loop.run()
        assert not [each for each in threading.enumerate() if each.name == "inference"]
        assert self.arm.threads == {threading.get_ident()}  # never two threads at the arm
        return result

    @property
    def wanted(self) -> list[tuple[np.ndarray | None, int]]:
        return self.guard.filter.asked


def quick(**more: Any) -> Control:
    return Control(
        **{"policy_hz": POLICY_HZ, "seconds": 4.0, "ramp": 0.0, "settle": 0.2, "threads": None} | more
    )


# -- on time --------------------------------------------------------------------------------------


def test_a_run_has_its_ticks_and_its_steps_and_ends_with_a_stop() -> None:
    bench = Bench()
    result = bench.run()
    assert result.ending.kind == "done" and result.well and "4 s" in result.ending.why
    assert result.steps == 40 and result.ticks == pytest.approx(200, abs=10)  # and those of braking
    assert result.periods.missed == 0 and result.periods.period.mean == pytest.approx(1 / HZ)
    assert bench.arm.events[-1] == "hold" and bench.arm.holds == 1
    assert bench.log.steps == list(range(40)) and len(bench.log.ticks) == result.ticks
    assert bench.log.events[-1][0] == "end" and len(bench.log.chunks) == result.chunks == 10
    assert result.holds == {"start": pytest.approx(5, abs=1)}
    assert result.inference.number == result.chunks and result.observation.number == 10
    commands = np.array([command for _, command in bench.arm.commands])
    speeds = np.abs(np.diff(commands[:, 0], axis=0))
    assert speeds[-1] < 1e-3  # at rest when it ends
    assert bench.policy.seen[1].timestamp == 0.0 and bench.policy.seen[1].robot == "perfect"


@given(
    st.lists(st.floats(0, 0.12), min_size=1, max_size=30),
    st.sampled_from([(50.0, 10.0), (60.0, 25.0), (30.0, 30.0)]),
    st.sampled_from(["queue", "ensemble", "real_time"]),
    st.sampled_from(["hold", "linear", "cubic"]),
)
@settings(max_examples=12)
def test_missed_ticks_skip_rows_and_never_shift_the_plan(
    delays: list[float], rates: tuple[float, float], kind: str, interpolation: str
) -> None:
    """Whatever the delays: a command is what the plan has for its very tick; ticks and steps all count."""
    hz, policy_hz = rates
    control = quick(hz=hz, policy_hz=policy_hz, seconds=2.0, interpolation=interpolation)
    # Long chunks: one that ran out would, in real time, be continued from where the arm was held.
    bench = Bench(control, Planner(40), chunking=Chunking(kind, execute=4))  # type: ignore[arg-type]
    waiting = list(delays)

    def stall() -> None:
        if waiting and bench.arm.commands:
            bench.clock.now += waiting.pop()

    bench.arm.on_read = stall
    ticks = []
    act = bench.loop._act
    bench.loop._act = lambda wanted, *more: (
        ticks.append((bench.loop._tally.tick, wanted)),
        act(wanted, *more),
    )[1]  # type: ignore[method-assign]
    result = bench.run()
    numbers = [number for number, _ in ticks]
    assert numbers == sorted(set(numbers)) and len(numbers) == result.ticks
    assert numbers[-1] + 1 == result.ticks + result.periods.missed
    assert result.steps == len({int(n * policy_hz / hz + 1e-6) for n, _ in ticks if n < 2 * hz - 1e-6})
    steps = [steps for _, steps in bench.wanted]
    assert sum(steps) == numbers[-1] + 1  # the filter is told of each tick that passed
    moved = 0
    for number, wanted in ticks:
        if wanted is not None:
            moved += 1
            where = number * policy_hz / hz
            row = truth(int(where + 1e-6))  # stays, where the plan ends
            if interpolation == "cubic":
                assert (wanted >= row - 1e-4).all() and (wanted <= row + 1 + 1e-4).all()
            else:
                right = row if interpolation == "hold" else truth(where)
                assert np.allclose(wanted, right, atol=1e-4) or np.allclose(wanted, row, atol=1e-4)
    assert moved > 10


def test_another_rate_than_the_trained_one_is_noted() -> None:
    bench = Bench(quick(seconds=0.5))
    bench.policy.about = {"hz": 20.0}
    assert bench.run().notes == (
        "policy 'planner' was trained with 20 control steps a second and is run with 10",
    )
    bench = Bench(quick(policy_hz=None, seconds=0.5))
    bench.policy.about = {"hz": 20.0}
    result = bench.run()
    assert result.policy_hz == 20.0 and not result.notes


def test_the_number_of_control_steps_ends_a_run() -> None:
    bench = Bench(quick(seconds=None, steps=7))
    result = bench.run()
    assert result.ending.kind == "done" and result.steps == 7 and bench.log.steps == list(range(7))


def test_a_world_that_knows_it_is_over_ends_a_run() -> None:
    bench = Bench(until=lambda: "success" if bench.clock.now > 101 else "")
    result = bench.run()
    assert result.ending.why == "success" and result.well and 9 <= result.steps <= 11


def test_the_first_motion_is_faded_in() -> None:
    bench = Bench(quick(ramp=1.0, interpolation="hold"), Planner(horizon=64), chunking=Chunking())
    bench.run()
    wanted = [each[0] for each, _ in bench.wanted if each is not None]
    assert wanted[0] == pytest.approx(0.0) and wanted[25] < 4
    assert max(np.diff(wanted)) <= 1.2


# -- trouble --------------------------------------------------------------------------------------


def still(bench: Bench, begin: float, end: float) -> list[np.ndarray]:
    """The commands sent from `begin` to `end` seconds."""
    began = bench.loop._tally.began
    return [command for when, command in bench.arm.commands if begin <= when - began < end]


@pytest.mark.parametrize("kind", ["bus", "state", "jump", "camera", "gone", "frozen", "reading", "answer"])
def test_trouble_holds_and_once_over_the_arm_goes_on_with_a_new_plan(kind: str) -> None:
    """Nothing that was seen or planned before or during the trouble is executed after it."""
    watch = Watch(frozen=0.3, frozen_motion=0.0, camera=0.3, lost=5.0, moved=5.0, answer=0.3)
    bench = Bench(quick(seconds=6.0, watch=watch), Planner(mark=0.001))
    arm = bench.arm
    faults: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {
        "bus": (lambda: setattr(arm, "unreadable", "no reply"), lambda: setattr(arm, "unreadable", "")),
        "state": (lambda: setattr(arm, "shift", np.nan), lambda: setattr(arm, "shift", 0.0)),
        "jump": (lambda: setattr(arm, "shift", 9e5), lambda: setattr(arm, "shift", 0.0)),
        "camera": (lambda: setattr(arm, "picture_age", 1.0), lambda: setattr(arm, "picture_age", 0.0)),
        "gone": (lambda: arm.gone.add("front"), arm.gone.clear),
        "frozen": (lambda: setattr(arm, "frozen", True), lambda: setattr(arm, "frozen", False)),
        "reading": (lambda: setattr(arm, "age", 0.5), lambda: setattr(arm, "age", 0.0)),
        "answer": (lambda: None, lambda: None),
    }
    if kind == "answer":
        silent = threading.Event()

        def gate() -> None:
            while silent.is_set():
                time.sleep(0.001)

        faults["answer"] = (silent.set, silent.clear)
        bench.policy.gate = gate
        bench.clock.slept.append(lambda: time.sleep(0.0005))
    begin, end = faults[kind]
    bench.at(2.0, begin)
    bench.at(3.5, end)
    result = bench.run()
    name = {"gone": "camera"}.get(kind, kind)
    assert result.ending.kind == "done" and result.holds[name] > 30 and result.holds["settle"] >= 1
    later = 2.8 if kind in ("frozen", "answer") else 2.3
    quiet = np.array(still(bench, later, 3.5 if kind == "answer" else 3.6))
    assert np.ptp(quiet, axis=0).max() < 1e-3, "it moved while something was wrong"
    assert np.ptp(np.array(still(bench, 4.5, 5.8)), axis=0).max() > 5, "it did not go on"
    asked = [answer for answer in bench.log.chunks]
    assert not [a for a in asked if 2.4 <= a[0] / POLICY_HZ < 3.4] or kind in ("frozen", "answer")
    resumed = [text for what, text in bench.log.events if what == "go"]
    assert len(resumed) >= 2


@given(
    st.floats(0.3, 2.0), st.floats(0.05, 1.0), st.sampled_from(["unreadable", "gone", "shift", "picture_age"])
)
@settings(max_examples=12)
def test_no_command_comes_from_what_was_seen_before_a_fault(when: float, lasts: float, what: str) -> None:
    """Every answer carries the number of its question in its rows: after a fault only later ones are seen."""
    bench = Bench(
        quick(seconds=4.0, interpolation="hold", watch=Watch(camera=0.3, lost=9.0)), Planner(mark=0.001)
    )
    arm = bench.arm
    off = getattr(arm, what)
    on = {"unreadable": "no reply", "gone": {"front"}, "shift": np.nan, "picture_age": 2.0}[what]
    asked: list[int] = []
    bench.at(when, lambda: (setattr(arm, what, on), asked.append(len(bench.policy.asked)))[0])
    bench.at(when + lasts, lambda: setattr(arm, what, off if what != "gone" else set()))
    decisions = []
    act = bench.loop._act

    def look(wanted: Any, *more: Any) -> Any:
        decisions.append((wanted, bool(bench.loop._dog.troubles), bench.loop._tally.step))
        return act(wanted, *more)

    bench.loop._act = look  # type: ignore[method-assign]
    result = bench.run()
    assert result.well
    ill = [i for i, (_, trouble, _) in enumerate(decisions) if trouble]
    if not ill:  # it came and went between two control steps
        return
    assert all(wanted is None for wanted, trouble, _ in decisions if trouble)
    for wanted, _, step in decisions[ill[-1] :]:
        if wanted is not None:
            question = round((wanted[0] - step) / 0.001)
            assert question > asked[0]


def test_a_fault_of_the_arm_ends_the_run() -> None:
    bench = Bench()
    bench.at(1.5, lambda: bench.arm.said.append("servo 3: overload"))
    result = bench.run()
    assert result.ending.kind == "trouble" and result.ending.why == "servo 3: overload"
    assert bench.guard.reasons == ["servo 3: overload"] and bench.arm.events[-1] == "hold"


@pytest.mark.parametrize("what", ["unreadable", "deaf"])
def test_a_lost_arm_ends_the_run(what: str) -> None:
    """Reading fails, or commanding does: hold is tried all the same."""
    bench = Bench(quick(watch=Watch(lost=0.4)))
    bench.at(1.0, lambda: setattr(bench.arm, what, "no reply"))
    if what == "deaf":
        bench.at(1.0, lambda: setattr(bench.arm, "unreadable", "no reply"))
    result = bench.run()
    assert result.ending.kind == "lost" and "the arm is lost, no reading for 0.4" in result.ending.why
    assert bench.arm.holds == 1 and 1.3 < result.seconds < 1.6


def test_the_emergency_stop_brakes_then_holds() -> None:
    bench = Bench()
    bench.at(2.0, lambda: setattr(bench.stop, "pressed", "key 'q'"))
    result = bench.run()
    assert result.ending == type(result.ending)("emergency", "emergency stop: key 'q'")
    assert all(each is None for each, _ in bench.wanted[101:]) and bench.arm.holds == 1
    assert 2.0 < result.seconds < 2.6 and not result.well


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_brakes_then_holds(number: int) -> None:
    bench = Bench()
    before = signal.getsignal(number)
    bench.at(1.0, lambda: os.kill(os.getpid(), number))
    result = bench.run()
    assert result.ending.kind == "interrupted" and signal.Signals(number).name in result.ending.why
    assert bench.arm.events[-1] == "hold" and signal.getsignal(number) is before


def test_a_failing_policy_ends_the_run() -> None:
    bench = Bench()
    bench.at(1.0, lambda: setattr(bench.policy, "fails", RuntimeError("out of memory")))
    result = bench.run()
    assert result.ending.kind == "policy"
    assert result.ending.why == "policy 'planner' failed: RuntimeError: out of memory"
    assert bench.arm.holds == 1 and bench.wanted[-1][0] is None


def test_a_policy_that_never_comes_back_is_left_behind() -> None:
    bench, over = Bench(quick(watch=Watch(answer=0.5))), threading.Event()

    def gate() -> None:
        over.wait(20)

    bench.policy.gate = gate
    result = bench.loop.run()
    over.set()
    assert result.holds["answer"] > 20 and not any(each is not None for each, _ in bench.wanted)
    assert "has not come back" in result.notes[-1] and bench.arm.holds == 1


def test_a_refused_chunk_is_not_executed() -> None:
    bench = Bench()
    bench.guard.filter.refused = "too uncertain"
    result = bench.run()
    assert not any(each is not None for each, _ in bench.wanted)
    assert set(result.holds) == {"start"} and len(bench.policy.asked) > 1
    assert [text for what, text in bench.log.events if what == "hold"] == [
        "start: no chunk has arrived yet",
        "start: too uncertain",
    ]


def test_a_fault_of_the_program_holds_and_is_raised() -> None:
    bench = Bench()
    bench.at(1.0, lambda: setattr(bench.loop, "_fade", None))
    with pytest.raises(AttributeError):
        bench.run()
    assert bench.arm.events[-1] == "hold" and bench.log.events[-1][0] == "error"


def test_a_log_that_cannot_be_written_ends_the_run_or_holds_as_the_config_says() -> None:
    for final, kind in ((("log",), "trouble"), ((), "done")):
        bench = Bench(quick(watch=Watch(final=final)))  # type: ignore[arg-type]
        bench.at(1.0, lambda log=bench.log: setattr(log, "trouble", "no space left"))  # type: ignore[misc]
        result = bench.run()
        assert result.ending.kind == kind and result.holds["log"] > 0


def test_a_loop_that_stood_still_holds_then_goes_on() -> None:
    bench = Bench()
    bench.at(1.0, lambda: setattr(bench.clock, "now", bench.clock.now + 1.2))
    result = bench.run()
    assert result.holds["clock"] == 1 and result.holds["settle"] > 5
    assert result.periods.missed == pytest.approx(60, abs=2)
    assert result.steps < 30 and result.well


# -- before anything moves ------------------------------------------------------------------------


def test_nothing_moves_unless_it_is_confirmed() -> None:
    asked: list[str] = []
    bench = Bench(confirm=lambda text: bool(asked.append(text)))
    result = bench.run()
    assert result.ending.kind == "declined" and bench.arm.events == []
    assert asked == [
        "policy 'planner' will move the arm 'perfect', 10 control steps and 50 commands a second: do it"
    ]


def test_a_dry_run_sends_nothing_and_decides_all_the_same() -> None:
    bench = Bench(quick(dry_run=True))
    result = bench.run()
    assert bench.arm.events == [] and result.dry_run and result.steps == 40
    assert sum(each is not None for each, _ in bench.wanted) > 150
    assert len(bench.log.ticks) == result.ticks


MISFITS: list[tuple[dict[str, Any], str]] = [
    ({"robots": ["so101"]}, "was trained for another robot than 'perfect'"),
    ({"joints": ["a", "b", "c"]}, "has the joints a, b, c; this arm's are others: j0, j1, j2"),
    ({"joints": ["j1.pos", "j0.pos", "j2.pos"]}, "this arm's are in another order: j0, j1, j2"),
    ({"action_dim": 7}, "moves 7 joints, the arm 'perfect' has 3"),
    ({"state_dim": 7}, "wants a state of 7 numbers, the arm 'perfect' has 3 joints"),
    ({"cameras": ["wrist"]}, "looks through the camera 'wrist', which the arm does not have"),
    ({"cameras": ["frond"]}, "did you mean 'front'"),
]


@pytest.mark.parametrize(("about", "line"), MISFITS, ids=[line[:24] for _, line in MISFITS])
def test_a_policy_of_another_arm_is_refused(about: dict[str, Any], line: str) -> None:
    bench = Bench()
    bench.policy.about = about
    with pytest.raises(BadInput, match=line):
        bench.run()
    assert bench.arm.events == []


def test_what_a_trained_policy_does_not_say_is_told() -> None:
    policy = Planner()
    assert doubts(policy, spec()) == ()
    policy.about = {"action_dim": DIM}
    [line] = doubts(policy, spec())
    assert line.startswith("'planner' does not say for which robot it was trained") and "'perfect'" in line
    policy.about = {"action_dim": DIM, "robots": ["perfect"]}
    assert doubts(policy, spec()) == ()


def test_what_else_is_refused_before_anything_moves() -> None:
    class Wide(Planner):
        def act(self, observations: Sequence[Observation], which: Sequence[int]) -> list[ActionChunk]:
            return [ActionChunk(np.zeros((4, 7), np.float32))]

    unseen = Bench(quick(first_picture=0.5))
    unseen.arm.gone.add("front")
    hot = Bench()
    hot.arm.said.append("servo 2 is hot")
    lost = Bench()
    lost.arm.shift = np.nan
    cases = [
        (Bench(policy=Wide()), "answers with actions of shape .4, 7., the arm 'perfect' has 3 joints"),
        (Bench(quick(policy_hz=None)), "does not say how many control steps a second .* give policy_hz"),
        (Bench(quick(policy_hz=60.0)), "policy_hz=60 is above the arm's hz=50"),
        (unseen, "camera 'front' has given no picture within 0.5 s; is it connected?"),
        (hot, "the arm reports, before anything has moved: servo 2 is hot"),
        (lost, "it is not known where the arm is"),
    ]
    for bench, line in cases:
        with pytest.raises(BadInput, match=line):
            bench.run()
        assert bench.arm.events == []


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"hz": 0}, "hz=0: a rate above 0"),
        ({"hz": 20, "policy_hz": 30}, "policy_hz=30 is above hz=20"),
        ({"interpolation": "cubik"}, "did you mean 'cubic'"),
        ({"inference": "gpu"}, "thread or process"),
        ({"ramp": -1}, "ramp=-1"),
        ({"priority": 100}, "priority=100: at most 99"),
        ({"spin": 1}, "spin=1"),
    ],
)
def test_settings_are_checked(wrong: dict[str, Any], line: str) -> None:
    with pytest.raises(BadInput, match=line):
        Control(**wrong)


def test_watch_settings_are_checked() -> None:
    with pytest.raises(BadInput, match=r"final cannot hold 'frosen'.*'frozen'"):
        Watch(final=("frosen",))  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="camera=0"):
        Watch(camera=0)


# -- telling --------------------------------------------------------------------------------------


@pytest.fixture
def real() -> Iterator[tuple[PerfectArm, Guarded]]:
    arm = PerfectArm(arm_spec=spec(hz=100.0))
    yield arm, Guarded(arm)


def test_on_a_real_clock_it_tells_how_it_goes(real: tuple[PerfectArm, Guarded]) -> None:
    arm, guard = real
    told: list[Status] = []
    control = Control(policy_hz=20.0, seconds=1.0, ramp=0.1, threads=None)
    loop = ControlLoop(
        guard, Planner(), Chunking(execute=8), control, "do it", stop=Button(), on_status=told.append
    )
    result = loop.run()
    assert result.well and 15 <= result.steps <= 20
    assert result.ticks + result.periods.missed == pytest.approx(100, abs=15)
    assert len(told) >= 3 and told[-1].phase == "ended" and told[-1].stop == "1 s are over"
    assert {each.phase for each in told} >= {"running", "ended"}
    assert arm.threads == {threading.get_ident()}
    assert not [each for each in threading.enumerate() if each.name in ("status", "inference")]


def test_a_terminal_that_breaks_does_not_stop_the_arm(real: tuple[PerfectArm, Guarded]) -> None:
    _, guard = real
    broken: Callable[[Status], None] = lambda status: print(1 / 0)  # noqa: E731
    control = Control(policy_hz=20.0, seconds=0.5, threads=None)
    loop = ControlLoop(guard, Planner(), Chunking(), control, "x", stop=Button(), on_status=broken)
    assert loop.run().well
