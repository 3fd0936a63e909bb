"""A policy on an arm: ``python scripts/deploy.py robot=so101 policy=FOLDER say="put the cube in the bowl"``.

Everything is checked before anything moves, and the first motion is confirmed by you. A safety filter stands
between the policy and the arm, always. ``--dry-run`` does everything but send; ``robot=simulated`` needs no
arm.
"""

import contextlib
import dataclasses
import importlib
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from policies.runtime.chunking import Chunking
from policies.runtime.control.config import Control
from policies.runtime.deployment import PolicySource, new_log, recover_runs
from policies.runtime.log.options import LogOptions
from policies.runtime.safety.config import Safety
from vla.config import command, to_dataclass
from vla.errors import BadInput, did_you_mean

if TYPE_CHECKING:
    from policies.base import Policy
    from policies.runtime.control import ControlLoop, RunResult, Status
    from policies.runtime.log import RunLog

__all__ = ["Deploy", "build_arm", "main"]

ENDED, HELD = {"done": 0, "declined": 130, "interrupted": 130}, 3
"""Exit status by how a run ended; HELD for any other way: the arm was held for good."""
ARMS = {kind: kind for kind in ("simulated", "emulated", "lerobot", "trossen", "franka")}
"""Kind -> the module of `envs.arms` that brings it."""


@dataclass(frozen=True, kw_only=True)
class Deploy(PolicySource):
    """Options of the command; see conf/deploy.yaml."""

    robot: Mapping[str, Any]
    say: str | None = None
    control: Control = field(default_factory=Control)
    safety: Safety = field(default_factory=Safety)
    chunking: Chunking = field(default_factory=lambda: Chunking("real_time"))
    log: LogOptions = field(default_factory=LogOptions)
    dry_run: bool = False
    yes: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.say is not None and not self.say.strip():
            raise BadInput("say is empty; write what the arm is to do, for instance say='lift the red cube'")
        if self.policy == "expert" and self.robot.get("kind") != "simulated":
            raise BadInput("the policy 'expert' looks into the simulator: it is for robot=simulated alone")


@command("deploy", Deploy)
def _main(config: Deploy) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the control thread needs a core, too
    raise SystemExit(_deploy(config))


def main(argv: Sequence[str] | None = None) -> None:
    """Connect, check, ask, move, log; status as in conf/deploy.yaml."""
    _main([_override(word) for word in (sys.argv[1:] if argv is None else argv)])


def _override(word: str) -> str:
    """A flag as an override, and quotes around what hydra would take apart: a sentence, a ``#``."""
    key, mark, value = word.partition("=")
    if mark and key in ("say", "policy") and value[:1] not in ("'", '"', "") and value != "null":
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'{key}="{escaped}"'
    return {"--dry-run": "dry_run=true", "--yes": "yes=true"}.get(word, word)


def _deploy(config: Deploy) -> int:
    """The exit status."""
    from policies.runtime.terminal import result_table

    config.check()
    if not (config.yes or config.dry_run or sys.stdin.isatty()):
        raise BadInput("the first motion is confirmed in a terminal, and this is none; --yes does without")
    arm = build_arm(config.robot)
    if threading.current_thread() is threading.main_thread():  # a terminal that is lost, as by ssh
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
    for line in recover_runs(config.log):
        print(line, flush=True)
    run = _Run(config)
    with contextlib.ExitStack() as stack:
        process = config.control.inference == "process"
        result = run.on(arm, config.open(stack, process, config.control.threads))
    more = {} if run.verdict is None else {"scene": run.verdict}
    if run.folder is not None:
        more["log"] = f"{run.folder} (python scripts/runs.py do=show runs=[{run.folder}])"
    print(result_table(result, more))
    return ENDED.get(result.ending.kind, HELD)


def build_arm(robot: Mapping[str, Any]) -> Any:
    """The arm that `robot` describes; no other adapter is imported. Raises BadInput."""
    kind = str(robot.get("kind", ""))
    if kind not in ARMS:
        raise BadInput(f"'robot.kind' cannot be {kind!r}{did_you_mean(kind, ARMS)}")
    module = importlib.import_module(f"envs.arms.{ARMS[kind]}")
    for found in vars(module).values():
        if dataclasses.is_dataclass(found) and kind in get_args(get_type_hints(found).get("kind")):
            options: Any = to_dataclass(robot, found, "robot")  # type: ignore[arg-type]
            return options.build()
    raise BadInput(f"envs.arms.{ARMS[kind]} has no options of kind '{kind}'")


