"""Any ``vla/...`` world in real time behind `vla.arm.Arm`.

A thread of its own owns the environment and steps it on the wall clock with the newest command, as a table
goes on whether or not anybody looks. In lockstep the world moves when it is commanded and at no other time:
then what happens depends on the commands alone, exactly as in the plain environment.

Between a reset and the first command the table stands: laying it must not use up the episode's time.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from envs.arms.episodes import Episode, SceneExpert, Verdict
from envs.arms.stepping import Steps, TableSteps, open_world
from envs.arms.world import LiveWorld
from vla.arm import ArmFault, ArmSpec, Body, Picture, Positions, Reading
from vla.errors import BadInput

__all__ = ["Simulated", "SimulatedArm"]


@dataclass(frozen=True)
class Simulated:
    """world: Gymnasium id, ``module:`` before it names the package that registers it. options: of the world.

    robot: what policies call it. seed: of the first episode. hz: commands a second that suit it; None: the
    world's control rate. ticks_hz: how often it moves in real time, as near above as the world can (in
    lockstep: `hz`). lockstep: it moves by 1/hz seconds for each command, and waits for none. patience_s:
    after so long without an answer the world counts as dead.
    """

    kind: Literal["simulated"] = "simulated"
    world: str = "envs:vla/Tabletop-v0"
    options: Mapping[str, Any] = field(default_factory=dict)
    robot: str = "so101_follower"
    seed: int = 0
    hz: float | None = None
    ticks_hz: float = 200.0
    lockstep: bool = False
    patience_s: float = 10.0

    def __post_init__(self) -> None:
        for name in ("hz", "ticks_hz", "patience_s"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 10_000:
                raise BadInput(f"{name}={value}: a number above 0, of at most 10000, is needed")
        if self.seed < 0:
            raise BadInput(f"seed={self.seed}: at least 0 is needed")

    def build(self, clock: Callable[[], float] = time.monotonic) -> "SimulatedArm":
        """The arm. clock: seconds, for tests in lockstep."""
        return SimulatedArm(self, clock)


class SimulatedArm:
    """See the module."""

    def __init__(self, options: Simulated, clock: Callable[[], float] = time.monotonic) -> None:
        self.options, self._clock = options, clock
        self._spec: ArmSpec | None = None
        self._world: LiveWorld | None = None

    # -- vla.arm.Arm ------------------------------------------------------------------------------

    @property
    def spec(self) -> ArmSpec:
        """See Arm."""
        if self._spec is None:
            raise ArmFault("the simulated arm is not connected; connect it first")
        return self._spec

    def connect(self) -> None:
        """See Arm: make the world and lay the table of the first episode."""
        if self._world is not None:
            raise ArmFault("the simulated arm is connected already")
        options = self.options
        world = LiveWorld(self._make, options.lockstep, options.patience_s, self._clock)
        try:
            world.start()
            self._spec = world.ask(self._describe)
        except BaseException:
            world.stop()
            raise
        self._world = world

    def read(self) -> Reading:
        """See Arm."""
        reading = self.live.reading
        if self.options.lockstep:
            return Reading(reading.positions, self._clock())
        if self._clock() - reading.time > self.options.patience_s:
            raise ArmFault(f"the simulated world has stood still for {self.options.patience_s:g} s")
        return reading

    def pictures(self) -> Mapping[str, Picture]:
        """See Arm."""
        pictures = {} if self._world is None else self._world.pictures
        if not self.options.lockstep:
            return pictures
        now = self._clock()
        return {name: Picture(picture.pixels, now) for name, picture in pictures.items()}

    def command(self, positions: Positions) -> None:
        """See Arm. In lockstep it returns when the world has moved."""
        world, wanted = self.live, np.array(positions, np.float64)
        if wanted.shape != (len(self.spec.joints),) or not np.isfinite(wanted).all():
            raise ArmFault(f"a command is {len(self.spec.joints)} finite numbers, not {wanted.tolist()}")
        world.wanted, world.began = wanted, True
        if self.options.lockstep:
            world.ask(world.tick)

    def hold(self) -> None:
        """See Arm: the goals of all servos become where they are."""
        if self._world is not None:
            self._world.wanted = self._world.reading.positions

    def faults(self) -> Sequence[str]:
        """See Arm: nothing can be wrong with it."""
        return ()

    def disconnect(self, release: bool = False) -> None:
        """See Arm: the world is over, whatever `release` says."""
        world, self._world = self._world, None
        if world is not None:
            world.stop()

    # -- episodes ---------------------------------------------------------------------------------

    @property
    def live(self) -> LiveWorld:
        """The world. Raises ArmFault where there is none, or it died."""
        if self._world is None:
            raise ArmFault("the simulated arm is not connected; connect it first")
        if self._world.failure:
            raise ArmFault(self._world.failure)
        return self._world

    def reset(self, episode: Episode) -> str:
        """Lay the table and put the arm at its start; the sentence. Raises BadInput for what there is not."""
        live = self.live

        def lay(steps: Steps) -> str:
            world = steps.env.unwrapped
            for name, value in (("split", episode.split), ("skills", episode.skill and (episode.skill,))):
                if value is not None and not hasattr(world, name):
                    raise BadInput(f"the world {self.options.world} has no {name}")
                if value is not None:
                    setattr(world, name, value)
            extra = {} if episode.sentence is None else {"sentence": episode.sentence}
            steps.reset(episode.seed, {**episode.options, **extra})
            live.wanted, live.began = None, False
            live.lay(steps)
            return steps.task

        return str(live.ask(lay))

    @property
    def task(self) -> str:
        """The sentence of the present episode."""
        return str(self.live.ask(lambda steps: steps.task))

    def verdict(self) -> Verdict:
        """How the present episode stands."""

        def told(steps: Steps) -> Verdict:
            info = steps.info
            outcome, success = str(info.get("outcome", "")), bool(info.get("success", False))
            return Verdict(steps.ended, success, outcome, steps.count, info)

        return self.live.ask(told)  # type: ignore[no-any-return]

    def expert(self) -> SceneExpert:
        """The world's demonstrator, for a policy that is given one."""
        return SceneExpert(lambda function: self.live.ask(lambda steps: function(steps.env)))

    # -- the world --------------------------------------------------------------------------------

    def _make(self) -> Steps:
        options = self.options
        steps = open_world(
            options.world, options.options, options.hz or 1.0 if options.lockstep else options.ticks_hz
        )
        steps.reset(options.seed, {})
        return steps

    def _describe(self, steps: Steps) -> ArmSpec:
        pictures = steps.pictures
        sizes = {name: (it.shape[0], it.shape[1]) for name, it in pictures.items()}
        hz = self.options.hz or steps.control_hz
        if self.options.lockstep and abs(steps.rate - hz) > 1e-6:
            raise BadInput(f"in lockstep the world can go {steps.rate:g} times a second, not hz={hz:g}")
        body = _body() if isinstance(steps, TableSteps) else None
        return ArmSpec(self.options.robot, steps.joints(), hz, tuple(pictures), sizes, body)


def _body() -> Body | None:
    """The SO-101's model, for places and collisions."""
    try:
        from envs.arms.body_so101 import so101_body
    except ImportError:
        return None
    return so101_body()
