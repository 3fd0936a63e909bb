"""Settings of how the answer is written."""

from dataclasses import dataclass, field
from typing import Literal

from vla.checks import at_least
from vla.configuration.tokenizer import BinsConfig, Layout, TokenizerConfig
from vla.errors import BadInput

__all__ = ["DecoderConfig", "FlowConfig"]


@dataclass(frozen=True)
class DecoderConfig:
    """Action chunks of `horizon` steps x `dim` joints, written as the codes of a tokenizer.

    kind: `parallel`, all codes in one pass; `blockwise`, in passes of `block` groups (with bins: control
    steps), each seeing those before it; or `autoregressive`, code by code.
    ids: `own`, action ids follow the words and have a table and a head of their own; or `overwrite`, the last
    ids of the language model's own vocabulary stand for actions, as in OpenVLA.
    start: with `overwrite`, the language model's token after which the answer begins (OpenVLA: 29871).
    forced: the most control steps of a chunk that may be given beforehand (real-time chunking): a parallel
    decoder learns in training to go on from them (Black et al. 2025, training-time action conditioning).
    tokenizer: whose codes; it is None for a flow alone.
    smoothing: standard deviation in codes of the soft target, for ordered codes (0: one-hot).
    readout: `median`, the code where the cumulative probability passes one half, or `mode`, the likeliest,
    which is also what codes without an order get.
    """

    kind: Literal["parallel", "blockwise", "autoregressive"] = "parallel"
    ids: Literal["own", "overwrite"] = "own"
    start: int = 0
    horizon: int = 10
    dim: int = 6
    tokenizer: TokenizerConfig | None = field(default_factory=BinsConfig)
    block: int = 1
    forced: int = 0
    smoothing: float = 3.0
    readout: Literal["median", "mode"] = "median"

    def __post_init__(self) -> None:
        at_least(self, 1, "horizon", "dim", "block")
        at_least(self, 0, "smoothing", "start", "forced")
        if self.tokenizer is None:
            raise BadInput(
                f"decoder.kind={self.kind} writes the codes of a tokenizer, which model/tokenizer=none takes "
                "away: choose model/tokenizer=bins or another, or model/decoder=flow"
            )
        layout = self.layout
        if self.ids == "overwrite" and self.kind != "autoregressive":
            raise BadInput("decoder.ids=overwrite needs decoder.kind=autoregressive")
        if not layout.fixed and self.kind != "autoregressive":
            raise BadInput(
                f"decoder.kind={self.kind} needs codes of a fixed number; decoder.tokenizer.kind="
                f"{self.tokenizer.kind} gives more or fewer: use decoder.kind=autoregressive"
            )
        if self.kind == "blockwise" and layout.groups % self.block:
            raise BadInput(
                f"decoder.block={self.block} must divide the chunk's {layout.groups} groups of codes"
            )
        if self.forced and not (self.kind == "parallel" and layout.time_local):
            raise BadInput("decoder.forced is for decoder.kind=parallel with decoder.tokenizer.kind=bins")
        if self.forced >= self.horizon:
            raise BadInput(f"decoder.forced={self.forced} must be less than decoder.horizon={self.horizon}")

    @property
    def layout(self) -> Layout:
        """How the codes of a chunk stand."""
        assert self.tokenizer is not None  # checked above
        return self.tokenizer.layout(self.horizon, self.dim)

    @property
    def codes(self) -> "DecoderConfig":
        """How codes are written: so."""
        return self

    @property
    def grid(self) -> tuple[int, int]:
        """Groups that the answer's tokens stand for, and codes in each: single codes if autoregressive."""
        layout = self.layout
        single = self.kind == "autoregressive"
        return (layout.length, 1) if single else (layout.groups, layout.width)


@dataclass(frozen=True)
class FlowConfig:
    """A continuous answer: an action expert of its own, which looks at the prefix's keys and values layer by
    layer and carries noise to a chunk (pi0, Black et al. 2024).

    width, mlp: of the expert. steps: of Euler's method when it acts. forced: as for `DecoderConfig`.
    auxiliary: weight of a second loss: the same actions as codes of `tokenizer`, which the backbone writes
    itself and so learns from while `TuningConfig.insulate` keeps the expert's gradient away (pi0.5 and Driess
    et al. 2025). It is not used to act. tokenizer: None where there is no such loss.
    """

    kind: Literal["flow"] = "flow"
    horizon: int = 10
    dim: int = 6
    width: int = 128
    mlp: int = 512
    steps: int = 5
    forced: int = 0
    auxiliary: float = 0.0
    tokenizer: TokenizerConfig | None = None

    def __post_init__(self) -> None:
        if self.tokenizer is not None and not self.auxiliary:
            raise BadInput(
                f"decoder.kind=flow answers with numbers, not with codes of decoder.tokenizer.kind="
                f"{self.tokenizer.kind}: leave model/tokenizer out, choose another model/decoder, or give "
                "decoder.auxiliary a weight, to learn from those codes as well"
            )
        if self.auxiliary and self.tokenizer is None:
            raise BadInput("decoder.auxiliary learns codes: choose model/tokenizer=bins or another after it")
        at_least(self, 1, "horizon", "dim", "width", "mlp", "steps")
        at_least(self, 0, "forced", "auxiliary")
        if self.forced >= self.horizon:
            raise BadInput(f"decoder.forced={self.forced} must be less than decoder.horizon={self.horizon}")

    @property
    def codes(self) -> DecoderConfig | None:
        """How the codes of the auxiliary loss are written."""
        if self.tokenizer is None:
            return None
        fixed = self.tokenizer.layout(self.horizon, self.dim).fixed
        kind: Literal["parallel", "autoregressive"] = "parallel" if fixed else "autoregressive"
        return DecoderConfig(kind, horizon=self.horizon, dim=self.dim, tokenizer=self.tokenizer)
