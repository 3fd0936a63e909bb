"""The settings of a training run. Free of torch, so that a command can check them and answer at once."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from vla.checks import at_least
from vla.errors import BadInput
from vla.training.launch import place

if TYPE_CHECKING:
    import torch

__all__ = ["OptimConfig", "ReadingConfig", "TrainerConfig"]


@dataclass(frozen=True)
class OptimConfig:
    """lr: peak learning rate. warmup: samples over which it rises from 0.

    schedule: ``wsd`` holds the peak and falls linearly to `final` over the last `decay` of the run (such a
    run can be extended); ``cosine`` falls from the warm-up on. ema: decay of the averaged weights, 0 = none.
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.05
    clip: float = 1.0
    warmup: int = 20_000
    schedule: Literal["wsd", "cosine"] = "wsd"
    decay: float = 0.25
    final: float = 0.0
    ema: float = 0.999

    def __post_init__(self) -> None:
        if not (0 < self.lr < math.inf and self.clip > 0 and 0 < self.eps < math.inf):
            raise ValueError("lr, clip and eps must be above 0")
        at_least(self, 0, "warmup", "weight_decay")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be in [0, 1), not {list(self.betas)}")
        if not 0 < self.decay <= 1 or not 0 <= self.final <= 1 or not 0 <= self.ema < 1:
            raise ValueError("decay must be in (0, 1], final in [0, 1], ema in [0, 1)")


@dataclass(frozen=True)
class ReadingConfig:
    """How datasets are read and mixed.

    weights: one a dataset folder, how often each of its frames is drawn relative to the others' (empty: all
    1). skill_weights: the same by skill. opening_weight: the same for the first `opening_frames` frames of an
    episode, where only the sentence says where to go. validation: share of the episodes held for the
    validation loss. every: keep only each n-th frame as the start of a chunk (less memory; chunks still hold
    all steps). task: which words a frame goes with: its episode's ``task``, or the ``subtask`` that is
    annotated for it (LeRobot's language columns; where a frame has none, the task). fit: statistics are taken
    from a ``sample`` of 50,000 frames of a robot, or from ``all`` (see `vla.data.measured`). statistics: with
    `init`, whether the checkpoint's statistics of a robot that it knows stay (`keep`) or are taken from the
    data anew (`refit`). Those of a robot that it does not know always are. cache: decode all pictures once,
    into mapped files; else each as it is asked for (no disk space, but slower). memory: where decoded
    pictures live; ``auto`` takes the GPU where they fit, else the mapped cache. compare: whether datasets of
    one robot are refused whose units, or whose kinds of action, clearly differ.
    """

    weights: tuple[float, ...] = ()
    skill_weights: Mapping[str, float] = field(default_factory=dict)
    opening_frames: int = 0
    opening_weight: float = 1.0
    validation: float = 0.02
    validation_samples: int = 2048
    every: int = 1
    task: Literal["task", "subtask"] = "task"
    compare: bool = True
    fit: Literal["sample", "all"] = "sample"
    statistics: Literal["keep", "refit"] = "keep"
    cache: bool = True
    memory: Literal["auto", "host", "device"] = "auto"
    prefetch: int = 2
    workers: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.validation < 1 or self.every < 1 or self.prefetch < 1:
            raise ValueError("validation must be in [0, 1), every and prefetch at least 1")
        at_least(self, 1, "validation_samples", "workers")
        at_least(self, 0, "opening_frames", "opening_weight")
        for name, weight in [*enumerate(self.weights), *self.skill_weights.items()]:
            if not 0 <= weight < math.inf:
                raise ValueError(f"the weight of {name} must be at least 0, not {weight}")