class _Run:
    """One run. folder: of its log, if there is one; verdict: of a simulated scene, if there is one."""

    def __init__(self, config: Deploy) -> None:
        self.config = config
        self.control = replace(config.control, dry_run=config.dry_run or config.control.dry_run)
        self.folder: Path | None = None
        self.verdict: str | None = None
        self._over = ""

    def on(self, arm: Any, policy: "Policy") -> "RunResult":
        """Connect, run, let go of the arm, close the log."""
        from policies.runtime.control import connected
        from policies.runtime.safety import EmergencyStop, GuardedArm

        guard = GuardedArm(arm, self.config.safety, self.control.hz)
        stop = EmergencyStop(self.config.safety.stop)
        log: RunLog | None = None
        try:
            with connected(guard, self.control.release):
                log, loop = self._prepared(arm, guard, policy, stop)
                result = loop.run()
        finally:
            stop.close()
            if log is not None:
                self.folder = log.folder if log.close_or_discard() else None
        return result

    def _prepared(
        self, arm: Any, guard: Any, policy: "Policy", stop: Any
    ) -> "tuple[RunLog | None, ControlLoop]":
        """Everything that can be made, and checked, once the arm is known."""
        from policies.runtime.control import ControlLoop
        from policies.runtime.control.fit import check_fit, doubts, rates
        from policies.runtime.log.newest import NewestTick
        from policies.runtime.terminal import Terminal, announcement

        config, control, spec = self.config, self.control, guard.spec
        if config.say is not None and hasattr(arm, "reset"):  # a scene that can be laid for a sentence
            from envs.arms.episodes import Episode

            arm.reset(Episode(int(arm.options.seed), sentence=config.say))
        task = str(config.say or getattr(policy, "task", None) or getattr(arm, "task", None) or "")
        if not task:
            raise BadInput("the arm needs a sentence that says what to do: say='...'")
        if config.policy == "expert":
            policy.attach(0, arm.expert())  # type: ignore[attr-defined]
        check_fit(policy, spec)
        _, policy_hz = rates(policy, spec, control.hz, control.policy_hz)
        length = getattr(policy, "length", None)
        if length is not None and control.steps is None:  # a recording ends of itself
            control = replace(control, steps=length)
        told = {"dry_run": control.dry_run, "config": asdict(config)}
        log = new_log(config.log, spec, task, policy_hz, config, **told)
        seen = NewestTick(log)
        screen = Terminal(newest=(lambda: seen.newest) if control.dry_run else None, names=spec.names)

        def confirm(sentence: str) -> bool:
            rows = announcement(spec, config.safety, guard.read().positions)
            for note in guard.filter.notes:
                print(f"safety: {note}")
            for doubt in doubts(policy, spec):
                print(f"policy: {doubt}")
            print(f"{rows}\n{sentence}", flush=True)
            if not (config.yes or control.dry_run or _agreed()):
                return False
            stop.start()  # not before: it listens to the keys that were to answer
            print(f"emergency stop: {', '.join(stop.sources) or 'Ctrl-C'}", flush=True)
            return True

        def status(now: "Status") -> None:
            screen(now)
            self._look(arm)

        loop = ControlLoop(
            guard,
            policy,
            config.chunking,
            control,
            task,
            stop=stop,
            log=seen,
            on_status=status,
            confirm=confirm,
            until=(lambda: self._over) if hasattr(arm, "verdict") else None,
        )
        return log, loop

    def _look(self, arm: Any) -> None:
        """A simulated scene knows when it is over; asked here, where nobody waits for the answer."""
        if hasattr(arm, "verdict") and not self._over:
            found = arm.verdict()
            self.verdict = found.outcome or "running"
            if found.ended:
                self._over = f"the scene is over: {found.outcome}"


def _agreed() -> bool:
    return input("Let it move? Type yes: ").strip().lower() in ("y", "yes")


if __name__ == "__main__":
    main()
