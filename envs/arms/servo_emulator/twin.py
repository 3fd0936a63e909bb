"""The arm behind the bus: servos that turn the joints of a simulated table's SO-101.

Physics runs in steps of 5 ms on the wall clock. In each, every servo's firmware says what its motor is to do;
a trapezoid of speed takes the set point there, MuJoCo does the rest, and the servo feels what came of it.
Without torque a joint turns as freely as gears let it: the arm sags. Between a reset and the first motion
that is asked for, physics runs and the judge of the task waits.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.arms.servo_emulator.bus import Bus
from envs.arms.servo_emulator.mounting import to_angles, to_radians
from envs.arms.servo_emulator.servo import OVERLOAD, STEPS, Drive, Servo
from envs.arms.stepping import Steps
from envs.tabletop.arm import SERVO_TORQUE_NM
from envs.tabletop.mjcf import PHYSICS_STEP
from vla.arm import Positions

__all__ = ["TwinSteps"]

_MAX_SPEED = np.deg2rad(270.0)
_PER_STEP = 2 * np.pi / STEPS
_BEGUN = 16
"""Steps (1.4 degrees) that a goal has to move before the task counts as begun: connecting moves it less."""
_DUTY = np.deg2rad(10.0)
"""How far from its goal a servo with a position gain of 16 drives with all it has: our estimate, no figure of
the maker's. A servo reports how hard it drives, not what it meets; and the twin's actuators are far stiffer,
with all their force a fifth of a degree off, as where a finger is pressed on the table."""
WARMING, COOLING_S, SAG_V = 60.0, 300.0, 0.6
"""Degrees that full load warms a servo by in the end; how slowly; volts that full load of all takes."""

Array = npt.NDArray[np.float64]


class TwinSteps(Steps):
    """A table world whose arm is driven by the servos of `bus`, in the order of their numbers.

    held: after a reset the servos hold the start pose, as if the last user had left it so; else they are as
    after power-on. volts: of the supply; ambient: degrees Celsius. pushed: by
    hand, torques on the joints in newton metres.
    """

    def __init__(self, env: Any, bus: Bus, held: bool, volts: float, ambient: float) -> None:
        super().__init__(env)
        self.parts = round(1 / (self.control_hz * PHYSICS_STEP))
        self._bus, self._held, self._volts, self._ambient = bus, held, volts, ambient
        self._servos: Sequence[Servo] = list(bus.servos.values())
        self._celsius = np.full(len(self._servos), ambient)
        self.pushed: Array = np.zeros(len(self._servos))
        self.begun, self._part = False, 0

    def reset(self, seed: int, options: Mapping[str, Any]) -> None:
        """See Steps: the arm is at the scene's start pose, and at rest."""
        super().reset(seed, options)
        sim = self._sim = self.env.unwrapped.sim  # type: ignore[attr-defined]
        sim.step = lambda command: None  # a control step finds the physics done, looks and judges
        model, size = sim.model, len(self._servos)
        self._gain, self._force = model.actuator_gainprm[:size, 0].copy(), model.actuator_forcerange.copy()
        self._damping = model.actuator_biasprm[:size, 2].copy()
        self._goal: Array = sim.data.ctrl[:size].copy()
        self._speed: Array = np.zeros(size)
        self._set: Sequence[Drive] = ()
        angles = np.rint(to_angles(sim.data.qpos[:size])).astype(int)
        with self._bus.lock:
            for servo, angle in zip(self._servos, angles.tolist(), strict=True):
                servo.angle = angle % STEPS
                servo.set("Present_Position", servo.position)
                servo.set("Goal_Position", servo.position)
                if self._held:
                    servo.write(40, b"\x01")
            self._start = [servo.get("Goal_Position") for servo in self._servos]
        self.begun, self._part = False, 0

    @property
    def positions(self) -> Positions:
        """Where the joints truly are, in LeRobot's units; the servos round it."""
        return np.asarray(self._sim.state, np.float64)

    def tick(self, command: Positions) -> bool:
        """One step of the physics; the servos' goals decide, `command` does not."""
        import mujoco

        sim = self._sim
        if self._part == 0:
            sim.begin_step()
        with self._bus.lock:
            self._happen()
            drives = [servo.drive for servo in self._servos]
            self.begun = self.begun or self._asked()
        self._drive(drives)
        sim.data.qfrc_applied[: len(self.pushed)] = self.pushed
        mujoco.mj_step(sim.model, sim.data)
        with self._bus.lock:
            self._feel()
        self._part = (self._part + 1) % self.parts
        if self._part:
            return False
        if self.begun:
            return super().tick(command)
        self.observation = self.env.unwrapped._observe()  # type: ignore[attr-defined]
        return True

    # -- the motors -------------------------------------------------------------------------------

    def _drive(self, drives: Sequence[Drive]) -> None:
        """Move the set points by one step of the physics; gains and torques where they have changed."""
        model, data, size = self._sim.model, self._sim.data, len(drives)
        torque = np.array([drive.torque for drive in drives])
        if drives != self._set:
            p, d = np.array([[drive.p, drive.d] for drive in drives]).T
            on = torque > 0
            model.actuator_gainprm[:size, 0] = self._gain * p * on
            model.actuator_biasprm[:size, 1] = -self._gain * p * on
            model.actuator_biasprm[:size, 2] = self._damping * d * on
            model.actuator_forcerange[:size] = self._force[:size] * torque[:, None]
            self._set = drives
        place = data.qpos[:size]
        free = torque == 0
        wanted = to_radians(np.array([drive.goal for drive in drives], np.float64))
        self._goal = np.where(free, place, self._goal)
        self._speed = np.where(free, 0.0, self._speed)
        way = np.where(free, 0.0, wanted - self._goal)
        top = np.array([drive.speed * _PER_STEP or np.inf for drive in drives]).clip(max=_MAX_SPEED)
        most = np.array([drive.acceleration * _PER_STEP or np.inf for drive in drives]) * PHYSICS_STEP
        with np.errstate(invalid="ignore"):
            braking = np.sqrt(2 * np.abs(way) * most / PHYSICS_STEP)  # the speed that can still be stopped
        limit = np.minimum(
            np.minimum(top, np.where(np.isnan(braking), 0.0, braking)), np.abs(way) / PHYSICS_STEP
        )
        self._speed += np.clip(np.sign(way) * limit - self._speed, -most, most)
        self._goal = self._goal + self._speed * PHYSICS_STEP
        data.ctrl[:size] = self._goal

    def _asked(self) -> bool:
        """Whether a servo under torque was told to go somewhere else."""
        return any(
            servo.get("Torque_Enable") and abs(servo.get("Goal_Position") - start) > _BEGUN
            for servo, start in zip(self._servos, self._start, strict=True)
        )

    def _happen(self) -> None:
        """Faults that are in a servo, not on the wires."""
        faults = self._bus.faults
        for number, servo in self._bus.servos.items():
            servo.forced = OVERLOAD if faults.on("overload", number) else 0
        for number in faults.take("reboot"):
            self._bus.servos[number].reboot()

    def _feel(self) -> None:
        """What the servos measure after a step."""
        data, size, faults = self._sim.data, len(self._servos), self._bus.faults
        angles = np.rint(to_angles(data.qpos[:size])).astype(int)
        velocities = data.qvel[:size] / _PER_STEP
        force = np.clip(data.actuator_force[:size] / SERVO_TORQUE_NM, -1.0, 1.0)
        asked = np.abs(data.ctrl[:size] - data.qpos[:size]) / _DUTY
        asked *= [servo.drive.p for servo in self._servos]
        loads = np.clip(force, -asked, asked)
        rate = PHYSICS_STEP / COOLING_S
        self._celsius += rate * (WARMING * loads**2 - (self._celsius - self._ambient))
        voltage = faults.on("voltage")
        volts = voltage.size if voltage else self._volts - SAG_V * float(np.abs(loads).mean())
        for at, (number, servo) in enumerate(self._bus.servos.items()):
            hot = faults.on("overheat", number)
            celsius = hot.size if hot else float(self._celsius[at])
            measured = {"volts": volts, "celsius": celsius}
            servo.feel(int(angles[at]), float(velocities[at]), float(loads[at]), measured, PHYSICS_STEP)
