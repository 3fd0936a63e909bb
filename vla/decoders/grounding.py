"""Where the thing named in the sentence is: supervises the first two point maps of each camera.

Labels `points` float32 [B, 2 * cameras, 3]: for each camera in the model's order its target, then its
destination: x, y in 0..1 (x right, y down) and 1 where it can be seen.
Shapes: B batch, M maps, h, w cells.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["POINTS_PER_CAMERA", "grounding_loss"]

POINTS_PER_CAMERA = 2


def grounding_loss(
    logits_BMHW: Tensor, points_BM3: Tensor, sigma: float, *, total: Tensor | None = None
) -> Tensor:
    """Cross-entropy of each map's softmax over cells against a Gaussian around its labelled point.

    logits: float32. sigma: in cells. Points that cannot be seen count nothing; the mean is over those
    that can (0 if there are none). total: divide the sum over them by this instead.
    """
    h, w = logits_BMHW.shape[-2:]
    x_BM, y_BM, seen_BM = points_BM3.float().unbind(-1)
    target_BMHW = _bump(y_BM, h, sigma)[..., :, None] * _bump(x_BM, w, sigma)[..., None, :]
    loss_BM = -(target_BMHW.flatten(2) * F.log_softmax(logits_BMHW.float().flatten(2), -1)).sum(-1)
    return (loss_BM * seen_BM).sum() / (seen_BM.sum().clamp(min=1.0) if total is None else total)


def _bump(centre_BM: Tensor, cells: int, sigma: float) -> Tensor:
    """[B, M] in 0..1 -> [B, M, cells], a Gaussian that sums to one."""
    place = torch.arange(cells, device=centre_BM.device) + 0.5
    return F.softmax(-0.5 * ((place - cells * centre_BM.clamp(0, 1)[..., None]) / sigma) ** 2, -1)
