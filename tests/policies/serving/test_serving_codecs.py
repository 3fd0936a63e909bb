"""Every codec over a real socket: what arrives is what was sent; what is wrong gets a typed line."""

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import json_numpy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image
from served import EVAL, OPENPI, REST, Gated, limits, seen, settings
from speaking import Speaker
from websockets.exceptions import ConnectionClosed

from policies.runtime.benchmark.dialects import PROTOCOLS, Protocol, say
from policies.serving.arrays import pack, unpack
from policies.serving.echo import EchoPolicy, echo
from policies.serving.errors import BadObservation, Malformed, Refusal, TooLarge
from policies.serving.keys import check_keys, observe
from policies.serving.options import Keys
from policies.serving.protocol import Facts
from policies.serving.server import Address, running
from policies.serving.vla_eval import picture
from vla.errors import BadInput, UndecodableChunk
from vla.interfaces import Observation

GOOD = seen(5)
protocols = pytest.mark.parametrize("protocol", PROTOCOLS)


@pytest.fixture(scope="module")
def address() -> Iterator[Address]:
    with running(EchoPolicy(), settings(limits=limits(message_bytes=2**18, pixels=5000))) as found:
        yield found


PICTURES = npst.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))
OBSERVATIONS = st.builds(
    Observation,
    st.fixed_dictionaries({"front": PICTURES, "wrist": PICTURES}),
    npst.arrays(np.float32, st.integers(1, 8), elements=st.floats(-1e6, 1e6, width=32)),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=30),
)


@protocols
def test_pictures_numbers_and_sentences_arrive_as_sent(address: Address, protocol: Protocol) -> None:
    with Speaker(address, protocol) as speaker:

        @examples(max_examples=25)
        @given(o=OBSERVATIONS, number=st.integers(1, 2**31))
        def holds(o: Observation, number: int) -> None:
            assert np.array_equal(speaker.ask(o, number).first, echo(o))

        holds()


def wrong(protocol: Protocol) -> dict[str, tuple[bytes | str, str]]:
    """What is wrong in one thing -> (the message, the kind of refusal)."""

    def said(**changes: Any) -> bytes:
        return say(protocol, replace(GOOD, **changes), 1)

    front, wrist = GOOD.images["front"], GOOD.images["wrist"]
    out: dict[str, tuple[bytes | str, str]] = {
        "noise": (bytes(range(256)), "malformed"),
        "cut": (said()[:-7], "malformed"),
        "a list": (b"[1]" if protocol == "rest" else b"\x91\x01", "malformed"),
        "not finite": (said(state=np.array([1, np.nan], np.float32)), "bad_observation"),
        "state of two axes": (said(state=np.zeros((2, 2), np.float32)), "bad_observation"),
        "floats for a picture": (said(images={"front": front / 255.0, "wrist": wrist}), "bad_observation"),
        "a flat picture": (said(images={"front": front[..., 0], "wrist": wrist}), "bad_observation"),
        "four colours": (said(images={"front": np.zeros((4, 4, 4), np.uint8)}), "bad_observation"),
        "no pixels": (
            said(images={"front": np.zeros((0, 4, 3), np.uint8), "wrist": wrist}),
            "bad_observation",
        ),
        "many pixels": (
            said(images={"front": np.zeros((1, 5001, 3), np.uint8), "wrist": wrist}),
            "too_large",
        ),
    }
    if protocol != "rest":
        out["text"] = ("hello", "malformed")
        out["empty"] = (b"", "malformed")
    if protocol != "native":  # which hands an empty sentence to the policy
        out["no sentence"] = (said(task=""), "bad_observation")
        out["a long sentence"] = (said(task="touch " * 1000), "bad_observation")
        out["no front"] = (said(images={"wrist": wrist}), "bad_observation")
    return out


@protocols
def test_what_is_wrong_gets_its_kind_and_one_line_and_the_next_is_answered(
    address: Address, protocol: Protocol
) -> None:
    with Speaker(address, protocol) as speaker:
        for name, (data, kind) in wrong(protocol).items():
            heard = speaker.raw(data)
            assert heard.first is None and heard.kind == kind, (name, heard)
            assert heard.line and "\n" not in heard.line and len(heard.line) < 400, name
            assert np.array_equal(speaker.ask(GOOD, 9).first, echo(GOOD)), name


