"""The continuous decoder: an action expert that carries noise to a chunk by flow matching (pi0, Black et al.
2024).

The backbone reads the prefix once. The expert is a second, narrower transformer of as many layers over one
token a control step; in layer l its queries attend to each other, both ways, and to the keys and values that
the backbone's layer l keeps of the prefix. So each step of the flow runs the expert alone.

Of a chunk a and noise e, at a time t in 0..1, the expert sees x = t a + (1 - t) e and learns the velocity
a - e. To act, Euler's method follows its velocity from noise (t = 0) to a chunk (t = 1).

A plan in flight binds the answer in two ways. Rows that will have been executed are given clean, as rows of
time 1 (Black et al. 2025, training-time action conditioning), where the decoder has learned to go on from
them: `config.forced` of them at most, and these come back exactly. The other rows of some weight are guided
(see `vla.decoders.guidance`), and come near the plan, not on it: the caller overwrites what is executed.

Shapes: B batch, P prefix tokens, H rows of the chunk (tokens of the expert), D action dimensions, W the
expert's width, G heads of keys and values, E numbers in a key.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla.backbones.attending import attend
from vla.backbones.base import Backbone, Before, Heads, Turn
from vla.configuration import FlowConfig
from vla.decoders.guidance import STRONGEST, Plan, guided_velocity

__all__ = ["FlowDecoder", "Noise", "Past", "remember"]

_LATEST = 0.999
"""Training times are below this one (pi0's s)."""


@dataclass(frozen=True)
class Past:
    """What an expert may look at: each layer's keys [B, G, P, E] and values, bool [B, P] of which are there
    (None: all), and the place of the first action token, int64 [B or 1]."""

    layers: list[tuple[Tensor, Tensor]]
    there: Tensor | None
    place: Tensor


@dataclass(frozen=True)
class Noise:
    """start: where each chunk's flow begins, of the standard normal distribution, float32 [B, H, D]. time:
    uniform in 0..1, float32 [B, 1], from which its training time is made."""

    start: Tensor
    time: Tensor

    @classmethod
    def drawn(cls, chunk_BHD: Tensor, generator: torch.Generator | None = None) -> "Noise":
        """For chunks of a shape."""
        device = chunk_BHD.device
        start = torch.randn(chunk_BHD.shape, generator=generator, device=device)
        return cls(start, torch.rand(len(chunk_BHD), 1, generator=generator, device=device))


def remember(  # noqa: PLR0917 (as many as `Backbone.forward` takes, by place)
    backbone: Backbone,
    x_BPW: Tensor,
    mask: Tensor | None,
    there_BP: Tensor | None,
    positions: Tensor,
    before: Before | None = None,
) -> Past:
    """Read a prefix. mask, positions, before: as for `Backbone.forward`; there_BP: see `Past`."""
    cache = backbone.new_cache()
    backbone(x_BPW, mask, cache, last=1, positions=positions, before=before)
    flat = positions if positions.ndim == 2 else positions.amax(0)  # of time, row and column
    return Past(list(cache.layers), there_BP, flat.amax(-1) + 1)


class _Layer(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); the keys are the prefix's and its own."""

    def __init__(self, width: int, mlp: int, heads: Heads) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query = nn.Linear(width, heads.query * heads.key, bias=False)
        self.key = nn.Linear(width, heads.kept * heads.key, bias=False)
        self.value = nn.Linear(width, heads.kept * heads.value, bias=False)
        self.out = nn.Linear(heads.query * heads.value, width, bias=False)
        self.up, self.down = nn.Linear(width, mlp), nn.Linear(mlp, width)

    def forward(self, x_BHW: Tensor, past: tuple[Tensor, Tensor], mask: Tensor | None, turn: Turn) -> Tensor:
        """[B, H, W] -> the same; mask: bool [B, 1, 1, P + H]."""
        heads = self.heads
        h = self.norm_1(x_BHW)
        q = turn(_split(self.query(h), heads.query))
        k = turn(_split(self.key(h), heads.kept))
        v = _split(self.value(h), heads.kept)
        k, v = (torch.cat([old.to(new.dtype), new], 2) for old, new in zip(past, (k, v), strict=True))
        x_BHW = x_BHW + self.out(attend(q, k, v, mask).transpose(1, 2).flatten(2))
        return x_BHW + self.down(F.gelu(self.up(self.norm_2(x_BHW))))


class FlowDecoder(nn.Module):
    """The expert; see the module. Untrained, its velocity is 0."""

    def __init__(self, config: FlowConfig, backbone: Backbone) -> None:
        super().__init__()
        self.config = config
        self._backbone = (backbone,)  # in a tuple: its weights are not registered here again
        width, heads = config.width, backbone.heads
        self.row = nn.Linear(config.dim, width)
        self.time = nn.Linear(width + width % 2, width, bias=False)
        self.mix = nn.Linear(width, width)
        self.place = nn.Parameter(torch.randn(config.horizon, width) * 0.5)
        self.layers = nn.ModuleList([_Layer(width, config.mlp, each) for each in heads])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, config.dim)
        for name, weight in self.layers.named_parameters():
            if name.endswith(("out.weight", "down.weight")):
                nn.init.normal_(weight, std=0.02 / (2 * len(heads)) ** 0.5)
            elif weight.ndim == 2:
                nn.init.normal_(weight, std=width**-0.5)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    # -- training --------------------------------------------------------------------------------------

    def loss(
        self,
        past: Past,
        chunk_BHD: Tensor,
        mask_BHD: Tensor,
        forced_B: Tensor | None = None,
        generator: torch.Generator | None = None,
        *,
        noise: Noise | None = None,
        weight_B: Tensor | None = None,
        total: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean squared error of the velocity at one random time for each chunk, over the numbers that
        `mask_BHD` (bool) calls real.

        forced_B: int64, how many first rows are given clean; they count nothing. noise: of the chunk and its
        time, else the generator's. weight_B: of each chunk. total: the weighted sum is divided by this (None:
        by the weights' sum). Beside it `action_error`: how far the end that the velocity points to is from
        the chunk, mean absolute, in normalised units.
        """
        chunk = chunk_BHD.float()
        if noise is None:
            noise = Noise.drawn(chunk, generator)
        # (s - t) / s has the density Beta(1.5, 1), whose distribution function u^1.5 is inverted here: noisy
        # times are the frequent ones (pi0, appendix B).
        time = (_LATEST * (1 - noise.time ** (1 / 1.5))).expand(chunk.shape[:2])
        real = mask_BHD if weight_B is None else mask_BHD * weight_B[:, None, None]
        if forced_B is not None:
            given = self._first(forced_B)
            time, real = time.masked_fill(given, 1.0), real * ~given[..., None]
        t = time[..., None]
        x = t * chunk + (1 - t) * noise.start
        off = self.velocity(x, time, past) - (chunk - noise.start)
        weight = real.float() / (real.sum().clamp(min=1) if total is None else total)
        error = ((1 - t) * off.detach()).abs()
        return (off.square() * weight).sum(), {"action_error": (error * weight).sum()}

    # -- acting ----------------------------------------------------------------------------------------

    def sample(self, past: Past, noise_BHD: Tensor, plan: Plan | None = None) -> Tensor:
        """Noise of the standard normal distribution -> normalised chunk, float32 [B, H, D]. No gradients.

        plan: of the rows it binds (see the module). Costs one backward pass of the expert a step if any row
        is guided.
        """
        with torch.no_grad():
            noise = noise_BHD.float()
            if plan is None:
                given = torch.zeros(noise.shape[:2], dtype=torch.bool, device=noise.device)
                return self._flow(past, noise, noise, given)
            given = self._first(plan.delay.clamp(max=self.config.forced))
            weights = plan.weights.float().clamp(0, 1) * ~given
            if not weights.any():
                return self._flow(past, noise, plan.chunk, given)
            # Gradients cannot be asked within `torch.inference_mode`, nor of tensors made there.
            with torch.inference_mode(False), torch.no_grad():
                there = None if past.there is None else _own(past.there)
                past = Past([(_own(k), _own(v)) for k, v in past.layers], there, _own(past.place))
                noise, chunk, given, weights = (_own(x) for x in (noise, plan.chunk, given, weights))
                return self._flow(past, noise, chunk, given, weights)

    def _flow(
        self,
        past: Past,
        x_BHD: Tensor,
        plan_BHD: Tensor,
        given_BH: Tensor,
        weights_BH: Tensor | None = None,
    ) -> Tensor:
        """Euler's method. The rows `given` are the plan's; with weights, the others are guided."""
        steps, given = self.config.steps, given_BH[..., None]
        see = self._seeing(past)

        def velocity(x: Tensor, now: float) -> Tensor:
            time = torch.full_like(x[..., 0], now).masked_fill(given_BH, 1.0)
            return see(torch.where(given, plan_BHD, x), time)

        x = x_BHD
        for step in range(steps):
            now = step / steps
            if weights_BH is None:
                v = velocity(x, now)
            else:
                # A correction of more than 1 / (length of a step) would carry past the plan.
                bound, at_now = min(STRONGEST, steps), functools.partial(velocity, now=now)
                v = guided_velocity(at_now, x, now, plan_BHD, weights_BH, strongest=bound)
            x = x + v / steps
        return torch.where(given, plan_BHD, x)

    def _first(self, count_B: Tensor) -> Tensor:
        """bool [B, H], True in the first `count` rows."""
        return torch.arange(self.config.horizon, device=count_B.device) < count_B[:, None]

    # -- the expert ------------------------------------------------------------------------------------

    def velocity(self, x_BHD: Tensor, time_BH: Tensor, past: Past) -> Tensor:
        """Where the rows of a noisy chunk go at their times: float32 [B, H, D]."""
        return self._seeing(past)(x_BHD, time_BH)

    def _seeing(self, past: Past) -> Callable[[Tensor, Tensor], Tensor]:
        """`velocity` of a past, with what all its steps share made once."""
        horizon = self.config.horizon
        rows = torch.arange(horizon, device=past.place.device)
        turns = self._backbone[0].turns(past.place[:, None] + rows)
        mask = None if past.there is None else F.pad(past.there, (0, horizon), value=True)[:, None, None]

        def velocity(x_BHD: Tensor, time_BH: Tensor) -> Tensor:
            x = self.row(x_BHD) + self.time(_waves(time_BH, self.time.in_features))
            x = self.mix(F.silu(x)) + self.place
            for layer, kept, turn in zip(self.layers, past.layers, turns, strict=True):
                x = layer(x, kept, mask, turn)
            return self.head(self.norm(x)).float()

        return velocity


def _waves(time_BH: Tensor, width: int) -> Tensor:
    """Sines and cosines [B, H, width] of periods 0.004 .. 4, geometrically spaced (pi0)."""
    share = torch.linspace(0, 1, width // 2, device=time_BH.device)
    angle = time_BH[..., None] * (2 * math.pi / (0.004 * 1000**share))
    return torch.cat([angle.sin(), angle.cos()], -1)


def _split(x_BHC: Tensor, heads: int) -> Tensor:
    return x_BHC.unflatten(-1, (heads, -1)).transpose(1, 2)


def _own(x: Tensor) -> Tensor:
    """The same values, in a tensor of which gradients may be asked."""
    return x.clone() if x.is_inference() else x
