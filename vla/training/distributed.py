"""Several processes that train one model: how they come together, what they tell each other, how they part.

Each process (rank) holds its share of the batch; gradients are added up (see `vla.training.engine`). Here are
the small things beside: words on which all agree, sums of numbers, gathered samples. In one process all of it
does nothing. Numbers on the CPU travel by gloo and those on GPUs by nccl; nothing is pickled.
"""

import contextlib
import gc
import json
import os
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
import torch.distributed.nn  # now: what is imported while a process group is there keeps it for ever
from torch import Tensor

from vla.errors import BadInput
from vla.training.launch import Place, place

if TYPE_CHECKING:
    from vla.training.config import TrainerConfig

__all__ = [
    "agree",
    "everywhere",
    "gather",
    "gather_with_gradient",
    "processes",
    "rank",
    "running",
    "sum_over_processes",
    "union",
    "wait_for_all",
]

MEET = timedelta(minutes=5)
"""How long the first process waits for the last one."""
ANSWER = timedelta(hours=3)
"""How long one waits for the others in between: the first may be rolling out."""


def processes() -> int:
    """How many processes share the batch."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


# -- beginning and end ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def running(config: "TrainerConfig") -> Iterator[Place]:
    """Bring the processes together, as many as a launcher started; at the end let them go.

    What is printed within is the first process's alone. Of a mistake that ends one of them, or all, one line
    is told. Raises BadInput where they do not come together.
    """
    here = place()
    try:
        engine, _ = config.used_engine(), config.parts()
    except BadInput:
        if here.rank:  # all find the same
            raise SystemExit(2) from None
        raise
    if engine == "none" or dist.is_initialized():
        yield here
        return
    store = _join(here, config.torch_device())
    with contextlib.ExitStack() as stack:
        if here.rank:
            silence = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(silence))
        try:
            yield here
            wait_for_all()
            dist.destroy_process_group()
        except (Exception, KeyboardInterrupt) as error:
            if _told_by_another(store, here):
                raise SystemExit(_status(error)) from None
            if _lost(error):
                raise BadInput(
                    f"process {here.rank} of {here.processes} lost another one, which ended: what it said "
                    f"last tells why; the same command goes on from the last checkpoint"
                ) from error
            raise
        finally:
            # gloo's threads end with the group's last owner, and caches of DTensor's may own it for ever. One
            # that is still to let go of the last tensor it sent when the interpreter ends aborts the process.
            gc.collect()
            time.sleep(0.3)


def _status(error: BaseException) -> int:
    """With which a command would end."""
    if isinstance(error, KeyboardInterrupt):
        return 130
    return 2 if isinstance(error, BadInput) else 1


def _join(here: Place, device: torch.device) -> Any:
    """Start torch's process group; returns the store by which it met."""
    os.environ.update(here.variables())
    where = f"{here.host}:{here.port}"
    backend = "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
        backend = "cpu:gloo,cuda:nccl"
    try:
        store, number, count = next(dist.rendezvous("env://", timeout=MEET))
        group = dist.PrefixStore("training", store)
        dist.init_process_group(backend, store=group, rank=number, world_size=count, timeout=ANSWER)
    except (dist.DistError, RuntimeError, ValueError, OSError) as error:
        text = " ".join(str(error).split())
        if "EADDRINUSE" in text or "address already in use" in text.lower():
            raise BadInput(
                f"port {here.port} of {here.host} is taken by another program: set MASTER_PORT (torchrun "
                f"--master-port, or --standalone) to a free one"
            ) from None
        raise BadInput(
            f"process {here.rank} did not find the other {here.processes - 1} at {where} within "
            f"{MEET.seconds // 60} minutes: start {here.processes} of them, on machines that reach each "
            f"other ({text[:160]})"
        ) from None
    return store


def _told_by_another(store: Any, here: Place) -> bool:
    """Whether another process has already told, or is telling, why all of them stop."""
    try:
        first: bytes = store.compare_set("vla/told_by", "", str(here.rank))
    except (dist.DistError, RuntimeError):  # it went with the process that kept it
        return False
    return first.decode() != str(here.rank)


def _lost(error: BaseException) -> bool:
    """Whether an error is that another process is gone."""
    marks = ("gloo", "nccl", "closed by peer", "connection reset", "store", "socket")
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(mark in str(error).lower() for mark in marks)
    )


# -- words and sums -----------------------------------------------------------------------------------------


def agree(*values: float) -> list[float]:
    """The largest of each number among all processes."""
    if processes() == 1:
        return list(values)
    all_values = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(all_values, dist.ReduceOp.MAX)
    return all_values.tolist()


def everywhere(good: bool) -> bool:
    """Whether something is so in every process."""
    return agree(0.0 if good else 1.0) == [0.0]


def wait_for_all() -> None:
    """Go on when every process has come here."""
    agree(0.0)


def union(names: Iterable[str]) -> list[str]:
    """The names that any process gives, sorted; the same list in each."""
    own = sorted(names)
    if processes() == 1:
        return own
    packed = json.dumps(own).encode()
    check = float(zlib.crc32(packed))
    largest, least, length = agree(check, -check, len(packed))
    if largest == -least:  # as nearly always
        return own
    row = torch.zeros(int(length), dtype=torch.uint8)
    row[: len(packed)] = torch.frombuffer(bytearray(packed), dtype=torch.uint8)
    rows = [torch.empty_like(row) for _ in range(processes())]
    dist.all_gather(rows, row)
    return sorted({name for each in rows for name in json.loads(bytes(each.tolist()).rstrip(b"\0"))})


def sum_over_processes(values: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Scalars added up by name; a name that some process lacks counts 0 there. On `device`, float32."""
    names = union(values)
    if processes() == 1 or not names:
        return dict(values)
    zero = torch.zeros((), device=device)
    row = torch.stack([values[name].detach().float() if name in values else zero for name in names])
    dist.all_reduce(row)
    return dict(zip(names, row.unbind(), strict=True))


# -- samples ------------------------------------------------------------------------------------------------


def gather(x: Tensor) -> Tensor:
    """[B, ...] of each process -> [B * processes, ...], in the order of ranks; without gradients.

    Every process must call it, with the same shape. Raises BadInput where the first dimensions differ.
    """
    if processes() == 1:
        return x.detach()
    sizes = [torch.zeros((), dtype=torch.int64, device=x.device) for _ in range(processes())]
    dist.all_gather(sizes, torch.tensor(len(x), device=x.device))
    if (
        len(set(counts := [int(size) for size in sizes])) > 1
    ):  # seen by all alike, so that none is left waiting
        raise BadInput(
            f"the processes hold different numbers of samples ({', '.join(map(str, counts))}): use a batch "
            f"size that is a multiple of {processes()}, and drop an incomplete last batch"
        )
    sent = x.detach().contiguous()
    sent = sent.to(torch.uint8) if x.dtype == torch.bool else sent  # not every backend sends bools
    shares = [torch.empty_like(sent) for _ in range(processes())]
    dist.all_gather(shares, sent)
    return torch.cat(shares).to(x.dtype)


def gather_with_gradient(x: Tensor) -> Tensor:
    """`gather`, through which gradients flow back to the process each share came from.

    There the gradients of all processes' losses are summed, as gradients of weights are. So each process's
    loss must be its share of the whole: shares that add up to it.
    """
    return x if processes() == 1 else _Gather.apply(x)  # type: ignore[no-any-return]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.count = len(x)
        return gather(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total[rank() * ctx.count :][: ctx.count]
