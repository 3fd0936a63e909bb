"""Feetech's protocol 0 on the wire: ``FF FF id length instruction parameters... checksum``.

`length` counts what follows it; the checksum is the complement of the sum of all from the id on. An answer
has the servo's error byte where an instruction has its number. Sources: the vendor's `scservo_sdk`, and
LeRobot's bus.
"""

from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["BROADCAST", "Instruction", "Packet", "Parser", "packet"]

BROADCAST = 0xFE
_LONGEST = 250


class Instruction:
    """Numbers of the instructions that a servo follows."""

    PING, READ, WRITE, REG_WRITE, ACTION = 1, 2, 3, 4, 5
    SYNC_READ, SYNC_WRITE = 0x82, 0x83


class Packet(NamedTuple):
    """One packet. code: the instruction, or in an answer the error byte."""

    servo: int
    code: int
    parameters: bytes = b""


def packet(servo: int, code: int, parameters: bytes = b"") -> bytes:
    """The packet's bytes."""
    body = bytes((servo, len(parameters) + 2, code)) + parameters
    return b"\xff\xff" + body + bytes((~sum(body) & 0xFF,))


class Parser:
    """Finds packets in a stream. What is none is skipped byte by byte, as a servo does.

    bad: how many packets had a wrong checksum.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.bad = 0

    def feed(self, data: bytes) -> Iterator[Packet]:
        """Take more bytes; the packets that they complete."""
        self._buffer += data
        while (found := self._next()) is not None:
            yield found

    def _next(self) -> Packet | None:
        buffer = self._buffer
        while True:
            start = buffer.find(b"\xff\xff")
            if start < 0:  # the last byte may be the first half of a header
                del buffer[: len(buffer) - buffer.endswith(b"\xff")]
                return None
            del buffer[:start]
            if len(buffer) < 4:
                return None
            servo, length = buffer[2], buffer[3]
            if servo == 0xFF or not 2 <= length <= _LONGEST:
                del buffer[0]
                continue
            if len(buffer) < length + 4:
                return None
            body = bytes(buffer[2 : length + 4])
            if (sum(body) & 0xFF) != 0xFF:
                self.bad += 1
                del buffer[0]
                continue
            del buffer[: length + 4]
            return Packet(servo, body[2], body[3:-1])
