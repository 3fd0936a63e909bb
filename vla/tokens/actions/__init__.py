"""Action tokenizers: one protocol (`base.ActionTokenizer`), several codes."""

from vla.configuration.tokenizer import (
    BinsConfig,
    FastConfig,
    ResidualConfig,
    SplineConfig,
    TokenizerConfig,
)
from vla.tokens.actions.base import ActionTokenizer, Codes, Grammar

__all__ = ["ActionTokenizer", "Codes", "Grammar", "build_tokenizer"]


def build_tokenizer(config: TokenizerConfig, horizon: int, dim: int) -> ActionTokenizer:
    """The tokenizer of a config, for chunks [horizon, dim]; a learned one is to be fitted or restored."""
    if isinstance(config, FastConfig):
        from vla.tokens.actions.fast import FastTokenizer

        return FastTokenizer(config, horizon, dim)
    if isinstance(config, SplineConfig):
        from vla.tokens.actions.spline import SplineTokenizer

        return SplineTokenizer(config, horizon, dim)
    if isinstance(config, ResidualConfig):
        from vla.tokens.actions.residual import ResidualTokenizer

        return ResidualTokenizer(config, horizon, dim)
    return _bins(config, horizon, dim)


def _bins(config: BinsConfig, horizon: int, dim: int) -> ActionTokenizer:
    if config.spacing == "quantile":
        from vla.tokens.actions.quantile import QuantileBins

        return QuantileBins(config, horizon, dim)
    if config.spacing == "openvla":
        from vla.tokens.actions.openvla import OpenVLABins

        return OpenVLABins(config, horizon, dim)
    from vla.tokens.actions.bins import BinTokenizer

    return BinTokenizer(config, horizon, dim)
