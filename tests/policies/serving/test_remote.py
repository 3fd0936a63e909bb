"""The remote policy: the same answers as the policy itself; whatever goes wrong, one typed line in time."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served import ROOT, TOKEN, Everything, Gated, limits, seen, settings
from speaking import Speaker

from policies.base import Continuing, Policy, Seeded, Watcher
from policies.remote import RemotePolicy
from policies.runtime.chunking import Chunking
from policies.runtime.realtime import RealTimeRunner
from policies.serving import errors
from policies.serving.echo import EchoPolicy, echo
from policies.serving.options import Tls
from policies.serving.server import Address, running
from vla.errors import BadInput, UndecodableChunk
from vla.interfaces import ActionChunk, InFlight, Observation


@contextmanager
def remote(policy: Policy, **more: Any) -> Iterator[RemotePolicy]:
    with running(policy, settings()) as address, RemotePolicy(address.url("ws"), **more) as found:
        found.reset(4)
        yield found


def test_it_is_light() -> None:
    """A robot's small computer has none of these."""
    heavy = "torch starlette uvicorn prometheus_client hydra mujoco lerobot PIL httpx scipy".split()
    code = f"""
import sys
for name in {heavy}: sys.modules[name] = None  # importing it fails
import policies.remote, policies.serving.arrays, policies.serving.protocol
import msgpack, websockets.sync.client
print([name for name in {heavy} if sys.modules[name] is not None])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_it_is_a_policy_with_all_the_protocols() -> None:
    with remote(EchoPolicy()) as policy:
        assert isinstance(policy, Policy) and isinstance(policy, Seeded)
        assert isinstance(policy, Watcher) and not policy.watching
        assert isinstance(policy, Continuing) and not policy.continues
        assert (policy.name, policy.horizon, policy.execute) == ("echo", 4, 4)


def test_several_environments_share_a_question_and_a_batch() -> None:
    policy = Gated(free=True)
    with remote(policy) as client:
        chunks = client.act([seen(i) for i in range(4)], [3, 1, 0, 2])
        for i, chunk in enumerate(chunks):
            assert np.array_equal(chunk.actions[0], echo(seen(i)))
        assert max(map(len, policy.batches)) == 4


class Detailed:
    """Its chunks have everything that a chunk can have."""

    name, horizon = "detailed", 2

    def reset(self, count: int) -> None: ...

    def act(self, observations: Sequence[Observation], which: Sequence[int]) -> list[ActionChunk]:
        return [
            ActionChunk(
                np.full((2, 3), 0.1, np.float32),
                np.array([3, 2**40], np.int64),
                {"points": {"front": [[0.5, 0.25], [1, 0]]}, "missing": ["wrist"], "text": "é"},
                o.timestamp,
                o.frame_index,
                np.array([0.1, 0.15]),
                np.full((2, 3), 0.2, np.float32),
            )
            if o.task != "hold"
            else ActionChunk.holding("too uncertain", o, 3)
            for o in observations
        ]


def same(a: ActionChunk, b: ActionChunk) -> bool:
    for name in ("actions", "tokens", "timestamps", "uncertainty"):
        x, y = getattr(a, name), getattr(b, name)
        if (x is None) != (y is None) or (x is not None and (x.dtype != y.dtype or not np.array_equal(x, y))):
            return False
    return (a.info, a.observed_at, a.frame_index, a.hold) == (b.info, b.observed_at, b.frame_index, b.hold)


def test_nothing_of_a_chunk_is_lost() -> None:
    policy = Detailed()
    o = replace(
        seen(1),
        timestamp=1.5,
        frame_index=30,
        robot="so101",
        audio=np.zeros(100, np.float32),
        history={"front": np.zeros((2, 8, 8, 3), np.uint8)},
    )
    with remote(policy) as client:
        for each in (o, seen(2), replace(o, task="hold")):
            assert same(client.act([each], [0])[0], policy.act([each], [0])[0])


class Keeper(Everything):
    """Keeps whole observations."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Observation] = []

    def act(self, observations: Sequence[Observation], which: Sequence[int], in_flight: Any = None) -> Any:
        self.kept += observations
        self.plans = in_flight
        return super().act(observations, which, in_flight)


