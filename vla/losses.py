"""What a model learns from a batch: of actions, of words, of places in pictures.

A batch is one flat batch, or several, each of its own kind: ``{"robot_batch": ..., "web_batch": ...}``. What
is in a flat batch is learned: `targets` or `actions`, `answer`, `points` (see `vla.model`).

Every loss is sum(weight * term) / total. The totals follow from masks and weights alone, so whoever splits a
batch (over processes, or over time) adds up the totals of the parts first; then the parts' losses and
gradients, and the scalars beside them, add up to those of the whole, whatever the split.

totals: `action`, numbers or codes; `auxiliary`, codes beside a flow; `answer`, tokens; `point_<camera>`,
points that a robot's camera sees; `web_point`, those of other pictures; `align`, samples of the alignment.
(The robot's point loss is the mean of its cameras' losses; of the web's pictures all points count alike.) The
alignment compares the samples of a part with each other, so how a batch is split over time does change it.

Shapes: B batch, A answer tokens, P points.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vla.alignment import same_rows
from vla.configuration import DecoderConfig, FlowConfig, VLAConfig
from vla.decoders.action import action_loss
from vla.decoders.flow import FlowDecoder, Noise
from vla.decoders.grounding import POINTS_PER_CAMERA, grounding_loss
from vla.decoders.text import answer_loss
from vla.encoders.base import Tokens, masked_mean

if TYPE_CHECKING:
    from vla.model import VLA, Batch, Prefix

__all__ = ["loss", "totals"]

Found = tuple[Tensor, dict[str, Tensor]]
"""A loss, and scalars beside it."""
Totals = Mapping[str, Tensor]


def totals(config: VLAConfig, batch: "Batch") -> dict[str, Tensor]:
    """What each loss of a batch is divided by, before anything is computed: float32 scalars, not yet above
    0."""
    found: dict[str, Tensor] = {}
    for flat in _flat(batch):
        for name, value in _totals(config, flat).items():
            found[name] = found[name] + value if name in found else value
    return found


def loss(model: "VLA", batch: "Batch", whole: Totals | None = None) -> Found:
    """See `VLA.loss`. whole: the totals of the batch that this one is a part of."""
    found = totals(model.config, batch) if whole is None else whole
    terms: list[Tensor] = []
    scalars: dict[str, Tensor] = {}
    for flat in _flat(batch):
        for term, told in _losses(model, flat, found):
            terms.append(term)
            for name, value in told.items():
                scalars[name] = scalars[name] + value if name in scalars else value
    if not terms:  # a part with nothing of any kind
        return torch.zeros((), device=next(model.parameters()).device, requires_grad=True), scalars
    return sum(terms[1:], terms[0]), scalars


def _over(whole: Totals, *names: str) -> Tensor:
    """What a loss is divided by: its totals, or 1 where nothing counts."""
    total = sum((whole[name] for name in names[1:]), whole[names[0]])
    return torch.where(total > 0, total, 1.0)


def _flat(batch: "Batch") -> list["Batch"]:
    kinds = [batch[name] for name in ("robot_batch", "web_batch") if batch.get(name) is not None]
    return kinds if kinds or "text" not in batch else [batch]


def _acts(flat: "Batch") -> bool:
    """Whether a robot acts in it."""
    return "targets" in flat or "actions" in flat


def _totals(config: VLAConfig, flat: "Batch") -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    decoder = config.decoder
    if _acts(flat):
        names = ("actions", "action_mask") if isinstance(decoder, FlowConfig) else ("targets", "target_mask")
        found["action"] = _counts(flat, flat[names[1]]).sum()
    if isinstance(decoder, FlowConfig) and decoder.auxiliary and "targets" in flat:
        found["auxiliary"] = _weighed(flat, flat["target_mask"]).sum()
    if "answer" in flat:
        found["answer"] = _weighed(flat, flat["answer_mask"]).sum()
    for camera, points in _points(config, flat).items():
        seen = _weighed(flat, points[..., 2]).sum()
        name = f"point_{camera}" if _acts(flat) else "web_point"
        found[name] = found[name] + seen if name in found else seen
    if config.alignment is not None and _acts(flat):
        found["align"] = torch.tensor(float(len(flat["text"])), device=flat["text"].device)
    return found


def _losses(model: "VLA", flat: "Batch", whole: Totals) -> list[Found]:
    """Each term of a flat batch's loss, weighted, with its scalars."""
    config, prefix = model.config, model.encode(flat)
    found: list[Found] = []
    if _acts(flat):
        term, scalars = _action_loss(model, prefix, flat, whole)
        found.append((term, {**scalars, "action_loss": term.detach()}))
        if "auxiliary" in whole and "targets" in flat:
            found.append(_auxiliary_loss(model, prefix, flat, _over(whole, "auxiliary")))
    if "answer" in flat and config.answer is not None and model.text_decoder is not None:
        counts = _weighed(flat, flat["answer_mask"])
        choices = model.text_decoder.choices(flat["answer"])
        logits = model.answer_logits(prefix, flat)
        term, scalars = answer_loss(logits, choices, counts, _over(whole, "answer"))
        found.append((config.answer.weight * term, {"answer_loss": term.detach(), **scalars}))
    weight = config.image.grounding_weight
    if flat.get("points") is not None and weight > 0 and prefix.senses.maps:
        term, scalars = _grounding(config, prefix, flat, whole)
        found.append((weight * term, scalars))
    if model.alignment is not None and config.alignment is not None and _acts(flat):
        aligned, scalars = model.alignment(_pooled(config, prefix), same_rows(flat["text"]))
        share = len(flat["text"]) / _over(whole, "align")
        scalars = {name: value * share for name, value in scalars.items()}
        found.append((config.alignment.weight * aligned * share, scalars))
    return found


