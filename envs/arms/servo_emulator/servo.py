"""One servo as its bus sees it: a memory that is written and read, and what the servo makes of it.

The motor is elsewhere (`twin`): it is told the goal and what torque there may be, and tells back where the
horn is. Here is what the firmware does: encoder, homing offset, limits, protections, loss of power.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from envs.arms.servo_emulator.registers import (
    DEFAULTS,
    READ_ONLY,
    REGISTERS,
    SIZE,
    SRAM,
    signed,
    unsigned,
)

__all__ = ["OVERHEAT", "OVERLOAD", "STEPS", "VOLTAGE", "Drive", "Servo"]

STEPS = 4096
"""Steps of the encoder in a turn."""
VOLTAGE, OVERHEAT, OVERLOAD = 1, 4, 32
"""Bits of the status register and of every answer's error byte."""


@dataclass(frozen=True)
class Drive:
    """What the motor is to do. goal: encoder steps, homing offset not taken off. torque: share of the most
    that there may be (0: the horn turns freely). speed, acceleration: steps/s, steps/s2; 0: all there is.
    p, d: gains, as shares of those that LeRobot sets (16 and 32)."""

    goal: int
    torque: float
    speed: float
    acceleration: float
    p: float
    d: float


class Servo:
    """A servo with `number` on the bus. Not thread-safe: whoever shares it holds a lock.

    angle: where the encoder is, steps 0..4095 before the homing offset. forced: status bits that are on
    whatever is measured (a fault on command).
    """

    def __init__(self, number: int, angle: int = STEPS // 2) -> None:
        self._memory = bytearray(SIZE)
        for name, value in (DEFAULTS | {"ID": number}).items():
            self.set(name, value)
        self._saved = bytes(self._memory[:SRAM])
        self._pending: tuple[int, bytes] | None = None
        self.angle, self.forced, self._tripped, self._overloaded_s = angle, 0, 0, 0.0
        self.reboot()

    # -- registers --------------------------------------------------------------------------------

    def get(self, name: str) -> int:
        """A register's value, its sign understood."""
        address, length = REGISTERS[name]
        return signed(name, int.from_bytes(self._memory[address : address + length], "little"))

    def set(self, name: str, value: int) -> None:
        """Set a register from inside."""
        address, length = REGISTERS[name]
        self._memory[address : address + length] = unsigned(name, value).to_bytes(length, "little")

    def read(self, address: int, length: int) -> bytes:
        """What a master reads; past the end of the memory there are zeros."""
        return bytes(self._memory[address : address + length]).ljust(length, b"\0")

    def write(self, address: int, data: bytes) -> None:
        """What a master writes: protected addresses stay as they are."""
        for place, byte in enumerate(data, address):
            if place < SIZE and place not in READ_ONLY:
                self._memory[place] = byte
        self.set("Present_Position", self.position)  # another homing offset is felt at once
        if not self.get("Lock"):
            self._saved = bytes(self._memory[:SRAM])
        enable, _ = REGISTERS["Torque_Enable"]
        if (
            address <= enable < address + len(data)
        ):  # torque is asked for anew: a protection that is over ends
            self._tripped = 0
            self._overloaded_s = 0.0

    def hold_write(self, address: int, data: bytes) -> None:
        """REG_WRITE: keep it until `action`."""
        self._pending = (address, data)

    def action(self) -> None:
        """ACTION: do what was kept."""
        if self._pending is not None:
            self.write(*self._pending)
            self._pending = None

    def reboot(self) -> None:
        """Power was lost and is back: torque is off, what was not saved is gone, the goal is where it is."""
        self._memory = bytearray(self._saved).ljust(SIZE, b"\0")
        for name in ("Lock", "Maximum_Acceleration"):
            self.set(name, DEFAULTS[name])
        self.set("Torque_Limit", self.get("Max_Torque_Limit"))
        self._pending, self._tripped, self._overloaded_s = None, 0, 0.0
        self.set("Present_Position", self.position)
        self.set("Goal_Position", self.position)

    # -- firmware ---------------------------------------------------------------------------------

    @property
    def position(self) -> int:
        """What the servo says of where it is, steps 0..4095: the encoder less the homing offset."""
        return (self.angle - self.get("Homing_Offset")) % STEPS

    @property
    def error(self) -> int:
        """The error byte of its answers."""
        return self.get("Status")

    @property
    def enabled(self) -> bool:
        """Whether it was told to hold, and does."""
        return bool(self.get("Torque_Enable")) and self.drive.torque > 0

    @property
    def drive(self) -> Drive:
        """What the motor is to do now. A goal past the limits is taken to them, as the firmware does."""
        torque = self.get("Torque_Limit") / 1000 if self.get("Torque_Enable") == 1 else 0.0
        unloading = self._tripped & self.get("Unloading_Condition")
        if unloading & (VOLTAGE | OVERHEAT):
            torque = 0.0
        elif unloading & OVERLOAD:
            torque = min(torque, self.get("Protective_Torque") / 100)
        low, high = self.get("Min_Position_Limit"), self.get("Max_Position_Limit")
        goal = min(max(self.get("Goal_Position"), low), high) + self.get("Homing_Offset")
        return Drive(
            goal=goal,
            torque=torque,
            speed=abs(self.get("Goal_Velocity")),
            acceleration=100.0 * self.get("Acceleration"),
            p=self.get("P_Coefficient") / 16,
            d=self.get("D_Coefficient") / 32,
        )

    def feel(
        self, angle: int, velocity: float, load: float, measured: Mapping[str, float], dt: float
    ) -> None:
        """Take over what the motor did in the last `dt` seconds, and protect it.

        angle: encoder steps; velocity: steps/s; load: -1..1 of the most torque. measured: ``volts``,
        ``celsius``.
        """
        self.angle = angle % STEPS
        volts, celsius = measured["volts"], measured["celsius"]
        self.set("Present_Position", self.position)
        self.set("Present_Velocity", round(velocity))
        self.set("Present_Load", round(1000 * load))
        self.set("Present_Current", round(abs(load) * 400))  # of 6.5 mA: 2.6 A when stalled
        self.set("Present_Voltage", min(max(round(10 * volts), 0), 255))
        self.set("Present_Temperature", min(max(round(celsius), 0), 255))
        self.set("Moving", int(abs(velocity) > 8))
        heavy = abs(load) > self.get("Overload_Torque") / 100
        self._overloaded_s = self._overloaded_s + dt if heavy else 0.0
        status = self.forced
        if not self.get("Min_Voltage_Limit") <= round(10 * volts) <= self.get("Max_Voltage_Limit"):
            status |= VOLTAGE
        if celsius > self.get("Max_Temperature_Limit"):
            status |= OVERHEAT
        if self._overloaded_s > self.get("Protection_Time") / 100:
            status |= OVERLOAD
        self._tripped |= status
        # The overload of a servo that protects itself is over at once: only new torque ends the protection.
        self.set("Status", status | (self._tripped & OVERLOAD))
