"""Connectors bring an encoder's tokens to the backbone's width, and their number down to a budget.

`linear` and `mlp` (LLaVA 1.5) map every token by itself and average neighbours where a budget asks for fewer.
`q_former` (BLIP-2) and `perceiver` (Flamingo) ask the tokens with a fixed number of learned queries, so what
comes out is as many whatever went in; they are blind to the order of the tokens, which must say themselves
where they belong. Every connector tells its `cost()`.
"""

from vla.configuration import ConnectorConfig, LinearConfig, MLPConfig, QFormerConfig
from vla.connectors.base import Connector, Cost
from vla.connectors.perceiver import PerceiverConnector
from vla.connectors.pooled import LinearConnector, MLPConnector, pool
from vla.connectors.q_former import QFormerConnector

__all__ = [
    "Connector",
    "Cost",
    "LinearConnector",
    "MLPConnector",
    "PerceiverConnector",
    "QFormerConnector",
    "build_connector",
    "pool",
]


def build_connector(
    config: ConnectorConfig, channels: int, tokens: int, width: int, *, picture: bool = True
) -> Connector:
    """The connector that `config` describes, for `tokens` tokens of `channels` numbers each.

    width: the backbone's. picture: whether a square number of tokens is one picture's patches, row by row;
    then a square budget averages over areas instead of runs. Raises BadInput where the heads do not divide
    the width.
    """
    if isinstance(config, LinearConfig):
        return LinearConnector(channels, tokens, width, config.tokens, picture)
    if isinstance(config, MLPConfig):
        return MLPConnector(config, channels, tokens, width, picture)
    if isinstance(config, QFormerConfig):
        return QFormerConnector(config, channels, tokens, width)
    return PerceiverConnector(config, channels, tokens, width)
