"""What was said is encoded once an instruction, not once a control step.

A policy looks twenty times a second and is told something new once in a while. `InstructionCache` keeps each
row's encoded sentence and sound by what it says, so that in a batch of several environments those with a new
sentence are encoded and the others are not.

Shapes: B batch, N tokens, C channels.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor, nn

from vla.backbones.prefix import version_of
from vla.checks import at_least

__all__ = ["InstructionCache", "Rows", "fingerprints"]

Rows = list[int] | slice
"""Which rows of a batch."""

Row = tuple[Tensor | None, ...]
"""One row of each tensor that an encoder gives; None for a mask that is not there."""


class InstructionCache:
    """The last `capacity` different sentences and sounds that one model has read, encoded.

    Entries hold for the weights, the precision and the device with which they were made; where any of these
    has changed, all are made anew. For running a model: no gradient passes through it. Raises BadInput for a
    capacity below 1.
    """

    def __init__(self, capacity: int = 64) -> None:
        self.capacity = capacity
        at_least(self, 1, "capacity")
        self.hits, self.misses = 0, 0
        self._rows: OrderedDict[tuple[str, Hashable], Row] = OrderedDict()
        self._made_with: dict[str, Hashable] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def clear(self) -> None:
        """Forget everything."""
        self._rows.clear()

    def rows(
        self,
        kind: str,
        keys: Sequence[Hashable],
        modules: Sequence[nn.Module],
        encode: Callable[[Rows], tuple[Tensor | None, ...]],
        device: torch.device,
    ) -> tuple[Tensor | None, ...]:
        """Encoded rows, one for each of `keys`, as if encoded together.

        kind: of sense. modules: whose weights the rows depend on. encode: the numbers of the rows that are
        not known -> their tensors, each [rows, ...]; called at most once, with each different row once.
        """
        autocast = torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None
        made_with = (tuple(version_of(module) for module in modules), autocast, device)
        if self._made_with.get(kind) != made_with:
            self._made_with[kind] = made_with
            for key in [key for key in self._rows if key[0] == kind]:
                del self._rows[key]
        named = [(kind, key) for key in keys]
        found = {name: self._rows[name] for name in named if name in self._rows}
        new: dict[tuple[str, Hashable], int] = {}
        for i, name in enumerate(named):
            if name not in found:
                new.setdefault(name, i)
        self.hits += len(named) - len(new)
        self.misses += len(new)
        if new:
            made = encode(list(new.values()))
            for i, name in enumerate(new):
                found[name] = tuple(None if each is None else each[i].clone() for each in made)
        for name in named:
            self._rows[name] = found[name]
            self._rows.move_to_end(name)
        while len(self._rows) > self.capacity:
            self._rows.popitem(last=False)
        return tuple(_stacked(column) for column in zip(*(found[name] for name in named), strict=True))


def _stacked(column: Sequence[Tensor | None]) -> Tensor | None:
    present = [each for each in column if each is not None]
    return torch.stack(present) if present else None


def fingerprints(*rows: Tensor) -> list[bytes]:
    """One for each row of tensors [B, ...] on the CPU or elsewhere: of all their numbers and shapes."""
    columns = [each.detach().cpu().contiguous() for each in rows]
    shapes = repr([(each.dtype, tuple(each.shape[1:])) for each in columns]).encode()
    made = []
    for i in range(len(columns[0])):
        digest = hashlib.sha256(shapes)
        for each in columns:
            digest.update(each[i].reshape(-1).view(torch.uint8).numpy())
        made.append(digest.digest())
    return made
