"""What a client of each of the server's protocols says and hears, without a wire: for load, and for tests.

Names of pictures and numbers are those of conf/serve.yaml.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from policies.serving.arrays import jsonable, pack, pack_openpi, unpack, unpack_json
from policies.serving.protocol import VERSION
from vla.interfaces import Observation

__all__ = ["PATHS", "PROTOCOLS", "Heard", "Protocol", "greetings", "hear", "new_episode", "say"]

Protocol = Literal["native", "openpi", "vla_eval", "rest"]
PROTOCOLS: tuple[Protocol, ...] = ("native", "openpi", "vla_eval", "rest")
PATHS: dict[Protocol, str] = {
    "native": "/vla", "openpi": "/openpi", "vla_eval": "/vla-eval", "rest": "/act"
}  # fmt: skip


@dataclass(frozen=True)
class Heard:
    """An answer. first: the first action of the chunk, float ``[dim]``; None: it was refused. kind, line: of
    the refusal. number: of the question, where the protocol repeats it.
    """

    first: npt.NDArray[Any] | None = None
    kind: str = ""
    line: str = ""
    number: int | None = None


def greetings(protocol: Protocol) -> tuple[bytes, ...]:
    """What a client says first; each is answered once. openpi's says nothing and is told the metadata."""
    if protocol == "native":
        hello = {"type": "hello", "version": VERSION, "client": "load", "id": 0}
        return pack(hello), pack({"type": "begin", "lane": 0, "seed": 0, "id": 0})
    if protocol == "vla_eval":
        return (_frame("hello", {"protocol_version": 1}, 0),)
    return ()


def say(protocol: Protocol, seen: Observation, number: int) -> bytes:
    """A question. Of vla-eval's, whose episodes get a chunk's rows one by one, see `new_episode`."""
    if protocol == "native":
        return pack({"type": "act", "id": number, "lanes": [0], "observations": [seen.to_dict()]})
    if protocol == "vla_eval":
        payload = {"images": dict(seen.images), "states": seen.state, "task_description": seen.task}
        return _frame("observation", payload, number)
    if protocol == "openpi":
        names = {"front": "observation/image", "wrist": "observation/wrist_image"}
        pictures = {names[camera]: image for camera, image in seen.images.items()}
        return pack_openpi(pictures | {"observation/state": seen.state, "prompt": seen.task})
    names = {"front": "image", "wrist": "wrist_image"}
    arrays = {names[camera]: jsonable(image) for camera, image in seen.images.items()}
    return json.dumps(arrays | {"state": jsonable(seen.state), "instruction": seen.task}).encode()


def new_episode(number: int) -> bytes:
    """vla-eval's, which nothing answers: the next observation gets a new chunk's first row."""
    return _frame("episode_start", {}, number)


def hear(protocol: Protocol, data: bytes | str) -> Heard:
    """An answer, or a refusal."""
    if isinstance(data, str):
        kind, _, line = data.partition(": ")
        return Heard(kind=kind, line=line)
    if protocol == "rest":
        answer = unpack_json(b'{"x":' + data + b"}")["x"]
        if isinstance(answer, Mapping):
            return Heard(kind=answer["error"]["kind"], line=answer["error"]["line"])
        return Heard(np.atleast_1d(answer))
    found = unpack(data)
    if protocol == "openpi":
        return Heard(found["actions"][0])
    if protocol == "vla_eval":
        payload = found["payload"]
        if found["type"] == "action":
            return Heard(payload["actions"], number=found["seq"])
        return Heard(kind=payload["kind"], line=payload["error"], number=found["seq"])
    chunks: Sequence[Mapping[str, Any]] = found.get("chunks") or [found]
    [chunk] = chunks
    if "actions" not in chunk:
        return Heard(kind=chunk["kind"], line=chunk["line"], number=found["id"])
    if chunk.get("hold"):
        return Heard(kind="hold", line=chunk["hold"], number=found["id"])
    return Heard(chunk["actions"][0], number=found["id"])


def _frame(kind: str, payload: Mapping[str, Any], number: int) -> bytes:
    return pack({"type": kind, "payload": dict(payload), "seq": number, "timestamp": 0.0})
