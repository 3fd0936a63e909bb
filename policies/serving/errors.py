"""What a server refuses, and what a client may meet: one type each, one line each, the same on both sides.

`kind` is the name on the wire and in the metrics. `status` is HTTP's. `passing` says that the same request
may succeed a little later: a robot holds and asks again.
"""

from typing import ClassVar

from vla.errors import BadInput

__all__ = [
    "KINDS",
    "BadObservation",
    "Held",
    "Late",
    "Malformed",
    "Overloaded",
    "PolicyFailed",
    "ProtocolVersion",
    "Refusal",
    "Stopping",
    "TooLarge",
    "Unauthorised",
    "UnknownSession",
    "Unreachable",
    "line_of",
    "refusal",
]


class Refusal(BadInput):
    """A request that gets no chunk; the one line says why, and what would be right."""

    kind: ClassVar[str] = "refused"
    status: ClassVar[int] = 400
    passing: ClassVar[bool] = False
    counted: bool = False  # in the metrics, once


class Overloaded(Refusal):
    """Too many sessions or too many requests wait already; nothing was queued."""

    kind, status, passing = "overloaded", 503, True


class Late(Refusal):
    """No answer within the time that the request gives it."""

    kind, status, passing = "late", 504, True


class Stopping(Refusal):
    """The server answers what it has accepted and then ends."""

    kind, status, passing = "stopping", 503, True


class Held(Refusal):
    """The policy has no plan now (`ActionChunk.hold`), said in protocols that have no word for it."""

    kind, status, passing = "hold", 503, True


class BadObservation(Refusal):
    """The message is well formed, but not an observation that this policy can be shown."""

    kind, status = "bad_observation", 422


class Malformed(Refusal):
    """The message is not of its protocol."""

    kind, status = "malformed", 400


class TooLarge(Refusal):
    """The message, or a picture in it, is larger than the server reads."""

    kind, status = "too_large", 413


class Unauthorised(Refusal):
    """The token is missing or wrong."""

    kind, status = "unauthorised", 401


class UnknownSession(Refusal):
    """The session was ended, or was never there."""

    kind, status = "unknown_session", 404


class ProtocolVersion(Refusal):
    """The client speaks another version."""

    kind, status = "protocol_version", 400


class PolicyFailed(Refusal):
    """The policy itself raised something that no observation should make it raise."""

    kind, status = "policy_failed", 500


class Unreachable(Refusal):
    """A client's own: the server is not there, or the connection was lost."""

    kind, passing = "unreachable", True


KINDS: dict[str, type[Refusal]] = {
    each.kind: each
    for each in (
        Overloaded, Late, Stopping, Held, BadObservation, Malformed, TooLarge, Unauthorised, UnknownSession,
        ProtocolVersion, PolicyFailed, Unreachable,
    )
}  # fmt: skip


_LINE = 400
"""Characters of a line that are told: it may quote what came, and that may be long."""


def line_of(error: BaseException) -> str:
    """What is wrong, in one line of bearable length: control characters and line breaks are spaces."""
    text = " ".join("".join(c if c.isprintable() else " " for c in str(error)).split())
    return text if len(text) <= _LINE else f"{text[: _LINE // 2 - 2]} ... {text[-(_LINE // 2 - 3) :]}"


def refusal(kind: str, line: str) -> Refusal:
    """The error that a server told of; of a kind that is not known here: a plain Refusal."""
    return KINDS.get(kind, Refusal)(line)
