"""Linear layers with weights in 8 bits, for running a model on a CPU.

A decoding step reads every weight once and does little with it, so its time is that of the reading; a quarter
of the bytes takes 2.5 to 3 times less. Each output channel has a scale, so that its largest weight is 127
(Jacob et al. 2018, section 2.1, symmetric). The products are one of two:

- ``activations: float``. What comes in stays a number of 8 significant bits (bfloat16): for a few rows
  PyTorch's own product of such numbers with 8-bit weights, for many rows the ordinary one with weights made
  bfloat16 on the way. The error is about 0.7% of a layer's output.
- ``activations: int8``. Many rows are rounded too, each to a scale of its own (vector-wise, as in LLM.int8(),
  Dettmers et al. 2022), and the product is one of whole numbers: faster for prefixes, an error of about 1%.

The float weights are gone afterwards, so such a model is neither saved nor trained.
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla.errors import BadInput

__all__ = ["Activations", "Int8Linear", "int8_weights"]

Activations = Literal["float", "int8"]

FEW = 16
"""Up to so many rows PyTorch's product for 8-bit weights is the fastest."""

STEP = 16
"""That product reads past the end of rows that are no multiple of this (PyTorch 2.11)."""

HEADS = ("head", "lm_head", "embed_out")
"""Last layers: their outputs are compared with each other, and small differences decide."""


class Int8Linear(nn.Module):
    """What a `nn.Linear` [K -> N] computes, with weights of 8 bits. codes int8 [N, K]; scale float32 [N]."""

    codes: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear, activations: Activations = "float") -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.activations = activations
        weight = linear.weight.detach().float()
        # A bfloat16 from the start, as the product takes it: its rounding is then no error of the scale.
        scale = (weight.abs().amax(1).clamp(min=1e-20) / 127).bfloat16()
        codes = (weight / scale.float()[:, None]).round_().clamp_(-127, 127).to(torch.int8)
        self.register_buffer("codes", codes.contiguous(), persistent=False)
        self.register_buffer("scale", scale, persistent=False)
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., K] -> [..., N], in the type of x."""
        rows = x.reshape(-1, self.in_features)
        if len(rows) <= FEW:
            y = torch._weight_int8pack_mm(rows.bfloat16(), self.codes, self.scale)
        elif self.activations == "float":
            y = F.linear(rows.bfloat16(), self.codes.bfloat16()).float() * self.scale
        else:
            size = rows.float().abs().amax(1, keepdim=True).clamp_(min=1e-20) / 127
            whole = (rows / size).round_().to(torch.int8)
            y = torch._int_mm(whole, self.codes.t()).float().mul_(size).mul_(self.scale)
        y = y.to(x.dtype)
        if self.bias is not None:
            y = y + self.bias.to(x.dtype)
        return y.view(*x.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        """As it is printed."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
        )

    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> None:
        raise BadInput("a model with int8 weights can only be run; save the one it was made of")

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        raise BadInput("a model with int8 weights can only be run; load weights before int8_weights")


def int8_weights(module: nn.Module, activations: Activations = "float", smallest: int = 128) -> nn.Module:
    """The same module, its linear layers of at least `smallest` inputs and outputs in 8 bits, in place.

    Left as they are: smaller ones, those of other classes (adapters), heads (see `HEADS`), those whose weight
    is another layer's too, and those whose inputs are no multiple of 16. Raises BadInput for weights that are
    not on the CPU; on a GPU use backbone.quantize=8bit.
    """
    devices = {parameter.device.type for parameter in module.parameters()} - {"cpu"}
    if devices:
        raise BadInput(
            f"int8 weights are for the CPU, and these are on {devices.pop()}; use backbone.quantize=8bit"
        )
    owners: dict[int, int] = {}
    for each in module.modules():
        for parameter in each.parameters(recurse=False):
            owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear and name not in HEADS and owners.get(id(child.weight), 0) == 1:
                size = child.weight.shape
                if min(size) >= smallest and size[1] % STEP == 0:
                    setattr(parent, name, Int8Linear(child, activations))
    return module
