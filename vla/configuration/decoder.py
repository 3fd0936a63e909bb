"""Settings of how the answer is written."""

from dataclasses import dataclass
from typing import Literal

from vla.checks import at_least
from vla.errors import BadInput

__all__ = ["DecoderConfig"]


@dataclass(frozen=True)
class DecoderConfig:
    """Action chunk of `horizon` steps x `dim` joints, each one of `bins` tokens.

    kind: `parallel`, one pass, one query token a step; or `autoregressive`, token by token.
    ids: `own`, action ids follow the words and have a table and a head of their own; or `overwrite`, the last
    `bins` ids of the language model's own vocabulary stand for actions, in OpenVLA's order and with its bins.
    start: with `overwrite`, the language model's token after which the answer begins (OpenVLA: 29871).
    smoothing: standard deviation in bins of the soft target (0: one-hot).
    readout: `median`, the bin where the cumulative probability passes one half; or `mode`, the likeliest.
    """

    kind: Literal["parallel", "autoregressive"] = "parallel"
    ids: Literal["own", "overwrite"] = "own"
    start: int = 0
    horizon: int = 10
    dim: int = 6
    bins: int = 256
    smoothing: float = 3.0
    readout: Literal["median", "mode"] = "median"

    def __post_init__(self) -> None:
        at_least(self, 1, "horizon", "dim")
        at_least(self, 2, "bins")
        at_least(self, 0, "smoothing", "start")
        if self.ids == "overwrite" and self.kind != "autoregressive":
            raise BadInput("decoder.ids=overwrite needs decoder.kind=autoregressive")
