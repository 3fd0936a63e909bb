"""Build a large network without its weights, which are then put in their places."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

__all__ = ["weightless"]


@contextmanager
def weightless() -> Iterator[None]:
    """Parameters of what is built within have shapes but no numbers (torch's `meta` device) and cost neither
    memory nor time. Buffers are real. ``load_state_dict(..., assign=True)`` gives the numbers."""

    def forget(module: nn.Module, name: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
        if parameter is None or parameter.is_meta:
            return None  # as it is
        return nn.Parameter(parameter.to("meta"), requires_grad=parameter.requires_grad)

    handle = register_module_parameter_registration_hook(forget)  # type: ignore[arg-type]
    try:
        yield
    finally:
        handle.remove()
