"""Let a model act once and write down what happened."""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from vla.configuration import DecoderConfig, FlowConfig, SmallConfig, VLAConfig
from vla.describe.advice import warnings_of
from vla.describe.batch import dummy_batch
from vla.describe.description import STAGES, Description, Flow, Memory, Part, Pass, Size
from vla.describe.meta import eyes_on_cpu, on_meta
from vla.describe.meters import AliveMemory, flop_counter, flops_by_part, tensors_in
from vla.describe.unloaded import unloaded
from vla.encoders.base import Tokens
from vla.errors import BadInput
from vla.fusion import Context, CrossAttentionFusion
from vla.generation import generate
from vla.model import VLA

__all__ = ["describe"]

_NEEDS_NUMBERS = (RuntimeError, NotImplementedError)
"""What torch raises where code asks for the value of a tensor that has none."""


@dataclasses.dataclass
class _Seen:
    """What the hooks wrote down. stages: stage -> sense -> size."""

    stages: dict[str, dict[str, Size]] = dataclasses.field(default_factory=lambda: {s: {} for s in STAGES})
    tokens: dict[str, int] = dataclasses.field(default_factory=dict)
    contexts: list[Context] = dataclasses.field(default_factory=list)
    caches: list[Any] = dataclasses.field(default_factory=list)


def describe(config: VLAConfig) -> Description:
    """The description of the model that `config` asks for; no weights are read and nothing is downloaded but
    the config.json of a hub name. Raises BadInput for a model that cannot do without numbers."""
    bits = {"none": None, "8bit": 8, "4bit": 4}[getattr(config.backbone, "quantize", "none")]
    config = unloaded(config)
    try:
        with torch.device("meta"):
            model = VLA(config)
        try:
            return _measure(model, bits)
        except _NEEDS_NUMBERS:
            with eyes_on_cpu(model):
                return _measure(model, bits)
    except _NEEDS_NUMBERS as error:
        if not isinstance(error, NotImplementedError) and "meta" not in str(error).lower():
            raise
        reason = str(error).splitlines()[0]
        raise BadInput(
            f"{config.name} cannot be described, it asks for the values of tensors: {reason}"
        ) from None


def _measure(model: VLA, bits: int | None) -> Description:
    config = model.config
    part_of = {module: name for name, roots in model.parts().items() for module in _modules(roots)}
    batch = dummy_batch(config, device="meta")
    seen, alive, counter = _Seen(), AliveMemory(), flop_counter()
    trained = {id(p): p for p in model.parameters() if p.requires_grad}
    model.eval().requires_grad_(False)  # the counter wants gradients from whatever could have some
    try:
        with _watched(model, seen), on_meta(), alive, counter, flops_by_part(counter, part_of) as flops:
            generate(model, batch)
    finally:
        for parameter in trained.values():
            parameter.requires_grad_(True)
    parts = [
        _part(name, roots, flops.get(name, 0), bits if name == "language" else None)
        for name, roots in model.parts().items()
    ]
    if flops.get("other"):
        parts.append(Part("other", 0, 0, 0, flops["other"]))
    passes = [_pass(model, context, seen) for context in seen.contexts]
    kept = [tensor for cache in seen.caches for tensor in tensors_in(cache)]
    longest = max(sum(count for _, count in each.segments) for each in passes)
    memory = Memory(
        weights=sum(part.bytes for part in parts),
        kv_cache=sum(tensor.nbytes for tensor in kept),
        activations=alive.peak,
        scores=_heads(config) * longest**2 * torch.float32.itemsize,
    )
    found = Description(
        name=config.name,
        flows=[_flow(config, name, batch, seen, passes) for name in model.senses.all_names],
        passes=passes,
        parts=parts,
        memory=memory,
        kv_tokens=sum(each.kept for each in passes),
        steps=config.decoder.horizon,
        longest=isinstance(config.decoder, DecoderConfig) and not config.decoder.layout.fixed,
    )
    return dataclasses.replace(found, warnings=warnings_of(found, config))


@contextmanager
def _watched(model: VLA, seen: _Seen) -> Iterator[None]:
    """Hooks on encoders, connectors and fusion, and an ear on new caches."""
    senses, hooks = model.senses, []
    cameras = [camera.name for camera in model.config.image.cameras]
    modules = zip(STAGES, (senses.encoders, senses.views, senses.connect), strict=True)
    for stage, group in modules:
        for name, module in group.items():
            # A shared encoder sees one camera after the other.
            shared = model.config.image.shared and stage == "encoder" and name == cameras[0]
            hooks.append(
                module.register_forward_hook(_note(seen.stages[stage], cameras if shared else [name]))
            )

    def sensed(module: nn.Module, args: Any, out: Any) -> None:
        seen.tokens.update({name: tokens.x.shape[1] for name, tokens in out.tokens.items()})

    def fused(module: nn.Module, args: Any, out: list[Context]) -> None:
        seen.contexts.extend(out)

    hooks += [senses.register_forward_hook(sensed), model.fusion.register_forward_hook(fused)]
    new_cache = model.backbone.new_cache

    def noted(**room: Any) -> Any:
        seen.caches.append(new_cache())  # one that grows: what it comes to is what is needed
        return seen.caches[-1]

    model.backbone.new_cache = noted  # type: ignore[method-assign]
    try:
        yield
    finally:
        del model.backbone.new_cache  # the class's own is back
        for hook in hooks:
            hook.remove()


