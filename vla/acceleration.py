"""Ways to run a model faster, on whatever it is: `accelerate`.

int8      weights in 8 bits, on a CPU. Pays from about 4 million weights in the backbone on (measured by
          `vla.describe.speed`).
compile   the backbone's pass over a static cache, compiled by PyTorch: on a GPU with CUDA graphs, which
          replay a step's kernels without launching them one by one; on a CPU with generated C++, for which a
          compiler must be there.

What was tried where: int8 and compile on CPUs. That every step of an answer has the same shapes, so that it
is compiled once for prefixes and once for steps, is held by a test on a CPU. CUDA graphs, and anything else
on a GPU, were never run.
"""

import shutil
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vla.backbones.base import Backbone
from vla.backbones.int8 import Activations, int8_weights
from vla.errors import BadInput
from vla.model import VLA

__all__ = ["accelerate", "compile_backbone"]


def accelerate(
    model: VLA,
    *,
    compile: bool = False,
    int8: bool = False,
    activations: Activations = "float",
) -> VLA:
    """The same model, changed in place, to be run and not trained or saved.

    int8, activations: see `vla.backbones.int8`. compile: the backbone; its first answers take long. Raises
    BadInput for int8 on a GPU, and for compile on a CPU without a C++ compiler.
    """
    model.eval()
    if int8:
        int8_weights(model.backbone, activations)
        int8_weights(model.senses, activations)
    if compile:
        compile_backbone(model.backbone)
    return model


def compile_backbone(backbone: Backbone, backend: str | Callable[..., Any] = "inductor") -> None:
    """Have passes over a static cache run compiled: once for each shape, so give batches of one size, and one
    cache to all answers (see `vla.backbones.prefix`). What is done `before` a layer (gated cross-attention)
    is not compiled, nor is the first pass over a new cache, which makes its memory. backend: of
    `torch.compile`.
    """
    device = next(backbone.parameters()).device
    graphs = device.type == "cuda" and backend == "inductor"
    if (
        device.type == "cpu"
        and backend == "inductor"
        and not any(map(shutil.which, ("c++", "g++", "clang++")))
    ):
        raise BadInput("compile on a CPU needs a C++ compiler, and there is none (g++ or clang++)")
    mode = "reduce-overhead" if graphs else None
    compiled = torch.compile(backbone._stack, backend=backend, mode=mode, dynamic=False)  # type: ignore[arg-type]

    def run(*args: Any, **kwargs: Any) -> Tensor:
        if not graphs:
            return compiled(*args, **kwargs)
        torch.compiler.cudagraph_mark_step_begin()
        return compiled(*args, **kwargs).clone()  # the graph's own output is overwritten by the next step

    backbone.fixed = run
