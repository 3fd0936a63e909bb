"""Any causal language model or vision-language model of `transformers` as the trunk.

The model is built whole, and its decoder is driven directly with embeddings, a mask of our own and positions
of our own. Three things are done to each decoder layer, none of which changes the names of the weights:

- a hook puts the layer's own mask in place: the one given, and for a layer with a sliding window (Gemma 2 and
  3, Mistral) that mask and ``|row - column| < window`` together. Distances are counted in the sequence, as
  `transformers` does, and under a causal mask the result is the same as its own. (So in rows longer than the
  window it matters whether what is absent is masked or left out, and whether answers are packed);
- the same hook lets something be done `before` the layer;
- with gradient checkpointing the layer's forward runs again in the backward pass, also where a flow's expert
looks
  at what it keeps. That of `transformers` acts only in training mode, in which a frozen trunk is never left,
  though gradients pass through it.

Embeddings come in the scale in which the decoder takes them: `embed` does all that the model does to words
before the first layer (Gemma multiplies them by the root of the width).

Shapes: B batch, T new tokens, K keys (those in the cache, then the T), W width.
"""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vla.backbones.attending import KVCache, StaticCache
from vla.backbones.base import Backbone, Before, Heads, Modules, Turn
from vla.backbones.families import TRIED
from vla.backbones.loading import load_model, plain_config
from vla.backbones.turning import Keys, find_keys, turns_of
from vla.configuration import TransformersConfig
from vla.errors import BadInput
from vla.optional import need

__all__ = ["TransformersBackbone", "TransformersCache", "dtype_of", "layers_of"]

_TOWERS = ("vision_tower", "vision_model", "visual")
_CONNECTORS = ("multi_modal_projector", "connector")
_LAYERS = ("layers", "blocks", "layer", "h")


class TransformersCache:
    """Keys and values of the tokens seen so far, in the project's own caches under the hull that
    `transformers` asks for. Every layer keeps all tokens, also those with a window: what a layer looks at is
    the mask's business."""

    def __init__(self, kept: KVCache | StaticCache) -> None:
        self.kept = kept
        self.inner = _hull()(kept)

    @property
    def length(self) -> int:
        """Number of tokens kept."""
        return self.kept.length

    @property
    def layers(self) -> list[tuple[Tensor, Tensor]]:
        """Keys and values [B, G, T, E] of each layer."""
        return self.kept.layers

    def rewind(self, length: int) -> None:
        """Forget all tokens but the first `length`."""
        self.kept.rewind(length)


@functools.cache
def _hull() -> type:
    """A cache of `transformers` that keeps nothing itself. (A class inside a function, because its base is
    imported only where a model of `transformers` is used.)"""
    cache: Any = need("transformers", "transformers").Cache

    class Hull(cache):  # type: ignore[misc]
        def __init__(self, kept: KVCache | StaticCache) -> None:
            super().__init__(layers=[])
            self.kept = kept

        def update(
            self, k: Tensor, v: Tensor, layer_idx: int, *args: Any, **kwargs: Any
        ) -> tuple[Tensor, Tensor]:
            return self.kept.extend(layer_idx, k, v)

        def get_seq_length(self, layer_idx: int = 0) -> int:
            return self.kept.length

    return Hull


