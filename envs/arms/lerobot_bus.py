"""A LeRobot bus of servos, asked so that no old answer passes for a new one, and faults name the servo.

The protocols of these buses number neither questions nor answers. After an exchange that failed, what still
arrives belongs to no question any more. So the line is read empty before the next one; and as an answer can
be later still, questions after a failure ask for a byte more each time: what is shorter is an older answer.
"""

import contextlib
import fcntl
import math
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from vla.arm import ArmFault

__all__ = ["Line"]

_GONE = (OSError, termios.error)  # pyserial's own error is an OSError; what tcflush raises is not
_QUIET_S = 0.005
_PATIENCE_MS, _SETTLE_S = 300.0, 2.0
_ALARMS = {1: "voltage", 2: "angle sensor", 4: "overheated", 8: "overcurrent", 32: "overload"}
"""Bits of a Feetech servo's status register."""
_STALLED, _STALLED_S = 950, 2.0
"""Thousandths of the most load that count as pushing against something, if they last so long."""
_FORGET_S, _MOST_MORE = 2.0, 12
"""After a while without failures nothing late can be on its way; so many bytes more are asked for at most."""


class Line:
    """bus: LeRobot's. port: its name, for people. retries: of an exchange that failed."""

    def __init__(self, bus: Any, port: str, retries: int) -> None:
        self.bus, self._port, self._retries = bus, port, retries
        self._limits: dict[str, Mapping[str, int]] = {}
        self._stalled: dict[str, float] = {}
        self._more, self._failed_at = 0, -math.inf
        setup = bus._setup_sync_reader
        bus._setup_sync_reader = lambda ids, address, length: setup(ids, address, length + self._more)

    def servo(self, name: str) -> str:
        """A servo, for people."""
        return f"servo '{name}' (id {self.bus.motors[name].id}) on {self._port}"

    def open(self) -> None:
        """Open the port and keep others from it. Raises ArmFault."""
        try:
            self.bus.connect(handshake=False)
            fcntl.flock(self.bus.port_handler.ser.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArmFault(f"another program has {self._port} open; end it first") from None
        except _GONE as error:
            reason = str(error.__cause__ or error).strip().splitlines()[0]
            raise ArmFault(f"{self._port} cannot be opened as a serial port: {reason}") from None

    def close(self, release: bool) -> None:
        """Close the port. Raises ArmFault if torque was to be released and could not be."""
        trouble = ""
        if release and self.bus.is_connected:
            try:
                self._let_go()
            except ArmFault as error:
                trouble = str(error)
        handler = self.bus.port_handler
        with contextlib.suppress(*_GONE, AttributeError):
            handler.closePort()
        handler.is_open = False
        if trouble:
            raise ArmFault(f"the arm's torque may still be on: {trouble}")

    def ask(self, register: str, normalize: bool = False) -> dict[str, Any]:
        """A register of every servo: one synchronous read, tried anew where it fails. Raises ArmFault."""
        error: Exception | None = None
        order, furthest = list(self.bus.motors), 0
        for attempt in range(self._retries + 1):
            if time.monotonic() - self._failed_at > _FORGET_S:
                self._more = 0
            try:
                self._clear(attempt)
                found: dict[str, Any] = self.bus.sync_read(register, normalize=normalize)
            except (ConnectionError, IndexError) as failed:  # LeRobot's word for no answer or a damaged one
                error = failed
            except _GONE as failed:
                raise self._lost(failed) from None
            else:
                if self._silent() is None:
                    return found
            # Who is late once may be any of them; who is silent ends each attempt that comes so far.
            furthest = max(furthest, order.index(self._silent() or order[0]))
            self._more, self._failed_at = min(self._more + 1, _MOST_MORE), time.monotonic()
        said = str(error or "an answer was too short").rsplit("] ", 1)[-1].rstrip(".!")
        raise ArmFault(
            f"{self.servo(order[furthest])} does not answer, asked {self._retries + 1} times ({said})"
        )

    def tell(self, register: str, values: Mapping[str, Any], normalize: bool = False) -> None:
        """Write a register of servos, all at once and without an answer. Raises ArmFault."""
        try:
            self.bus.port_handler.is_using = False  # left behind by an exchange that broke off
            self.bus.sync_write(register, dict(values), normalize=normalize)
        except (*_GONE, ConnectionError) as failed:
            raise self._lost(failed) from None

    def stay(self) -> None:
        """Make every goal the present position. Raises ArmFault for servos that could not be asked, after the
        others were told."""
        try:
            present = self.ask("Present_Position")
        except ArmFault as fault:
            present = {name: at for name in self.bus.motors if (at := self._place(name)) is not None}
            if not present:
                raise
            self.tell("Goal_Position", present)
            raise ArmFault(f"not all servos are held where they are: {fault}") from None
        self.tell("Goal_Position", present)

    def settle(self) -> None:
        """Wait until nothing moves: LeRobot lets go of the arm for a moment when it configures it."""
        end, before = time.monotonic() + _SETTLE_S, self.ask("Present_Position")
        while time.monotonic() < end:
            time.sleep(0.05)
            now = self.ask("Present_Position")
            if all(abs(now[name] - before[name]) <= 2 for name in now):
                return
            before = now

    def ping(self, name: str, patient: bool) -> int | None:
        """A servo's model number; None if it does not answer. Raises ArmFault if the port is lost."""
        for last in (False, True, True) if patient else (False,):
            try:
                self._clear(0)
                with self._time() if last else contextlib.nullcontext():
                    number, comm, _ = self.bus.packet_handler.ping(
                        self.bus.port_handler, self.bus.motors[name].id
                    )
            except IndexError:  # a damaged answer
                continue
            except _GONE as failed:
                raise self._lost(failed) from None
            if self.bus._is_comm_success(comm):
                return int(number)
        return None

    def patiently(self, what: str, do: Callable[[], Any]) -> None:
        """Run a part of LeRobot's driver that gives up at the first lost packet. Raises ArmFault."""
        for attempt in range(self._retries + 3):
            try:
                self._clear(attempt)
                with self._time():
                    do()
                return
            except (ConnectionError, IndexError) as failed:
                error: Exception = failed
            except _GONE as failed:
                raise self._lost(failed) from None
            except RuntimeError as failed:  # an alarm in the answer
                error = failed
                break
        raise ArmFault(f"the arm on {self._port} cannot {what}: {_first(error)}")

    def faults(self) -> list[str]:
        """What the servos say is wrong, one line each."""
        table = self.bus.model_ctrl_table[self.bus.models[0]]
        seen = {name: self.ask(name) for name in _WATCHED if name in table}
        if not self._limits:  # they do not change while torque is on
            self._limits = {name: self.ask(name) for name in _LIMITS if name in table}
        limits, lines = self._limits, []
        for name in self.bus.motors:
            now = {register: values[name] for register, values in seen.items()}
            alarms = self.alarms(now.get("Status", 0))
            told = [f"alarm: {alarms}"] if alarms else []
            if (
                "Max_Temperature_Limit" in limits
                and now["Present_Temperature"] >= limits["Max_Temperature_Limit"][name]
            ):
                told.append(f"{now['Present_Temperature']} degrees Celsius, let it cool")
            if "Min_Voltage_Limit" in limits:
                low, high = limits["Min_Voltage_Limit"][name], limits["Max_Voltage_Limit"][name]
                if not low <= now["Present_Voltage"] <= high:
                    volts = now["Present_Voltage"] / 10
                    told.append(
                        f"{volts:.1f} V instead of {low / 10:.1f} to {high / 10:.1f}, check the supply"
                    )
            heavy = abs(now.get("Present_Load", 0)) >= _STALLED
            since = self._stalled[name] = min(self._stalled.get(name, math.inf), time.monotonic())
            if not heavy:
                del self._stalled[name]
            elif time.monotonic() - since > _STALLED_S:
                told.append("it has pushed with all its force for seconds")
            if not now.get("Torque_Enable", 1):
                told.append("its torque is off, it may have lost power for a moment; connect anew")
            if told:
                lines.append(f"{self.servo(name)}: {'; '.join(told)}")
        return lines

    def alarms(self, status: int) -> str:
        """What the status register of a servo says, in words; empty if nothing."""
        return ", ".join(word for bit, word in _ALARMS.items() if status & bit)

    def _let_go(self) -> None:
        """Torque off, of servos with an alarm too, at which LeRobot's own function would give up."""
        for _ in range(self._retries + 1):
            self.tell("Torque_Enable", dict.fromkeys(self.bus.motors, 0))
            tight = [name for name, on in self.ask("Torque_Enable").items() if on]
            if not tight:
                return
        raise ArmFault(f"{self.servo(tight[0])} does not let go")

    @contextlib.contextmanager
    def _time(self) -> Iterator[None]:
        """More time for each answer than LeRobot gives: a busy computer may be late while nothing moves."""
        handler = self.bus.port_handler
        usual = handler.setPacketTimeout
        handler.setPacketTimeout = lambda length: handler.setPacketTimeoutMillis(_PATIENCE_MS)
        try:
            yield
        finally:
            handler.setPacketTimeout = usual

    # -- inside -----------------------------------------------------------------------------------

    def _clear(self, attempt: int) -> None:
        """Forget what was not asked for. attempt: 0 at first; after failures, longer each time, wait until
        nothing more comes."""
        handler = self.bus.port_handler
        handler.is_using = False
        handler.ser.reset_input_buffer()
        for _ in range(10 if attempt else 0):
            time.sleep(_QUIET_S * 2 ** min(attempt - 1, 5))
            if not handler.ser.in_waiting:
                break
            handler.ser.reset_input_buffer()

    def _silent(self) -> str | None:
        """The servo at which the last synchronous read ended, if it did: a short answer is none, either.
        (The vendor's library takes it, and reads 0.)"""
        reader = self.bus.sync_reader
        for number, data in reader.data_dict.items():
            if len(data) < reader.data_length:
                return str(self.bus._id_to_name(number))
        return None

    def _place(self, name: str) -> int | None:
        """Where one servo is, if it answers."""
        try:
            self._clear(1)
            return int(self.bus.read("Present_Position", name, normalize=False))
        except (*_GONE, ConnectionError, IndexError, RuntimeError):
            return None

    def _lost(self, error: Exception) -> ArmFault:
        return ArmFault(
            f"the connection to the arm on {self._port} is lost; check cable and power ({_first(error)})"
        )


_WATCHED = ("Status", "Present_Temperature", "Present_Voltage", "Present_Load", "Torque_Enable")
_LIMITS = ("Max_Temperature_Limit", "Min_Voltage_Limit", "Max_Voltage_Limit")


def _first(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
