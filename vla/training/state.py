"""What a training needs to go on, by name: raw weights, their average and both of AdamW's moments."""

from typing import Any

import torch
from torch import Tensor, nn

from vla.errors import BadInput
from vla.training.shards import Saved, own_piece

__all__ = ["Pieces", "pack", "unpack"]

Pieces = dict[str, tuple[Tensor, tuple[int, ...]]]
"""Tensors on the CPU by name, and where each begins in the whole one."""
_MOMENTS = ("exp_avg", "exp_avg_sq")


def pack(
    model: nn.Module, ema: nn.Module | None, optimizer: torch.optim.Optimizer, step: int
) -> tuple[Pieces, dict[str, int]]:
    """This process's pieces of everything, each tensor once; and how often the optimiser moved the weights
    that it did not move in every one of `step` steps.

    The average holds no copy of what is not trained; and what the model says it `left_out`, frozen weights
    that are read from another checkpoint when it is built, is not here at all.
    """
    tensors = {f"model/{name}": value for name, value in _state(model, _absent(model)).items()}
    if ema is not None:
        absent = _absent(model) | _frozen(model)
        tensors |= {f"ema/{name}": value for name, value in _state(ema, absent).items()}
    rarer: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        state = optimizer.state.get(parameter, {})
        for moment in _MOMENTS:
            if moment in state:
                tensors[f"{moment}/{name}"] = state[moment]
        if "step" in state and int(state["step"]) != step:
            rarer[name] = int(state["step"])
    pieces: Pieces = {}
    for name, tensor in tensors.items():
        local, offset = own_piece(tensor.detach())
        if local.numel() or not tensor.numel():
            # a copy: a checkpoint may be written while training goes on
            pieces[name] = local.to("cpu", copy=True).contiguous(), offset
    return pieces, rarer


def unpack(
    saved: Saved,
    state: dict[str, Any],
    model: nn.Module,
    ema: nn.Module | None,
    optimizer: torch.optim.Optimizer,
) -> None:
    """Put back what `pack` took. Raises BadInput if the tensors belong to another architecture."""
    for prefix, module, absent in (
        ("model/", model, _absent(model)),
        ("ema/", ema, _absent(model) | _frozen(model)),
    ):
        if module is None:
            continue
        own = _state(module, absent)
        held = {name.removeprefix(prefix) for name in saved if name.startswith(prefix)}
        try:
            if other := sorted(held ^ own.keys()):
                raise RuntimeError(f"{len(other)} tensors differ (first: '{other[0]}')")
            for name, tensor in own.items():
                if (shape := saved.shape(prefix + name)) != tuple(tensor.shape):
                    raise RuntimeError(f"'{name}' is {list(shape)} there and {list(tensor.shape)} here")
            part = {name: saved.like(prefix + name, tensor) for name, tensor in own.items()}
            module.load_state_dict(part, strict=False)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise BadInput(f"the checkpoint is of another architecture: {reason}") from None
    rarer = state.get("optimizer_steps", {})
    for name, parameter in model.named_parameters():
        if all(f"{moment}/{name}" in saved for moment in _MOMENTS):
            step = float(rarer.get(name, state["step"]))
            optimizer.state[parameter] = {
                "step": torch.tensor(step, dtype=torch.float32, device=parameter.device),
                # in the parameter's own memory layout, as the fused step walks them side by side
                **{
                    m: torch.empty_like(parameter).copy_(saved.like(f"{m}/{name}", parameter))
                    for m in _MOMENTS
                },
            }


def _state(module: nn.Module, absent: set[str]) -> dict[str, Tensor]:
    """The state dict without `absent`, and without what is neither parameter nor buffer (how a quantised
    layer is packed, which goes with its weights)."""
    own = {name for name, _ in (*module.named_parameters(), *module.named_buffers())}
    return {name: value for name, value in module.state_dict().items() if name in own - absent}


def _absent(model: nn.Module) -> set[str]:
    """Weights that are in another checkpoint. (Second names of tied ones `_state` leaves out.)"""
    return set(getattr(model, "left_out", ()))


def _frozen(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