def test_observations_plans_and_seeds_arrive_whole() -> None:
    policy = Keeper()
    plan = InFlight(np.arange(6, dtype=np.float32).reshape(2, 3), 1, np.array([1, 0.25], np.float32))
    o = replace(
        seen(1),
        timestamp=1.5,
        frame_index=30,
        robot="so101",
        audio=np.linspace(-1, 1, 50, dtype=np.float32),
        audio_rate=8000,
        history={"front": np.arange(192, dtype=np.uint8).reshape(2, 4, 8, 3)},
    )
    with remote(policy) as client:
        assert client.watching and client.continues
        client.begin(0, 77)
        client.observe([o], [0])
        client.act([o], [0], [plan])
    [kept] = policy.kept
    assert kept.to_dict().keys() == o.to_dict().keys()
    for key, value in o.to_dict().items():
        assert np.array_equal(kept.to_dict()[key], value), key
    assert policy.plans is not None and np.array_equal(policy.plans[0].actions, plan.actions)
    assert np.array_equal(policy.plans[0].weights, plan.weights) and policy.plans[0].delay == 1
    assert [each[0] for each in policy.log][:5] == ["reset", "forget", "begin", "observe", "act"]
    assert policy.log[2][2] == 77


def test_the_shipped_policy_answers_the_same_through_the_server() -> None:
    from policies import load

    own = load("tabletop-small", threads=1)
    rng = np.random.default_rng(0)

    def look(task: str) -> Observation:
        images = {
            "front": rng.integers(0, 256, (96, 96, 3), np.uint8),
            "wrist": rng.integers(0, 256, (64, 64, 3), np.uint8),
        }
        return Observation(images, rng.uniform(-30, 30, 6).astype(np.float32), task, timestamp=0.5)

    several = [look(task) for task in ("touch the red cube", "lift the blue ball", "push the green cube")]
    own.reset(1)
    wanted = [own.act([o], [0])[0] for o in several]
    served = load("tabletop-small", threads=1)
    with remote(served, timeout=30) as client:
        assert (client.name, client.horizon, client.execute) == (own.name, own.horizon, own.execute)  # type: ignore[attr-defined]
        assert client.cameras == ("front", "wrist")
        for o, each in zip(several, wanted, strict=True):
            assert same(client.act([o], [0])[0], each)
        own.reset(4)
        together = own.act(several, [0, 1, 2])
        for found, each in zip(client.act(several, [0, 1, 2]), together, strict=True):
            assert same(found, each)
        with pytest.raises(errors.BadObservation, match="zebra"):
            client.act([look("lift the zebra")], [0])
    with running(served, settings()) as address, Speaker(address, "openpi") as speaker:
        assert np.array_equal(speaker.ask(several[0]).first, wanted[0].actions[0])


# -- what goes wrong ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("http://127.0.0.1:1", "ws://HOST:PORT"),
        ("127.0.0.1:8000", "ws://HOST:PORT"),
        ("ws://", "ws://HOST:PORT"),
        ("ws://host:port", "ws://HOST:PORT"),
        ("ws://host:99999", "ws://HOST:PORT"),
        ("ws://me:secret@host", "give the token by itself"),
    ],
)
def test_addresses_that_are_none(url: str, line: str) -> None:
    with pytest.raises(BadInput, match=line):
        RemotePolicy(url)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_nobody_there_and_somebody_else_there() -> None:
    start = time.monotonic()
    with pytest.raises(errors.Unreachable, match="is the server running"):
        RemotePolicy(f"ws://127.0.0.1:{free_port()}", timeout=0.5)
    assert time.monotonic() - start < 5
    with running(EchoPolicy(), settings()) as address:
        with pytest.raises(
            errors.ProtocolVersion, match=r"no policy server at this address \(HTTP status 40"
        ):
            RemotePolicy(address.url("ws", "/other"))
        with pytest.raises(errors.ProtocolVersion, match="does not speak version 1"):
            RemotePolicy(address.url("ws", "/openpi"), timeout=3)
        with pytest.raises(errors.ProtocolVersion, match="no TLS there"):
            RemotePolicy(address.url("ws").replace("ws:", "wss:"), timeout=3)
    with socket.socket() as silent:  # it takes the connection and says nothing
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(errors.Unreachable, match=r"no server answered within 0\.5 s"):
            RemotePolicy(f"ws://127.0.0.1:{silent.getsockname()[1]}", timeout=0.5)


