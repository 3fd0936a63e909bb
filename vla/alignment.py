"""Contrastive losses that draw the same sample's senses together and push other samples' apart.

`clip_loss` (Radford et al. 2021, figure 3) asks of each sample which of all samples of the other sense is its
own: a softmax over the batch, both ways. `siglip_loss` (Zhai et al. 2023, equation 1) asks of every pair by
itself whether it belongs together. Both compare with the samples of all processes: the mean over processes of
loss and gradients is that of the whole batch in one process.

Sentences repeat in robot data: two samples of "lift the red cube" would be taught that each other's sentence
is wrong. `same` tells which samples mean the same; they then count as belonging together.

Shapes: b samples of this process, B of all processes (b = B in one), D shared width, W a sense's width.
"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla.configuration import AlignmentConfig
from vla.training.distributed import gather, gather_with_gradient, processes, rank

__all__ = ["Alignment", "clip_loss", "same_rows", "siglip_loss"]

LARGEST = math.log(100)
"""Of a learned log-scale: CLIP's bound, above which its training became unstable."""


def clip_loss(
    a_bD: Tensor,
    b_bD: Tensor,
    log_scale: Tensor,
    *,
    same: Tensor | None = None,
    present: Tensor | None = None,
) -> Tensor:
    """Mean of both cross-entropies, sense a -> sense b and b -> a; logits exp(log_scale) a.b.

    a, b: unit vectors; row i of each is the same sample. log_scale: of no effect above log 100. same: bool
    [b, B], symmetric; the target is spread evenly over what means the same. present: bool [b]; samples that
    lack a sense are left out altogether.
    """
    return _clip(_Pairs(a_bD, b_bD, same, present), log_scale)


def _clip(pairs: "_Pairs", log_scale: Tensor) -> Tensor:
    scale = log_scale.clamp(max=LARGEST).exp()
    total = log_scale.new_zeros(())
    for logits_bB in (scale * pairs.a_to_b, scale * pairs.b_to_a):
        hidden = ~pairs.present_B
        chances_bB = F.log_softmax(logits_bB.masked_fill(hidden, torch.finfo(logits_bB.dtype).min / 2), 1)
        target_bB = (pairs.same_bB & pairs.present_B).to(logits_bB.dtype)
        target_bB = target_bB / target_bB.sum(1, keepdim=True).clamp(min=1)
        total = total - ((target_bB * chances_bB).sum(1) * pairs.present_b).sum() / 2
    return total / pairs.share


def siglip_loss(
    a_bD: Tensor,
    b_bD: Tensor,
    log_scale: Tensor,
    bias: Tensor,
    *,
    same: Tensor | None = None,
    present: Tensor | None = None,
) -> Tensor:
    """-log sigmoid(z (exp(log_scale) a.b + bias)), summed over all pairs, divided by the number of samples; z
    is 1 where the pair belongs together, else -1. Arguments as in `clip_loss`.

    The paper starts from log_scale = log 10 and bias = -10: nearly all pairs are strangers, and are so taken.
    """
    return _siglip(_Pairs(a_bD, b_bD, same, present), log_scale, bias)


def _siglip(pairs: "_Pairs", log_scale: Tensor, bias: Tensor) -> Tensor:
    logits_bB = log_scale.exp() * pairs.a_to_b + bias
    losses_bB = -F.logsigmoid(torch.where(pairs.same_bB, logits_bB, -logits_bB))
    return (losses_bB * (pairs.present_b[:, None] & pairs.present_B)).sum() / pairs.share


class _Pairs:
    """This process's samples against everyone's.

    a_to_b, b_to_a: products float [b, B]. same_bB, present_b, present_B: bool. share: the number of samples
    present in all processes, divided by the processes: dividing a sum by it makes the mean over processes of
    the quotients the mean over samples.
    """

    def __init__(self, a_bD: Tensor, b_bD: Tensor, same: Tensor | None, present: Tensor | None) -> None:
        count = len(a_bD)
        self.present_b = a_bD.new_ones(count, dtype=torch.bool) if present is None else present
        with torch.autocast(a_bD.device.type, enabled=False):  # scaled by up to 100: bfloat16 is too coarse
            a_bD, b_bD = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (a_bD, b_bD))
            everyone = gather_with_gradient(torch.cat([a_bD, b_bD, self.present_b[:, None].to(a_bD)], 1))
            a_BD, b_BD, present_B1 = everyone.split([a_bD.shape[1], b_bD.shape[1], 1], 1)
            self.a_to_b, self.b_to_a = a_bD @ b_BD.T, b_bD @ a_BD.T
        place = rank() * count + torch.arange(count, device=a_bD.device)
        self.same_bB = place[:, None] == torch.arange(len(a_BD), device=a_bD.device)
        if same is not None:
            if same.shape != self.same_bB.shape:
                raise ValueError(
                    f"same must be bool {list(self.same_bB.shape)}: columns are the samples of all processes"
                )
            self.same_bB = self.same_bB | same
        self.present_B = present_B1[:, 0] > 0.5
        self.share = self.present_B.sum().clamp(min=1) / processes()


