import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla.data.statistics import FeatureStatistics
from vla.data.transforms import CONVENTIONS, Chain, Normalise, RelativeActions, Transform
from vla.errors import BadInput

MASK = (True, False, True)


def samples(seed: int, count: int = 300) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "state": rng.uniform(-90, 90, (count, 3)).astype(np.float32),
        "actions": rng.uniform(-90, 90, (count, 4, 3)).astype(np.float32),
    }


def transforms(convention: str) -> list[Transform]:
    fitted = samples(0)
    relative = RelativeActions(MASK)
    statistics = FeatureStatistics.from_array(relative(fitted)["actions"])
    normalise = Normalise.by_convention("actions", statistics, convention)
    return [relative, normalise, Chain((relative, normalise)), Chain(())]


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("which", range(4))
def test_inverse_undoes(convention: str, which: int) -> None:
    transform, sample = transforms(convention)[which], samples(0)
    before = {key: value.copy() for key, value in sample.items()}
    there = transform(sample)
    back = transform.inverse(there)
    for key, value in before.items():
        np.testing.assert_array_equal(sample[key], value)  # the given one is left alone
        clipped = (np.abs(there[key]) >= 1) & (there[key] != value)
        np.testing.assert_allclose(np.where(clipped, value, back[key]), value, atol=1e-3)


@given(st.integers(0, 1000), st.sampled_from([c for c in CONVENTIONS if c != "mean_std"]))
def test_a_range_convention_clips_to_its_range(seed: int, convention: str) -> None:
    values = np.random.default_rng(seed).normal(size=(100, 3))
    normalise = Normalise.by_convention("state", FeatureStatistics.from_array(values), convention)
    out = normalise({"state": values * 5})["state"]
    assert np.abs(out).max() <= 1.0
    back = normalise.inverse({"state": out})["state"]
    assert (back <= values.max(0) + 1e-4).all() and (back >= values.min(0) - 1e-4).all()


def test_mean_std_clips_nothing() -> None:
    values = np.random.default_rng(0).normal(3, 2, size=(1000, 2))
    out = Normalise.by_convention("state", FeatureStatistics.from_array(values), "mean_std")(
        {"state": values}
    )
    np.testing.assert_allclose(out["state"].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(out["state"].std(0), 1, atol=1e-5)
    assert np.abs(out["state"]).max() > 1


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_constant_becomes_zero_and_comes_back(convention: str) -> None:
    statistics = FeatureStatistics.from_array(np.full((50, 2), 37.5))
    normalise = Normalise.by_convention("state", statistics, convention)
    out = normalise({"state": np.array([[37.5, 99.0]])})["state"]
    assert out.tolist() == [[0.0, 0.0]]
    assert normalise.inverse({"state": out + 0.5})["state"].tolist() == [[37.5, 37.5]]


def test_relative_only_where_masked() -> None:
    sample = samples(1, 5)
    out = RelativeActions(MASK)(sample)["actions"]
    np.testing.assert_array_equal(out[..., 1], sample["actions"][..., 1])
    np.testing.assert_allclose(out[..., 0], sample["actions"][..., 0] - sample["state"][:, None, 0])


def test_unknown_convention() -> None:
    statistics = FeatureStatistics.from_array(np.zeros((3, 1)))
    with pytest.raises(BadInput, match="did you mean 'min_max'"):
        Normalise.by_convention("state", statistics, "minmax")


@given(st.integers(0, 1000), st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_masked_dimensions_pass_as_they_are(seed: int, mask: tuple[bool, ...]) -> None:
    values = np.random.default_rng(seed).normal(5, 9, size=(50, 4, 3)).astype(np.float32)
    statistics = FeatureStatistics.from_array(values)
    whole, masked = (
        Normalise.by_convention("actions", statistics, "min_max", chosen) for chosen in (None, mask)
    )
    there = masked({"actions": values})
    wanted = np.where(mask, whole({"actions": values})["actions"], values)
    np.testing.assert_array_equal(there["actions"], wanted)
    back = masked.inverse(there)["actions"]
    np.testing.assert_array_equal(back[..., ~np.array(mask)], values[..., ~np.array(mask)])
    np.testing.assert_allclose(back, values, atol=1e-4)
