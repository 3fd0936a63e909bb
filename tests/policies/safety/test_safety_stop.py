"""The emergency stop: each source presses it within a tenth of a second or so, once, for good."""

import os
import pty
import socket
import subprocess
import sys
import termios
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from policies.runtime.safety import EmergencyStop, StopSources
from policies.runtime.safety.sources import KeySource
from policies.runtime.safety.stop import main, stop
from vla.errors import BadInput

NONE = StopSources(keys="", file=None, port=None)
ON = StopSources(keys="", port=0)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("emergency")]


def test_pressing_latches_the_first_reason_from_any_thread() -> None:
    with EmergencyStop(NONE) as button:
        assert button.pressed == "" and button.sources == () and not button.wait(0)
        pressing = [threading.Thread(target=button.press, args=(f"thread {i}",)) for i in range(20)]
        for thread in pressing:
            thread.start()
        assert button.wait(5)
        for thread in pressing:
            thread.join()
        first = button.pressed
        button.press("later")
        assert button.pressed == first and first.startswith("thread ") and " at " in first
    assert button.pressed == first, "closing releases nothing"


def test_a_file_presses(tmp_path: Path) -> None:
    path = tmp_path / "STOP"
    with EmergencyStop(StopSources(keys="", file=path)) as button:
        assert not button.wait(0.1) and str(path) in button.sources[0]
        path.touch()
        assert button.wait(5) and f"the file {path} is there" in button.pressed
    assert threads() == []
    with EmergencyStop(StopSources(keys="", file=path)) as button:
        assert button.pressed, "a file that was there before presses at once"


def test_the_socket_answers_and_presses() -> None:
    with EmergencyStop(ON) as button:
        assert button.port
        with socket.create_connection(("127.0.0.1", button.port), 5) as line:
            answers = line.makefile("rb")
            line.sendall(b"status\n")
            assert answers.readline() == b"running\n"
            assert not button.pressed
            line.sendall(b"sto")
            line.sendall(b"p it smokes\nstatus\n")
            assert answers.readline() == b"stopped\n"
            assert answers.readline().startswith(b"pressed: emergency stop: by the socket (it smokes) at ")
            assert button.pressed
            answers.close()
        assert stop(button.port, "again") == "stopped" and "it smokes" in button.pressed
    assert threads() == []


@pytest.mark.parametrize("said", [b"stop", b"STOP\n", b"help!\r\n", b"\xff\xfe\x00\n", b"x" * 4000])
def test_anything_said_presses(said: bytes) -> None:
    with EmergencyStop(ON) as button:
        with socket.create_connection(("127.0.0.1", button.port), 5) as line:
            line.sendall(said)
        assert button.wait(5)
        assert button.pressed.isprintable()


def test_a_connection_that_says_nothing_presses_nothing_and_blocks_nobody() -> None:
    with EmergencyStop(ON) as button:
        silent = [socket.create_connection(("127.0.0.1", button.port), 5) for _ in range(20)]
        silent.pop().close()
        with socket.create_connection(("127.0.0.1", button.port), 5) as line:
            line.sendall(b"status\n")
            assert line.makefile("rb").readline() == b"running\n"
        assert not button.pressed
        for each in silent:
            each.close()


def test_the_command_presses_and_says_where_nobody_listens(capsys: pytest.CaptureFixture[str]) -> None:
    with EmergencyStop(ON) as button:
        done = subprocess.run(
            [sys.executable, "-m", "policies.runtime.safety.stop", "--port", str(button.port), "too", "fast"],
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stdout) == (0, "stopped\n"), done.stderr
        assert "(too fast)" in button.pressed
        port = button.port
    assert main(["--port", str(port)]) == 2
    assert f"no run's emergency stop answers on port {port}" in capsys.readouterr().err


def test_a_port_that_is_taken_is_one_line_and_leaves_no_thread(tmp_path: Path) -> None:
    with EmergencyStop(ON) as button, pytest.raises(BadInput, match=r"stop.port=\d+ cannot be listened on"):
        EmergencyStop(StopSources(keys="", port=button.port)).start()
    assert threads() == []


@pytest.fixture
def terminal() -> object:
    """Both ends of a terminal: what a person types into, and the program's standard input."""
    master, slave = pty.openpty()
    with open(slave, "rb", buffering=0) as stream:
        yield master, stream
    os.close(master)


def pressing(keys: str, stream: object) -> tuple[KeySource, threading.Event, list[str]]:
    pressed, said = threading.Event(), list[str]()
    press: Callable[[str], None] = lambda reason: (said.append(reason), pressed.set())[0]  # noqa: E731
    return KeySource(keys, press, stream), pressed, said


def test_a_key_presses_and_the_terminal_is_restored(terminal: tuple[int, object]) -> None:
    master, stream = terminal
    before = termios.tcgetattr(master)
    source, pressed, said = pressing(" q", stream)
    source.start()
    try:
        during = termios.tcgetattr(master)
        assert not during[3] & termios.ICANON and during[3] & termios.ISIG, "no Return needed, Ctrl-C works"
        os.write(master, b"xyz\n")
        assert not pressed.wait(0.1)
        os.write(master, b" ")
        assert pressed.wait(5) and said == ["emergency stop: by the key space"]
    finally:
        source.close()
    assert termios.tcgetattr(master) == before


def test_keys_are_off_without_a_terminal_of_our_own(terminal: tuple[int, object]) -> None:
    assert not pressing("q", terminal[1])[0].works, "a terminal, but not the one that controls this process"
    with open(os.devnull, "rb") as nothing:
        assert not pressing("q", nothing)[0].works
    code = (
        "from policies.runtime.safety import EmergencyStop\n"
        "with EmergencyStop() as button: print(button.sources, repr(button.pressed))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.stdout == "() ''\n", done.stderr


def test_in_a_terminal_the_key_stops_a_program_and_its_terminal_is_left_as_it_was() -> None:
    code = (
        "import sys\n"
        "from policies.runtime.safety import EmergencyStop\n"
        "button = EmergencyStop()\n"
        "button.start()\n"
        "print('sources', button.sources, flush=True)\n"
        "button.wait(20)\n"
        "print('pressed', button.pressed, flush=True)\n"
        "sys.exit(3)\n"  # without closing it
    )
    child, master = pty.fork()
    if child == 0:  # pragma: no cover
        os.execv(sys.executable, [sys.executable, "-c", code])
    before, seen = termios.tcgetattr(master), b""
    while b"sources" not in seen or b"\n" not in seen:
        seen += os.read(master, 1000)
    assert b"the key space or q" in seen
    os.write(master, b"q")
    while not seen.endswith(b"\n") or b"pressed" not in seen:
        seen += os.read(master, 1000)
    assert b"by the key q" in seen
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 3
    after = termios.tcgetattr(master)
    os.close(master)
    assert after[3] == before[3]