@dataclass
class _Call:
    """What the hooks of the layers need to know for the duration of one forward pass."""

    masks: list[Tensor] = field(default_factory=list)
    before: Mapping[int, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    cache: Any = None
    recompute: bool = False


class TransformersBackbone(Backbone):
    """A `transformers` model as trunk; see `Backbone`.

    weights: read those of `config.path`, where it is given, else leave them random (for one whose weights
    are all put in afterwards). vision: keep a VLM's own tower and connector; else they are dropped. Raises
    BadInput where the model cannot be built or used.
    """

    def __init__(self, config: TransformersConfig, weights: bool = True, vision: bool = True) -> None:
        super().__init__()
        self.config = config
        self.causal = config.attention == "causal"
        self.model = load_model(config, weights)
        inner = getattr(self.model, "model", None)
        for name in (*_TOWERS, *_CONNECTORS):
            if not vision and isinstance(getattr(inner, name, None), nn.Module):
                setattr(inner, name, None)
        text = self.model.config.get_text_config()
        self.eager = self.model.config._attn_implementation == "eager"
        core = self.core
        # Plain attributes, which register nothing a second time: `vla.training.tuning` asks for them.
        core.layer_list = layers_of(core, f"a model of type {self.model_type}")
        norms = [child for child in core.children() if "Norm" in type(child).__name__]
        core.__dict__["final_norm"] = norms[-1] if norms else None
        self._call = _Call()
        self._windows = _windows(text, len(core.layer_list))
        for i, layer in enumerate(core.layer_list):
            layer.register_forward_pre_hook(functools.partial(_enter, self._call, i), with_kwargs=True)
        self.places_in_plane = self.model_type.startswith("qwen") and self.model_type.endswith("_vl")
        self.width = self.model.get_input_embeddings().weight.shape[-1]
        self.checkpoint_activations(config.gradient_checkpointing)
        if self.model_type not in TRIED:
            from vla.backbones.trial import try_out

            try_out(self)

    # -- what it is ------------------------------------------------------------------------------------

    @property
    def model_type(self) -> str:
        """The family's name in `transformers`."""
        return self.model.config.model_type

    @property
    def core(self) -> Any:
        """The decoder: embeddings in, hidden vectors out."""
        return self.model.get_decoder()

    @property
    def layer_list(self) -> Sequence[nn.Module]:
        """The decoder's layers, first to last."""
        return self.core.layer_list

    @property
    def final_norm(self) -> nn.Module | None:
        """What follows the last layer."""
        return self.core.__dict__["final_norm"]

    @property
    def vocabulary(self) -> int:
        """Rows of the embedding: ids from here on mean nothing to it."""
        return self.model.get_input_embeddings().weight.shape[0]

    @property
    def tokenizer_path(self) -> str:
        """Where its tokenizer is: beside its weights. Empty for one built from a config."""
        return self.config.path

    def config_dict(self) -> dict[str, Any]:
        """The model's own config, as plain JSON; with it as `TransformersConfig.config` the same weights'
        names and shapes come out."""
        return plain_config(self.model)

    @property
    def vision_modules(self) -> Modules:
        """The vision tower of a VLM."""
        return self._inner(_TOWERS)

    @property
    def connector_modules(self) -> Modules:
        """What maps its features to the width (Qwen's is within the tower). LLaVA's end-of-line token, a bare
        parameter, is one of them."""
        return self._inner((*_CONNECTORS, "image_newline"))

    @property
    def language_modules(self) -> Modules:
        """Embedding, layers, norm and head."""
        return [self.core, self.model.get_output_embeddings()]

    def _inner(self, names: Sequence[str]) -> Modules:
        inner = getattr(self.model, "model", None)
        found = [getattr(inner, name, None) for name in names]
        return [part for part in found if part is not None]

    def checkpoint_activations(self, on: bool = True) -> None:
        """See `Backbone`."""
        self.recompute = on
        for number, layer in enumerate(self.core.layer_list):
            layer.__dict__.pop("forward", None)
            if on:
                layer.forward = functools.partial(_recomputed, self._call, layer, number)

    # -- what it does ----------------------------------------------------------------------------------

    def new_cache(
        self, *, batch: int | None = None, length: int | None = None, like: Tensor | None = None
    ) -> TransformersCache:
        """See `Backbone`."""
        whole = self.fixed is not None
        return TransformersCache(KVCache() if length is None else StaticCache(length, whole))

    @functools.cached_property
    def _keys(self) -> Keys:
        return find_keys(self)

    @property
    def heads(self) -> Sequence[Heads]:
        """Of each layer that keeps keys and values."""
        return self._keys.heads

    def turns(self, positions_BT: Tensor) -> Sequence[Turn]:
        """The model's own rotation, where it has one."""
        return turns_of(self, self._keys, positions_BT)

    def embed(self, ids: Tensor) -> Tensor:
        """Words' ids int64 [B, T] -> [B, T, W], as the decoder takes them."""
        return self.model.get_input_embeddings()(ids)

    def head(self, hidden: Tensor) -> Tensor:
        """Hidden vectors [..., W] -> the model's scores over its words, [..., vocabulary]."""
        head, config = self.model.get_output_embeddings(), self.model.config
        logits = head(hidden.to(dtype_of(head)))
        if getattr(config, "logit_scale", None):  # Cohere
            logits = logits * config.logit_scale
        if getattr(config, "logits_scaling", None):  # Granite
            logits = logits / config.logits_scaling
        cap = getattr(config, "final_logit_softcapping", None)  # Gemma 2 (but not PaliGemma 2 made of it)
        return torch.tanh(logits / cap) * cap if cap else logits

    def forward(
        self,
        x_BTW: Tensor,
        mask: Tensor | None = None,
        cache: TransformersCache | None = None,
        *,
        last: int | None = None,
        positions: Tensor | None = None,
        before: Before | None = None,
    ) -> Tensor:
        """See `Backbone`. positions may also be int64 [3, B, T], time, row and column, for the families that
        place pictures so (Qwen-VL). The result has the type of `x_BTW`, whatever that of the weights."""
        batch, new = x_BTW.shape[:2]
        done = 0 if cache is None else cache.length
        if mask is None:
            mask = torch.ones(new, done + new, dtype=torch.bool, device=x_BTW.device)
        kept = None if cache is None else cache.kept
        whole = kept if isinstance(kept, StaticCache) and kept.whole else None
        if whole is not None:
            mask = whole.open(mask, new, x_BTW.device)
        mask_B1TK = mask.expand(batch, 1, new, mask.shape[-1])
        if positions is None:
            positions = torch.arange(done, done + new, device=x_BTW.device)[None]
        if positions.ndim == 2:
            positions = positions.expand(batch, new)
        x = x_BTW.to(dtype_of(self.core))
        # The first pass makes the memory; and what is done `before` a layer is another thing at every call.
        plain = whole is None or not whole.ready or before
        run = self._stack if plain else self.fixed or self._stack
        inner = None if cache is None else cache.inner
        recompute = self.recompute and torch.is_grad_enabled() and not done
        masks = self._masks(mask_B1TK, done, x.dtype)
        with self._during(_Call(masks, before or {}, inner, recompute)):
            hidden = run(x, positions, inner)
        if whole is not None:
            whole.close(new)
        return (hidden if last is None else hidden[:, -last:]).to(x_BTW.dtype)

    def _stack(self, x_BTW: Tensor, positions: Tensor, cache: Any) -> Tensor:
        out = self.core(
            inputs_embeds=x_BTW,
            attention_mask=self._call.masks[0],
            position_ids=positions,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        return out.last_hidden_state

    def _masks(self, mask_B1TK: Tensor, done: int, dtype: torch.dtype) -> list[Tensor]:
        """Each layer's mask, in the form that its attention takes. done: tokens in the cache."""
        new, keys = mask_B1TK.shape[-2:]
        column = torch.arange(keys, device=mask_B1TK.device)
        distance_TK = (column[done : done + new, None] - column).abs()
        made: dict[int | None, Tensor] = {}
        for window in set(self._windows):
            seen = mask_B1TK if window is None else mask_B1TK & (distance_TK < window)
            if self.eager:  # added to the scores
                seen = torch.zeros_like(seen, dtype=dtype).masked_fill(~seen, torch.finfo(dtype).min)
            made[window] = seen
        return [made[window] for window in self._windows]

    @contextmanager
    def _during(self, call: _Call) -> Iterator[None]:
        vars(self._call).update(vars(call))
        try:
            yield
        finally:
            vars(self._call).update(vars(_Call()))


def layers_of(module: Any, what: str) -> list[nn.Module]:
    """The layers of a stack of `transformers`, in order. Raises BadInput where it has none."""
    for name, child in module.named_modules():
        if isinstance(child, nn.ModuleList) and name.rpartition(".")[2] in _LAYERS:
            return list(child)
    raise BadInput(f"{what} has no list of layers, so it cannot be used here")


def _enter(
    call: _Call, layer: int, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Before a layer: its own mask, and what is to be done to the hidden states."""
    if not call.masks:  # the model runs by itself
        return None
    if "attention_mask" in kwargs:
        kwargs = {**kwargs, "attention_mask": call.masks[layer]}
    else:
        place = list(inspect.signature(type(module).forward).parameters).index("attention_mask") - 1
        args = (*args[:place], call.masks[layer], *args[place + 1 :])
    if layer in call.before:
        args = (call.before[layer](args[0]).to(args[0].dtype), *args[1:])
    return args, kwargs


def _recomputed(call: _Call, layer: nn.Module, number: int, *args: Any, **kwargs: Any) -> Any:
    """A layer's forward that keeps its inputs alone; all between is computed again in the backward pass. What
    a cache keeps comes out as a result: writing into it would be done twice."""
    run, hull = functools.partial(type(layer).forward, layer), call.cache
    if not call.recompute:
        return run(*args, **kwargs)
    if hull is None:
        return checkpoint(run, *args, use_reentrant=False, **kwargs)

    def alone(*args: Any, **kwargs: Any) -> Any:
        one, whole = _Aside(), hull.kept
        hull.kept = one
        try:
            return run(*args, **kwargs), one.pair
        finally:
            hull.kept = whole

    out, pair = checkpoint(alone, *args, use_reentrant=False, **kwargs)
    hull.kept.extend(number, *pair)
    return out


class _Aside:
    """Stands for a cache while one layer passes: notes the keys and values."""

    length = 0
    pair: tuple[Tensor, ...] = ()

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        self.pair = k, v
        return k, v


def _windows(text: Any, layers: int) -> list[int | None]:
    """Each layer's sliding window, or None. Raises BadInput for attention of another kind."""
    kinds = getattr(text, "layer_types", None)
    window = getattr(text, "sliding_window", None)
    if not kinds:
        return [window] * layers
    for kind in kinds:
        if kind not in ("full_attention", "sliding_attention"):
            raise BadInput(
                f"a model of type {text.model_type} cannot be the backbone: it has layers of {kind}"
            )
    return [window if kind == "sliding_attention" else None for kind in kinds[:layers]]


def dtype_of(module: nn.Module) -> torch.dtype:
    """The type of the module's weights; of its norms, where the rest is quantised."""
    return next(p.dtype for p in module.parameters() if p.is_floating_point())
