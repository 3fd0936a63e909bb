"""The process around the codecs: who is let in, who is cut off, and how it stops."""

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from served import TOKEN, Gated, limits, seen, settings
from speaking import Speaker
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from policies.runtime.benchmark.dialects import PATHS, PROTOCOLS, Protocol, hear, say
from policies.serving.echo import EchoPolicy, echo
from policies.serving.options import Tls
from policies.serving.server import Address, running
from vla.errors import BadInput

protocols = pytest.mark.parametrize("protocol", PROTOCOLS)


def get(address: Address, path: str, **more: Any) -> httpx.Response:
    return httpx.get(address.url("http", path), trust_env=False, timeout=10, **more)


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def sessions(address: Address) -> float:
    """How many are open, as the metrics tell."""
    [line] = [x for x in get(address, "/metrics").text.splitlines() if x.startswith("vla_sessions ")]
    return float(line.split()[1])


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    return file


@protocols
def test_without_the_token_nobody_is_answered(protocol: Protocol, token_file: Path) -> None:
    with running(EchoPolicy(), settings(token_file=token_file)) as address:
        for wrong in ("", "another-token-of-16"):
            if protocol == "rest":
                with Speaker(address, protocol, wrong) as speaker:
                    assert speaker.ask(seen(1)).kind == "unauthorised"
            else:
                with pytest.raises(InvalidStatus) as error:
                    Speaker(address, protocol, wrong)
                assert error.value.response.status_code == 401
        with Speaker(address, protocol, TOKEN) as speaker:
            assert np.array_equal(speaker.ask(seen(1)).first, echo(seen(1)))


def test_every_form_of_the_token_and_what_needs_none(token_file: Path) -> None:
    with running(EchoPolicy(), settings(token_file=token_file)) as address:
        for path in ("/metrics", "/config"):
            assert get(address, path).status_code == 401
            assert get(address, path, headers={"Authorization": f"Api-Key {TOKEN}"}).status_code == 200
            assert get(address, path, auth=("any", TOKEN)).status_code == 200
            for bad in (f"Basic {TOKEN}", "Basic !", "Basic", f"Digest {TOKEN}", TOKEN, "Bearer é"):
                assert get(address, path, headers={"Authorization": bad.encode()}).status_code == 401, bad
        for path in ("/healthz", "/health"):
            assert get(address, path).json() == {"status": "ok"}
        with connect(f"ws://any:{TOKEN}@127.0.0.1:{address.port}/vla-eval", proxy=None):
            pass


def test_a_page_in_a_browser_cannot_move_the_robot() -> None:
    with running(EchoPolicy(), settings()) as address:
        with pytest.raises(InvalidStatus):
            connect(address.url("ws", "/vla"), origin="http://localhost", proxy=None)  # type: ignore[arg-type]
        refused = httpx.post(address.url("http", "/act"), headers={"Origin": "null"}, trust_env=False)
        assert refused.status_code == 401


def test_the_config_tells_what_is_needed_and_nothing_secret(token_file: Path) -> None:
    with running(EchoPolicy(), settings(token_file=token_file)) as address:
        found = get(address, "/config", headers={"Authorization": f"Bearer {TOKEN}"})
        assert found.json()["needs"]["openpi"]["observation/image"].startswith("uint8 [height, width, 3]")
        assert TOKEN not in found.text and str(token_file) not in found.text


@pytest.mark.parametrize(
    ("content", "line"),
    [("", "16 or more"), ("short", "16 or more"), ("sixteen letters é", "16 or more"), (None, "cannot read")],
)
def test_a_token_that_is_none(tmp_path: Path, content: str | None, line: str) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
    with pytest.raises(BadInput, match=line):
        settings(token_file=file).token()


def test_other_machines_need_a_token() -> None:
    for host in ("0.0.0.0", "::", "192.168.0.1", "robot.local"):
        with pytest.raises(BadInput, match="give token_file=FILE"):
            settings(host=host)
        settings(host=host, open_to_all=True)
    for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost"):
        settings(host=host)


def test_an_address_that_is_taken_and_one_that_is_not_here() -> None:
    with (
        running(EchoPolicy(), settings()) as address,
        pytest.raises(BadInput, match=r"cannot listen on 127\.0\.0\.1, port"),
        running(EchoPolicy(), settings(port=address.port)),
    ):
        pass
    with pytest.raises(BadInput), running(EchoPolicy(), settings(host="203.0.113.1", open_to_all=True)):
        pass
    assert not [thread.name for thread in threading.enumerate() if thread.name in ("serving", "server")]


@protocols
def test_tls(protocol: Protocol, certificate: Tls) -> None:
    with running(EchoPolicy(), settings(tls=certificate)) as address:
        assert address.url("ws").startswith("wss://")
        trust = ssl.create_default_context(cafile=str(certificate.certificate))
        with Speaker(address, protocol, ssl=trust) as speaker:
            assert np.array_equal(speaker.ask(seen(1)).first, echo(seen(1)))


