"""Which parts of a model learn, and how: all of it, nothing, the last layers, or low-rank adapters.

A model says what its parts are: ``parts()`` gives, for `vision`, `connector`, `language` and `rest`, their
modules (and parameters that are in no module of theirs). A module may have a ``layer_list``, and
``final_norm`` or ``head_list`` for what follows its last layer. `tune` is called once, when the model is
built, so that a model built again from its config has the same tensors under the same names.

Adapters are LoRA's (Hu et al. 2022), from `peft`: beside a linear map W a second one, B A of rank r, times
alpha / r. B starts at zero, so a fresh adapter changes nothing. They are kept in float32 whatever W is in.
"""

import re
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from vla.configuration import PartConfig, TuningConfig
from vla.errors import BadInput
from vla.optional import need

__all__ = ["Part", "merge_lora", "parts_of", "tune"]


_QUANTISED = {"Linear8bitLt": "is_loaded_in_8bit", "Linear4bit": "is_loaded_in_4bit"}
"""Layers of bitsandbytes, and how `peft` is told of them."""


@dataclass(frozen=True)
class Part:
    """What a parameter belongs to, and that part's factor on the learning rate."""

    name: str
    lr: float


def tune(model: Any, config: TuningConfig) -> None:
    """Set what is trained, part by part, and insert adapters where they are asked for. What is not trained
    stays in evaluation mode from now on: its dropout off, its batch statistics as they are.

    Raises BadInput where a part cannot learn in the way asked for.
    """
    for name, modules in model.parts().items():
        _apply(f"tuning.{name}", modules, getattr(config, name))
    _settle(model)


def parts_of(model: Any) -> dict[nn.Parameter, Part]:
    """The part of each parameter. Empty for a model without parts."""
    if not hasattr(model, "parts"):
        return {}
    found: dict[nn.Parameter, Part] = {}
    for name, modules in model.parts().items():
        part = Part(name, getattr(model.config.tuning, name).lr)
        found |= dict.fromkeys(_parameters(modules), part)
    return found


@torch.no_grad()
def merge_lora(model: nn.Module) -> None:
    """Fold every adapter into the weights it stands beside: the same outputs, and the names and shapes of the
    model without adapters. Raises BadInput for weights in 8 or 4 bits, which would be rounded once more."""
    if any(type(module).__name__ in _QUANTISED for module in model.modules()):
        raise BadInput("adapters cannot be merged into weights in few bits: load with backbone.quantize=none")
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if hasattr(child, "lora_A") and hasattr(child, "get_base_layer"):
                adapted: Any = child
                adapted.merge()
                setattr(parent, name, adapted.get_base_layer())
        vars(parent).pop("peft_config", None)  # or peft takes the next adapters for second ones


# -- one part ------------------------------------------------------------------------------------------------


def _apply(where: str, modules: list[Any], config: PartConfig) -> None:
    if config.train == "full":
        _must_be_trainable(where, modules, config)
        return
    trained = {p for p in _parameters(modules) if p.requires_grad}
    for parameter in _parameters(modules):
        parameter.requires_grad_(False)
    if config.train == "last":
        last = list(_last(modules, config.layers))
        if not last:
            raise BadInput(f"{where}.train=last: this part has no layers in a row; use full, frozen or lora")
        _must_be_trainable(where, last, config)
        for parameter in _parameters(last):
            parameter.requires_grad_(parameter in trained)
    if config.train == "lora":
        counts = [_adapt(module, config) for module in modules if isinstance(module, nn.Module)]
        if not sum(counts):
            raise BadInput(f"{where}.train=lora: this part has no linear layers; use full, frozen or last")


def _last(modules: list[Any], count: int) -> Iterator[nn.Module]:
    """The last layers of every module that has some, and what follows them."""
    for module in modules:
        layers = list(getattr(module, "layer_list", ()))
        if layers:
            norm = getattr(module, "final_norm", None)
            yield from layers[-count:]
            yield from [] if norm is None else [norm]
            yield from getattr(module, "head_list", ())


def _adapt(module: nn.Module, config: PartConfig) -> int:
    """Put an adapter beside every linear layer within `module`; returns how many. (Not beside `module`, if it
    is one itself: a head is left as it is.)"""
    names = [name for name, child in module.named_modules() if name and _adaptable(child)]
    if not names:
        return 0
    peft = need("peft", "transformers", "train=lora")
    kinds = {type(child).__name__ for child in module.modules()}
    for kind in kinds & _QUANTISED.keys():
        setattr(module, _QUANTISED[kind], True)
    settings = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=0.0,
        bias="none",
        target_modules="|".join(re.escape(name) for name in names),  # whole names: a list would match ends
    )
    peft.inject_adapter_in_model(settings, module)
    for name, parameter in module.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.float()
    return len(names)


def _adaptable(module: nn.Module) -> bool:
    """Linear layers that are called as such. (That of PyTorch's own multi-head attention is not: its weight
    is taken out of it, past any adapter.)"""
    return type(module) is nn.Linear or type(module).__name__ in _QUANTISED


def _must_be_trainable(where: str, modules: Iterable[Any], config: PartConfig) -> None:
    for module in modules:
        if isinstance(module, nn.Module) and any(
            type(child).__name__ in _QUANTISED for child in module.modules()
        ):
            raise BadInput(
                f"{where}.train={config.train}: weights in few bits cannot be trained; use lora or frozen, "
                f"or backbone.quantize=none"
            )


def _parameters(modules: Iterable[Any]) -> list[nn.Parameter]:
    """Of modules, and parameters that stand by themselves; each once, in order."""
    found: dict[nn.Parameter, None] = {}
    for module in modules:
        own = [module] if isinstance(module, nn.Parameter) else module.parameters()
        found |= dict.fromkeys(own)
    return list(found)


# -- evaluation mode for what is frozen ---------------------------------------------------------------------


def _settle(module: nn.Module) -> None:
    parameters = list(module.parameters())
    if not parameters:
        return
    if any(parameter.requires_grad for parameter in parameters):
        for child in module.children():
            _settle(child)
    else:
        module.train = types.MethodType(_stay, module)  # type: ignore[method-assign]
        module.train()


def _stay(self: nn.Module, mode: bool = True) -> nn.Module:
    """In place of `nn.Module.train`: evaluation mode, whatever is asked for."""
    return nn.Module.train(self, False)
