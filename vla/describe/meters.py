"""Meters that run along with a model: memory alive at once, and operations by part of the model."""

import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

__all__ = ["AliveMemory", "flop_counter", "flops_by_part", "tensors_in"]


class AliveMemory(TorchDispatchMode):
    """Bytes of all tensors that operations made and that are still alive: now, and at most (`peak`).

    Works on the `meta` device as on any other. There it also answers the one question about values that
    acting asks, whether all scores are finite: they are.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default and _is_a_question(args[0]):
            return True
        given = {id(x.untyped_storage()) for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._count(tensor, given)
        return out

    def _count(self, tensor: Tensor, given: set[int]) -> None:
        storage = tensor.untyped_storage()
        if storage in self._known or id(storage) in given:  # a view, or done in place
            return
        size = storage.nbytes()
        self._known.add(storage)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, size).atexit = False

    def _forget(self, size: int) -> None:
        self.now -= size


def _is_a_question(tensor: Tensor) -> bool:
    return tensor.device.type == "meta" and tensor.dtype == torch.bool


def flop_counter() -> FlopCounterMode:
    """torch's counter, which by itself passes over the fused attention of CPUs."""

    def attention(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
        return sdpa_flop_count(query, key, value)

    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return FlopCounterMode(display=False, custom_mapping={fused: attention})


@contextmanager
def flops_by_part(counter: FlopCounterMode, part_of: Mapping[nn.Module, str]) -> Iterator[dict[str, int]]:
    """Divide what `counter` counts among the parts that modules belong to; `other` is outside all of them.

    The dictionary is complete when the context ends.
    """
    spent: dict[str, int] = {}
    inside, before = ["other"], 0

    def settle() -> None:
        nonlocal before
        now = counter.get_total_flops()
        spent[inside[-1]] = spent.get(inside[-1], 0) + now - before
        before = now

    def enter(module: nn.Module, args: Any) -> None:
        settle()
        inside.append(part_of[module])

    def leave(module: nn.Module, args: Any, out: Any) -> None:
        settle()
        inside.pop()

    hooks: list[Any] = []
    for module in part_of:
        hooks += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        yield spent
        settle()
    finally:
        for hook in hooks:
            hook.remove()


def tensors_in(value: Any, seen: set[int] | None = None) -> Iterator[Tensor]:
    """Every tensor that an object of any shape holds: what a cache, whoever wrote it, keeps."""
    seen = set() if seen is None else seen
    if id(value) in seen or isinstance(value, type | str | int | float | None):
        return
    seen.add(id(value))
    if isinstance(value, Tensor):
        yield value
        return
    if isinstance(value, Mapping):
        items = list(value.values())
    elif isinstance(value, list | tuple | set):
        items = list(value)
    else:
        items = list(getattr(value, "__dict__", {}).values())
    for item in items:
        yield from tensors_in(item, seen)