def same_rows(ids_bL: Tensor) -> Tensor:
    """int64 [b, L], padded alike in all processes -> bool [b, B]: whose rows (sentences) are equal."""
    return (ids_bL[:, None] == gather(ids_bL)).all(-1)


class Alignment(nn.Module):
    """Projects each sense to the shared width, and compares the pairs that the config names.

    widths: of each sense's pooled vector, by name; or one for all. Each pair learns its own temperature.
    """

    def __init__(self, config: AlignmentConfig, widths: Mapping[str, int] | int) -> None:
        super().__init__()
        self.kind, self.pairs = config.kind, config.pairs
        senses = sorted({name for pair in config.pairs for name in pair})
        self.widths: dict[str, int] = {
            name: widths if isinstance(widths, int) else widths[name] for name in senses
        }
        self.project = nn.ModuleDict(
            {name: nn.Linear(width, config.width, bias=False) for name, width in self.widths.items()}
        )
        start = 1 / 0.07 if config.kind == "clip" else 10.0
        self.log_scale = nn.Parameter(torch.full((len(config.pairs),), math.log(start)))
        self.bias = None
        if config.kind == "siglip":
            self.bias = nn.Parameter(torch.full((len(config.pairs),), -10.0))

    def forward(
        self, pooled: Mapping[str, tuple[Tensor, Tensor]], same: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """-> mean loss of the pairs (not yet weighted by `config.weight`), and for each pair, detached,
        `align_<a>_<b>` (its loss) and `align_<a>_<b>_accuracy` (how often the most alike of all samples is
        the right one, both ways; 0 where no sample of this process has both senses).

        pooled: sense -> vectors [b, W] and whether they are there, bool [b]; a sense that is left out is
        nowhere there. same: bool [b, B], which samples mean the same (see `same_rows`).
        """
        if self.kind == "clip":
            with torch.no_grad():  # here too: beyond the bound there is no gradient by which to come back
                self.log_scale.clamp_(max=LARGEST)
        some = next(iter(pooled.values()))[0]
        unit: dict[str, Tensor] = {}
        there: dict[str, Tensor] = {}
        for name, layer in self.project.items():
            x, there[name] = pooled[name] if name in pooled else _nothing(some, self.widths[name])
            unit[name] = F.normalize(layer(x).float(), dim=-1)
        losses, scalars = [], {}
        for i, (a, b) in enumerate(self.pairs):
            pairs = _Pairs(unit[a], unit[b], same, there[a] & there[b])
            if self.bias is None:
                loss = _clip(pairs, self.log_scale[i])
            else:
                loss = _siglip(pairs, self.log_scale[i], self.bias[i])
            losses.append(loss)
            scalars[f"align_{a}_{b}"] = loss.detach()
            scalars[f"align_{a}_{b}_accuracy"] = _accuracy(pairs)
        return torch.stack(losses).mean(), scalars


def _nothing(like: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """A sense that no sample has. It still takes part, so that all processes do the same and no parameter
    is left without a gradient."""
    return like.new_zeros(len(like), width), torch.zeros(len(like), dtype=torch.bool, device=like.device)


@torch.no_grad()
def _accuracy(pairs: _Pairs) -> Tensor:
    found = pairs.a_to_b.new_zeros(())
    for alike_bB in (pairs.a_to_b, pairs.b_to_a):
        nearest = alike_bB.masked_fill(~pairs.present_B, -torch.inf).argmax(1, keepdim=True)
        found = found + (pairs.same_bB.gather(1, nearest)[:, 0] & pairs.present_b).sum()
    return found / (2 * pairs.present_b.sum().clamp(min=1))
