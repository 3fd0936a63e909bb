"""A regression small enough to train in milliseconds, with dropout so that randomness matters."""

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


def batches(size: int, poison: int | None = None, hook: Any = None) -> Any:
    """Batch of the samples start .. start + size - 1; the batch that holds sample `poison` is NaN."""

    def make(start: int) -> dict[str, Tensor]:
        if hook is not None:
            hook(start)
        rng = np.random.Generator(np.random.Philox(key=[5, start]))
        x = torch.from_numpy(rng.standard_normal((size, 4)).astype(np.float32))
        y = x.sum(1, keepdim=True)
        if poison is not None and start <= poison < start + size:
            y = y * float("nan")
        return {"x": x, "y": y}

    return make


def save_policy(model: nn.Module, folder: Path) -> None:
    folder.mkdir(parents=True)
    save_file(model.state_dict(), folder / "model.safetensors")


def validation() -> Iterator[dict[str, Tensor]]:
    yield batches(16)(10**6)


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
        tensorboard=False,
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
