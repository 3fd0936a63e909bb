"""The server's settings (conf/serve.yaml), checked before anything heavy is loaded."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from vla.checks import at_least
from vla.errors import BadInput

__all__ = ["Keys", "Limits", "Rest", "Serving", "Tls", "VlaEval"]


@dataclass(frozen=True)
class Limits:
    """What is bounded, so that no client can take the server from the others.

    batch: observations that one call of the policy answers at the most. wait_ms: how long the first of a
    batch waits for others to join; never longer than until every client that has asked lately has asked
    again, so one alone never waits. waiting: requests that may wait in all; one_waiting: of one session.
    sessions: at a time. idle_s: silence after which a session is ended. answer_s: time for an answer, where
    the request gives none; send_s: time for a client to take it. message_bytes: of one message, checked
    before it is read. pixels: of one picture. stop_s: time to answer what was accepted when told to stop.
    """

    batch: int = 16
    wait_ms: float = 5.0
    waiting: int = 256
    one_waiting: int = 4
    sessions: int = 128
    idle_s: float = 600.0
    answer_s: float = 10.0
    send_s: float = 10.0
    message_bytes: int = 16 * 2**20
    pixels: int = 4_000_000
    stop_s: float = 10.0

    def __post_init__(self) -> None:
        at_least(self, 1, "batch", "waiting", "one_waiting", "sessions", "message_bytes", "pixels")
        at_least(self, 0, "wait_ms", "stop_s")
        at_least(self, 0.01, "idle_s", "answer_s", "send_s")


@dataclass(frozen=True)
class Keys:
    """How the names in a client's messages become an Observation. Names of nested maps are joined by ``/``.

    cameras: the client's name of a picture -> the policy's camera. optional: names of pictures that may be
    missing. state: names whose numbers, in this order, are the state; empty: none is read. prompt: the name
    of the sentence. ignore: names, with * and ?, of what may come and is not looked at; anything else that
    comes is refused, as a misspelt name would be a blind policy. channels: where a picture has its colours,
    ``last`` [height, width, 3] or ``first``. default_prompt: the sentence where none was ever sent.
    """

    cameras: Mapping[str, str] = field(default_factory=dict)
    optional: tuple[str, ...] = ()
    state: tuple[str, ...] = ()
    prompt: str = "prompt"
    ignore: tuple[str, ...] = ()
    channels: Literal["last", "first"] = "last"
    default_prompt: str = ""

    def __post_init__(self) -> None:
        for name in self.optional:
            if name not in self.cameras:
                raise BadInput(f"optional names '{name}', which cameras does not")
        names = [*self.cameras, *self.state, self.prompt]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise BadInput(f"'{twice[0]}' is named twice among cameras, state and prompt")
        cameras = list(self.cameras.values())
        for camera in cameras:
            if cameras.count(camera) > 1:
                raise BadInput(f"camera '{camera}' is given two of the client's pictures")


@dataclass(frozen=True)
class VlaEval(Keys):
    """As Keys. steps: rows of a chunk that are handed out, one an observation, before the policy is asked
    again; None: the policy's own choice. observation_params: what the benchmark is asked to send, see its
    own documentation (for instance ``send_wrist_image: true``).
    """

    steps: int | None = None
    observation_params: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "steps")


@dataclass(frozen=True)
class Rest(Keys):
    """As Keys. answer: the chunk's first action ``[dim]``, as OpenVLA's own server, or the whole ``chunk``
    ``[steps, dim]``. unnorm_keys: names of statistics that mean this policy's own; it has no others, so that
    any other name is refused.
    """

    answer: Literal["action", "chunk"] = "action"
    unnorm_keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tls:
    """PEM files of the server's certificate (with its chain) and of its key."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Serving:
    """Where and to whom. See conf/serve.yaml.

    host: an address of this machine. port: 0 takes a free one. token_file: its first line is what clients
    must show; None: no token. open_to_all: serve other machines without a token. root: who is answered at
    the address without a path, where openpi's server would speak first and vla-eval's client does.
    optional_cameras: whose pictures our own client may leave out, with * and ?: the policy then acts without.
    ping_s: how often a WebSocket is asked whether it is alive, and gone_s how long it has to say so.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token_file: Path | None = None
    open_to_all: bool = False
    tls: Tls | None = None
    root: Literal["openpi", "vla_eval"] = "openpi"
    optional_cameras: tuple[str, ...] = ()
    ping_s: float = 30.0
    gone_s: float = 120.0
    limits: Limits = field(default_factory=Limits)
    openpi: Keys = field(default_factory=Keys)
    vla_eval: VlaEval = field(default_factory=VlaEval)
    rest: Rest = field(default_factory=Rest)

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise BadInput(f"port={self.port}: a number from 0 (any free one) to 65535 is needed")
        at_least(self, 0.1, "ping_s", "gone_s")
        if not (self.loopback or self.token_file or self.open_to_all):
            raise BadInput(
                f"host={self.host} lets other machines in: give token_file=FILE (a first line of 16 or more "
                "characters), or open_to_all=true if anyone may move the robot"
            )

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def token(self) -> str:
        """What clients must show; empty where nothing is needed. Raises BadInput."""
        if self.token_file is None:
            return ""
        try:
            lines = self.token_file.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "not text"
            raise BadInput(f"cannot read token_file {self.token_file}: {why}") from None
        token = lines[0].strip() if lines else ""
        if len(token) < 16 or not token.isascii() or any(c.isspace() for c in token):
            raise BadInput(
                f"token_file {self.token_file}: its first line must be 16 or more ASCII characters"
            )
        return token
