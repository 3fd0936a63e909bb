"""The whole emulated SO-101: table, arm, servos, bus, serial port, cameras.

    with Emulator(EmulatorOptions(seed=3)) as emulator:
        emulator.write_calibration(folder, "twin")
        SO101Follower(SO101FollowerConfig(port=emulator.port, id="twin", calibration_dir=folder)).connect()

Everything here may be called from any thread.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from envs.arms.episodes import Episode, SceneExpert, Verdict
from envs.arms.servo_emulator.bus import Bus
from envs.arms.servo_emulator.faults import BusFault, BusFaults
from envs.arms.servo_emulator.mounting import NUMBERS, calibration, write_calibration
from envs.arms.servo_emulator.port import Port
from envs.arms.servo_emulator.server import Server
from envs.arms.servo_emulator.servo import Servo
from envs.arms.servo_emulator.twin import TwinSteps
from envs.arms.stepping import option_fault
from envs.arms.world import LiveWorld
from vla.arm import Picture, Positions
from vla.errors import BadInput

__all__ = ["Emulator", "EmulatorOptions"]

CATCH_UP_S = 0.03
"""Servos do not make up for lost time: on the bus that would be an arm that moves faster than it can. So much
is the drawing of a picture."""


@dataclass(frozen=True)
class EmulatorOptions:
    """seed, skill, split, sentence: of the first scene (see `Episode`). options: of the world.

    link: a name of the port that stays. listen: loopback port of the control socket (0: a free one).
    calibrated: the servos hold the twin's calibration, as if it had been calibrated with LeRobot; else they
    are as from the factory. held: they hold the start pose after a reset; else their torque is off.
    volts: of the supply. ambient: degrees Celsius. patience_s: see `Simulated`.
    """

    seed: int = 0
    skill: str | None = None
    split: str | None = None
    sentence: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    link: Path | None = None
    listen: int = 0
    calibrated: bool = True
    held: bool = True
    volts: float = 7.4
    ambient: float = 25.0
    patience_s: float = 20.0

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise BadInput(f"seed={self.seed}: at least 0 is needed")
        if not 0 <= self.listen < 65536:
            raise BadInput(
                f"listen={self.listen}: a port's number up to 65535 is needed, or 0 for a free one"
            )


class Emulator:
    """See the module. port: what a driver opens; address: ``HOST:PORT`` of the control socket."""

    def __init__(self, options: EmulatorOptions = EmulatorOptions()) -> None:
        self.options = options
        servos = {number: Servo(number) for number in NUMBERS.values()}
        if options.calibrated:
            for known in calibration().values():
                _calibrate(servos[known["id"]], known)
        self.faults = BusFaults(servos)
        self._bus = Bus(servos, self.faults)
        self._port = Port(self._bus, options.link)
        self._world = LiveWorld(self._make, False, options.patience_s, time.monotonic, CATCH_UP_S)
        self._world.began = True
        self._server = Server(self, options.listen)

    def start(self) -> Self:
        """Let it live. Raises BadInput for a scene or a link that cannot be made."""
        self._world.start()
        try:
            self._port.open()
            self._server.start()
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """End it: the port is gone, and no thread is left."""
        self._server.stop()
        self._port.close()
        self._world.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- the arm ----------------------------------------------------------------------------------

    @property
    def port(self) -> str:
        """The serial port's name."""
        return self._port.path

    @property
    def address(self) -> str:
        """``HOST:PORT`` of the control socket."""
        return self._server.address

    @property
    def positions(self) -> Positions:
        """Where the joints truly are, LeRobot's units, ``[6]``."""
        return self._world.reading.positions

    @property
    def slipped_s(self) -> float:
        """Seconds by which the simulation fell behind the wall clock so far."""
        return self._world.slipped_s

    @property
    def pictures(self) -> Mapping[str, Picture]:
        """The newest picture of each camera."""
        return self._world.pictures

    def registers(self, joint: str, *names: str) -> dict[str, int]:
        """Registers of a joint's servo, as they are now."""
        with self._bus.lock:
            return {name: self._bus.servos[NUMBERS[joint]].get(name) for name in names}

    def write_calibration(self, folder: Path, name: str) -> Path:
        """Write its calibration for ``calibration_dir=folder, id=name``; the file."""
        return write_calibration(folder, name)

    def inject(self, fault: BusFault) -> None:
        """Let something go wrong. Raises BadInput for a servo that there is not."""
        self.faults.inject(fault)

    def clear(self) -> None:
        """Nothing goes wrong any more. What a fault left (torque that is off) stays."""
        self.faults.clear()

    def push(self, torques: Sequence[float]) -> None:
        """Push the joints by hand, newton metres ``[6]``, until it is called again."""
        pushed = np.asarray(torques, np.float64)
        if pushed.shape != (len(NUMBERS),) or not np.isfinite(pushed).all():
            raise BadInput(f"a push is {len(NUMBERS)} torques in newton metres, not {torques}")

        def give(steps: Any) -> None:
            steps.pushed = pushed

        self._world.ask(give)

    # -- the scene --------------------------------------------------------------------------------

    def reset(
        self,
        seed: int,
        skill: str | None = None,
        split: str | None = None,
        sentence: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> str:
        """Lay another table and put the arm at its start, whatever it was doing; the sentence.

        Raises BadInput for what there is not.
        """
        episode = Episode(seed, split, skill, sentence, options or {})

        def lay(steps: Any) -> str:
            task = _lay(steps, episode)
            self._world.lay(steps)
            return task

        return str(self._world.ask(lay))

    @property
    def task(self) -> str:
        """The sentence of the scene."""
        return str(self._world.ask(lambda steps: steps.task))

    def verdict(self) -> Verdict:
        """How the task stands. It begins with the first goal that is not the start pose."""

        def told(steps: Any) -> Verdict:
            info = steps.info
            outcome, success = str(info.get("outcome", "")), bool(info.get("success", False))
            return Verdict(steps.ended, success, outcome, steps.count, info)

        return self._world.ask(told)  # type: ignore[no-any-return]

    def expert(self) -> SceneExpert:
        """The scene's demonstrator."""
        return SceneExpert(lambda function: self._world.ask(lambda steps: function(steps.env)))

    def _make(self) -> TwinSteps:
        import gymnasium

        import envs  # noqa: F401  registers the table

        options = self.options
        try:
            env = gymnasium.make("vla/Tabletop-v0", disable_env_checker=True, **options.options)
        except TypeError as error:
            raise BadInput(f"options: {option_fault('vla/Tabletop-v0', error)}") from None
        steps = TwinSteps(env, self._bus, options.held, options.volts, options.ambient)
        _lay(steps, Episode(options.seed, options.split, options.skill, options.sentence))
        return steps


def _lay(steps: Any, episode: Episode) -> str:
    world = steps.env.unwrapped
    if episode.split is not None:
        world.split = episode.split
    if episode.skill is not None:
        world.skills = (episode.skill,)
    extra = {} if episode.sentence is None else {"sentence": episode.sentence}
    steps.reset(episode.seed, {**episode.options, **extra})
    return str(steps.task)


def _calibrate(servo: Servo, known: Mapping[str, int]) -> None:
    """Write a calibration into a servo, to stay, and LeRobot's gain, which a real arm keeps too."""
    servo.set("Homing_Offset", known["homing_offset"])
    servo.set("Min_Position_Limit", known["range_min"])
    servo.set("Max_Position_Limit", known["range_max"])
    servo.set("P_Coefficient", 16)
    servo.write(55, b"\x00")  # Lock off: saved
    servo.write(55, b"\x01")
