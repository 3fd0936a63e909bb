"""How a `transformers` decoder keeps its keys, found out by trial: their sizes, and how they are told places.

Families of models rotate different pairs of a key's numbers, rotate only some of them, or leave whole layers
unrotated, and say so nowhere in common. But one word alone attends to itself, so that its hidden states are
the same at every place, and what its keys differ by is the rotation. Each layer's is compared with the known
ones; the angles are the model's own.

Shapes: B batch, G heads, T tokens, E numbers in a key, R <= E of them rotated.
"""

import functools
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vla.backbones.base import Heads, Turn, still

if TYPE_CHECKING:
    from vla.backbones.hf import TransformersBackbone

__all__ = ["Keys", "find_keys", "turns_of"]

_PLACE = 5
"""Where the word of the trial stands the second time."""


@dataclass(frozen=True)
class Keys:
    """Each layer's heads, and the name in `_KNOWN` of its rotation ("" for none)."""

    heads: list[Heads]
    turn: list[str]


def find_keys(backbone: "TransformersBackbone") -> Keys:
    """Costs two passes over one word. A model without numbers (`meta`) is taken at its config's word."""
    device = next(backbone.parameters()).device
    text = backbone.model.config.get_text_config()
    asking = text.num_attention_heads
    if device.type == "meta":
        size = getattr(text, "head_dim", None) or text.hidden_size // asking
        kept = getattr(text, "num_key_value_heads", None) or asking
        layers = len(backbone.layer_list)
        return Keys([Heads(asking, kept, size, size)] * layers, [""] * layers)
    one, other = (_kept(backbone, place) for place in (0, _PLACE))
    heads = [
        Heads(max(asking // k.shape[1], 1) * k.shape[1], k.shape[1], k.shape[3], v.shape[3]) for k, v in one
    ]
    turns = {
        name: [_turns(backbone, torch.tensor([[at]], device=device), name) for at in (0, _PLACE)]
        for name in _KNOWN
    }
    found = []
    for layer, ((first, _), (second, _)) in enumerate(zip(one, other, strict=True)):
        # The second is turned too, by nothing, because some models' cosines also stretch (YaRN).
        fits = [
            name
            for name, (none, some) in turns.items()
            if some and _near(some[layer](first), none[layer](second))
        ]
        found.append("" if _near(first, second) or not fits else fits[0])
    return Keys(heads, found)


def turns_of(backbone: "TransformersBackbone", keys: Keys, positions_BT: Tensor) -> list[Turn]:
    """Each layer's, at these places."""
    made = {name: _turns(backbone, positions_BT, name) for name in set(keys.turn) - {""}}
    return [made[name][layer] if name else still for layer, name in enumerate(keys.turn)]


@torch.no_grad()
def _kept(backbone: "TransformersBackbone", place: int) -> list[tuple[Tensor, Tensor]]:
    """What every layer keeps of one word at a place: always the same word, and the same dropout."""
    device = next(backbone.parameters()).device
    cache = backbone.new_cache()
    with (
        torch.random.fork_rng([device] if device.type == "cuda" else []),
        torch.autocast(device.type, enabled=False),
    ):
        torch.manual_seed(0)
        word = torch.randn(1, 1, backbone.width).to(device)
        backbone(word, cache=cache, positions=torch.tensor([[place]], device=device))
    return [(k.float(), v.float()) for k, v in cache.layers]


@torch.no_grad()
def _turns(backbone: "TransformersBackbone", positions_BT: Tensor, name: str) -> list[Turn]:
    """Each layer's, if it were of this name; empty for a model that has no angles."""
    angles, config = getattr(backbone.core, "rotary_emb", None), backbone.model.config.get_text_config()
    if angles is None:
        return []
    layers = len(backbone.layer_list)
    kinds: Sequence[Any] = [None] * layers
    if "layer_type" in inspect.signature(angles.forward).parameters:
        kinds = config.layer_types[:layers]
    places = positions_BT.expand(3, *positions_BT.shape) if backbone.places_in_plane else positions_BT
    like = torch.zeros((), device=positions_BT.device)
    made: dict[Any, Turn] = {}
    for kind in set(kinds):
        found = angles(like, places) if kind is None else angles(like, places, kind)
        if not (isinstance(found, tuple) and len(found) == 2):
            return []
        # [B, T, R], or the same thrice over where places have rows and columns
        cos, sin = (each[0] if each.ndim == 4 else each for each in found)
        made[kind] = functools.partial(
            _turned, cos=_KNOWN[name](cos), sin=_KNOWN[name](sin), pairs=name != "halves"
        )
    return [made[kind] for kind in kinds]


_KNOWN = {
    "halves": lambda angle: angle,  # Llama: i with i + R/2
    "pairs": lambda angle: angle,  # Cohere: 2i with 2i + 1
    "pairs of halves": lambda angle: angle[..., : angle.shape[-1] // 2].repeat_interleave(2, -1),  # GLM
}
"""Name -> what is made of the model's cosines and sines [B, T, R]."""


def _turned(x_BGTE: Tensor, cos: Tensor, sin: Tensor, pairs: bool) -> Tensor:
    """The first R numbers of each key rotated."""
    size = cos.shape[-1]
    x, rest = x_BGTE[..., :size], x_BGTE[..., size:]
    if pairs:
        across = torch.stack([-x[..., 1::2], x[..., ::2]], -1).flatten(-2)
    else:
        one, two = x.chunk(2, -1)
        across = torch.cat([-two, one], -1)
    x = x * cos[:, None].to(x.dtype) + across * sin[:, None].to(x.dtype)
    return torch.cat([x, rest], -1)


def _near(one: Tensor, other: Tensor) -> bool:
    # Loose enough for weights in bfloat16; a wrong rotation by radians is off by about the keys themselves.
    return bool((one - other).abs().max() <= 0.03 * other.abs().max())
