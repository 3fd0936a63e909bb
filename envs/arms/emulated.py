"""LeRobot's driver on an emulated arm as one `vla.arm.Arm`: what a policy meets on hardware, without any.

The emulator is a process of its own; the driver, the serial port, the cameras' threads and their delays are
real. Episodes are laid and judged as those of a simulated arm are.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from envs.arms.episodes import Episode, Verdict
from envs.arms.lerobot import LeRobot, LeRobotArm
from envs.arms.servo_emulator.process import EmulatorProcess
from vla.arm import ArmFault, ArmSpec, Picture, Positions, Reading
from vla.errors import BadInput

__all__ = ["Emulated", "EmulatedArm"]

CAMERAS = ("front", "wrist")


@dataclass(frozen=True)
class Emulated:
    """seed, skill, split, sentence, options: of the first scene, as in `EmulatorOptions`. image_size: pixels.

    hz, speed, acceleration, jerk, retries: as in `LeRobot`.
    """

    kind: Literal["emulated"] = "emulated"
    seed: int = 0
    skill: str | None = None
    split: str | None = None
    sentence: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    image_size: int = 96
    hz: float = 20.0
    speed: float = 270.0
    acceleration: float = 6000.0
    jerk: float = 240e3
    retries: int = 3

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise BadInput(f"seed={self.seed}: at least 0 is needed")
        self.driver("", "", Path())  # its own checks

    def driver(self, port: str, address: str, calibration: Path) -> LeRobot:
        """The options of LeRobot's driver."""
        size, kind = self.image_size, "emulated"
        shape = {"width": size, "height": size, "fps": 20}
        return LeRobot(
            port=port,
            id="emulated",
            calibration_dir=calibration,
            cameras={name: {"type": kind, "address": address, "view": name, **shape} for name in CAMERAS},
            hz=self.hz,
            speed=self.speed,
            acceleration=self.acceleration,
            jerk=self.jerk,
            retries=self.retries,
        )

    def build(self) -> "EmulatedArm":
        """The arm; `connect` starts the emulator."""
        return EmulatedArm(self)


class EmulatedArm:
    """See the module. emulator: its process, for faults on command; there while the arm is connected."""

    def __init__(self, options: Emulated) -> None:
        self.options = options
        self._folder = tempfile.TemporaryDirectory(prefix="emulated-arm-")
        self._arm: LeRobotArm | None = None
        self._emulator: EmulatorProcess | None = None

    @property
    def arm(self) -> LeRobotArm:
        """The driver's side. Raises ArmFault where it is not connected."""
        if self._arm is None:
            raise ArmFault("the emulated arm is not connected; connect it first")
        return self._arm

    @property
    def emulator(self) -> EmulatorProcess:
        """The emulator's side. Raises ArmFault where it is not connected."""
        if self._emulator is None:
            raise ArmFault("the emulated arm is not connected; connect it first")
        return self._emulator

    # -- vla.arm.Arm ------------------------------------------------------------------------------

    @property
    def spec(self) -> ArmSpec:
        """See Arm."""
        return self.arm.spec

    def connect(self) -> None:
        """See Arm: start the emulator, then connect to it as to any arm."""
        if self._emulator is not None:
            raise ArmFault("the emulated arm is connected already")
        options = self.options
        scene = {"seed": options.seed, "skill": options.skill, "split": options.split}
        world = {"image_size": options.image_size, **options.options}
        emulator = EmulatorProcess(**scene, sentence=options.sentence, options=world)
        try:
            emulator.ask("calibration", folder=self._folder.name, id="emulated")
            arm = options.driver(emulator.port, emulator.address, Path(self._folder.name)).build()
            arm.connect()
        except BaseException:
            emulator.close()
            raise
        self._arm, self._emulator = arm, emulator

    def read(self) -> Reading:
        """See Arm."""
        return self.arm.read()

    def pictures(self) -> Mapping[str, Picture]:
        """See Arm."""
        return {} if self._arm is None else self._arm.pictures()

    def command(self, positions: Positions) -> None:
        """See Arm."""
        self.arm.command(positions)

    def hold(self) -> None:
        """See Arm."""
        self.arm.hold()

    def faults(self) -> Sequence[str]:
        """See Arm."""
        return self.arm.faults()

    def disconnect(self, release: bool = False) -> None:
        """See Arm; the emulator's process ends."""
        arm, emulator, self._arm, self._emulator = self._arm, self._emulator, None, None
        try:
            if arm is not None:
                arm.disconnect(release)
        finally:
            if emulator is not None:
                emulator.close()

    # -- episodes ---------------------------------------------------------------------------------

    def reset(self, episode: Episode) -> str:
        """Lay the table and put the arm at its start; the sentence. Raises BadInput for what there is not."""
        told = self.emulator.ask(
            "reset",
            seed=episode.seed,
            skill=episode.skill,
            split=episode.split,
            sentence=episode.sentence,
            options=dict(episode.options),
        )
        return str(told["task"])

    @property
    def task(self) -> str:
        """The sentence of the present episode."""
        return str(self.emulator.ask("about")["task"])

    def verdict(self) -> Verdict:
        """How the present episode stands; its time counts from the first motion that was asked for."""
        told = self.emulator.ask("verdict")
        return Verdict(told["ended"], told["success"], told["outcome"], told["steps"], {})
