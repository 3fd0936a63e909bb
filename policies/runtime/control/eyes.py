"""Whether the cameras still show what is there: missing, too old, or frozen.

A camera whose driver has died may go on giving its last picture with new time stamps. No age tells that.
Where the camera counts its pictures, the number does. Where it does not, only what is seen can: no two
pictures of a real camera are alike to the last pixel, so pictures that stay identical while the arm moves are
frozen. The same goes for counted pictures of one colour alone: a camera may count in front of a closed lid.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from policies.runtime.control.config import Watch
from vla.arm import ArmSpec, Picture, Positions, Reading

__all__ = ["Eyes"]

SAMPLED = 65_536
"""Pixels that are compared, at the most: of a larger picture every n-th row and column."""


@dataclass
class _Seen:
    """What a camera showed last. mark: its number, or of its pixels. since, pose: when it first showed that,
    where the arm was then. newest: the time stamp of the newest picture."""

    mark: int
    since: float
    pose: Positions
    newest: float
    frozen: bool = False


class Eyes:
    """For one arm's cameras."""

    def __init__(self, spec: ArmSpec, watch: Watch) -> None:
        self._spec, self._watch = spec, watch
        self._seen: dict[str, _Seen] = {}
        self._range = spec.limits("upper") - spec.limits("lower")
        # A gripper may open out of a camera's sight, an arm hardly ever.
        self._arm = np.array([not joint.gripper for joint in spec.joints])

    def look(self, pictures: Mapping[str, Picture], reading: Reading | None, now: float) -> tuple[str, str]:
        """What is wrong with their ages, and which are frozen; each empty if all is well."""
        late, frozen = [], []
        for name in self._spec.cameras:
            picture = pictures.get(name)
            if picture is None:
                late.append(f"camera '{name}' gives no picture")
                continue
            age = now - picture.time
            if age > self._watch.camera:
                late.append(
                    f"camera '{name}': its picture is {age:.2f} s old (limit {self._watch.camera:g} s)"
                )
            elif text := self._stays(name, picture, reading):
                frozen.append(f"camera '{name}' is frozen: {text}")
        return "; ".join(late), "; ".join(frozen)

    def _stays(self, name: str, picture: Picture, reading: Reading | None) -> str:
        """Why the picture is the same as before though it should not be; empty where it is not."""
        if picture.number is not None and not _plain(picture.pixels):
            return self._repeated(name, picture, picture.number, reading)
        if reading is None or not self._frozen(name, picture, reading):
            return ""
        return f"the same picture for {picture.time - self._seen[name].since:.2f} s while the arm moved"

    def _repeated(self, name: str, picture: Picture, number: int, reading: Reading | None) -> str:
        seen = self._seen.get(name)
        if seen is None or number != seen.mark:
            pose = np.zeros(len(self._range)) if reading is None else reading.positions
            self._seen[name] = _Seen(number, picture.time, pose, picture.time)
            return ""
        seconds = picture.time - seen.since
        limit = self._watch.camera
        return (
            f"its picture {number} again for {seconds:.2f} s (limit {limit:g} s)" if seconds > limit else ""
        )

    def _frozen(self, name: str, picture: Picture, reading: Reading) -> bool:
        seen = self._seen.get(name)
        if seen is not None and picture.time == seen.newest:
            return seen.frozen
        mark = fingerprint(picture.pixels)
        if seen is None or mark != seen.mark:
            self._seen[name] = _Seen(mark, picture.time, reading.positions, picture.time)
            return False
        seen.newest = picture.time
        moved = (np.abs(reading.positions - seen.pose) / self._range)[self._arm]
        far = len(moved) > 0 and float(moved.max()) > self._watch.frozen_motion
        seen.frozen = seen.frozen or (far and picture.time - seen.since > self._watch.frozen)
        return seen.frozen


def fingerprint(pixels: npt.NDArray[np.uint8]) -> int:
    """A checksum of a picture ``[height, width, 3]``, or of evenly spaced pixels of a large one."""
    return zlib.crc32(np.ascontiguousarray(_sample(pixels)))


def _plain(pixels: npt.NDArray[np.uint8]) -> bool:
    """Whether nothing but one colour is seen."""
    few = _sample(pixels)
    return bool((few == few[:1, :1]).all())


def _sample(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    every = 1
    while pixels.shape[0] * pixels.shape[1] > SAMPLED * every * every:
        every += 1
    return pixels[::every, ::every]
