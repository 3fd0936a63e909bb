import json
from pathlib import Path

import numpy as np
import pytest

from vla.data.statistics import FeatureStatistics, Statistics
from vla.errors import BadInput


def make(seed: int = 0) -> Statistics:
    rng = np.random.default_rng(seed)
    return Statistics(
        {
            "state": FeatureStatistics.from_array(rng.normal(size=(500, 6))),
            "actions": FeatureStatistics.from_array(rng.normal(size=(500, 3, 6))),
        }
    )


def test_ordered_and_right() -> None:
    values = np.random.default_rng(0).normal(size=(2000, 3, 2))
    s = FeatureStatistics.from_array(values)
    assert s.shape == (3, 2) and s.count == 2000
    for low, high in zip(
        ("min", "q001", "q01", "mean", "q99", "q999"),
        ("q001", "q01", "mean", "q99", "q999", "max"),
        strict=True,
    ):
        assert (getattr(s, low) <= getattr(s, high)).all()
    np.testing.assert_allclose(s.std, values.std(axis=0))


def test_invalid_samples_change_nothing() -> None:
    values = np.random.default_rng(0).normal(size=(50, 3, 2))
    valid = np.random.default_rng(1).random((50, 3)) < 0.5
    spoiled = np.where(valid[..., None], values, 1e9)
    a, b = FeatureStatistics.from_array(values, valid), FeatureStatistics.from_array(spoiled, valid)
    assert a.to_dict() == b.to_dict()
    np.testing.assert_allclose(a.mean[1], values[valid[:, 1], 1].mean(0))


def test_nothing_to_count_is_an_error() -> None:
    for values, valid in ((np.zeros((0, 3)), None), (np.zeros((4, 3)), np.zeros(4, bool))):
        with pytest.raises(BadInput, match="no samples"):
            FeatureStatistics.from_array(values, valid)


def test_saved_loaded_and_hashed(tmp_path: Path) -> None:
    path = tmp_path / "statistics.json"
    make().save(path)
    again = Statistics.load(path)
    assert again.hash == make().hash != make(1).hash
    assert again["state"].to_dict() == make()["state"].to_dict()
    with pytest.raises(BadInput, match="hold no 'audio'"):
        again["audio"]


def test_a_changed_or_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "statistics.json"
    with pytest.raises(BadInput, match="does not exist"):
        Statistics.load(path)
    make().save(path)
    raw = json.loads(path.read_text())
    raw["features"]["state"]["max"][0] += 1
    path.write_text(json.dumps(raw))
    with pytest.raises(BadInput, match="were changed"):
        Statistics.load(path)
    path.write_text(path.read_text()[:100])
    with pytest.raises(BadInput, match="cannot read"):
        Statistics.load(path)
