"""What turns gradients into weights: AdamW groups, the learning-rate schedule, the moving average."""

import copy
import functools
import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from vla.errors import BadInput
from vla.training.config import OptimConfig
from vla.training.tuning import Part, parts_of

__all__ = ["Ema", "build_optimizer", "decayed_names", "lr_factor", "named_parts"]


def lr_factor(config: OptimConfig, samples: int, progress: float) -> float:
    """Learning rate as a share of the peak. progress: 0..1, the run's share done (by samples or by time)."""
    rise = min(1.0, (samples + 1) / config.warmup) if config.warmup else 1.0
    left = max(0.0, 1.0 - progress)
    if config.schedule == "wsd":
        fall = min(1.0, left / config.decay)
    else:
        fall = 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
    return rise * (config.final + (1.0 - config.final) * fall)


def decayed_names(model: nn.Module) -> set[str]:
    """Parameters that weight decay may pull: matrices and kernels, no norms, biases or embeddings."""
    embeddings = {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        if isinstance(module, nn.Embedding)
        for name, _ in module.named_parameters(recurse=False)
    }
    marks = ("embed", "place", "position", "query", "queries", "token")
    kept = set()
    for name, parameter in model.named_parameters():
        own = name.rpartition(".")[2]
        if parameter.ndim >= 2 and name not in embeddings and not any(mark in own for mark in marks):
            kept.add(name)
    return kept


def named_parts(model: nn.Module) -> dict[str, Part]:
    """The part of each parameter that has one, by name: names stay when weights are cut in pieces."""
    parts = parts_of(model)
    return {name: parts[parameter] for name, parameter in model.named_parameters() if parameter in parts}


def build_optimizer(
    model: nn.Module, config: OptimConfig, parts: Mapping[str, Part] | None = None
) -> torch.optim.AdamW:
    """Fused AdamW over what is trained. Two groups for each part of the model, with weight decay and without;
    a group's ``lr_factor`` is its part's factor on the learning rate. parts: see `named_parts`, where they
    can no longer be told. Raises BadInput if nothing is trained.
    """
    decayed, parts = decayed_names(model), named_parts(model) if parts is None else parts
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    if not named:
        raise BadInput("every part is frozen, so there is nothing to train: set model.tuning.rest.train=full")
    groups: dict[tuple[str, bool], dict[str, Any]] = {}
    for name, parameter in named:
        part, decay = parts.get(name, Part("all", 1.0)), name in decayed
        new: dict[str, Any] = {
            "params": [],
            "weight_decay": config.weight_decay if decay else 0.0,
            "lr_factor": part.lr,
            "part": part.name,
        }
        groups.setdefault((part.name, decay), new)["params"].append(parameter)
    ordered = [groups[key] for key in sorted(groups, key=lambda key: (key[0], not key[1]))]
    return torch.optim.AdamW(ordered, lr=config.lr, betas=config.betas, eps=config.eps, fused=True)


class Ema:
    """A copy of the model whose parameters follow the trained ones: the weights evaluated and shipped.

    Parameters that are not trained are not copied: both models hold the same tensors. The decay ramps up as
    (1 + n) / (10 + n), so that a short run is not held back by its first weights.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        frozen = {id(p): p for p in model.parameters() if not p.requires_grad}
        self._trained = [p.requires_grad for p in model.parameters()]
        self.model = copy.deepcopy(model, frozen).eval().requires_grad_(False)  # type: ignore[arg-type]
        self.decay = decay

    @functools.cached_property
    def _own(self) -> list[Tensor]:
        # Not before the first step: until then the model's weights may be cut in pieces, in place.
        return [_local(p) for p in itertools.compress(self.model.parameters(), self._trained)]

    @functools.cached_property
    def _own_buffers(self) -> list[Tensor]:
        return list(self.model.buffers())

    @torch.no_grad()
    def update(self, parameters: Iterable[Tensor], buffers: Iterable[Tensor], step: int) -> None:
        """Move towards `parameters`, all of the model's; buffers are copied. step: updates made before."""
        decay = min(self.decay, (1 + step) / (10 + step))
        theirs = [_local(p.detach()) for p in itertools.compress(parameters, self._trained)]
        torch._foreach_lerp_(self._own, theirs, 1.0 - decay)
        for mine, other in zip(self._own_buffers, buffers, strict=True):
            mine.copy_(other)


def _local(tensor: Tensor) -> Tensor:
    """The piece of it that this process holds."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
