"""Our own messages between a policy server and `policies.remote`: the nouns of `vla.interfaces`, whole.

msgpack maps over a WebSocket, one answer to each question, in order; each question carries an ``id`` that its
answer repeats. A client has *lanes*, one for each of its environments; the server keeps a session for each.

    -> {type: hello, version: 1, client: str}           <- {type: welcome, version: 1, policy: {...}}
    -> {type: begin, id, lane, seed: int | None}        <- {type: done, id}
    -> {type: observe, id, lanes, observations}         <- {type: done, id}
    -> {type: act, id, lanes, observations,             <- {type: chunks, id, chunks: [chunk | refused, ...]}
        in_flight: [plan | None, ...], seconds: float}
    -> {type: end, id, lane}                            <- {type: done, id}
    anything that cannot be answered                    <- {type: refused, id | None, kind, line}

An observation has LeRobot's keys (`Observation.to_dict`). A chunk that holds travels as one that holds.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from policies.about import About, Body
from policies.serving.errors import Malformed, Refusal, line_of, refusal
from vla.errors import BadInput
from vla.interfaces import ActionChunk, InFlight, Observation

__all__ = [
    "PATH",
    "VERSION",
    "Facts",
    "chunk_from",
    "chunk_to",
    "observation_from",
    "plan_from",
    "plan_to",
    "refused_from",
    "refused_to",
]

VERSION = 1
PATH = "/vla"
"""Where on the server this protocol is spoken."""


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a client learns of the policy. execute: steps of a chunk it likes to be run. watching, continues:
    as in `policies.base`. cameras: that it looks through; empty where it does not say. dim: numbers an action
    has; 0 where it does not say, or has several robots. about: its rate, its robots, its cameras' sizes.
    """

    name: str
    horizon: int
    execute: int
    watching: bool = False
    continues: bool = False
    cameras: tuple[str, ...] = ()
    dim: int = 0
    about: About = dataclasses.field(default_factory=About)

    @classmethod
    def read(cls, raw: Any) -> "Facts":
        """From a welcome; what this client does not know is passed over. Raises Malformed."""
        try:
            steps = [raw["horizon"], raw["execute"], raw.get("dim", 0)]
            cameras = tuple(map(str, raw.get("cameras", ())))
            if "about" in raw:
                about = About.read(raw["about"])
            else:  # a server from before that was told
                bodies = {"": Body(action_dim=steps[2])} if steps[2] else {}
                about = About(None, bodies, dict.fromkeys(cameras))
            if not all(isinstance(each, int) for each in steps) or min(steps) < 0:
                raise ValueError
            watching, continues = raw.get("watching") is True, raw.get("continues") is True
            return cls(str(raw["name"]), steps[0], steps[1], watching, continues, cameras, steps[2], about)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise Malformed("the server's welcome does not say what its policy is") from None


def observation_from(raw: Any) -> Observation:
    """From LeRobot's keys. Raises Malformed or BadInput."""
    if not isinstance(raw, Mapping):
        raise Malformed(f"an observation must be a map, not {type(raw).__name__}")
    return Observation.from_dict(raw)


def plan_to(plan: InFlight | None) -> dict[str, Any] | None:
    """A plan in flight as plain fields."""
    if plan is None:
        return None
    return {"actions": _single(plan.actions), "delay": int(plan.delay), "weights": _single(plan.weights)}


def plan_from(raw: Any) -> InFlight | None:
    """The other way. Raises Malformed or BadInput."""
    if raw is None:
        return None
    fields = _map(raw, "a plan in flight")
    actions, delay, weights = (fields.get(key) for key in ("actions", "delay", "weights"))
    if not isinstance(delay, int) or not _floats(actions, 2) or not _floats(weights, 1):
        raise Malformed("a plan in flight needs actions [n, dim], delay (a whole number) and weights [n]")
    assert actions is not None
    plan = InFlight(actions, delay, weights)  # type: ignore[arg-type]
    plan.validate(actions.shape[1])
    return plan


def chunk_to(chunk: ActionChunk) -> dict[str, Any]:
    """A chunk as plain fields; what is not there is left out."""
    fields = {field.name: getattr(chunk, field.name) for field in dataclasses.fields(chunk)}
    fields["info"] = dict(chunk.info)
    return {
        key: value for key, value in fields.items() if not (value is None or (key == "hold" and not value))
    }


def chunk_from(raw: Any) -> ActionChunk:
    """The other way. Raises Malformed where it is none; a chunk that is not finite must not be run."""
    fields = dict(_map(raw, "a chunk"))
    unknown = set(fields) - {field.name for field in dataclasses.fields(ActionChunk)}
    if unknown:
        raise Malformed(f"a chunk has no '{min(unknown)}'")
    if not _floats(fields.get("actions"), 2) or not np.isfinite(fields["actions"]).all():
        raise Malformed("a chunk's actions must be finite numbers [steps, dim]")
    if not isinstance(fields.get("hold", ""), str) or not isinstance(fields.get("info", {}), Mapping):
        raise Malformed("a chunk's hold must be text and its info a map")
    rows = len(fields["actions"])
    for key, shape in (("timestamps", (rows,)), ("uncertainty", fields["actions"].shape)):
        if key in fields and np.shape(fields[key]) != shape:
            raise Malformed(
                f"a chunk's {key} must have shape {list(shape)}, not {list(np.shape(fields[key]))}"
            )
    if fields.get("hold") and rows:
        raise Malformed("a chunk that holds has no actions")
    return ActionChunk(**fields)


def refused_to(error: BadInput) -> dict[str, Any]:
    """A refusal as plain fields."""
    kind = error.kind if isinstance(error, Refusal) else "bad_observation"
    return {"type": "refused", "kind": kind, "line": line_of(error)}


def refused_from(raw: Mapping[str, Any]) -> Refusal:
    """The other way."""
    return refusal(str(raw.get("kind")), str(raw.get("line")))


def _map(raw: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping) or not all(isinstance(key, str) for key in raw):
        raise Malformed(f"{what} must be a map with names, not {type(raw).__name__}")
    return raw


def _floats(values: Any, axes: int) -> bool:
    return isinstance(values, np.ndarray) and values.ndim == axes and values.dtype.kind == "f"


def _single(values: Any) -> Any:
    return np.asarray(values, np.float32)
