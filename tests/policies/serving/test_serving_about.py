"""What a policy says of itself reaches a robot over the network as it would from the same process."""

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.about import About, Body, about_of
from policies.remote import RemotePolicy
from policies.runtime.control.fit import check_fit, facts_of, rates
from policies.runtime.deployment import PolicySource
from policies.serving.echo import EchoPolicy
from policies.serving.errors import Malformed
from policies.serving.options import Serving
from policies.serving.protocol import Facts
from policies.serving.server import running
from vla.arm import ArmSpec, Joint
from vla.errors import BadInput

pytest.importorskip("uvicorn")

NAMES = ("pan", "lift", "grip")
JOINTS = tuple(Joint(name, "deg", -180, 180, 1e4, 1e5, 1e6, name == "grip") for name in NAMES)
SPEC = ArmSpec("so101", JOINTS, 50.0, ("front", "wrist"))

NUMBERS = st.none() | st.integers(0, 99)
BODIES = st.builds(Body, st.lists(st.text(max_size=5), max_size=3).map(tuple), NUMBERS, NUMBERS)
SIZES = st.none() | st.tuples(st.integers(1, 999), st.integers(1, 999))
ABOUTS = st.builds(
    About,
    st.none() | st.floats(0.5, 1000.0),
    st.dictionaries(st.text(max_size=5), BODIES, max_size=3),
    st.dictionaries(st.text(max_size=5), SIZES, max_size=3),
)


class Told(EchoPolicy):
    """Echoes, and tells of itself what it was given."""

    def __init__(self, **about: Any) -> None:
        super().__init__()
        self.about = about


@contextmanager
def remote(policy: Any) -> Iterator[RemotePolicy]:
    with running(policy, Serving(port=0)) as address, RemotePolicy(address.url("ws")) as found:
        yield found


@given(about=ABOUTS)
def test_it_is_read_as_it_was_told(about: About) -> None:
    facts = Facts("p", 4, 2, dim=3, about=about)
    assert Facts.read(json.loads(json.dumps(dataclasses.asdict(facts)))) == facts


TREES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(where=st.sampled_from(["name", "horizon", "about", "bodies", "cameras", "hz", "body"]), what=TREES)
def test_a_welcome_of_nonsense_is_malformed_and_nothing_worse(where: str, what: Any) -> None:
    raw: dict[str, Any] = dataclasses.asdict(
        Facts("p", 4, 2, about=About(20.0, {"": Body()}, {"front": None}))
    )
    if where in raw:
        raw[where] = what
    elif where == "body":
        raw["about"]["bodies"][""] = what
    else:
        raw["about"][where] = what
    try:
        Facts.read(raw)
    except Malformed as error:
        assert "\n" not in str(error)


def test_a_served_policy_is_held_against_the_arm_as_a_local_one() -> None:
    good = {"hz": 20.0, "robots": ("so101",), "joints": NAMES, "state_dim": 3, "action_dim": 3}
    local = Told(**good, cameras=("front",))
    with remote(local) as policy:
        assert facts_of(policy, "so101") == facts_of(local, "so101")
        assert policy.about == about_of(local) and policy.cameras == ("front",)
        check_fit(policy, SPEC)
        assert rates(policy, SPEC, None, None) == (50.0, 20.0)  # nobody had to give policy_hz
    misfits: list[tuple[dict[str, Any], str]] = [
        ({"robots": ("fr3",)}, "trained for another robot than 'so101'"),
        ({"joints": ("lift", "pan", "grip")}, "in another order"),
        ({"state_dim": 7}, "wants a state of 7 numbers"),
        ({"action_dim": 7}, "moves 7 joints"),
        ({"cameras": ("top",)}, "looks through the camera 'top'"),
    ]
    for wrong, line in misfits:
        with remote(Told(**good | wrong)) as policy, pytest.raises(BadInput, match=line):
            check_fit(policy, SPEC)


def test_a_policy_of_several_robots_tells_each_ones_numbers() -> None:
    bodies = {"so101": Body(NAMES, 3, 3), "fr3": Body((), 8, 8)}
    with remote(Several(About(20.0, bodies))) as policy:
        check_fit(policy, SPEC)
        assert facts_of(policy, "fr3").action_dim == 8
        with pytest.raises(BadInput, match="another robot than 'other'"):
            check_fit(policy, dataclasses.replace(SPEC, robot="other"))


class Several(EchoPolicy):
    def __init__(self, about: About) -> None:
        super().__init__()
        self.about = about


def test_an_older_server_works_and_what_it_does_not_say_is_asked_for() -> None:
    old = {"name": "p", "horizon": 4, "execute": 4, "watching": False, "continues": False}
    facts = Facts.read(old | {"cameras": ["front"], "dim": 3})
    policy: Any = SimpleNamespace(name="p", about=facts.about)
    check_fit(policy, SPEC)
    with pytest.raises(BadInput, match=r"does not say how many .* give .*control\.policy_hz=HZ"):
        rates(policy, SPEC, None, None)
    assert rates(policy, SPEC, None, 20.0) == (50.0, 20.0)
    with pytest.raises(BadInput, match="moves 5 joints"):
        check_fit(SimpleNamespace(name="p", about=Facts.read(old | {"dim": 5}).about), SPEC)  # type: ignore[arg-type]


def test_an_address_as_the_policy_is_told_where_it_belongs() -> None:
    with pytest.raises(BadInput, match="give it as server=wss://gpu-box:8000"):
        PolicySource(policy="wss://gpu-box:8000")


def test_the_shipped_policy_tells_its_rate_numbers_and_pictures() -> None:
    torch = pytest.importorskip("torch")
    from policies import load

    torch.set_num_threads(1)
    said = about_of(load("tabletop-small"))
    assert said.hz == 20.0 and said.body("any") == Body((), 6, 6)
    assert list(said.cameras) == ["front", "wrist"] and all(np.prod(size) for size in said.cameras.values())
