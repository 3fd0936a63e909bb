"""A family that no test here holds is tried when it is built: does it do what a trunk must?

Four words through the model as `transformers` runs it, and through its decoder as we drive it, must give the
same scores; then one word is hidden by the mask, and what it was must not matter.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vla.errors import BadInput

if TYPE_CHECKING:
    from vla.backbones.hf import TransformersBackbone

__all__ = ["try_out"]


@torch.no_grad()
def try_out(backbone: "TransformersBackbone") -> None:
    """Raise BadInput where the model cannot be the trunk. Costs five passes over four words."""
    name = f"a model of type {backbone.model_type} cannot be the backbone"
    device = next(backbone.parameters()).device
    if device.type == "meta":  # only described
        return
    ids = torch.tensor([[5, 7, 11, 13]], device=device) % backbone.vocabulary
    causal = torch.ones(4, 4, dtype=torch.bool, device=device).tril()
    try:
        wanted = backbone.model(input_ids=ids, use_cache=False).logits
        ours = backbone.head(backbone(backbone.embed(ids), causal))
        other = ids.clone()
        other[0, 1] = (ids[0, 1] + 1) % backbone.vocabulary
        hidden = causal.clone()
        hidden[2:, 1] = False
        one, two = (backbone(backbone.embed(each), hidden)[:, 2:] for each in (ids, other))
        later = backbone(backbone.embed(ids), causal.fill_(True))[:, 0]
        first = backbone(backbone.embed(ids), causal.tril())[:, 0]
    except Exception as error:  # whatever an unknown model raises
        reason = " ".join(str(error).split())[:160]
        raise BadInput(f"{name}: its decoder cannot be driven ({reason})") from None
    if not _near(ours, wanted):
        raise BadInput(f"{name}: driven by embeddings it gives other scores than by itself")
    if not _near(one, two) or _near(later, first):
        raise BadInput(f"{name}: it ignores the attention mask")


def _near(one: Tensor, other: Tensor) -> bool:
    scale = other.float().abs().max().clamp(min=1e-6)
    bound = 1e-4 if other.dtype == torch.float32 else 3e-2
    return bool(((one.float() - other.float()).abs().max() / scale) < bound)
