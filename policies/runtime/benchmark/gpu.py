"""The shipped policy and the decoders on a GPU."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

from policies import find_checkpoint
from policies.runtime.benchmark.decoding import measure_decoding
from policies.runtime.benchmark.device import device_name, faster, waiting
from policies.runtime.benchmark.options import Decoding, Gpu
from policies.runtime.benchmark.table import markdown
from policies.runtime.benchmark.timing import time_calls
from vla.describe import dummy_batch
from vla.generation import Memory, generate
from vla.pretrained import load

__all__ = ["measure_gpu", "measure_policy"]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
HEAD = ("policy", "batch", "ms p50", "ms p99", "chunks/s", "actions/s")
Say = Callable[[str], None]


def measure_gpu(options: Gpu, decoding: Decoding, policy: str, seconds: float, say: Say) -> dict[str, Any]:
    """The policy's table, then that of the decoders. seconds: for each line of the first."""
    decoding = dataclasses.replace(decoding, clock="wall", faster=("compile",) if options.compile else ())
    return {
        "device": device_name("cuda"),
        "policy": measure_policy(options, policy, seconds, "cuda", say),
        "decoding": measure_decoding(decoding, say, "cuda"),
    }


def measure_policy(options: Gpu, policy: str, seconds: float, device: str, say: Say) -> list[dict[str, Any]]:
    """Latency and throughput from a batch on the device to chosen codes. bfloat16 is by autocast, as
    `VLAPolicy` does it."""
    model, processor = load(find_checkpoint(policy))
    model.to(device)
    rows: list[dict[str, Any]] = []
    for mode in ("eager", "compiled") if options.compile else ("eager",):
        if mode == "compiled":
            faster(model, "compile")
        for dtype, batch in itertools.product(DTYPES, options.batches):
            data = dummy_batch(model.config, batch, device=device)
            act = partial(generate, model, data, tokenizer=processor.actions, memory=Memory())
            with torch.autocast(device, DTYPES[dtype], enabled=dtype != "float32"):
                times = time_calls(act, seconds, waiting(device), warm=3)
            p50, p99 = (float(value) for value in np.percentile(times, [50, 99]))
            chunks = 1000 * batch / p50
            numbers = {"calls": len(times), "p50_ms": p50, "p99_ms": p99, "chunks_per_s": chunks}
            numbers["actions_per_s"] = chunks * model.config.decoder.horizon
            rounded = {key: round(value, 4) for key, value in numbers.items()}
            rows.append({"mode": mode, "dtype": dtype, "batch": batch, **rounded})
            say(f"  {mode}, {dtype}, batch {batch}: {p50:.2f} ms, p99 {p99:.2f} ms")
    say(markdown(HEAD, [_cells(policy, each) for each in rows]))
    return rows


def _cells(policy: str, row: Mapping[str, Any]) -> list[str]:
    return [
        f"{policy}, {row['mode']}, {row['dtype']}",
        str(row["batch"]),
        f"{row['p50_ms']:.2f}",
        f"{row['p99_ms']:.2f}",
        f"{row['chunks_per_s']:,.0f}",
        f"{row['actions_per_s']:,.0f}",
    ]
