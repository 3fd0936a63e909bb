"""The contrastive losses against plain references, and in two processes against one."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from vla.alignment import Alignment, clip_loss, same_rows, siglip_loss
from vla.configuration import AlignmentConfig
from vla.errors import BadInput
from vla.training.distributed import gather_with_gradient, processes

LOG_SCALE, BIAS = torch.tensor(math.log(7.0)), torch.tensor(-2.0)


def sides(count: int = 6, width: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    x = torch.randn(2, count, width, generator=torch.Generator().manual_seed(seed))
    a, b = F.normalize(x, dim=-1)
    return a, b


def groups(*ids: int) -> Tensor:
    return torch.tensor(ids)[:, None] == torch.tensor(ids)


def plain_siglip(a: Tensor, b: Tensor, log_scale: Tensor, bias: Tensor, same: Tensor) -> float:
    """Equation 1, pair by pair."""
    total = 0.0
    for i in range(len(a)):
        for j in range(len(b)):
            z = 1 if same[i, j] else -1
            logit = z * (math.exp(log_scale) * float(a[i] @ b[j]) + float(bias))
            total -= math.log(1 / (1 + math.exp(-logit)))
    return total / len(a)


def plain_clip(a: Tensor, b: Tensor, log_scale: Tensor, same: Tensor) -> float:
    """Row by row: the mean of -log p over what is the same."""
    total = 0.0
    for one, other in ((a, b), (b, a)):
        for i in range(len(one)):
            logits = [math.exp(log_scale) * float(one[i] @ other[j]) for j in range(len(other))]
            whole = math.log(sum(math.exp(x) for x in logits))
            right = [logits[j] - whole for j in range(len(other)) if same[i, j]]
            total -= sum(right) / len(right) / (2 * len(one))
    return total


def test_clip_is_the_papers() -> None:
    a, b = sides()
    ours = clip_loss(a, b, LOG_SCALE)
    logits, labels = LOG_SCALE.exp() * a @ b.T, torch.arange(6)
    theirs = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)
    assert abs(float(ours) - plain_clip(a, b, LOG_SCALE, torch.eye(6))) < 1e-6


def test_siglip_is_the_papers() -> None:
    a, b = sides()
    for bias in (BIAS, torch.tensor(-10.0)):
        ours = siglip_loss(a, b, LOG_SCALE, bias)
        assert abs(float(ours) - plain_siglip(a, b, LOG_SCALE, bias, torch.eye(6))) < 1e-5


def test_both_are_those_of_transformers() -> None:
    # Not at the top: the processes of the test below would import it too.
    from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

    text = {"vocab_size": 11, "eos_token_id": 10, "bos_token_id": 0, "pad_token_id": 1}
    text |= {"max_position_embeddings": 8}
    vision = {"image_size": 16, "patch_size": 8}
    for half in (text, vision):
        half |= {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    clip = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).eval()
    siglip = SiglipModel(SiglipConfig(text_config=text, vision_config=vision)).eval()
    ids = torch.cat([torch.randint(2, 10, (4, 7)), torch.full((4, 1), 10)], 1)
    with torch.no_grad():
        siglip.logit_scale.fill_(1.3)
        siglip.logit_bias.fill_(-2.0)
        for model in (clip, siglip):
            out = model(input_ids=ids, pixel_values=torch.randn(4, 3, 16, 16), return_loss=True)
            a, b = out.image_embeds, out.text_embeds
            if model is clip:
                ours = clip_loss(a, b, model.logit_scale)
            else:
                ours = siglip_loss(a, b, model.logit_scale, model.logit_bias)
            torch.testing.assert_close(ours, out.loss.reshape(()), atol=1e-5, rtol=1e-6)


def test_what_means_the_same_counts_as_belonging_together() -> None:
    a, b = sides()
    same = groups(0, 1, 0, 2, 1, 0)
    assert abs(float(clip_loss(a, b, LOG_SCALE, same=same)) - plain_clip(a, b, LOG_SCALE, same)) < 1e-5
    ours = siglip_loss(a, b, LOG_SCALE, BIAS, same=same)
    assert abs(float(ours) - plain_siglip(a, b, LOG_SCALE, BIAS, same)) < 1e-5
    nothing = torch.zeros(6, 6, dtype=torch.bool)  # a sample is always the same as itself
    assert torch.equal(clip_loss(a, b, LOG_SCALE, same=nothing), clip_loss(a, b, LOG_SCALE))


@pytest.mark.parametrize("same", [None, groups(0, 1, 0, 2, 1, 0)])
def test_samples_that_lack_a_sense_are_left_out(same: Tensor | None) -> None:
    a, b = (x.requires_grad_() for x in sides())
    present = torch.tensor([True, False, True, True, False, True])
    rest = None if same is None else same[present][:, present]
    ours = clip_loss(a, b, LOG_SCALE, same=same, present=present)
    torch.testing.assert_close(ours, clip_loss(a[present], b[present], LOG_SCALE, same=rest))
    signed = siglip_loss(a, b, LOG_SCALE, BIAS, same=same, present=present)
    torch.testing.assert_close(signed, siglip_loss(a[present], b[present], LOG_SCALE, BIAS, same=rest))
    (ours + signed).backward()
    assert a.grad is not None and b.grad is not None
    assert (a.grad[~present] == 0).all() and (b.grad[~present] == 0).all()
    nobody = torch.zeros(6, dtype=torch.bool)
    for loss in (
        clip_loss(a, b, LOG_SCALE, present=nobody),
        siglip_loss(a, b, LOG_SCALE, BIAS, present=nobody),
    ):
        assert loss == 0
        loss.backward()
    assert a.grad.isfinite().all()


def test_clips_scale_is_at_most_100_and_can_come_back() -> None:
    a, b = sides()
    at_most = clip_loss(a, b, torch.tensor(math.log(100)))
    torch.testing.assert_close(clip_loss(a, b, torch.tensor(9.0)), at_most)
    model = Alignment(AlignmentConfig(kind="clip", width=4), 5)
    with torch.no_grad():
        model.log_scale.fill_(9.0)
    there = torch.ones(6, dtype=torch.bool)
    model({"image": (a, there), "text": (b.flip(0), there)})[0].backward()
    assert abs(model.log_scale.item() - math.log(100)) < 1e-6
    assert model.log_scale.grad is not None and model.log_scale.grad.item() > 0


def test_precision_survives_autocast() -> None:
    a, b = sides(width=64)
    with torch.autocast("cpu", torch.bfloat16):
        ours = clip_loss(a, b, torch.tensor(math.log(100.0)))
    torch.testing.assert_close(ours, clip_loss(a, b, torch.tensor(math.log(100.0))))


PAIRS = (("image", "text"), ("audio", "text"), ("image", "audio"))
WIDTHS = {"image": 6, "text": 5, "audio": 4}
Pooled = dict[str, tuple[Tensor, Tensor]]


def pooled(count: int, absent: bool = True) -> Pooled:
    """Six samples, some without sound or picture."""
    make = torch.Generator().manual_seed(3)
    vectors = {name: torch.randn(count, width, generator=make) for name, width in WIDTHS.items()}
    there = {name: torch.ones(count, dtype=torch.bool) for name in WIDTHS}
    if absent:
        there["audio"][[0, 3, 4]] = False
        there["image"][1] = False
    return {name: (vectors[name], there[name]) for name in WIDTHS}


def alignment(kind: Any) -> Alignment:
    torch.manual_seed(1)
    return Alignment(AlignmentConfig(pairs=PAIRS, kind=kind, width=8), WIDTHS)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_alignment_learns_to_find_the_right_one(kind: str) -> None:
    model, batch = alignment(kind), pooled(6)
    start = 1 / 0.07 if kind == "clip" else 10
    assert torch.allclose(model.log_scale.exp(), torch.tensor(float(start)))
    optimiser = torch.optim.Adam(model.parameters(), 0.05)
    first = last = model(batch)[0].detach()
    for _ in range(150):
        loss, scalars = model(batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        last = loss.detach()
    assert last < 0.3 * first
    names = [f"align_{a}_{b}" for a, b in PAIRS]
    assert set(scalars) == {*names, *(f"{name}_accuracy" for name in names)}
    assert all(scalars[f"{name}_accuracy"] == 1 and not scalars[name].requires_grad for name in names)
    torch.testing.assert_close(torch.stack([scalars[name] for name in names]).mean(), last)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_a_sense_that_nobody_has_costs_nothing(kind: str) -> None:
    model, batch = alignment(kind), pooled(6)
    del batch["audio"]
    loss, scalars = model(batch)
    loss.backward()
    assert scalars["align_audio_text"] == scalars["align_image_audio"] == 0 < scalars["align_image_text"]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_accuracy_counts_what_means_the_same_and_passes_over_the_absent() -> None:
    model = Alignment(AlignmentConfig(width=4), 4)
    torch.nn.init.eye_(model.project["image"].weight)
    torch.nn.init.eye_(model.project["text"].weight)
    x, there = torch.eye(4), torch.ones(4, dtype=torch.bool)
    batch = {"image": (x, there), "text": (x[[0, 2, 1, 3]], there)}
    name = "align_image_text_accuracy"
    assert model(batch)[1][name] == 0.5
    assert model(batch, groups(0, 1, 1, 2))[1][name] == 1
    batch["image"] = (x, torch.tensor([False, True, True, True]))
    torch.testing.assert_close(model(batch)[1][name], torch.tensor(1 / 3))


def test_same_rows() -> None:
    ids = torch.tensor([[1, 2, 0], [1, 2, 3], [1, 2, 0]])
    assert torch.equal(same_rows(ids), groups(0, 1, 0))


def test_one_process_gathers_nothing() -> None:
    x = torch.ones(3)
    assert processes() == 1 and gather_with_gradient(x) is x
    with pytest.raises(ValueError, match=r"same must be bool \[6, 6\]"):
        clip_loss(*sides(), LOG_SCALE, same=torch.ones(6, 12, dtype=torch.bool))


IDS = torch.tensor([[0], [1], [0], [2], [1], [2]])
"""Sentences of the six samples: the same ones stand in both processes."""
CASES = [(kind, absent, same) for kind in ("clip", "siglip") for absent in (False, True) for same in (0, 1)]


def tiny_losses(a: Tensor, b: Tensor, log_scale: Tensor, bias: Tensor) -> Tensor:
    return clip_loss(a, b, log_scale) + siglip_loss(a, b, log_scale, bias)


def leaves(share: slice) -> list[Tensor]:
    a, b = sides()
    return [x.clone().double().requires_grad_() for x in (a[share], b[share], LOG_SCALE, BIAS)]


def gradients(model: torch.nn.Module) -> dict[str, Tensor]:
    return {
        name.removeprefix("module."): p.grad for name, p in model.named_parameters() if p.grad is not None
    }


def run(model: torch.nn.Module, batch: Pooled, ids: Tensor | None) -> dict[str, Tensor]:
    loss, _ = model(batch, None if ids is None else same_rows(ids))
    loss.backward()
    return {"loss": loss.detach(), **gradients(model)}


def one_of_two(rank: int, folder: str) -> None:
    """A process that holds half of the batch."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    share = slice(3 * rank, 3 * rank + 3)
    half = leaves(share)
    loss = tiny_losses(*half)
    loss.backward()
    found: dict[str, Any] = {"loss": loss.detach(), "leaves": [x.grad for x in half]}
    for kind, absent, same in CASES:
        batch = {name: (x[share], there[share]) for name, (x, there) in pooled(6, absent).items()}
        model = DistributedDataParallel(alignment(kind))
        found[f"{kind} {absent} {same}"] = run(model, batch, IDS[share] if same else None)
    try:
        gather_with_gradient(torch.zeros(3 + rank, 2))
    except BadInput as error:
        found["refused"] = str(error)
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_learn_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    torch.multiprocessing.spawn(one_of_two, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))

    whole = leaves(slice(None))
    loss = tiny_losses(*whole)
    loss.backward()
    exact = {"atol": 1e-7, "rtol": 0}
    torch.testing.assert_close((first["loss"] + second["loss"]) / 2, loss.detach(), **exact)
    wanted = [x.grad for x in whole]
    for i in (0, 1):  # each process's own embeddings; the mean over processes halves their gradients
        shares = torch.cat([first["leaves"][i], second["leaves"][i]]) / 2
        torch.testing.assert_close(shares, wanted[i], **exact)
    for i in (2, 3):  # what all share
        torch.testing.assert_close((first["leaves"][i] + second["leaves"][i]) / 2, wanted[i], **exact)

    for kind, absent, same in CASES:
        alone = run(alignment(kind), pooled(6, absent), IDS if same else None)
        one, two = first[f"{kind} {absent} {same}"], second[f"{kind} {absent} {same}"]
        assert set(alone) == set(one) == set(two)
        torch.testing.assert_close((one.pop("loss") + two["loss"]) / 2, alone["loss"], atol=1e-6, rtol=1e-6)
        for name, gradient in one.items():  # averaged by DistributedDataParallel
            torch.testing.assert_close(
                gradient, alone[name], atol=1e-6, rtol=1e-5, msg=lambda m, n=name: n + m
            )

    assert "different numbers of samples (3, 4)" in first["refused"] == second["refused"]
