"""How one step's gradients come about: in one process, by DistributedDataParallel, or by FSDP2.

The engines are torch's own. What is done here is to fit them to three things. The loss is a method and not
`forward`. Losses are shares of the whole batch's that add up, so gradients are summed and not averaged. And
not every weight gets a gradient in every step, nor the same ones in every process: a batch may hold no
picture-text rows, or all of them may have gone to one process. A weight that got one in no process is left
alone by the optimiser, everywhere, as it would be in one process.
"""

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Variable
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from vla.errors import BadInput
from vla.training.config import TrainerConfig
from vla.training.distributed import processes

__all__ = ["DataParallel", "Engine", "Sharded", "build_engine"]

Batch = Mapping[str, Any]
Result = tuple[Tensor, dict[str, Tensor]]
Loss = Callable[..., Result]


class Engine:
    """Training in one process. `model` is the one whose parameters are optimised."""

    def __init__(self, model: nn.Module, device: torch.device, config: TrainerConfig) -> None:
        self.model, self.device = model, device
        self._bf16 = config.uses_bf16()
        self._loss = self._prepared(cast(Loss, model.loss), config)

    def _prepared(self, loss: Loss, config: TrainerConfig) -> Loss:
        return torch.compile(loss) if config.compile else loss

    def part(self, batch: Batch, totals: Batch | None, last: bool) -> Result:
        """Loss and gradients of one portion of the batch, which add to those already there. last: of the
        step's portions."""
        loss, scalars = self._forward(batch, totals)
        loss.backward()
        return loss.detach(), scalars

    def _forward(self, batch: Batch, totals: Batch | None) -> Result:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16):
            return self._loss(batch) if totals is None else self._loss(batch, totals)

    @torch.no_grad()
    def evaluate(self, model: nn.Module, batch: Batch, totals: Batch | None) -> Result:
        """Loss of a portion under `model`: the one trained or its average."""
        loss = self._loss if model is self.model else cast(Loss, model.loss)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16):
            return loss(batch) if totals is None else loss(batch, totals)

    def clip(self, limit: float) -> Tensor:
        """Scale the gradients so that their norm is `limit` at most; returns the norm it was."""
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit, foreach=True)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    @contextlib.contextmanager
    def whole(self, model: nn.Module) -> Iterator[nn.Module]:
        """All weights of `model` are at hand, in every process, for any of its methods."""
        yield model

    def complete(self, model: nn.Module) -> nn.Module | None:
        """`model` with all of its weights, to be saved: in the first process. Every process must call it."""
        return model if not dist.is_initialized() or dist.get_rank() == 0 else None


class _Loss(nn.Module):
    """The loss as a forward, as DistributedDataParallel wants it."""

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.model, self._call = model, loss

    def forward(self, batch: Batch, totals: Batch | None) -> Result:
        loss, scalars = self._call(batch) if totals is None else self._call(batch, totals)
        if torch.is_grad_enabled() and loss.grad_fn is None:
            # A portion without rows: its way back must come past some weight, or the others wait for it.
            loss = loss + 0.0 * next(p for p in self.model.parameters() if p.requires_grad).sum()
        return loss, scalars


class DataParallel(Engine):
    """Each process holds the whole model."""

    def __init__(self, model: nn.Module, device: torch.device, config: TrainerConfig) -> None:
        super().__init__(model, device, config)
        index = None if device.type == "cpu" else [device]
        self._wrapped = DistributedDataParallel(
            _Loss(model, self._loss), device_ids=index, find_unused_parameters=True
        )

    def part(self, batch: Batch, totals: Batch | None, last: bool) -> Result:
        """See `Engine`; the last portion's way back adds up the processes' gradients."""
        with contextlib.nullcontext() if last else self._wrapped.no_sync():
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16):
                loss, scalars = self._wrapped(batch, totals)
            (loss * processes()).backward()  # of which it takes the mean
        return loss.detach(), scalars