@protocols
def test_random_and_damaged_bytes_never_stall_or_crash(address: Address, protocol: Protocol) -> None:
    good = say(protocol, GOOD, 1)

    def damaged(cut: int, flips: list[int]) -> bytes:
        data = bytearray(good[: cut or None])
        for flip in flips:
            data[flip % len(data)] ^= 1 << flip % 8
        return bytes(data)

    bytes_of = st.binary(min_size=1, max_size=200) | st.builds(
        damaged, st.integers(0, len(good) - 1), st.lists(st.integers(0, 10**6), max_size=3)
    )
    with Speaker(address, protocol) as speaker:

        @examples(max_examples=60)
        @given(data=bytes_of)
        def holds(data: bytes) -> None:
            heard = speaker.raw(data)  # an answer comes to everything, within the time-out
            assert heard.first is not None or heard.kind
            if heard.first is not None:
                assert np.isfinite(heard.first).all()

        holds()
        assert np.array_equal(speaker.ask(GOOD, 9).first, echo(GOOD))


@protocols
def test_a_large_message_is_not_read(address: Address, protocol: Protocol) -> None:
    with Speaker(address, protocol) as speaker:
        large = b"\x81\xa1x\xc6\x00\x10\x00\x00" + bytes(2**20)
        if protocol == "rest":
            assert speaker.raw(large).kind == "too_large"
            parts = (bytes(2**16) for _ in range(16))  # of no length that is told
            assert speaker.http.post("/act", content=parts).status_code == 413
        else:
            with pytest.raises(ConnectionClosed) as error:
                speaker.raw(large)
            assert error.value.rcvd is not None and error.value.rcvd.code == 1009
    with Speaker(address, protocol) as speaker:
        assert np.array_equal(speaker.ask(GOOD).first, echo(GOOD))


@protocols
def test_a_policy_that_cannot_decode_is_a_typed_hold(protocol: Protocol) -> None:
    policy = Gated(free=True)
    policy.faults["codes"] = UndecodableChunk("token 7 stands for nothing")
    policy.faults["broken"] = RuntimeError("boom")
    policy.spoilt["nan"] = np.nan
    with running(policy, settings()) as address, Speaker(address, protocol) as speaker:
        for task, kind, line in (
            ("codes", "hold", "token 7 stands for nothing"),
            ("nan", "hold", "not finite"),
            ("broken", "policy_failed", "RuntimeError"),
        ):
            heard = speaker.ask(replace(GOOD, task=task))
            assert heard.first is None and heard.kind == kind and line in heard.line
        assert np.array_equal(speaker.ask(GOOD).first, echo(GOOD))


def test_vla_eval_gets_one_row_an_observation_and_never_an_old_episodes(address: Address) -> None:
    with Speaker(address, "vla_eval") as speaker:
        speaker.ask(seen(1))
        for step in range(1, 4):  # EchoPolicy's chunks have four rows
            heard = speaker.raw(say("vla_eval", seen(2), step))
            assert np.array_equal(heard.first, echo(seen(1)) + step)
        assert np.array_equal(speaker.raw(say("vla_eval", seen(2), 5)).first, echo(seen(2)))
        other = seen(3, "lift the ball")  # another sentence is another plan
        assert np.array_equal(speaker.raw(say("vla_eval", other, 6)).first, echo(other))
        assert np.array_equal(speaker.ask(seen(4)).first, echo(seen(4)))  # a new episode


def test_vla_evals_versions_and_frames(address: Address) -> None:
    with Speaker(address, "vla_eval") as speaker:
        hello = unpack(speaker.greeted[0])  # type: ignore[arg-type]
        assert hello["payload"]["model_server"] == "echo" and hello["payload"]["protocol_version"] == 1
        assert speaker.raw(pack({"type": "act", "payload": {}, "seq": 3, "timestamp": 0})).number == 3
        assert "missing: payload" in speaker.raw(pack({"type": "hello", "seq": 3, "timestamp": 0})).line
        speaker.line.send(
            pack({"type": "hello", "payload": {"protocol_version": 2}, "seq": 4, "timestamp": 0})
        )
        refused = unpack(speaker.line.recv(10))  # type: ignore[arg-type]
        assert refused["type"] == "error" and refused["payload"]["kind"] == "protocol_version"
        with pytest.raises(ConnectionClosed):
            speaker.line.recv(10)


