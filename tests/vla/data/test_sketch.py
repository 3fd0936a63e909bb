"""Sketches: never outside their bound, the same however the data was cut up, and as `from_array` says."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla.data.bins import BITS, CAP, Bins
from vla.data.sketch import Sketch
from vla.data.sketch_file import load_sketches, save_sketches
from vla.data.statistics import FeatureStatistics
from vla.errors import BadInput

QUANTILES = [0.0, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0]
SMALLEST = 2.0**-1022

Floats = np.ndarray[Any, np.dtype[np.float64]]


def order_statistics(values: Floats) -> tuple[Floats, Floats]:
    """The two neighbours between which numpy's `linear` interpolates, for each of QUANTILES."""
    rank = np.array(QUANTILES) * (len(values) - 1)
    ordered = np.sort(values)
    return ordered[np.floor(rank).astype(int)], ordered[np.ceil(rank).astype(int)]


@st.composite
def nasty(draw: st.DrawFn) -> Floats:
    """Values of kinds that break sketches, thousands of them, few, or one."""
    kind = draw(
        st.sampled_from(["any", "cauchy", "constant", "tiny", "zeros", "huge", "whole", "near", "two"])
    )
    if kind == "any":
        return np.array(draw(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1)))
    count = draw(st.sampled_from([1, 2, 100, 5000, 30_000]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if kind == "cauchy":
        return rng.standard_cauchy(count) ** draw(st.sampled_from([1, 3, 9]))
    if kind == "constant":
        return np.full(count, draw(st.floats(-1e300, 1e300)))
    if kind == "tiny":  # denormals among them
        return rng.normal(size=count) * 10.0 ** rng.uniform(-323, -300, count)
    if kind == "zeros":
        return rng.choice([0.0, -0.0, 1.0], count)
    if kind == "huge":  # every exponent there is
        return (
            rng.choice([-1.0, 1.0], count)
            * rng.uniform(1, 2, count)
            * 2.0 ** rng.integers(-1022, 1023, count)
        )
    if kind == "whole":
        return rng.integers(-300_000, 300_000, count).astype(np.float64)
    if kind == "near":  # a small spread far from zero, where precision relative to the value means little
        return 180.0 + 1e-3 * rng.normal(size=count)
    return rng.choice([5.3, 5.3001], count, p=[0.999, 0.001])


def pieces(values: Floats, cuts: list[float]) -> list[Floats]:
    return np.split(values, sorted(int(cut * len(values)) for cut in cuts))


@given(nasty())
def test_quantiles_are_within_the_stated_bound(values: Floats) -> None:
    sketch = Sketch("x", ()).update(values)
    estimate, least, most = sketch.brackets(QUANTILES)
    low, high = order_statistics(values)
    assert sketch.bits >= BITS
    slack = 2.0 ** -float(sketch.bits) * np.maximum(np.maximum(abs(low), abs(high)), SMALLEST)
    rounding = 1e-15 * np.maximum(abs(low), abs(high)) + 1e-322  # the last also of denormals
    with np.errstate(over="ignore", invalid="ignore"):
        assert (estimate >= low - slack - rounding).all() and (estimate <= high + slack + rounding).all()
        true = np.quantile(values, QUANTILES)
        known = np.isfinite(true)  # numpy's own difference may overflow
        assert (true >= least - rounding)[known].all() and (true <= most + rounding)[known].all()
    if len(np.unique(values)) <= CAP and np.isfinite(true).all():
        np.testing.assert_allclose(estimate, true, rtol=1e-12, atol=1e-322)  # every value has its own bin


@given(nasty(), st.lists(st.floats(0, 1), max_size=5), st.randoms(use_true_random=False))
def test_any_order_and_any_pieces_give_the_same(values: Floats, cuts: list[float], random: Any) -> None:
    whole = Sketch("x", ()).update(values)
    shuffled = np.random.default_rng(random.randrange(2**32)).permutation(values)
    parts = [Sketch("x", ()).update(piece) for piece in pieces(shuffled, cuts)]
    random.shuffle(parts)
    while len(parts) > 1:  # any grouping, too
        parts.insert(random.randrange(len(parts) - 1), parts.pop().merge(parts.pop()))
    [merged], fed = parts, Sketch("x", ())
    for piece in pieces(values, cuts):
        fed.update(piece)
    for other in (merged, fed):
        exact, found = whole.to_arrays(), other.to_arrays()
        for name in ("rows", "cut", "lengths", "lo", "hi", "count"):
            np.testing.assert_array_equal(exact[name], found[name])
    if abs(values).max() < 1e150:
        one, two = whole.statistics(), merged.statistics()
        largest = abs(values).max()
        assert abs(one.mean - two.mean) <= 1e-12 * largest and abs(one.std - two.std) <= 1e-12 * largest


@given(nasty())
def test_moments_are_those_of_the_data(values: Floats) -> None:
    if abs(values).max() >= 1e150:
        return
    found, largest = Sketch("x", ()).update(values).statistics(), abs(values).max()
    assert abs(found.mean - np.mean(values)) <= 1e-12 * largest
    assert abs(found.std - np.std(values)) <= 1e-12 * largest
    assert found.min == values.min() and found.max == values.max() and found.count == len(values)
    if values.min() == values.max():
        assert found.std == 0.0 and found.mean == found.q01 == found.q99 == values[0]


def test_cut_up_by_rows_the_moments_are_bitwise_the_same() -> None:
    values = np.random.default_rng(0).standard_cauchy((300_000, 20))
    one, two = Sketch("x", (20,)).update(values), Sketch("x", (20,))
    for part in np.array_split(values, 77):
        two.update(part)
    assert one.statistics().to_dict() == two.statistics().to_dict()


@pytest.mark.parametrize("shape", [(3,), (4, 3)])
def test_as_from_array_with_what_is_left_out(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_t(2, (3000, *shape)).astype(np.float32)
    valid = rng.random(values.shape[:-1]) < 0.7
    spoiled = np.where(valid[..., None], values, np.nan)
    found = Sketch("x", shape).update(spoiled[:1000], valid[:1000]).update(spoiled[1000:], valid[1000:])
    exact = FeatureStatistics.from_array(values, valid)
    assert found.statistics().count == exact.count and found.statistics().shape == shape
    for field in dataclasses.fields(exact):
        np.testing.assert_allclose(
            getattr(found.statistics(), field.name), getattr(exact, field.name), rtol=1e-9
        )
    np.testing.assert_array_equal(found.counts[..., 0], valid.sum(0))


def test_memory_is_bounded() -> None:
    rng = np.random.default_rng(0)
    degrees = np.sort(rng.uniform(-180, 180, 1_000_000))
    assert len(Bins.of(degrees)) < 2 * 20 * 2**BITS  # two signs, and hardly a value below 2^-13
    everything = np.sort(rng.choice([-1.0, 1.0], 500_000) * 2.0 ** rng.uniform(-6, 6, 500_000))
    assert len(Bins.of(everything)) <= 2 * 12 * 2**BITS and Bins.of(everything).bits == BITS
    narrow = np.sort(180 + 0.01 * rng.normal(size=500_000))
    assert len(Bins.of(narrow)) <= CAP and Bins.of(narrow).bits > 18  # precision goes where it is needed


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_named(bad: float) -> None:
    values = np.zeros((10, 4, 3), np.float32)
    values[7, 2, 1] = bad
    sketch = Sketch("arm: action", (4, 3)).update(np.zeros((5, 4, 3)))
    with pytest.raises(BadInput, match=r"'arm: action' is not finite at sample 12, index \[2, 1\]"):
        sketch.update(values)
    sketch.update(values, np.arange(4) != np.full((10, 1), 2))
    assert sketch.rows == 15 and sketch.counts[2, 1] == 5


def test_what_cannot_be_is_one_line() -> None:
    with pytest.raises(BadInput, match=r"samples of shape \[3\], not \[2\]"):
        Sketch("x", (2,)).update(np.zeros((4, 3)))
    with pytest.raises(BadInput, match=r"'x' of shape \[2\] and 'y' of shape \[3\]"):
        Sketch("x", (2,)).merge(Sketch("y", (3,)))
    with pytest.raises(BadInput, match="'x' has no samples"):
        Sketch("x", (2,)).update(np.zeros((4, 2)), np.zeros(4, bool)).statistics()
    with pytest.raises(BadInput, match=r"-1e\+200 to 1e\+200 at index \[0\]: too large"):
        Sketch("x", (1,)).update(np.array([[1e200], [-1e200]])).statistics()


@given(nasty(), nasty())
def test_saved_and_loaded(one: Floats, two: Floats) -> None:
    sketches = {
        "a": Sketch("a", ()).update(one),
        "b": Sketch("b", (1,)).update(two[:, None].astype(np.float64)),
    }
    for name, sketch in sketches.items():
        again = Sketch.from_arrays(name, sketch.to_arrays()).to_arrays()
        for part, array in sketch.to_arrays().items():
            np.testing.assert_array_equal(array, again[part])


def test_a_file_that_was_changed_or_cut_is_refused(tmp_path: Path) -> None:
    path, rng = tmp_path / "x.safetensors", np.random.default_rng(0)
    with pytest.raises(BadInput, match="does not exist"):
        load_sketches(path)
    made = Sketch("a", (2, 3)).update(rng.normal(size=(100, 2, 3)).astype(np.float32))
    save_sketches(path, {"a": made})
    assert list(tmp_path.iterdir()) == [path]
    assert load_sketches(path)["a"].statistics().to_dict() == made.statistics().to_dict()
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(BadInput, match="was changed"):
        load_sketches(path)
    for cut in (whole[:-5], whole[:4], b""):
        path.write_bytes(cut)
        with pytest.raises(BadInput, match="cannot read the saved statistics"):
            load_sketches(path)