@dataclass(frozen=True)
class TrainerConfig:
    """samples: the budget, in training samples. max_minutes: a second budget, in wall-clock time; the
    learning rate follows whichever is nearer its end. Intervals (`*_every`) are in samples, 0 = never.

    batch: samples in a step, of all processes together. accumulate: a process takes its share of them in so
    many portions, one after another, which needs less memory and changes nothing else. rollout_every: how
    often the injected validation (roll-outs) runs. threads: torch threads, 0 = its own choice. bf16:
    autocast; null: where the processor multiplies in it (twice as fast there). compile: torch.compile the
    loss. checkpointing: compute activations again on the way back instead of keeping them. engine: how
    several processes share the work. ``ddp``: each holds the whole model; ``fsdp``: the weights, the average
    and the optimiser's moments are cut in pieces; ``auto``: ddp where there are several processes (see
    `vla.training.launch`). shard: of fsdp, what is gathered at a time: the whole ``model``, or ``layers`` one
    by one, which needs the least memory, but every portion must then hold every kind of row. trackers: where
    numbers go beside metrics.jsonl. project, run_name: their names there; null: the name of the output
    folder.
    """

    samples: int
    batch: int = 256
    accumulate: int = 1
    max_minutes: float | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    engine: Literal["auto", "none", "ddp", "fsdp"] = "auto"
    shard: Literal["model", "layers"] = "model"
    threads: int = 0
    bf16: bool | None = None
    compile: bool = False
    checkpointing: bool = False
    log_every: int = 12_800
    validate_every: int = 100_000
    save_every: int = 50_000
    rollout_every: int = 250_000
    keep: int = 2
    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ("tensorboard",)
    project: str = "vla"
    run_name: str | None = None
    optim: OptimConfig = field(default_factory=OptimConfig)

    def __post_init__(self) -> None:
        if self.samples < 1 or self.batch < 1 or self.keep < 1:
            raise ValueError("samples, batch and keep must be at least 1")
        at_least(self, 1, "accumulate")
        at_least(self, 0, "threads", "log_every", "validate_every", "save_every", "rollout_every")
        if self.max_minutes is not None and not self.max_minutes > 0:
            raise ValueError(f"max_minutes must be above 0 (or null), not {self.max_minutes}")
        if len(set(self.trackers)) < len(self.trackers):
            raise ValueError(f"trackers names one twice: {list(self.trackers)}")

    def torch_device(self) -> "torch.device":
        """The device meant, of this process; BadInput if it is not there."""
        import torch

        if self.device == "cuda" and not torch.cuda.is_available():
            raise BadInput("trainer.device is cuda, but torch sees no CUDA device; use trainer.device=cpu")
        use_cuda = self.device == "cuda" or (self.device == "auto" and torch.cuda.is_available())
        if not use_cuda:
            return torch.device("cpu")
        here = place()
        if here.processes == 1:
            return torch.device("cuda")
        # A launcher shows each process all of the machine's devices, or its own alone.
        return torch.device("cuda", here.local_rank % torch.cuda.device_count())

    def used_engine(self) -> Literal["none", "ddp", "fsdp"]:
        """What `engine` comes to for as many processes as there are. Raises BadInput where they do not
        fit."""
        processes = place().processes
        if self.engine == "auto":
            return "ddp" if processes > 1 else "none"
        if self.engine == "none" and processes > 1:
            raise BadInput(
                f"trainer.engine=none is for one process, and there are {processes}: use ddp or fsdp"
            )
        if self.engine != "none" and not place().launched:
            start = "torchrun --nproc-per-node=2 scripts/train.py ..."
            raise BadInput(
                f"trainer.engine={self.engine} shares work among processes: start them with {start}"
            )
        return self.engine

    def parts(self) -> int:
        """Into how many portions a batch is cut: processes x accumulate. Raises BadInput where it cannot
        be."""
        processes = place().processes
        parts = processes * self.accumulate
        if self.batch % parts:
            near = max(parts, (self.batch + parts // 2) // parts * parts)
            each = f"{processes} processes x trainer.accumulate={self.accumulate}"
            raise BadInput(
                f"trainer.batch={self.batch} cannot be cut in {parts} equal parts ({each}): use {near}"
            )
        return parts

    def uses_bf16(self) -> bool:
        """Whether to run under bfloat16 autocast."""
        if self.bf16 is not None:
            return self.bf16
        import torch

        if self.torch_device().type == "cuda":
            return torch.cuda.is_bf16_supported()
        return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())
