"""How fast a chunk is decided, from a batch in memory to what was chosen, at equal parameter counts.

This project's decoders; the same network decoded token by token in plain ways; LeRobot's policies. All see
two pictures of one size, 24 words and the joints, and answer with a chunk of the same steps and joints. A
policy that cannot be built at the common size is compared with one of ours of its own size.

Ours keep an encoded sentence from one answer to the next, as a policy does; the plain ones and LeRobot's read
it each time.
"""

import dataclasses
import importlib.util
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from policies.runtime.benchmark import others, ours, plain
from policies.runtime.benchmark.device import device_name, faster, waiting
from policies.runtime.benchmark.options import Decoding, Family
from policies.runtime.benchmark.table import row, table
from policies.runtime.benchmark.timing import Contender, interleave

__all__ = ["contenders", "measure_decoding"]

Say = Callable[[str], None]
NEEDS: dict[Family, dict[str, str]] = {
    "transformers": {"transformers": "transformers"},
    "act": {"lerobot": "lerobot"},
    "act_published": {"lerobot": "lerobot"},
    "smolvla": {"lerobot": "lerobot", "transformers": "transformers"},
    "pi0_fast": {"lerobot": "lerobot", "transformers": "transformers"},
}
"""Modules that a family needs, and the extras that bring them."""


def measure_decoding(options: Decoding, say: Say, device: str = "cpu") -> dict[str, Any]:
    """Build all, time them in turns, say the table. device: `cpu` (one thread) or `cuda`."""
    if device == "cpu":
        torch.set_num_threads(1)
    everyone = list(contenders(options, say, device))
    times = interleave(
        everyone,
        options.rounds,
        options.slice,
        waiting(device),
        after_round=lambda done: say(f"  round {done} of {options.rounds}"),
        clock=time.process_time if options.clock == "cpu" else time.perf_counter,
    )
    rows = [row(each, times, options.horizon * options.batch) for each in everyone]
    say(table(rows))
    return {"options": dataclasses.asdict(options), "device": device_name(device), "rows": rows}


def contenders(options: Decoding, say: Say, device: str) -> Iterator[Contender]:
    """All that the options name and this installation can build; each that is left out gets a sentence."""
    families = [family for family in options.families if not _left_out(family, say)]
    if "plain" in families:
        yield from plain.plain_contenders(options, device)
    if "ours" in families:
        for name, decoder in ours.decoders(options).items():
            built = ours.build(options, decoder, options.size, device)
            found = ours.contender(name, built, reference=plain.REFERENCE)
            yield found
            for way in options.faster:
                other = ours.build(options, decoder, options.size, device)
                faster(other.model, way)
                other_found = ours.contender(f"{name}, {way}", other, reference=plain.REFERENCE)
                # Weights in 8 bits are no parameters any more.
                yield dataclasses.replace(other_found, parameters=found.parameters)
    if "transformers" in families:
        yield from plain.transformers_contenders(options, device)
    if "act" in families:
        yield _equal(others.act(options, device))
    if "smolvla" in families:
        yield _equal(others.smolvla(options, device))
    if "pi0_fast" in families:
        yield _equal(others.pi0_fast(options, device, ours.fast_codes(options)))
    if "act_published" in families:
        yield from _with_ours(others.act_published(options, device), options, device)


def _equal(contender: Contender) -> Contender:
    return dataclasses.replace(contender, reference=plain.REFERENCE, ours=ours.PARALLEL)


def _with_ours(contender: Contender, options: Decoding, device: str) -> Iterator[Contender]:
    """One of another size, and ours of that size."""
    name = f"{ours.PARALLEL}, as large as that"
    built = ours.build(options, ours.decoders(options)[ours.PARALLEL], contender.parameters, device)
    yield dataclasses.replace(contender, ours=name)
    yield ours.contender(name, built, ours="")


def _left_out(family: Family, say: Say) -> bool:
    """Whether a library that it needs is not installed; then a sentence says so."""
    for module, extra in NEEDS.get(family, {}).items():
        if importlib.util.find_spec(module) is None:
            say(f"{family} is left out, it needs {module}: pip install 'vla[{extra}]'")
            return True
    return False
