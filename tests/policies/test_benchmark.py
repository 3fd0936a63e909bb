"""Equal sizes, equal answers, ratios that follow from the times. No test looks at how long anything took."""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from policies.runtime.benchmark import ours, plain
from policies.runtime.benchmark.decoding import contenders
from policies.runtime.benchmark.device import copy_bandwidth, datasheet_bandwidth
from policies.runtime.benchmark.equal import TOLERANCE, matched
from policies.runtime.benchmark.gpu import measure_policy
from policies.runtime.benchmark.openvla7b import (
    DIM,
    build_openvla,
    cache_bytes,
    measure_openvla7b,
    openvla_config,
    weight_bytes,
    with_horizon,
)
from policies.runtime.benchmark.options import Decoding, Family, Gpu, OpenVLA7B
from policies.runtime.benchmark.table import row, table
from policies.runtime.benchmark.timing import Contender, interleave, passes_of, ratio, time_calls
from vla.describe import dummy_batch
from vla.errors import BadInput
from vla.generation import generate
from vla.model import VLA
from vla.openvla.weightless import weightless

SMALL = Decoding(size=2_600_000, horizon=4, dim=2, side=32, rounds=2, slice=0.0)
CODES = SMALL.horizon * SMALL.dim
times = st.lists(st.lists(st.floats(0.1, 1e4), min_size=1, max_size=4), min_size=1, max_size=6)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def of(*families: Family) -> Decoding:
    return dataclasses.replace(SMALL, families=families)


@pytest.fixture(scope="module")
def everyone() -> dict[str, Contender]:
    """The plain ones and ours."""
    return {each.name: each for each in contenders(of("plain", "ours"), print, "cpu")}


# -- time ---------------------------------------------------------------------------------------------------


@given(times, st.floats(0.01, 100))
def test_what_takes_k_times_as_long_in_every_round_has_a_ratio_of_k(own: list[list[float]], k: float) -> None:
    found = ratio([[k * value for value in each] for each in own], own)
    assert found.median == pytest.approx(k) and found.low == pytest.approx(k) == found.high


@given(times.flatmap(lambda a: st.tuples(st.just(a), st.permutations(a))))
def test_the_interval_holds_the_median_and_lies_within_the_rounds(pair: tuple[Any, Sequence[Any]]) -> None:
    slower, faster = pair[0], list(pair[1])
    found = ratio(slower, faster)
    each = [np.median(a) / np.median(b) for a, b in zip(slower, faster, strict=True)]
    assert min(each) - 1e-9 <= found.low <= found.median <= found.high <= max(each) + 1e-9


def test_every_contender_acts_in_every_round_and_rounds_differ_in_their_order() -> None:
    acted: list[str] = []
    everyone = [Contender(name, lambda name=name: acted.append(name), 1, 1, 1) for name in "abcde"]
    done: list[int] = []
    found = interleave(everyone, 4, 0.0, lambda: None, after_round=done.append)
    assert done == [1, 2, 3, 4] and {len(each) for each in found.values()} == {4}
    assert all(len(turn) == 1 for each in found.values() for turn in each)
    turns = ["".join(acted[start : start + 5]) for start in (10, 15, 20)]  # after untimed and timed calls
    assert all(sorted(turn) == list("abcde") for turn in turns) and len(set(turns)) > 1


def test_untimed_calls_come_first_and_the_device_is_waited_for() -> None:
    calls: list[str] = []
    found = time_calls(lambda: calls.append("act"), 0.0, lambda: calls.append("wait"), warm=2, least=3)
    assert calls == ["act", "act", "wait", *["act", "wait"] * 3] and len(found) == 3


def test_passes_are_counted_and_the_module_is_as_before() -> None:
    trunk = nn.Linear(2, 2)
    assert passes_of(trunk, lambda: [trunk(torch.zeros(2)) for _ in range(3)]) == 3
    with pytest.raises(RuntimeError):
        passes_of(trunk, lambda: trunk(torch.zeros(3)))
    assert "forward" not in vars(trunk)


# -- size ---------------------------------------------------------------------------------------------------


@given(
    st.integers(1, 8), st.integers(0, 200_000), st.sampled_from([8, 24]), st.floats(1, 8), st.floats(2, 50)
)
def test_any_size_that_is_large_enough_is_met(
    layers: int, fixed: int, step: int, expansion: float, times: float
) -> None:
    def count(width: int, mlp: int) -> int:
        return fixed + layers * (4 * width**2 + 2 * width * mlp) + 100 * width

    size = round(times * count(2 * step, round(expansion * 2 * step)))
    width, mlp = matched(count, size, step=step, expansion=expansion, what="it")
    assert width % step == 0 and mlp >= expansion * width - 2
    assert abs(count(width, mlp) / size - 1) <= TOLERANCE


