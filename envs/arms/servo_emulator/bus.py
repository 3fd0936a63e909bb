"""Servos on one line: what each answers to an instruction, and what becomes of the answers on the way."""

import threading
from collections.abc import Mapping

from envs.arms.servo_emulator.faults import BusFaults
from envs.arms.servo_emulator.packets import BROADCAST, Instruction, Packet, packet
from envs.arms.servo_emulator.servo import Servo

__all__ = ["Bus"]


class Bus:
    """servos: by their numbers; changed under `lock` only. faults: on the way, and in the servos."""

    def __init__(self, servos: Mapping[int, Servo], faults: BusFaults) -> None:
        self.servos, self.faults = servos, faults
        self.lock = threading.Lock()
        self.goals_written = 0
        """How often a goal position was written: whoever wants to know whether the arm was commanded."""

    def answers(self, asked: Packet) -> list[tuple[float, bytes]]:
        """The answers to an instruction, in order: seconds that each is late, and its bytes."""
        with self.lock:
            told = self._tell(asked)
        struck = (self.faults.strike(number, answer) for number, answer in told)
        return [(late, answer) for late, answer in struck if answer]

    def _tell(self, asked: Packet) -> list[tuple[int, bytes]]:
        what = asked.parameters
        if asked.code == Instruction.SYNC_READ and len(what) >= 2:
            address, length, *numbers = what
            found = [self.servos[number] for number in numbers if number in self.servos]
            return [self._answer(servo, servo.read(address, length)) for servo in found]
        if asked.code == Instruction.SYNC_WRITE and len(what) >= 2:
            self._sync_write(what[0], what[1], what[2:])
            return []
        if asked.servo == BROADCAST:
            servos = list(self.servos.values())
        else:
            servos = [self.servos[asked.servo]] if asked.servo in self.servos else []
        told = [answer for servo in servos if (answer := self._one(servo, asked.code, what)) is not None]
        # Nobody answers a broadcast but a ping: all at once would be noise.
        return told if asked.servo != BROADCAST or asked.code == Instruction.PING else []

    def _one(self, servo: Servo, code: int, what: bytes) -> tuple[int, bytes] | None:
        """One servo's answer; None where it keeps silent."""
        quiet = not servo.get("Response_Status_Level")
        if code == Instruction.PING:
            return self._answer(servo)
        if code == Instruction.READ and len(what) == 2:
            return self._answer(servo, servo.read(*what))
        if code == Instruction.WRITE and len(what) >= 2:
            self._write(servo, what[0], what[1:])
        elif code == Instruction.REG_WRITE and len(what) >= 2:
            servo.hold_write(what[0], what[1:])
        elif code == Instruction.ACTION:
            servo.action()
            return None
        else:
            return None
        return None if quiet else self._answer(servo)

    def _sync_write(self, address: int, length: int, what: bytes) -> None:
        for at in range(0, len(what) - length, length + 1):
            servo = self.servos.get(what[at])
            if servo is not None:
                self._write(servo, address, what[at + 1 : at + 1 + length])

    def _write(self, servo: Servo, address: int, data: bytes) -> None:
        goal = 42
        self.goals_written += address <= goal < address + len(data)
        servo.write(address, data)

    def _answer(self, servo: Servo, data: bytes = b"") -> tuple[int, bytes]:
        number = servo.get("ID")
        return number, packet(number, servo.error, data)
