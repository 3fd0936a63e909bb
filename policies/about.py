"""What a policy says of itself before it may move an arm: its rate, whose joints they are, its cameras.

One description for every policy: a trained one's is read off its checkpoint, others tell it (`about`), and a
served one's travels in the server's welcome. `policies.runtime.control.fit` holds it against the arm.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["About", "Body", "about_of"]


@dataclass(frozen=True)
class Body:
    """One robot's numbers; None or empty: it is not said. joints: names, in order. state_dim, action_dim:
    numbers of a state, 0 if the policy is shown none, and of an action."""

    joints: tuple[str, ...] = ()
    state_dim: int | None = None
    action_dim: int | None = None


@dataclass(frozen=True)
class About:
    """hz: control steps a second; None: it is not said. bodies: by the name of the robot, ``""`` for a policy
    of one that has no name. cameras: those it looks through, and the (height, width) in pixels to which it
    resizes each one's picture; None: that is not said.
    """

    hz: float | None = None
    bodies: Mapping[str, Body] = field(default_factory=dict)
    cameras: Mapping[str, tuple[int, int] | None] = field(default_factory=dict)

    @property
    def robots(self) -> tuple[str, ...]:
        """The robots' names; none where it does not say."""
        return tuple(name for name in self.bodies if name)

    def body(self, robot: str) -> Body:
        """That of `robot`, or of the only one; where there is none, one that says nothing."""
        if not robot and len(self.bodies) == 1:
            return next(iter(self.bodies.values()))
        return self.bodies.get("") or self.bodies.get(robot) or Body()

    @classmethod
    def read(cls, raw: Any) -> "About":
        """From plain maps and lists, as ``dataclasses.asdict`` makes them. Raises ValueError, without more
        words, where they are something else."""
        raw, none = _map(raw), {"joints": (), "state_dim": None, "action_dim": None}
        bodies = {}
        for name, each in _map(raw.get("bodies", {})).items():
            told = none | dict(_map(each))
            bodies[name] = Body(
                _names(told["joints"]), _number(told["state_dim"]), _number(told["action_dim"])
            )
        cameras = {name: _size(each) for name, each in _map(raw.get("cameras", {})).items()}
        hz = raw.get("hz")
        if hz is not None and not (_is_number(hz, float) and 0 < hz < 1e6):
            raise ValueError
        return cls(None if hz is None else float(hz), bodies, cameras)


def about_of(policy: Any) -> About:
    """Of a trained policy (`policies.vla.VLAPolicy`), or of any with an attribute ``about``: an `About`, or a
    mapping with some of hz, robots, joints, state_dim, action_dim and cameras (names)."""
    processor, about = getattr(policy, "processor", None), getattr(policy, "about", None)
    if processor is not None:
        return _trained(processor, getattr(policy, "_mask", frozenset()))
    if isinstance(about, About):
        return about
    if not isinstance(about, Mapping):
        return About()
    body = Body(tuple(about.get("joints", ())), about.get("state_dim"), about.get("action_dim"))
    robots = about.get("robots") or ("",)
    bodies = {} if body == Body() and robots == ("",) else dict.fromkeys(robots, body)
    return About(about.get("hz"), bodies, dict.fromkeys(about.get("cameras", ())))


def _trained(processor: Any, masked: frozenset[str]) -> About:
    takes_state = processor.config.state is not None
    sizes = {each.name: (each.size, each.size) for each in processor.config.image.cameras if each.size}
    bodies = {
        name: Body((), joints.state_dim if takes_state else 0, joints.action_dim)
        for name, joints in processor.joints.items()
    }
    seen = [camera for camera in processor.camera_names if camera not in masked]
    return About(processor.config.processor.control_hz, bodies, {name: sizes.get(name) for name in seen})


def _map(raw: Any) -> Mapping[str, Any]:
    if dataclasses.is_dataclass(raw) or not isinstance(raw, Mapping) or not all(map(_is_text, raw)):
        raise ValueError
    return raw


def _names(raw: Any) -> tuple[str, ...]:
    if not isinstance(raw, Sequence) or not all(map(_is_text, raw)) or _is_text(raw):
        raise ValueError
    return tuple(raw)


def _number(raw: Any) -> int | None:
    if raw is not None and not (_is_number(raw) and raw >= 0):
        raise ValueError
    return None if raw is None else int(raw)


def _size(raw: Any) -> tuple[int, int] | None:
    if raw is None:
        return None
    if not isinstance(raw, Sequence) or len(raw) != 2 or not all(map(_is_number, raw)):
        raise ValueError
    return int(raw[0]), int(raw[1])


def _is_text(raw: Any) -> bool:
    return isinstance(raw, str)


def _is_number(raw: Any, *more: type) -> bool:
    return isinstance(raw, (int, *more)) and not isinstance(raw, bool)