@pytest.mark.parametrize("name", [ours.PARALLEL, "autoregressive, bins"])
def test_a_size_that_is_too_small_is_one_line_with_the_least(name: str) -> None:
    decoder = ours.decoders(SMALL)[name]
    line = rf"^size=1000: the {decoder.kind} model needs at least \d+ parameters"
    with pytest.raises(BadInput, match=line):
        ours.build(SMALL, decoder, 1000, "cpu")


def test_every_decoder_has_the_same_size_and_the_passes_that_its_kind_needs(
    everyone: dict[str, Contender],
) -> None:
    found = {name: everyone[name] for name in ours.decoders(SMALL)}
    assert all(abs(each.parameters / SMALL.size - 1) <= TOLERANCE for each in everyone.values())
    passes = {name: each.passes - 1 for name, each in found.items()}  # after the prefix
    codes = {name: each.codes for name, each in found.items()}
    assert (passes[ours.PARALLEL], codes[ours.PARALLEL]) == (1, CODES)
    assert (passes["parallel, spline"], codes["parallel, spline"]) == (1, 5 * SMALL.dim)
    assert passes["blockwise, bins, a step a pass"] == SMALL.horizon
    assert passes["blockwise, bins, four steps a pass"] == SMALL.horizon // 4
    assert passes["autoregressive, bins"] == codes["autoregressive, bins"] == CODES
    assert passes["autoregressive, residual"] == codes["autoregressive, residual"] == 8
    assert passes["autoregressive, FAST"] == codes["autoregressive, FAST"]
    assert codes["flow"] is None and passes["flow"] == 5
    assert abs((codes["autoregressive, FAST"] or 0) - ours.fast_codes(SMALL)) <= 2


# -- what is compared decides the same ----------------------------------------------------------------------


def test_the_plain_ways_say_what_the_cached_one_says(everyone: dict[str, Contender]) -> None:
    cached, slow, growing = (
        everyone[name] for name in ("autoregressive, bins", plain.REFERENCE, plain.GROWING)
    )
    wanted, *others = (each.act().ids for each in (cached, slow, growing))  # type: ignore[attr-defined]
    assert all(torch.equal(wanted, ids) for ids in others)
    assert (slow.passes, growing.passes) == (CODES, CODES + 1)
    assert slow.parameters == growing.parameters == cached.parameters


def test_transformers_generate_says_what_ours_says_where_only_actions_can_be_said() -> None:
    built = plain.llama(SMALL, "cpu")
    language: Any = built.model.backbone.model
    with torch.no_grad():
        for weight in language.parameters():
            weight.normal_(0, 0.3)  # so that it does not say the same word over and over
        # Below the best action's score:
        language.lm_head.weight[: built.model.vocabulary.action_range.start] = 0
    ids = built.act().ids
    assert ids is not None and len(ids.unique()) > 3
    assert torch.equal(ids, plain.generate_ids(built))
    assert abs(built.model.num_parameters() / SMALL.size - 1) <= TOLERANCE


# -- the table ----------------------------------------------------------------------------------------------


def test_ratios_follow_from_the_times(everyone: dict[str, Contender]) -> None:
    found = interleave(list(everyone.values()), SMALL.rounds, 0.0, lambda: None)
    rows = {name: row(each, found, SMALL.horizon) for name, each in everyone.items()}
    reference, parallel = rows[plain.REFERENCE], rows[ours.PARALLEL]
    for each in rows.values():
        assert each["calls"] >= SMALL.rounds == len(each["rounds_ms"]) and each["p50_ms"] <= each["p99_ms"]
        assert each["actions_per_s"] == pytest.approx(1000 * SMALL.horizon / each["p50_ms"], rel=0.01)
        for key, other in (("speedup", reference), ("ours_faster", parallel)):
            if each is other:
                assert each[key] is None
                continue
            pair = (each, other) if key == "ours_faster" else (other, each)
            ratios = [a / b for a, b in zip(*(one["rounds_ms"] for one in pair), strict=True)]
            assert each[key]["median"] == pytest.approx(np.median(ratios), rel=0.01)
    lines = table(list(rows.values())).splitlines()
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]] == list(rows)
    assert len({line.count("|") for line in lines}) == 1


def test_what_lerobot_would_bring_is_left_out_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lerobot", None)
    said: list[str] = []
    assert not list(contenders(of("act", "act_published", "smolvla", "pi0_fast"), said.append, "cpu"))
    assert len(said) == 4 and said[2] == "smolvla is left out, it needs lerobot: pip install 'vla[lerobot]'"