def test_a_line_that_is_closed_at_once_is_nobody_there() -> None:
    """As by a proxy or a tunnel whose server is away: it may come back."""
    with socket.create_server(("127.0.0.1", 0)) as door:

        def shut() -> None:
            while True:
                try:
                    line, _ = door.accept()
                except OSError:
                    return
                line.recv(4096)
                line.close()

        threading.Thread(target=shut, daemon=True).start()
        with pytest.raises(errors.Unreachable, match="closed before an answer came"):
            RemotePolicy(f"ws://127.0.0.1:{door.getsockname()[1]}", timeout=1.0)
        door.shutdown(socket.SHUT_RDWR)


def test_a_wrong_token_and_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text(TOKEN)
    with running(EchoPolicy(), settings(token_file=tmp_path / "token")) as address:
        with pytest.raises(errors.Unauthorised, match="a token is needed"):
            RemotePolicy(address.url("ws"))
        with pytest.raises(errors.Unauthorised, match="the token is wrong"):
            RemotePolicy(address.url("ws"), "wrong" * 4)
        RemotePolicy(address.url("ws"), TOKEN).close()
        monkeypatch.setattr("policies.serving.connection.VERSION", 2)
        with pytest.raises(
            errors.ProtocolVersion, match="speaks version 2 of the protocol, this server version 1"
        ):
            RemotePolicy(address.url("ws"), TOKEN)


def test_certificates_are_checked(certificate: Tls, tmp_path: Path) -> None:
    with running(EchoPolicy(), settings(tls=certificate)) as address:
        with pytest.raises(errors.Unauthorised, match="not trusted"):
            RemotePolicy(address.url("ws"))
        with pytest.raises(errors.Unauthorised, match="not trusted"):
            RemotePolicy(f"wss://localhost:{address.port}", authority=certificate.certificate, timeout=3)
        with RemotePolicy(address.url("ws"), authority=certificate.certificate) as policy:
            assert np.array_equal(policy.act([seen(1)], [0])[0].actions[0], echo(seen(1)))
        with pytest.raises(errors.Unreachable, match="if it has TLS, wss://"):
            RemotePolicy(f"ws://127.0.0.1:{address.port}", timeout=3)
    for authority, line in ((tmp_path / "no", "no file"), (certificate.key, "no certificate")):
        with pytest.raises(BadInput, match=line):
            RemotePolicy("wss://127.0.0.1:1", authority=authority)
    with pytest.raises(BadInput, match="would check nothing"):
        RemotePolicy("ws://127.0.0.1:1", authority=certificate.certificate)


def test_refusals_keep_their_type_and_the_connection() -> None:
    policy = Gated(free=True)
    policy.faults["broken"] = RuntimeError("boom")
    policy.faults["codes"] = UndecodableChunk("token 7")
    with remote(policy) as client:
        with pytest.raises(errors.PolicyFailed, match="RuntimeError"):
            client.act([seen(1, "broken")], [0])
        with pytest.raises(BadInput, match="must be a uint8 array"):
            client.act([Observation({"front": np.zeros((2, 2, 3))}, seen(1).state, "x")], [0])  # type: ignore[dict-item]
        assert client.act([seen(1, "codes")], [0])[0].hold == "token 7"
        assert client.act([seen(1)], [0])[0].valid


def test_an_answer_that_comes_too_late_is_not_taken_for_the_next() -> None:
    policy = Gated()
    serving = settings(limits=limits(answer_s=30))
    with running(policy, serving) as address, RemotePolicy(address.url("ws"), timeout=0.4) as client:
        start = time.monotonic()
        with pytest.raises(errors.Late):
            client.act([seen(1)], [0])
        assert time.monotonic() - start < 5
        policy.gate.set()
        client._timeout = 10.0
        for number in (2, 3):
            assert np.array_equal(client.act([seen(number)], [0])[0].actions[0], echo(seen(number)))