class Sharded(Engine):
    """FSDP2: of each weight a process keeps one piece, and has all of it from a portion's loss to its
    gradients.

    Weights are gathered, and gradients reduced, for the whole model at once, whatever ways the data takes
    through it. With ``shard=layers`` those of each layer of the trunk are reduced and let go at its turn, and
    then all processes must go through the same layers equally often.
    """

    def __init__(
        self, model: nn.Module, average: nn.Module | None, device: torch.device, config: TrainerConfig
    ) -> None:
        first = dist.get_rank() == 0
        # What a policy folder is written from, as FSDP cannot be taken off a model again.
        self._outline = _copy_on_host(average if average is not None else model) if first else None
        mesh = dist.init_device_mesh(device.type, (dist.get_world_size(),))
        for each in (model, average):
            if each is not None:
                _shard(each, mesh, config)
        self._last = True
        self._reached: set[str] = set()
        super().__init__(model, device, config)

    def _prepared(self, loss: Loss, config: TrainerConfig) -> Loss:
        inner = super()._prepared(loss, config)

        def observed(*arguments: Any) -> Result:
            value, scalars = inner(*arguments)
            if value.requires_grad:
                value.register_hook(self._at_the_start_of_backward)
            return value, scalars

        self.model.loss = observed  # type: ignore[assignment]
        register_fsdp_forward_method(self.model, "loss")
        return cast(Loss, self.model.loss)

    def part(self, batch: Batch, totals: Batch | None, last: bool) -> Result:
        """See `Engine`; the last portion's way back adds up the processes' gradients."""
        self._last = last
        root = cast(FSDPModule, self.model)
        root.set_requires_gradient_sync(last)
        loss, scalars = self._forward(batch, totals)
        (loss * processes()).backward()  # of which it takes the mean
        if last:
            self._leave_unreached_alone()
        return loss.detach(), scalars

    def _at_the_start_of_backward(self, gradient: Tensor) -> Tensor:
        # Called back when all gradients are there, and before FSDP's own call, which reduces them.
        Variable._execution_engine.queue_callback(self._fill)
        return gradient

    def _fill(self) -> None:
        """Zeros for what got no gradient here: the processes must reduce the same weights."""
        if not self._last:
            return
        self._reached = set()
        for name, parameter in self.model.named_parameters():
            if parameter.grad is not None:
                self._reached.add(name)
            elif parameter.requires_grad and not isinstance(parameter, DTensor):
                parameter.grad = torch.zeros_like(parameter)

    def _leave_unreached_alone(self) -> None:
        trained = [(n, p) for n, p in self.model.named_parameters() if p.requires_grad]
        reached = torch.tensor([name in self._reached for name, _ in trained], dtype=torch.uint8)
        dist.all_reduce(reached, dist.ReduceOp.MAX)
        for (_, parameter), found in zip(trained, reached.tolist(), strict=True):
            if not found:
                parameter.grad = None

    @contextlib.contextmanager
    def whole(self, model: nn.Module) -> Iterator[nn.Module]:
        """See `Engine`. All processes must enter, and may then go different ways."""
        groups = [module for module in model.modules() if isinstance(module, FSDPModule)]
        for group in groups:
            group.unshard()
        try:
            yield model
        finally:
            for group in groups:
                group.reshard()

    @torch.no_grad()
    def complete(self, model: nn.Module) -> nn.Module | None:
        """See `Engine`: gathered one weight at a time."""
        outline = self._outline
        own = {} if outline is None else dict([*outline.named_parameters(), *outline.named_buffers()])
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
            if outline is not None:
                own[name].copy_(full)
        return outline


def build_engine(
    model: nn.Module, average: nn.Module | None, device: torch.device, config: TrainerConfig
) -> Engine:
    """The engine of a config. Under FSDP the weights of `model` and `average` are cut in place."""
    match config.used_engine():
        case "fsdp":
            return Sharded(model, average, device, config)
        case "ddp":
            return DataParallel(model, device, config)
    return Engine(model, device, config)


def _shard(model: nn.Module, mesh: DeviceMesh, config: TrainerConfig) -> None:
    """Cut every weight along its first dimension."""
    apart = set()
    for name, parameter in model.named_parameters():
        if not parameter.is_floating_point():
            raise BadInput(f"FSDP cannot cut weights in few bits ('{name}'): use trainer.engine=ddp")
        if parameter.ndim == 0:
            if parameter.requires_grad:
                raise BadInput(f"FSDP cannot cut '{name}', a single number: use trainer.engine=ddp")
            apart.add(parameter)
        parameter.data = parameter.data.contiguous()  # kernels are not
    if len({p.dtype for p in model.parameters() if p.requires_grad}) > 1:
        raise BadInput(
            "FSDP trains weights of one type: use trainer.engine=ddp, or model.backbone.dtype=float32"
        )
    if config.shard == "layers":
        layers = list(getattr(getattr(model, "backbone", None), "layer_list", ()))
        if not layers:
            raise BadInput("trainer.shard=layers: this model has no layers in a row; use trainer.shard=model")
        for layer in layers:
            # Kept until the gradients are there: a decoder may read a layer's keys and values, through which
            # gradients come back without FSDP's knowledge.
            fully_shard(layer, mesh=mesh, reshard_after_forward=False, ignored_params=apart)
    fully_shard(model, mesh=mesh, reshard_after_forward=False, ignored_params=apart)


def _copy_on_host(model: nn.Module) -> nn.Module:
    """A copy in the machine's own memory, whatever device the model is on."""
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach().to("cpu", copy=True), parameter.requires_grad)
    for buffer in model.buffers():
        memo[id(buffer)] = buffer.detach().to("cpu", copy=True)
    return copy.deepcopy(model, memo)
