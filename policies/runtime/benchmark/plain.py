"""Plain token-by-token decoding, to compare with.

- everything computed again for each code: `generate(..., use_cache=False)`. The pictures are encoded once
  even so, which is kinder than `transformers` without a cache
- a cache that grows by concatenation, as most code has it
- `transformers`' own ``generate`` on a causal Llama whose last words are the actions: how OpenVLA's published
  code decodes
"""

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from policies.runtime.benchmark.equal import matched
from policies.runtime.benchmark.options import Decoding
from policies.runtime.benchmark.ours import HEADS, LAYERS, PARALLEL, Built, build, contender, senses_config
from policies.runtime.benchmark.timing import Contender, passes_of
from vla.backbones.attending import KVCache
from vla.configuration import DecoderConfig, TransformersConfig, VLAConfig, WordsConfig
from vla.describe import dummy_batch
from vla.model import VLA
from vla.optional import need

__all__ = ["GROWING", "REFERENCE", "generate_ids", "llama", "plain_contenders", "transformers_contenders"]

REFERENCE = "token by token, no cache"
"""What the speed-ups are counted from."""
GROWING = "token by token, growing cache"


def plain_contenders(options: Decoding, device: str) -> list[Contender]:
    """The model of `autoregressive, bins`, decoded in plain ways."""
    decoder = DecoderConfig(kind="autoregressive", horizon=options.horizon, dim=options.dim)
    built = replace(build(options, decoder, options.size, device), memory=None)
    built.model.backbone.new_cache = lambda **_: KVCache()  # type: ignore[method-assign]
    return [
        contender(REFERENCE, built, partial(built.act, use_cache=False)),
        contender(GROWING, built, reference=REFERENCE),
    ]


def transformers_contenders(options: Decoding, device: str) -> list[Contender]:
    """OpenVLA's way, at the same size. Raises BadInput without `transformers`."""
    need("transformers", "transformers", "the contender decoded by transformers")
    built = llama(options, device)
    act = partial(generate_ids, built)
    parameters, passes = built.model.num_parameters(), passes_of(built.model.backbone.model, act)
    codes = options.horizon * options.dim
    theirs = "the same Llama, transformers' generate"
    return [
        contender("autoregressive, bins, causal Llama of transformers", built, reference=REFERENCE),
        Contender(theirs, act, parameters, passes, codes, REFERENCE, PARALLEL),
    ]


@torch.no_grad()
def generate_ids(built: Built) -> Tensor:
    """What `transformers`' generate says with its cache, int64 [B, codes]. Any word can come out, as in
    OpenVLA. (Given embeddings it keeps a cache even where told not to, so there is no such line.)"""
    backbone: Any = built.model.backbone
    decoder: Any = built.model.config.decoder
    x = built.model.encode(dict(built.batch)).contexts[0].tokens.x
    start = torch.full((len(x), 1), decoder.start, device=x.device)
    x = torch.cat([x, backbone.embed(start).to(x.dtype)], 1)
    codes = decoder.horizon * decoder.dim
    ids: Tensor = backbone.model.generate(
        inputs_embeds=x,
        attention_mask=torch.ones(x.shape[:2], dtype=torch.int64, device=x.device),
        max_new_tokens=codes,
        min_new_tokens=codes,
        do_sample=False,
        pad_token_id=0,
        eos_token_id=None,
    )
    return ids


def llama(options: Decoding, device: str) -> Built:
    """The same senses before a causal Llama of `transformers`, whose last 256 words are the actions."""
    decoder = DecoderConfig(
        kind="autoregressive",
        ids="overwrite",
        horizon=options.horizon,
        dim=options.dim,
        smoothing=0,
        readout="mode",
    )
    words = 128 + decoder.layout.codes
    own = DecoderConfig(horizon=options.horizon, dim=options.dim)

    def config_of(width: int, mlp: int) -> VLAConfig:
        llama = {
            "model_type": "llama",
            "vocab_size": words,
            "hidden_size": width,
            "intermediate_size": mlp,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "num_key_value_heads": HEADS,
        }
        backbone = TransformersConfig(config=llama, attention="causal")
        base = replace(senses_config(options, own), vocabulary=words, backbone=backbone)
        return replace(base, text=WordsConfig(tokenizer="backbone", max_length=24), decoder=decoder)

    def count(width: int, mlp: int) -> int:
        with torch.device("meta"):
            return VLA(config_of(width, mlp)).num_parameters()

    sizes = matched(count, options.size, step=4 * HEADS, expansion=8 / 3, what="a Llama of transformers")
    config = config_of(*sizes)
    torch.manual_seed(0)
    return Built(VLA(config).eval().to(device), dummy_batch(config, options.batch, device=device))
