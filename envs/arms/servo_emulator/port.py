"""The serial port: a pseudo-terminal whose other end answers as the servos do.

A program opens it as it would open ``/dev/ttyACM0``. Unplugged, it is gone: who has it open reads nothing but
errors, and its name leads nowhere.
"""

import contextlib
import os
import select
import threading
import time
import tty
from pathlib import Path

from envs.arms.servo_emulator.bus import Bus
from envs.arms.servo_emulator.packets import Parser
from vla.errors import BadInput

__all__ = ["Port"]

_LOOK_S = 0.02
"""How often a port without traffic looks whether it is to be unplugged or closed."""


class Port:
    """`bus` behind a pseudo-terminal, served by a thread. link: a name of its own, besides ``/dev/pts/N``.

    path: what to open; it changes with each replugging unless there is a link.
    """

    def __init__(self, bus: Bus, link: Path | None = None) -> None:
        self._bus, self._link = bus, link
        self._ends: tuple[int, int] | None = None
        self._name = ""
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="servo bus", daemon=True)

    @property
    def path(self) -> str:
        """What to open."""
        return str(self._link) if self._link is not None else self._name

    @property
    def plugged(self) -> bool:
        """Whether there is a port."""
        return self._ends is not None

    def open(self) -> None:
        """Make the port and begin to answer. Raises BadInput for a link that cannot be made."""
        self._plug()
        self._thread.start()

    def close(self) -> None:
        """Take it away."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        self._unplug()

    def _plug(self) -> None:
        master, slave = os.openpty()
        # Both ends stay open: a master without a slave would only say that nobody is there.
        tty.setraw(master)
        tty.setraw(slave)
        os.set_blocking(master, False)
        self._name = os.ttyname(slave)
        self._ends = (master, slave)
        if self._link is None:
            return
        try:
            if self._link.is_symlink():
                self._link.unlink()
            self._link.symlink_to(self._name)
        except OSError as error:
            self._unplug()
            raise BadInput(f"cannot make the port's link {self._link}: {error.strerror}") from None

    def _unplug(self) -> None:
        ends, self._ends = self._ends, None
        for end in ends or ():
            os.close(end)
        if ends and self._link is not None and self._link.is_symlink():
            self._link.unlink()

    # -- the thread -------------------------------------------------------------------------------

    def _serve(self) -> None:
        parser = Parser()
        while not self._closing.is_set():
            if self._bus.faults.on("unplug"):
                if self._ends is not None:
                    self._unplug()
                time.sleep(_LOOK_S)
                continue
            if self._ends is None:
                parser = Parser()
                self._plug()
            assert self._ends is not None
            master = self._ends[0]
            if not select.select([master], [], [], _LOOK_S)[0]:
                continue
            try:
                data = os.read(master, 4096)
            except OSError:
                continue
            for asked in parser.feed(data):
                for late, answer in self._bus.answers(asked):
                    if late:
                        self._closing.wait(late)
                    with contextlib.suppress(BlockingIOError):  # nobody reads: the line forgets
                        os.write(master, answer)
