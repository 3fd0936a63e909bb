"""Run on the ``meta`` device what was not written for it."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.fx.experimental._config as settings
from torch import Tensor, nn

from vla.model import VLA

__all__ = ["eyes_on_cpu", "on_meta"]


class _Autocast(torch.autocast):
    def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
        super().__init__("cpu" if device_type == "meta" else device_type, *args, **kwargs)


@contextmanager
def on_meta() -> Iterator[None]:
    """Within it ``torch.autocast("meta", ...)``, which torch refuses even to switch off, is the CPU's; and
    indexing by a mask takes it for all True, as every mask of `dummy_batch` is."""
    before = torch.autocast
    torch.autocast = _Autocast  # type: ignore[misc]
    try:
        with settings.patch(meta_nonzero_assume_all_nonzero=True):  # type: ignore[attr-defined]
            yield
    finally:
        torch.autocast = before  # type: ignore[misc]


@contextmanager
def eyes_on_cpu(model: VLA) -> Iterator[None]:
    """Within it a model of the `meta` device sees for real, with weights of zero, and the rest stays shapes.

    Qwen's towers lay out their patches by the values of a tensor. A tower is small beside its language model.
    """
    cameras = [camera.name for camera in model.config.image.cameras if camera.name in model.senses.encoders]
    eyes = [model.senses.encoders[name] for name in cameras]
    foreign = [*model.backbone.vision_modules, *model.backbone.connector_modules]
    for module in [*eyes, *(module for module in foreign if isinstance(module, nn.Module))]:
        module.to_empty(device="cpu")
        for tensor in (*module.parameters(), *module.buffers()):
            tensor.detach().zero_()

    def enter(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(torch.zeros_like(x, device="cpu") if isinstance(x, Tensor) else x for x in args)

    def leave(module: nn.Module, args: tuple[Any, ...], seen: Any) -> Any:
        values = {field.name: getattr(seen, field.name) for field in dataclasses.fields(seen)}
        moved = {name: x.to("meta") for name, x in values.items() if isinstance(x, Tensor)}
        return dataclasses.replace(seen, **moved)

    hooks: list[Any] = []
    for eye in eyes:
        hooks += [eye.register_forward_pre_hook(enter), eye.register_forward_hook(leave)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