def _note(found: dict[str, Size], names: list[str]) -> Any:
    def hook(module: nn.Module, args: Any, out: Any) -> None:
        x = _embeddings(out)
        name = next(name for name in names if name not in found)
        found[name] = Size(x.numel() // x.shape[-1], x.shape[-1])  # of one sample, all its views

    return hook


def _embeddings(out: Any) -> Tensor:
    if isinstance(out, Tokens):
        return out.x
    if isinstance(out, tuple):
        return _embeddings(out[0])
    return out if isinstance(out, Tensor) else out.tokens


def _modules(roots: Sequence[nn.Module | nn.Parameter]) -> list[nn.Module]:
    """All modules of a part; a bare parameter (LLaVA's end-of-line token) is none."""
    return [module for root in roots if isinstance(root, nn.Module) for module in root.modules()]


def _part(name: str, roots: Sequence[nn.Module | nn.Parameter], flops: int, bits: int | None) -> Part:
    own = {id(root): root for root in roots if isinstance(root, nn.Parameter)}
    own |= {id(p): p for root in roots if isinstance(root, nn.Module) for p in root.parameters()}
    size = sum(p.nbytes for p in own.values())
    if bits is not None:  # the linear maps alone, as bitsandbytes does
        maps = {id(m.weight): m.weight for m in _modules(roots) if type(m) is nn.Linear}
        size -= sum(weight.nbytes - weight.numel() * bits // 8 for weight in maps.values())
    numbers = [(p.numel(), p.requires_grad) for p in own.values()]
    trained = sum(number for number, learns in numbers if learns)
    return Part(name, sum(number for number, _ in numbers), trained, size, flops)


def _pass(model: VLA, context: Context, seen: _Seen) -> Pass:
    count = context.tokens.x.shape[1]
    decoder = model.config.decoder
    expert = isinstance(decoder, FlowConfig)  # it has a token a control step, which look at the prefix
    answers = decoder.horizon if isinstance(decoder, FlowConfig) else decoder.grid[0]
    mask = model.attention_mask(Tokens(torch.empty(1, count, 1)), answers)  # all present, with values
    standing = {name for name, _ in context.names}
    beside, layers = [], []
    if isinstance(model.fusion, CrossAttentionFusion):
        beside = [(name, tokens) for name, tokens in seen.tokens.items() if name not in standing]
        layers = sorted(map(int, model.fusion.gates))
    segments = [*context.names, ("answer", answers)]
    return Pass(segments, beside, layers, mask.reshape(mask.shape[-2:]), expert)


def _flow(config: VLAConfig, name: str, batch: dict[str, Any], seen: _Seen, passes: list[Pass]) -> Flow:
    stages = {stage: found[name] for stage, found in seen.stages.items() if name in found}
    if name not in seen.tokens:  # a spoken command
        return Flow(name, _raw(config, name, batch), stages, 0, "read as words are, with the text")
    count = seen.tokens[name]
    inside = [i for i, each in enumerate(passes, 1) if name in dict(each.segments)]
    if inside:
        fusion = f"{count:,} in the sequence"
        if len(passes) > 1:
            fusion += " of " + ("every pass" if len(inside) == len(passes) else f"pass {inside[0]}")
    elif passes[0].beside:
        fusion = f"{count:,} looked at from inside {len(passes[0].layers)} layers"
    else:
        fusion = f"pooled into {passes[0].prefix} joint tokens"
    return Flow(name, _raw(config, name, batch), stages, count, fusion)


def _raw(config: VLAConfig, name: str, batch: dict[str, Any]) -> str:
    """What a sense is before anything was done with it."""
    if name == "bos":
        return "the start token"
    if name == "text":
        return f"{config.text.max_length - ('bos' in config.order)} words"
    if name == "audio":
        return f"{config.audio.seconds:g} s of sound" if config.audio else ""
    if name == "state":
        return f"{config.state.dim} joints" if config.state else ""
    shape = batch["images"][name].shape[1:]
    side = f"{shape[-3]} x {shape[-2]} px"
    if len(shape) == 3:
        return side
    return f"{shape[0]} {'tiles' if config.image.max_tiles else 'frames'} of {side}"


def _heads(config: VLAConfig) -> int:
    """Attention heads of the backbone."""
    backbone = config.backbone
    if isinstance(backbone, SmallConfig):
        return backbone.heads
    own = backbone.config.get("text_config", backbone.config)
    return int(own.get("num_attention_heads", 1))
