"""A model of OpenVLA's shape with random weights: how near its decoding comes to the memory's limit.

DINOv2-L and SigLIP-So400m side by side, a projector of three maps, Llama-2-7B in bfloat16, seven tokens an
action that overwrite the last words: 7.5 billion parameters (Kim et al. 2024, arXiv:2406.09246). They are
drawn on the device, so nothing is read from a disk.

A token's pass must read every weight of the language model but its table of words (of which one row is read),
and the keys and values so far. At batch 1 that reading is the limit, so

    share = (bytes of weights + bytes of keys and values) / (time of a token x bandwidth)

for the bandwidth that a copy reaches here, and for the data sheet's. The time of a token is the difference
between a long and a short chunk over the difference of their tokens; the prefix is what is left of the short.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from policies.runtime.benchmark.device import (
    copy_bandwidth,
    datasheet_bandwidth,
    device_name,
    faster,
    waiting,
)
from policies.runtime.benchmark.options import OpenVLA7B
from policies.runtime.benchmark.timing import time_calls
from vla.configuration import (
    BinsConfig,
    CameraConfig,
    DecoderConfig,
    ImageConfig,
    MLPConfig,
    PrismaticConfig,
    ProcessorConfig,
    TransformersConfig,
    VLAConfig,
    WordsConfig,
)
from vla.describe import dummy_batch
from vla.generation import Memory, generate
from vla.model import VLA
from vla.openvla.weightless import weightless
from vla.optional import need

__all__ = ["build_openvla", "measure_openvla7b", "openvla_config", "with_horizon"]

Say = Callable[[str], None]
DIM, PROMPT = 7, 32
"""Numbers of an action; tokens of a prompt (16 are OpenVLA's template)."""
START = 29_871


def measure_openvla7b(options: OpenVLA7B, device: str, say: Say) -> dict[str, Any]:
    """Each number is said as it is known. device: `cuda`, or `cpu` for the tiny one. Raises BadInput without
    `transformers`."""
    need("transformers", "transformers", "openvla7b")
    name, wait = device_name(device), waiting(device)
    found: dict[str, Any] = {"options": dataclasses.asdict(options), "device": name}

    def note(key: str, value: float | None) -> None:
        found[key] = value
        if value is not None:
            say(f"  {key.replace('_', ' '):<42} {value:>12,.4g}")

    note("copy_bandwidth_gb_s", copy_bandwidth(device, 2**30 if options.scale == "full" else 2**24))
    note("datasheet_bandwidth_gb_s", datasheet_bandwidth(name))
    short = build_openvla(openvla_config(options.scale), device, options.seed)
    long = with_horizon(short, options.horizon, device)
    batch = dummy_batch(short.config, 1, device=device)
    note("parameters", short.num_parameters())
    with torch.no_grad():
        prefix = short.encode(batch).contexts[0].tokens.x.shape[1]
        times = time_calls(lambda: short.encode(batch), 0.0, wait, warm=2, least=options.calls)
    note("prefix_tokens", prefix)
    note("encode_ms", float(np.median(times)))
    note("weight_bytes_a_token", weight_bytes(short))
    # While the long chunk grows past the short one, the cache holds so many tokens on average.
    note("cache_bytes_a_token", cache_bytes(short) * (prefix + DIM * (1 + options.horizon) / 2))
    read = found["weight_bytes_a_token"] + found["cache_bytes_a_token"]
    for mode in ("eager", "compiled") if options.compile else ("eager",):
        for model in (short, long) if mode == "compiled" else ():
            faster(model, "compile")
        for key, value in _decoded((short, long), batch, options, wait).items():
            note(f"{mode}_{key}", value)
        reached = read / found[f"{mode}_token_ms"] / 1e6
        note(f"{mode}_gb_s", reached)
        for limit in ("copy", "datasheet"):
            bandwidth = found[f"{limit}_bandwidth_gb_s"]
            note(f"{mode}_share_of_{limit}_bandwidth", reached / bandwidth if bandwidth else None)
    return found


def _decoded(
    pair: tuple[VLA, VLA], batch: dict[str, Any], options: OpenVLA7B, wait: Callable[[], None]
) -> dict[str, float]:
    """Milliseconds of a short chunk, of a token, and of what comes before the tokens."""
    acts = [partial(generate, model, batch, memory=Memory()) for model in pair]
    times: tuple[list[float], list[float]] = ([], [])
    for call in range(options.calls):  # in turns
        for act, own in zip(acts, times, strict=True):
            own.extend(time_calls(act, 0.0, wait, warm=0 if call else 3))
    short, long = (float(np.median(own)) for own in times)
    token = (long - short) / (DIM * (options.horizon - 1))
    return {
        "chunk_ms": short,
        "chunk_p99_ms": float(np.percentile(times[0], 99)),
        "long_chunk_ms": long,
        "token_ms": token,
        "prefix_ms": short - DIM * token,
        "actions_per_s": 1000 / short,
    }


def openvla_config(scale: str) -> VLAConfig:
    """The config of openvla-7b, or of a miniature with the same parts."""
    llama: dict[str, Any] = {"model_type": "llama", "vocab_size": 32_064, "pad_token_id": 32_000}
    towers, side, hidden, words, start = PrismaticConfig(), 224, 8704, 32_000, START
    if scale == "tiny":
        llama |= {"vocab_size": 512, "pad_token_id": 0, "hidden_size": 64, "intermediate_size": 128}
        llama |= {"num_hidden_layers": 2, "num_attention_heads": 4}
        tower = {"width": 32, "layers": 2, "heads": 2, "mlp": 64, "patch": 14}
        towers = PrismaticConfig(dino={**tower, "registers": 4}, siglip=tower)
        side, hidden, words, start = 56, 128, 480, 100
    return VLAConfig(
        name=f"openvla-{scale}",
        vocabulary=words,
        image=ImageConfig(cameras=(CameraConfig("front", side, 0, 0),), encoder=towers, resize="bicubic"),
        text=WordsConfig(tokenizer="backbone", max_length=PROMPT, lower=True),
        state=None,
        connector=MLPConfig(layers=3, hidden=hidden, place=False),
        backbone=TransformersConfig(config=llama, attention="causal", dtype="bfloat16"),
        decoder=DecoderConfig(
            kind="autoregressive",
            ids="overwrite",
            start=start,
            horizon=1,
            dim=DIM,
            tokenizer=BinsConfig(spacing="openvla"),
            smoothing=0,
            readout="mode",
        ),
        processor=ProcessorConfig(relative=(False,) * DIM, actions="q01_q99"),
        order=("bos", "images", "audio", "text", "state"),
    )


def build_openvla(config: VLAConfig, device: str, seed: int = 0) -> VLA:
    """The model in bfloat16, its weights drawn on `device`: maps and tables from a normal distribution of
    deviation 0.02, norms and layer scales one, biases zero."""
    with weightless():
        model = VLA(config)
    generator = torch.Generator(device).manual_seed(seed)
    state: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        weight = torch.empty(parameter.shape, dtype=torch.bfloat16, device=device)
        if weight.ndim > 1:
            weight.normal_(0, 0.02, generator=generator)
        else:
            weight.fill_(0.0 if name.endswith("bias") else 1.0)
        state[name] = weight
    model.load_state_dict(state, strict=False, assign=True)
    return model.requires_grad_(False).eval().to(device)


def with_horizon(model: VLA, horizon: int, device: str) -> VLA:
    """The same weights, in the same memory, answering with a chunk of `horizon` steps."""
    decoder = dataclasses.replace(model.config.decoder, horizon=horizon)
    with weightless():
        other = VLA(dataclasses.replace(model.config, decoder=decoder))
    other.load_state_dict(dict(model.named_parameters()), strict=False, assign=True)
    return other.requires_grad_(False).eval().to(device)


def weight_bytes(model: VLA) -> int:
    """What a token's pass reads of the language model: all but its table of words."""
    language: Any = model.backbone.model
    table = language.get_input_embeddings().weight
    return sum(int(p.nbytes) for p in language.parameters() if p is not table)


def cache_bytes(model: VLA) -> int:
    """Of the keys and values of one token, in bfloat16."""
    return 2 * sum(each.kept * (each.key + each.value) for each in model.backbone.heads)