# -- actions -------------------------------------------------------------------------------------------------


def _action_loss(model: "VLA", prefix: "Prefix", flat: "Batch", whole: Totals) -> Found:
    config, decoder, total = model.config.decoder, model.decoder, _over(whole, "action")
    if isinstance(decoder, FlowDecoder):
        actions = flat["actions"]
        past = model.remember(prefix.contexts[0], insulated=model.config.tuning.insulate)
        noise, generator = None, None
        if "noise" in flat:
            noise = Noise(flat["noise"], flat["noise_time"])
        else:
            generator = _random(model, flat.get("noise_seed"), actions.device)
        given = (past, actions, flat["action_mask"], flat.get("forced"), generator)
        return decoder.loss(*given, noise=noise, weight_B=flat.get("weight"), total=total)
    assert isinstance(config, DecoderConfig)
    codes = flat["targets"] - model.vocabulary.action_range.start
    counts = _counts(flat, flat["target_mask"])
    return _code_loss(config, model.code_logits(prefix, flat), codes, counts, total)


def _auxiliary_loss(model: "VLA", prefix: "Prefix", flat: "Batch", total: Tensor) -> Found:
    flow = model.config.decoder
    assert isinstance(flow, FlowConfig) and flow.codes is not None
    codes = flat["targets"] - model.vocabulary.action_range.start
    counts = _weighed(flat, flat["target_mask"])
    term, scalars = _code_loss(flow.codes, model.code_logits(prefix, flat), codes, counts, total)
    told = {"auxiliary_loss": term.detach(), "auxiliary_accuracy": scalars["action_accuracy"]}
    return flow.auxiliary * term, told


def _code_loss(config: DecoderConfig, logits: Tensor, codes: Tensor, counts: Tensor, total: Tensor) -> Found:
    ordered = config.layout.ordered
    return action_loss(logits, codes, counts, config.smoothing if ordered else 0.0, ordered, total=total)


def _random(model: "VLA", seed: Tensor | None, device: torch.device) -> torch.Generator | None:
    """Of a batch that tells its seed, so that a resumed training draws what it would have drawn; in
    evaluation always the same; else torch's own."""
    if seed is None and model.training:
        return None
    return torch.Generator(device).manual_seed(0 if seed is None else int(seed))


def _counts(flat: "Batch", mask: Tensor) -> Tensor:
    """How much each number or code counts, [B, rows, n]: not the rows that are given beforehand."""
    if "forced" in flat:
        rows = torch.arange(mask.shape[1], device=mask.device)
        mask = mask & (rows >= flat["forced"][:, None])[..., None]
    return _weighed(flat, mask)


def _weighed(flat: "Batch", mask: Tensor) -> Tensor:
    """float32: 0 where it does not count, else its row's weight."""
    weight = flat.get("weight")
    real = mask.float()
    return real if weight is None else real * weight.view(-1, *[1] * (mask.ndim - 1))


# -- pictures ------------------------------------------------------------------------------------------------


def _points(config: VLAConfig, flat: "Batch") -> dict[str, Tensor]:
    """Camera that looks for points and is there -> its labels [B, P, 3]."""
    if flat.get("points") is None:
        return {}
    cameras = config.image.cameras
    labels = flat["points"].split(POINTS_PER_CAMERA, dim=1)
    shown = flat.get("images", {})
    pairs = zip(cameras, labels, strict=True)
    return {camera.name: own for camera, own in pairs if camera.points and camera.name in shown}


def _grounding(config: VLAConfig, prefix: "Prefix", flat: "Batch", whole: Totals) -> Found:
    n, sigma, acts = POINTS_PER_CAMERA, config.image.grounding_sigma, _acts(flat)
    labels, maps = _points(config, flat), prefix.senses.maps
    weighed = {c: torch.cat([p[..., :2], _weighed(flat, p[..., 2:])], -1) for c, p in labels.items()}
    names = {c: f"point_{c}" if acts else "web_point" for c in maps}
    losses = torch.stack(
        [grounding_loss(maps[c][:, :n], weighed[c], sigma, total=_over(whole, names[c])) for c in maps]
    )
    with torch.no_grad():
        wanted = torch.cat([weighed[c] for c in maps], 1)
        found = torch.cat([prefix.points[c][:, :n] for c in maps], 1)
        error = ((found - wanted[..., :2]).norm(dim=-1) * wanted[..., 2]).sum()
        error = error / _over(whole, *dict.fromkeys(names.values()))
    kind, term = ("", losses.mean()) if acts else ("web_", losses.sum())
    return term, {f"{kind}grounding_loss": term.detach(), f"{kind}grounding_error": error}


def _pooled(config: VLAConfig, prefix: "Prefix") -> dict[str, tuple[Tensor, Tensor]]:
    """Sense -> its mean token [B, W], and whether it is there, bool [B]; all cameras are `image`."""
    tokens = prefix.senses.tokens
    cameras = [tokens[camera.name] for camera in config.image.cameras if camera.name in tokens]
    named: dict[str, Tokens] = {}
    if cameras:
        mask = torch.cat([c.full_mask() for c in cameras], 1)
        named["image"] = Tokens(torch.cat([c.x for c in cameras], 1), mask)
    named |= {name: tokens[name] for name in ("text", "audio") if name in tokens}
    return {name: (masked_mean(each), each.present()) for name, each in named.items()}
