"""Checkpoints that are there whole or not at all. safetensors and JSON only.

``<out>/checkpoints/step-000012000/`` holds ``policy/`` (the averaged weights as a model folder that loads
anywhere), ``training.safetensors`` (raw weights, average, both AdamW moments) and ``state.json`` (counters).
A checkpoint is written into a hidden folder, flushed to the disk and renamed.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from vla.errors import BadInput

__all__ = ["POLICY", "Checkpoints", "pack", "replace_folder", "unpack"]

POLICY = "policy"
TENSORS = "training.safetensors"
STATE = "state.json"
_MOMENTS = ("exp_avg", "exp_avg_sq")
_NAME = re.compile(r"step-(\d+)")


class Checkpoints:
    """The checkpoints of one run: the last `keep` and the best one stay."""

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder = folder
        self.keep = keep

    def path(self, step: int) -> Path:
        """Where the checkpoint of `step` is or would be."""
        return self.folder / f"step-{step:09d}"

    def steps(self) -> list[int]:
        """Steps of the whole checkpoints, oldest first."""
        if not self.folder.is_dir():
            return []
        found = ((_NAME.fullmatch(entry.name), entry) for entry in self.folder.iterdir())
        return sorted(int(match[1]) for match, entry in found if match and (entry / STATE).is_file())

    def save(
        self,
        step: int,
        tensors: Mapping[str, torch.Tensor],
        state: Mapping[str, Any],
        write_policy: Callable[[Path], None],
    ) -> Path:
        """Write the checkpoint of `step`, whole or not at all; then drop the ones no longer kept."""
        final = self.path(step)
        aside = self.folder / f".writing-{final.name}"
        try:
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
            write_policy(aside / POLICY)
            save_file(dict(tensors), aside / TENSORS)
            (aside / STATE).write_text(json.dumps({"step": step, **state}, indent=1))
            _flush(aside)
            shutil.rmtree(final, ignore_errors=True)
            os.replace(aside, final)
            _flush_folder(self.folder)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(aside, ignore_errors=True)
            last = self.steps()
            kept = f"the last whole one is {self.path(last[-1])}" if last else "there is none yet"
            raise BadInput(f"cannot write the checkpoint {final}: {_reason(error)}; {kept}") from None
        self._prune()
        return final

    def load_latest(self, device: torch.device) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        """(tensors, state) of the newest whole checkpoint, or None; what a killed save left is removed."""
        for leftover in self.folder.glob(".writing-*") if self.folder.is_dir() else ():
            shutil.rmtree(leftover, ignore_errors=True)
        steps = self.steps()
        if not steps:
            return None
        path = self.path(steps[-1])
        try:
            state = json.loads((path / STATE).read_text())
            return load_file(path / TENSORS, device=str(device)), state
        except (OSError, ValueError, SafetensorError) as error:
            raise BadInput(
                f"cannot read the checkpoint {path} (delete it to go on without): {error}"
            ) from None

    # -- the best one ------------------------------------------------------------------------------

    def best(self) -> dict[str, Any] | None:
        """{"step", "metric", "value"} of the best checkpoint so far, or None."""
        path = self.folder / "best.json"
        return json.loads(path.read_text()) if path.is_file() else None

    def offer_best(self, step: int, metric: str, value: float, higher: bool) -> bool:
        """Remember `step` as the best if it is; the comparison is within one metric only."""
        old = self.best()
        if old is not None and old["metric"] == metric:
            better = value >= old["value"] if higher else value <= old["value"]
            if not better:
                return False
        text = json.dumps({"step": step, "metric": metric, "value": value})
        _replace_text(self.folder / "best.json", text)
        self._prune()
        return True

    def _prune(self) -> None:
        best = self.best()
        steps = self.steps()
        for step in steps[: -self.keep]:
            if best is None or step != best["step"]:
                shutil.rmtree(self.path(step), ignore_errors=True)


def pack(
    model: torch.nn.Module, ema: torch.nn.Module | None, optimizer: torch.optim.Optimizer
) -> dict[str, torch.Tensor]:
    """Everything that training needs to go on, by name, each tensor once.

    The average holds no copy of what is not trained; and what the model says it `left_out`, frozen weights
    that are read from another checkpoint when it is built, is not here at all.
    """
    tensors = {f"model/{name}": value for name, value in _state(model, _absent(model)).items()}
    if ema is not None:
        absent = _absent(model) | _frozen(model)
        tensors |= {f"ema/{name}": value for name, value in _state(ema, absent).items()}
    for name, parameter in model.named_parameters():
        for moment in _MOMENTS:
            if moment in optimizer.state.get(parameter, {}):
                tensors[f"{moment}/{name}"] = optimizer.state[parameter][moment]
    # clones: a checkpoint may be written while training goes on
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}


def unpack(
    tensors: Mapping[str, torch.Tensor],
    step: int,
    model: torch.nn.Module,
    ema: torch.nn.Module | None,
    optimizer: torch.optim.Optimizer,
) -> None:
    """Put back what `pack` took. Raises BadInput if the tensors belong to another architecture."""
    for prefix, module, absent in (
        ("model/", model, _absent(model)),
        ("ema/", ema, _absent(model) | _frozen(model)),
    ):
        if module is None:
            continue
        part = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        other = sorted(part.keys() ^ _state(module, absent).keys())
        try:
            if other:
                raise RuntimeError(f"{len(other)} tensors differ (first: '{other[0]}')")
            module.load_state_dict(part, strict=False)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise BadInput(f"the checkpoint is of another architecture: {reason}") from None
    for name, parameter in model.named_parameters():
        if all(f"{moment}/{name}" in tensors for moment in _MOMENTS):
            optimizer.state[parameter] = {
                "step": torch.tensor(float(step), dtype=torch.float32, device=parameter.device),
                # in the parameter's own memory layout, as the fused step walks them side by side
                **{m: torch.empty_like(parameter).copy_(tensors[f"{m}/{name}"]) for m in _MOMENTS},
            }


def _state(module: torch.nn.Module, absent: set[str]) -> dict[str, torch.Tensor]:
    """The state dict without `absent`, and without what is neither parameter nor buffer (how a quantised
    layer is packed, which goes with its weights)."""
    own = {name for name, _ in (*module.named_parameters(), *module.named_buffers())}
    return {name: value for name, value in module.state_dict().items() if name in own - absent}


def _absent(model: torch.nn.Module) -> set[str]:
    """Weights that are in another checkpoint. (Second names of tied ones `_state` leaves out.)"""
    return set(getattr(model, "left_out", ()))


def _frozen(model: torch.nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if not parameter.requires_grad}


def replace_folder(source: Path, target: Path) -> None:
    """Copy folder `source` to `target`, putting it in place in one rename."""
    aside = target.with_name(f".{target.name}.new")
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(source, aside)
    _flush(aside)
    shutil.rmtree(target, ignore_errors=True)
    os.replace(aside, target)


def _replace_text(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}.new")
    aside.write_text(text)
    os.replace(aside, path)


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return "no space left on the disk" if "No space left" in text else text


def _flush(folder: Path) -> None:
    """fsync every file under `folder`, then the folders."""
    for entry in folder.rglob("*"):
        if entry.is_file():
            with entry.open("rb") as file:
                os.fsync(file.fileno())
        else:
            _flush_folder(entry)
    _flush_folder(folder)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
