"""Answers in words: the prefix once, then the likeliest word after those before it, until the end.

The prefix and its caches are those of actions (`vla.generation.reader`); only words and the end can be
chosen.
"""

import torch
from torch import Tensor

from vla.errors import BadInput
from vla.generation.reader import Reader
from vla.model import VLA, Batch

__all__ = ["answer"]


@torch.no_grad()
def answer(
    model: VLA, batch: Batch, max_length: int | None = None, *, use_cache: bool = True
) -> list[list[int]]:
    """For each row the ids of its answer's words, without the end.

    batch: on any device; what it holds to be learned is not looked at. max_length: of an answer with its end
    (None and at most: the model's). use_cache=False computes everything again for each word: the slow oracle.
    Raises BadInput for a model that does not answer in words.
    """
    decoder = model.text_decoder
    if decoder is None:
        raise BadInput(f"the model {model.config.name} does not answer in words: it needs model/answer=words")
    device = decoder.start.device
    flat = {name: value for name, value in _on(batch, device).items() if not name.startswith("answer")}
    if not bool(
        flat["text_mask"].any(1).all()
    ):  # a prompt without words is masked, as where turns are packed
        flat["answer_segment"] = None
    prefix = model.encode(flat)
    readers = [
        Reader(model, decoder, context, use_cache, number=number)
        for number, context in enumerate(prefix.contexts)
    ]
    said = torch.zeros(len(flat["text"]), 0, dtype=torch.int64, device=device)
    going = torch.ones(len(said), dtype=torch.bool, device=device)
    longest = min(decoder.groups, max_length or decoder.groups)
    while said.shape[1] < longest and bool(going.any()):
        words = decoder.embed(said)
        logits = [decoder.logits(reader.read(words, 1)) for reader in readers]
        ids = decoder.ids(model.fusion.combine(logits, prefix.contexts)[:, 0].argmax(-1))
        ids = torch.where(going, ids, decoder.eos)
        said, going = torch.cat([said, ids[:, None]], 1), going & (ids != decoder.eos)
    return [[each for each in row if each != decoder.eos] for row in said.tolist()]


def _on(batch: Batch, device: torch.device) -> Batch:
    return {
        name: _on(value, device) if isinstance(value, dict) else value.to(device)
        for name, value in batch.items()
        if isinstance(value, dict | Tensor)
    }