def test_a_lost_server_is_told_in_time_and_found_again() -> None:
    port = free_port()
    with running(EchoPolicy(), settings(port=port)) as address:
        client = RemotePolicy(address.url("ws"), timeout=0.5)
        holding = RemotePolicy(address.url("ws"), timeout=0.5, lost="hold")
        assert client.act([seen(1)], [0])[0].valid and holding.act([seen(1)], [0])[0].valid
    for _ in range(3):
        start = time.monotonic()
        with pytest.raises((errors.Unreachable, errors.Stopping)):
            client.act([seen(2)], [0])
        held = holding.act([seen(2)], [0])[0]
        assert held.hold and held.actions.shape == (0, 5)
        assert time.monotonic() - start < 5
    with running(EchoPolicy(), settings(port=port)):
        client._timeout = holding._timeout = 10.0
        for each in (client, holding):
            assert np.array_equal(each.act([seen(3)], [0])[0].actions[0], echo(seen(3)))
            each.close()


def test_another_policy_in_its_place_does_not_move_the_robot() -> None:
    port = free_port()
    with running(EchoPolicy(), settings(port=port)) as address:
        client = RemotePolicy(address.url("ws"), timeout=5, lost="hold")
        client.act([seen(1)], [0])
    with running(Detailed(), settings(port=port)):  # type: ignore[arg-type]
        assert client.act([seen(1)], [0])[0].hold or True  # the lost connection is noticed
        with pytest.raises(BadInput, match="'detailed' instead of 'echo'"):
            for _ in range(3):
                client.act([seen(1)], [0])


def test_a_server_that_reads_nothing_does_not_stop_the_robot(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(EchoPolicy(), settings()) as address:
        proxy = Stalling(address)
        client = RemotePolicy(f"ws://127.0.0.1:{proxy.port}", timeout=1.0)
        assert client.act([seen(1)], [0])[0].valid
        proxy.stalled.set()
        large = Observation({"front": np.zeros((2000, 1900, 3), np.uint8)}, seen(1).state, "x")
        start = time.monotonic()
        with pytest.raises((errors.Late, errors.Unreachable)):
            client.act([large], [0])
        assert time.monotonic() - start < 6
        client.close()
        proxy.close()


class Stalling:
    """Between a client and a server; passes everything on until it is stalled."""

    def __init__(self, address: Address) -> None:
        self.stalled = threading.Event()
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = self._door.getsockname()[1]
        self._there = socket.create_connection((address.host, address.port))
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        self._here, _ = self._door.accept()
        back = threading.Thread(target=self._pass, args=(self._there, self._here), daemon=True)
        self._threads.append(back)
        back.start()
        self._pass(self._here, self._there)

    def _pass(self, a: socket.socket, b: socket.socket) -> None:
        while not self.stalled.is_set():
            a.settimeout(0.1)
            try:
                data = a.recv(65536)
                if not data:
                    return
                b.sendall(data)
            except TimeoutError:
                continue
            except OSError:
                return

    def close(self) -> None:
        for each in (self._door, self._here, self._there):
            each.close()
        for thread in self._threads:
            thread.join(5)


def test_a_control_loop_holds_when_the_server_is_gone_and_goes_on_when_it_is_back() -> None:
    """The runner of chunks in real time, with the policy behind a server."""
    serving = settings(port=free_port())
    policy: Any = Detailed()
    with running(policy, serving) as address:
        client = RemotePolicy(address.url("ws"), timeout=1.0, lost="hold")
        runner = RealTimeRunner(client, Chunking(), 50.0, dim=3)
        assert drive(runner, lambda hold: not hold)
    assert drive(runner, lambda hold: "unreachable" in hold or "stopping" in hold)
    with running(policy, serving):
        assert drive(runner, lambda hold: not hold)
        runner.close()
        client.close()


def drive(runner: RealTimeRunner, wanted: Callable[[str], bool]) -> bool:
    """Run until what the runner says of a hold is what is wanted."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        _, hold = runner.action(Observation({}, np.zeros(3, np.float32), "x"))
        if wanted(hold):
            return True
        time.sleep(0.02)
    return False
