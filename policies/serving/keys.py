"""From the names that a client uses to an Observation, by the settings of `Keys`; nothing is guessed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import numpy.typing as npt

from policies.serving.errors import BadObservation, Malformed, TooLarge
from policies.serving.options import Keys
from policies.serving.protocol import Facts
from vla.errors import BadInput, did_you_mean
from vla.interfaces import Observation

__all__ = ["check_cameras", "check_keys", "check_sentence", "needs", "observe", "too_many_pixels"]

_DEPTH = 4
_SENTENCE = 2000


def check_keys(keys: Keys, facts: Facts, place: str) -> None:
    """Raise BadInput where the settings name a camera that the policy does not have."""
    for name, camera in keys.cameras.items():
        if facts.cameras and camera not in facts.cameras:
            near = did_you_mean(camera, facts.cameras)
            raise BadInput(f"{place}.cameras: '{name}' stands for '{camera}', which the policy has not{near}")


def needs(keys: Keys) -> dict[str, Any]:
    """What a client has to send, in words."""
    whole = "height, width, 3" if keys.channels == "last" else "3, height, width"
    out = {name: f"uint8 [{whole}], the policy's camera '{camera}'" for name, camera in keys.cameras.items()}
    for name in keys.optional:
        out[name] += ", may be missing"
    out |= {name: "numbers of the state" for name in keys.state}
    return out | {keys.prompt: "a sentence; the last one holds where none is sent"}


def observe(raw: Mapping[Any, Any], keys: Keys, task: str = "", pixels: int = 4_000_000) -> Observation:
    """The observation in a message. task: the sentence where it holds none. Raises BadObservation, Malformed
    or TooLarge: what came, and what is needed."""
    found = dict(_flat(raw, "", 0))
    wanted = {*keys.cameras, *keys.state, keys.prompt}
    unknown = [n for n in found if n not in wanted and not any(fnmatchcase(n, each) for each in keys.ignore)]
    missing = [
        name for name in (*keys.cameras, *keys.state) if name not in found and name not in keys.optional
    ]
    if unknown or missing:
        raise BadObservation(
            f"{_difference(unknown, missing)}; came: {_names(found)}; needed: {_names(wanted)}"
        )
    images = {camera: _picture(found[n], n, keys, pixels) for n, camera in keys.cameras.items() if n in found}
    sentence = found.get(keys.prompt, task)
    if isinstance(sentence, np.ndarray) or not isinstance(sentence, str):
        raise BadObservation(f"'{keys.prompt}' must be a sentence, not {type(sentence).__name__}")
    sentence = sentence or keys.default_prompt
    if not sentence:
        raise BadObservation(f"no sentence came: '{keys.prompt}' must be there at least once")
    check_sentence(sentence, keys.prompt)
    parts = [_numbers(found[name], name) for name in keys.state]
    state = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    observation = Observation(images, state, sentence)
    try:
        observation.validate()
    except BadInput as error:
        raise BadObservation(str(error)) from None
    return observation


def check_sentence(sentence: str, name: str) -> None:
    """Raise BadObservation for one that is too long; no policy reads so much. name: the client's, of it."""
    if len(sentence) > _SENTENCE:
        raise BadObservation(f"'{name}' has {len(sentence)} characters; at most {_SENTENCE} are read")


def check_cameras(came: Iterable[str], facts: Facts, optional: Sequence[str]) -> None:
    """Raise BadObservation where a picture is missing that the policy looks through. optional: cameras, with
    * and ?, that may be. Others that the policy does not know may come: an arm may have more."""
    shown = list(came)
    for camera in facts.cameras:
        if camera in shown or any(fnmatchcase(camera, each) for each in optional):
            continue
        near = [name for name in shown if name not in facts.cameras]
        raise BadObservation(
            f"the picture of the camera '{camera}' is missing; came: {_names(shown)}; needed: "
            f"{_names(facts.cameras)}{'; is a name misspelt?' if near else ''}"
        )


def too_many_pixels(height: int, width: int, pixels: int) -> None:
    """Raise TooLarge for a picture of more than `pixels`."""
    if height * width > pixels:
        raise TooLarge(f"a picture of {height} x {width} pixels: at most {pixels} are read")


def _flat(raw: Mapping[Any, Any], prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    if depth > _DEPTH:
        raise Malformed(f"an observation nested more than {_DEPTH} deep")
    for key, value in raw.items():
        if not isinstance(key, str):
            raise Malformed(f"an observation's names must be text, not {type(key).__name__}")
        name = f"{prefix}{key[:80]}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}/", depth + 1)
        else:
            yield name, value


def _difference(unknown: list[str], missing: list[str]) -> str:
    parts = [f"unknown {_names(unknown)}"] if unknown else []
    return ", ".join([*parts, f"missing {_names(missing)}"] if missing else parts)


def _names(names: Any, most: int = 12) -> str:
    known = sorted(names)
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return (", ".join(f"'{name}'" for name in known[:most]) or "nothing") + more


def _picture(value: Any, name: str, keys: Keys, pixels: int) -> npt.NDArray[np.uint8]:
    place = 2 if keys.channels == "last" else 0
    if (
        not isinstance(value, np.ndarray)
        or value.dtype != np.uint8
        or value.ndim != 3
        or value.shape[place] != 3
    ):
        came = f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
        whole = "height, width, 3" if keys.channels == "last" else "3, height, width"
        raise BadObservation(f"'{name}' must be a uint8 picture [{whole}], not {came}")
    image = value if keys.channels == "last" else np.ascontiguousarray(value.transpose(1, 2, 0))
    too_many_pixels(image.shape[0], image.shape[1], pixels)
    return image


def _numbers(value: Any, name: str) -> npt.NDArray[np.float32]:
    try:
        numbers = np.asarray(value)
        if numbers.dtype.kind not in "iuf" or numbers.ndim > 1:
            raise ValueError
    except ValueError:
        came = f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
        raise BadObservation(f"'{name}' must be a vector of numbers, not {came}") from None
    with np.errstate(over="ignore"):
        return np.atleast_1d(numbers).astype(np.float32)
