"""What training on several processes needs beside averaging gradients. In one process all of it does nothing.

Each process (rank) holds an equal share of the batch. The processes average their losses and gradients, as
DistributedDataParallel does.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from vla.errors import BadInput

__all__ = ["gather", "gather_with_gradient", "processes", "rank"]


def processes() -> int:
    """How many processes share the batch."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


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

    There the gradients of all processes' losses are summed. Averaging over processes afterwards gives the
    gradient of the mean loss, just as for what every process computes by itself.
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
