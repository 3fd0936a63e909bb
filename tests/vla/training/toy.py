"""A regression small enough to train in milliseconds, with dropout so that randomness matters. `Toy` tells no
totals; `Counted` tells two, for two kinds of rows of which a portion may have none."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vla.training.config import OptimConfig, TrainerConfig
from vla.training.trainer import Trainer


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(
            nn.Linear(4, 16), nn.LayerNorm(16), nn.GELU(), nn.Dropout(0.2), nn.Linear(16, 1)
        )

    def loss(self, batch: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        error = (self.net(batch["x"]) - batch["y"]).square().mean()
        return error, {"error": error.detach()}


class Counted(nn.Module):
    """A trunk with a head for each kind of rows, `robot_batch` and `web_batch`; each row has a weight.
    `frozen` is not trained, `idle` never gets a gradient."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Module()
        self.backbone.layer_list = nn.ModuleList(nn.Sequential(nn.Linear(5, 5), nn.GELU()) for _ in range(2))
        self.drop = nn.Dropout(dropout)
        self.frozen, self.idle = nn.Linear(4, 5), nn.Linear(3, 3)
        self.frozen.requires_grad_(False)
        self.heads = nn.ModuleDict({"robot_batch": nn.Linear(5, 1), "web_batch": nn.Linear(5, 1)})

    def totals(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        return {name: flat["weight"].sum() for name, flat in batch.items()}

    def loss(
        self, batch: dict[str, Any], totals: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        totals = self.totals(batch) if totals is None else totals
        terms, scalars = [], {}
        for name, flat in batch.items():
            x = self.frozen(flat["x"])
            for layer in self.backbone.layer_list:
                x = layer(x)
            off = (self.heads[name](self.drop(x)) - flat["y"])[:, 0]
            terms.append((flat["weight"] * off.square()).sum() / totals[name])
            scalars[f"{name}_off"] = (flat["weight"] * off.detach().abs()).sum() / totals[name]
        if not terms:
            return torch.zeros((), requires_grad=True), scalars
        return sum(terms[1:], terms[0]), scalars


def mixed(size: int, most: int = 4, hook: Any = None, *, front: bool = False) -> Any:
    """Batch of `size` samples with fewer than `most` web rows, in every `most`-th step none. They go to the
    last parts first, so that some parts have no row of one kind; with `front` to the first, so that some have
    no row."""

    def make(start: int, part: int, parts: int) -> dict[str, Any]:
        if hook is not None:
            hook(start, part)
        rng = np.random.Generator(np.random.Philox(key=[6, start]))
        x = torch.from_numpy(rng.standard_normal((size, 4)).astype(np.float32))
        weight = torch.from_numpy(rng.uniform(0.2, 2, size).astype(np.float32))
        web = (start // size) % most
        rows = torch.arange(size)
        kinds = {"robot_batch": rows[: size - web], "web_batch": rows.flip(0)[:web]}
        chosen = {"robot_batch": kinds["robot_batch"][part::parts]}
        chosen["web_batch"] = kinds["web_batch"][part if front else parts - 1 - part :: parts]
        target = {"robot_batch": x.sum(1, keepdim=True), "web_batch": x[:, :1] * 3}
        return {
            name: {"x": x[own], "y": target[name][own], "weight": weight[own]}
            for name, own in chosen.items()
            if len(own)
        }

    return make


def batches(size: int, poison: int | None = None, hook: Any = None) -> Any:
    """Batch of the samples start .. start + size - 1; the batch that holds sample `poison` is NaN."""

    def make(start: int, part: int = 0, parts: int = 1) -> dict[str, Tensor]:
        if hook is not None:
            hook(start)
        rng = np.random.Generator(np.random.Philox(key=[5, start]))
        x = torch.from_numpy(rng.standard_normal((size, 4)).astype(np.float32))
        y = x.sum(1, keepdim=True)
        if poison is not None and start <= poison < start + size:
            y = y * float("nan")
        return {"x": x[part::parts], "y": y[part::parts]}

    return make


def save_policy(model: nn.Module, folder: Path) -> None:
    folder.mkdir(parents=True)
    save_file(model.state_dict(), folder / "model.safetensors")


def validation(part: int, parts: int) -> Iterator[dict[str, Tensor]]:
    yield from [batches(16)(10**6)][part::parts]


def trainer(
    out: Path, samples: int = 160, *, make: Any = None, roll_out: Any = None, **config: Any
) -> Trainer:
    optim = config.pop("optim", OptimConfig(lr=1e-2, warmup=32, ema=0.9))
    settings = TrainerConfig(
        samples=samples,
        batch=8,
        device="cpu",
        log_every=config.pop("log_every", 16),
        save_every=config.pop("save_every", 32),
        validate_every=config.pop("validate_every", 64),
        trackers=(),
        optim=optim,
        **config,
    )
    identity = {"batch": 8}
    return Trainer(
        Toy(),
        make or batches(8),
        settings,
        out,
        save_policy=save_policy,
        seed=3,
        validation=validation,
        roll_out=roll_out,
        identity=identity,
    )
