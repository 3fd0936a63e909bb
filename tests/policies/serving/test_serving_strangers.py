"""What strangers send to a real policy: one line and a type each, no traceback, and then it serves on."""

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from served import TOKEN, limits, settings
from speaking import Speaker
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from policies.remote import RemotePolicy
from policies.runtime.benchmark.dialects import PATHS, PROTOCOLS, Protocol, say
from policies.serving import errors
from policies.serving.arrays import pack, unpack
from policies.serving.errors import line_of
from policies.serving.options import Serving
from policies.serving.server import Address, running
from vla.interfaces import Observation

pytest.importorskip("uvicorn")
protocols = pytest.mark.parametrize("protocol", PROTOCOLS)

SIDE = 96
GOOD = Observation(
    {name: np.full((SIDE, SIDE, 3), 90, np.uint8) for name in ("front", "wrist")},
    np.array([0, -50, 50, 50, 0, 20], np.float32),
    "pick up the red cube",
)


@pytest.fixture(scope="module")
def policy() -> Any:
    torch = pytest.importorskip("torch")
    from policies import load

    torch.set_num_threads(1)
    return load("tabletop-small")


@pytest.fixture(scope="module")
def address(policy: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    token = tmp_path_factory.mktemp("token") / "token"
    token.write_text(TOKEN)
    serving = settings(token_file=token, limits=limits(message_bytes=2**21))
    with running(policy, serving) as found:
        yield found


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Nobody's mistake is an error of the server's, or prints a traceback."""
    caplog.set_level(logging.WARNING, "httpx")  # its chat, to a stream that another test has closed
    yield
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == []
    assert "Traceback" not in "".join(capfd.readouterr())


def wrong() -> dict[str, tuple[dict[str, Any], str, str]]:
    """What is wrong -> (the change, the kind, a part of the line)."""
    front, wrist = GOOD.images["front"], GOOD.images["wrist"]

    def shown(picture: Any) -> dict[str, Any]:
        return {"images": {"front": picture, "wrist": wrist}}

    bad = "bad_observation"
    return {
        "floats": (shown(front / np.float32(255)), bad, "uint8"),
        "grey": (shown(front[..., 0]), bad, "[height, width, 3]"),
        "four colours": (shown(np.zeros((SIDE, SIDE, 4), np.uint8)), bad, "[height, width, 3]"),
        "no pixels": (shown(np.zeros((0, 0, 3), np.uint8)), bad, "[height, width, 3]"),
        "too small": (shown(front[:2, :2]), bad, "2 x 2 pixels"),
        "a missing camera": ({"images": {"wrist": wrist}}, bad, "missing"),
        "NaN": ({"state": np.full(6, np.nan, np.float32)}, bad, "not finite"),
        "one NaN": ({"state": np.array([0, 0, np.inf, 0, 0, 0], np.float32)}, bad, "not finite"),
        "five joints": ({"state": GOOD.state[:5]}, bad, "has 5 numbers, the model wants 6"),
        "100 kB": ({"task": "red " * 25_000}, bad, "at most 2000"),
        "100 kB in a word": ({"task": "x" * 100_000}, bad, "at most 2000"),
        "a long word": ({"task": "x" * 1999}, bad, "unknown word"),
        "Chinese": ({"task": "拿起红色方块"}, bad, "unknown word '拿起红色方块'"),
        "French": ({"task": "prends le cube rouge"}, bad, "unknown word 'prends'"),
        "control characters": ({"task": "pick up\x00\x1b[2J\nthe red cube"}, bad, "unknown word"),
    }


@protocols
def test_each_mistake_is_told_in_one_line_and_the_next_question_is_answered(
    address: Address, protocol: Protocol
) -> None:
    with Speaker(address, protocol, TOKEN) as speaker:
        for name, (change, kind, part) in wrong().items():
            heard = speaker.raw(say(protocol, replace(GOOD, **change), 1))
            assert heard.first is None and heard.kind == kind and part in heard.line, (name, heard)
            assert len(heard.line) <= 430 and heard.line.isprintable(), name
        assert speaker.ask(GOOD, 9).first is not None


@protocols
@pytest.mark.parametrize("token", ["", "wrong" * 4, TOKEN[:-1]])
def test_a_wrong_token(address: Address, protocol: Protocol, token: str) -> None:
    if protocol == "rest":
        with Speaker(address, protocol, token) as speaker:
            assert speaker.raw(say(protocol, GOOD, 1)).kind == "unauthorised"
        return
    with pytest.raises(InvalidStatus) as error:
        Speaker(address, protocol, token)
    told = json.loads(error.value.response.body)["error"]
    assert told["kind"] == "unauthorised" and "token" in told["line"]


@protocols
def test_bytes_that_are_no_message(address: Address, protocol: Protocol) -> None:
    good = say(protocol, GOOD, 1)
    noise = [
        b"\xc1\xff\x00",
        good[: len(good) // 2],
        b"\x93\x01\x02\x03",
        b"{" * 5000,
        b"\xff\xfe{}",
        b"null",
    ]
    noise += [b'{"a": ' + b"9" * 5000 + b"}", b'{"state": NaN}', b"\xdd\xff\xff\xff\xff"]
    with Speaker(address, protocol, TOKEN) as speaker:
        for data in noise:
            heard = speaker.raw(data)
            assert heard.first is None and heard.kind == "malformed", (data[:20], heard)
            assert heard.line and len(heard.line) <= 430
        assert speaker.ask(GOOD, 9).first is not None


@pytest.mark.parametrize("version", [0, 2, "1", None, 10**12, [1], 1.5])
@pytest.mark.parametrize("protocol", ["native", "vla_eval"])
def test_an_unknown_version(address: Address, protocol: Protocol, version: Any) -> None:
    hello: dict[str, Any] = {"type": "hello", "version": version, "id": 1}
    if protocol == "vla_eval":
        hello = {"type": "hello", "payload": {"protocol_version": version}, "seq": 1, "timestamp": 0.0}
    headers = {"Authorization": f"Bearer {TOKEN}"}
    url = address.url("ws", PATHS[protocol])
    with connect(url, additional_headers=headers, proxy=None, close_timeout=1) as line:
        line.send(pack(hello))
        said = unpack(line.recv(10))
        told = said.get("payload", said)
        assert told["kind"] == "protocol_version" and "this server version 1" in str(told)
        with pytest.raises(ConnectionClosed):
            line.recv(10)


def test_our_own_client_raises_the_type_and_one_line(address: Address) -> None:
    with RemotePolicy(address.url("ws"), TOKEN) as client:
        assert client.act([GOOD], [0])[0].valid
        for change, line in [
            ({"task": "拿起红色方块"}, "unknown word"),
            ({"task": "x" * 100_000}, "at most 2000"),
            ({"state": GOOD.state[:5]}, "the model wants 6"),
            ({"images": {"frnt": GOOD.images["front"], "wrist": GOOD.images["wrist"]}}, "misspelt"),
        ]:
            with pytest.raises(errors.BadObservation, match=line) as error:
                client.act([replace(GOOD, **change)], [0])  # type: ignore[arg-type]
            assert "\n" not in str(error.value) and len(str(error.value)) <= 430
        large = replace(GOOD, images={name: np.zeros((900, 900, 3), np.uint8) for name in GOOD.images})
        with pytest.raises(errors.TooLarge, match="larger than the server reads"):
            client.act([large], [0])
        more = replace(GOOD, images={**GOOD.images, "top": GOOD.images["front"]})
        assert client.act([more], [0])[0].valid  # an arm may have more cameras than the policy looks through


def test_a_camera_may_be_missing_where_the_server_was_told_so(policy: Any, tmp_path: Path) -> None:
    blind = replace(GOOD, images={"wrist": GOOD.images["wrist"]})
    for optional, kind in (((), errors.BadObservation), (("front",), None), (("*",), None)):
        serving = Serving(port=0, optional_cameras=optional)
        with running(policy, serving) as place, RemotePolicy(place.url("ws")) as client:
            if kind is None:
                assert client.act([blind], [0])[0].info["missing"] == ["front"]
            else:
                with pytest.raises(
                    kind, match="camera 'front' is missing; came: 'wrist'; needed: 'front', 'wrist'"
                ):
                    client.act([blind], [0])


@given(text=st.text(max_size=2000))
def test_a_line_is_one_line_and_not_long(text: str) -> None:
    line = line_of(ValueError(text))
    assert len(line) <= 400 and (not line or line.isprintable())
    words = "".join(c if c.isprintable() else " " for c in text).split()
    assert len(" ".join(words)) > 400 or line == " ".join(words)