def test_certificates_that_cannot_be_used(certificate: Tls, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no key")
    for tls, line in (
        (Tls(tmp_path / "no", certificate.key), "there is no file"),
        (Tls(certificate.certificate, tmp_path / "text"), "cannot be used"),
        (Tls(certificate.key, certificate.certificate), "cannot be used"),
    ):
        with pytest.raises(BadInput, match=line), running(EchoPolicy(), settings(tls=tls)):
            pass


def test_a_client_that_reads_nothing_is_cut_off_and_stops_nobody() -> None:
    large = EchoPolicy(horizon=200_000)  # an answer of 4 MB, more than the system's buffers take
    serving = settings(limits=limits(send_s=0.5, answer_s=20), gone_s=1.0)
    with running(large, serving) as address, Speaker(address, "native") as good, socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(20)
        slow.connect(("127.0.0.1", address.port))
        upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        key = f"Sec-WebSocket-Key: {'A' * 22}==\r\n"
        slow.sendall(f"GET /openpi HTTP/1.1\r\nHost: x\r\n{upgrade}{key}\r\n".encode())
        until(lambda: sessions(address) == 2)
        for number in range(3):
            data = say("openpi", seen(number), number)
            slow.sendall(b"\x82\xfe" + struct.pack(">H", len(data)) + bytes(4) + data)  # masked with zeros
        for number in range(5):
            assert np.array_equal(good.ask(seen(number), number).first, echo(seen(number)))
        until(lambda: sessions(address) == 1)
        until(lambda: connections(address) == 1)  # the system has dropped the other as well
        assert good.ask(seen(9), 9).first is not None


def connections(address: Address) -> int:
    """Established TCP connections to the server's port, seen from its side."""
    port = f":{address.port:04X} "
    rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(port in f"{row.split()[1]} " and row.split()[3] == "01" for row in rows)


@protocols
def test_a_client_that_dies_leaves_nothing(protocol: Protocol) -> None:
    policy = Gated()
    with running(policy, settings()) as address, Speaker(address, protocol) as other:
        dying = Speaker(address, protocol)
        if protocol == "rest":
            raw = socket.create_connection(("127.0.0.1", address.port))
            body = say("rest", seen(1), 1)
            raw.sendall(b"POST /act HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        else:
            dying.line.send(say(protocol, seen(1), 1))
            raw = dying.line.socket
        assert policy.entered.wait(10)
        raw.shutdown(socket.SHUT_RDWR)
        policy.gate.set()
        assert np.array_equal(other.ask(seen(2), 2).first, echo(seen(2)))
        until(lambda: sessions(address) == (0 if protocol == "rest" else 1))
        if protocol == "rest":
            raw.close()
            dying.http.close()


def test_connections_that_say_nothing_are_cut_off() -> None:
    with running(EchoPolicy(), settings(limits=limits(send_s=0.3, idle_s=0.5))) as address:
        for start in (b"", b"POST /act HTTP/1.1\r\nHost: x\r\n"):
            with socket.create_connection(("127.0.0.1", address.port), timeout=10) as raw:
                raw.sendall(start)
                assert raw.recv(10) == b""
        with socket.create_connection(("127.0.0.1", address.port), timeout=10) as raw:
            raw.sendall(b"POST /act HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n123")
            assert b" 504 " in raw.recv(1000)
        with Speaker(address, "native") as speaker:
            with pytest.raises(ConnectionClosed) as error:
                speaker.line.recv(10)
            assert error.value.rcvd is not None and "silent for 0.5 s" in error.value.rcvd.reason
        assert sessions(address) == 0


@protocols
def test_too_many_sessions_and_too_many_requests_are_refused_at_once(protocol: Protocol) -> None:
    policy = Gated()
    with running(policy, settings(limits=limits(sessions=1))) as address, Speaker(address, protocol) as first:
        found: list[Any] = []
        asking = threading.Thread(target=lambda: found.append(first.ask(seen(1))))
        asking.start()
        assert policy.entered.wait(10)
        start = time.monotonic()
        if protocol == "rest":
            with Speaker(address, protocol) as second:
                assert second.ask(seen(2)).kind == "overloaded"
        else:
            with pytest.raises(InvalidStatus) as error:
                Speaker(address, protocol)
            assert error.value.response.status_code == 503
            assert b"all sessions are taken" in (error.value.response.body or b"")
        assert time.monotonic() - start < 4
        policy.gate.set()
        asking.join(10)
        assert np.array_equal(found[0].first, echo(seen(1)))


@protocols
def test_stopping_answers_what_was_accepted(protocol: Protocol) -> None:
    policy = Gated()
    found: list[Any] = []
    context = running(policy, settings())
    address = context.__enter__()
    speaker = Speaker(address, protocol)
    asking = threading.Thread(target=lambda: found.append(speaker.ask(seen(1))))
    asking.start()
    assert policy.entered.wait(10)
    stopping = threading.Thread(target=context.__exit__, args=(None, None, None))
    stopping.start()
    until(lambda: get(address, "/healthz").status_code == 503)
    assert get(address, "/healthz").json() == {"status": "stopping"}
    with pytest.raises(InvalidStatus) as error:
        connect(address.url("ws", PATHS["native"]), proxy=None)
    assert error.value.response.status_code == 503
    policy.gate.set()
    asking.join(10)
    stopping.join(10)
    assert not asking.is_alive() and not stopping.is_alive()
    assert np.array_equal(found[0].first, echo(seen(1)))


def test_a_stuck_policy_is_told_to_the_client_and_shows_in_the_health() -> None:
    policy = Gated()
    with (
        running(policy, settings(limits=limits(answer_s=0.3))) as address,
        Speaker(address, "openpi") as speaker,
    ):
        assert speaker.ask(seen(1)).kind == "late"
        until(lambda: get(address, "/healthz").status_code == 503)
        assert "has not answered" in get(address, "/healthz").json()["status"]
        policy.gate.set()
        until(lambda: get(address, "/healthz").status_code == 200)
        assert np.array_equal(speaker.ask(seen(2)).first, echo(seen(2)))
    assert hear("openpi", "late: x").kind == "late"