@pytest.mark.slow
def test_lerobots_policies_have_the_same_size_and_answer_with_the_same_chunk() -> None:
    pytest.importorskip("lerobot.policies")
    options = dataclasses.replace(of("act", "smolvla", "pi0_fast", "act_published"), dim=6, side=64)
    act, smolvla, pi0_fast, published, large = contenders(options, print, "cpu")
    for each in (act, smolvla, pi0_fast):
        assert abs(each.parameters / options.size - 1) <= TOLERANCE and each.ours == ours.PARALLEL
    assert all(each.act().shape == (1, 4, 6) for each in (act, smolvla, published))  # type: ignore[attr-defined]
    assert (act.passes, smolvla.passes, pi0_fast.passes) == (1, 1 + 10, ours.fast_codes(options))
    assert pi0_fast.act().shape == (1, pi0_fast.codes)  # type: ignore[attr-defined]
    assert published.parameters > 30e6 and not published.reference and published.ours == large.name
    assert abs(large.parameters / published.parameters - 1) <= TOLERANCE


# -- a GPU's measures, in miniature on the CPU --------------------------------------------------------------


def test_the_data_sheets_know_a_device_by_its_drivers_name() -> None:
    wanted = {"NVIDIA H100 80GB HBM3": 3350, "NVIDIA H100 PCIe": 2000, "NVIDIA A100-SXM4-40GB": 1555}
    assert {name: datasheet_bandwidth(name) for name in wanted} == wanted
    assert datasheet_bandwidth("cpu") is None and copy_bandwidth("cpu", 2**16) > 0


def test_at_full_scale_it_is_openvla_and_a_token_reads_llama_2() -> None:
    with weightless():
        model = VLA(openvla_config("full"))
    assert abs(model.num_parameters() / 7_541_237_184 - 1) < 0.003  # all but SigLIP's pooling
    layer = 4 * 4096**2 + 3 * 4096 * 11008 + 2 * 4096
    assert weight_bytes(model) == 2 * (32 * layer + 4096 + 32064 * 4096)
    assert cache_bytes(model) == 2 * 2 * 32 * 4096


def test_the_longer_chunk_begins_as_the_shorter_and_shares_its_weights() -> None:
    short = build_openvla(openvla_config("tiny"), "cpu", seed=3)
    long = with_horizon(short, 3, "cpu")
    theirs = dict(long.named_parameters())
    assert all(theirs[name].data_ptr() == p.data_ptr() for name, p in short.named_parameters())
    batch = dummy_batch(short.config, 1)
    few, many = (generate(model, batch).ids for model in (short, long))
    assert few is not None and many is not None and many.shape == (1, 3 * DIM)
    assert torch.equal(few, many[:, :DIM]) and len(many.unique()) > 3
    again = dict(build_openvla(openvla_config("tiny"), "cpu", seed=3).named_parameters())
    assert all(torch.equal(again[name], p) for name, p in theirs.items())


def test_the_share_is_what_was_read_over_what_could_have_been() -> None:
    said: list[str] = []
    found = measure_openvla7b(OpenVLA7B("tiny", horizon=3, calls=2, compile=False), "cpu", said.append)
    read = found["weight_bytes_a_token"] + found["cache_bytes_a_token"]
    assert found["eager_gb_s"] == pytest.approx(read / found["eager_token_ms"] / 1e6)
    share = found["eager_gb_s"] / found["copy_bandwidth_gb_s"]
    assert found["eager_share_of_copy_bandwidth"] == pytest.approx(share)
    chunk = found["eager_prefix_ms"] + DIM * found["eager_token_ms"]
    assert found["eager_chunk_ms"] == pytest.approx(chunk)
    assert found["prefix_tokens"] == 48 and found["eager_share_of_datasheet_bandwidth"] is None
    assert any("token ms" in line for line in said)


def test_the_policys_table_has_a_line_for_each_type_and_batch() -> None:
    said: list[str] = []
    rows = measure_policy(Gpu((1, 2), compile=False), "tabletop-small", 0.0, "cpu", said.append)
    assert [(row["dtype"], row["batch"]) for row in rows] == [
        ("float32", 1), ("float32", 2), ("bfloat16", 1), ("bfloat16", 2)
    ]  # fmt: skip
    for each in rows:
        assert each["chunks_per_s"] == pytest.approx(1000 * each["batch"] / each["p50_ms"], rel=0.01)
        assert each["actions_per_s"] == pytest.approx(10 * each["chunks_per_s"], rel=0.01)
    assert said[-1].startswith("| policy")