def png(image: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return out.getvalue()


def test_compressed_pictures_are_measured_before_they_are_unfolded() -> None:
    image = seen(1).images["front"]
    good = {"__image__": True, "format": "png", "data": png(image), "shape": list(image.shape)}
    assert np.array_equal(picture(good, 5000), image)
    bomb = png(np.zeros((3000, 3000, 3), np.uint8))
    for changes, wanted in (
        ({"shape": [3000, 3000, 3], "data": bomb}, TooLarge),
        ({"data": bomb}, TooLarge),  # it says it is small
        ({"data": png(image)[:40]}, Malformed),
        ({"data": b"GIF89a"}, Malformed),
        ({"format": "gif"}, Malformed),
        ({"shape": [8, -8, 3]}, Malformed),
        ({"format": "raw", "dtype": "|O"}, Malformed),
    ):
        with pytest.raises(wanted):
            picture(good | changes, 5000)


def test_openvlas_client_with_and_without_double_encoding(address: Address) -> None:
    image = {"image": GOOD.images["front"], "instruction": "touch", "state": GOOD.state}
    url, wanted = (
        address.url("http", "/act"),
        echo(Observation({"front": image["image"]}, GOOD.state, "touch")),
    )
    once = httpx.post(url, content=json_numpy.dumps(image), trust_env=False)
    assert np.array_equal(json_numpy.loads(once.text), wanted)
    twice = httpx.post(url, content=json.dumps({"encoded": json_numpy.dumps(image)}), trust_env=False)
    assert np.array_equal(json_numpy.loads(json.loads(twice.text)), wanted)
    other = httpx.post(url, content=json_numpy.dumps(image | {"unnorm_key": "bridge_orig"}), trust_env=False)
    assert other.status_code == 422 and "'bridge_orig' is not known" in other.json()["error"]["line"]
    own = settings(rest=replace(REST, unnorm_keys=("bridge_orig",), answer="chunk"))
    with running(EchoPolicy(), own) as whole:
        reply = httpx.post(
            whole.url("http", "/act"),
            content=json_numpy.dumps(image | {"unnorm_key": "bridge_orig"}),
            trust_env=False,
        )
        assert json_numpy.loads(reply.text).shape == (4, 5)


def test_the_address_without_a_path_is_whose_it_is_told_to_be() -> None:
    from websockets.sync.client import connect

    for root, first in (("openpi", True), ("vla_eval", False)):
        serving = settings(root=root)
        with running(EchoPolicy(), serving) as address, connect(address.url("ws"), proxy=None) as line:
            try:
                assert unpack(line.recv(10 if first else 0.2))["policy"] == "echo" and first  # type: ignore[arg-type]
            except TimeoutError:
                assert not first


# -- names --------------------------------------------------------------------------------------------


def test_names_that_came_and_names_that_are_needed_are_told_in_one_line() -> None:
    raw = {"observation": {"image": GOOD.images["front"], "imaeg": 1}, "prompt": "touch"}
    with pytest.raises(BadObservation) as error:
        observe(raw, OPENPI)
    assert str(error.value) == (
        "unknown 'observation/imaeg', missing 'observation/state', 'observation/wrist_image'; came: "
        "'observation/imaeg', 'observation/image', 'prompt'; needed: 'observation/image', "
        "'observation/state', 'observation/wrist_image', 'prompt'"
    )


def test_nested_and_joined_names_are_the_same_and_what_is_ignored_may_come() -> None:
    keys = replace(OPENPI, ignore=("debug/*",), default_prompt="lift")
    raw = {
        "observation": {
            "image": GOOD.images["front"],
            "wrist_image": GOOD.images["wrist"],
            "state": [1, 2.5],
        },
        "debug/x": object(),
    }
    found = observe(raw, keys)
    assert found.task == "lift" and found.state.tolist() == [1, 2.5] and found.state.dtype == np.float32
    assert observe(raw, keys, "said before").task == "said before"


def test_states_are_joined_in_order_and_colours_may_stand_first() -> None:
    keys = Keys({"cam": "front"}, state=("joints", "gripper"), channels="first")
    image = GOOD.images["front"]
    raw = {"cam": image.transpose(2, 0, 1), "joints": np.arange(3.0), "gripper": 7, "prompt": "touch"}
    found = observe(raw, keys)
    assert np.array_equal(found.images["front"], image) and found.state.tolist() == [0, 1, 2, 7]
    with pytest.raises(BadObservation, match=r"uint8 picture \[3, height, width\], not uint8 \[8, 8, 3\]"):
        observe(raw | {"cam": image}, keys)


def test_settings_that_do_not_fit_the_policy_are_refused_at_the_start() -> None:
    facts = Facts("p", 4, 4, cameras=("front", "wrist"))
    check_keys(EVAL, facts, "vla_eval")
    with pytest.raises(BadInput, match=r"openpi.cameras: 'a' stands for 'frnt'.*did you mean 'front'"):
        check_keys(Keys({"a": "frnt"}), facts, "openpi")
    for bad in (
        {"cameras": {"a": "front", "b": "front"}},
        {"cameras": {"a": "front"}, "state": ("a",)},
        {"optional": ("x",)},
    ):
        with pytest.raises(BadInput):
            Keys(**bad)  # type: ignore[arg-type]


def test_every_refusal_has_a_name_and_a_status() -> None:
    from policies.serving.errors import KINDS, refusal

    for kind, cls in KINDS.items():
        assert cls.kind == kind and 400 <= cls.status < 600 and type(refusal(kind, "x")) is cls
    assert type(refusal("something new", "x")) is Refusal
