"""`data stats`: the numbers are those of the data, of each folder and of all together."""

import json
from pathlib import Path

import numpy as np
import pytest
from data_folders import write_arm

from scripts.data import main
from vla.data.episodes import EpisodeDataset


@pytest.fixture(scope="module")
def arms(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    place = tmp_path_factory.mktemp("stats")
    return [write_arm(place / "a", 8, 6), write_arm(place / "b", 3, 3, 9)]


def table(said: str, feature: str, part: int) -> list[float]:
    """The numbers behind the first joint of a feature's `part`-th table."""
    block = said.split(f"\n{feature}\n")[part + 1].splitlines()[1]
    return [float(word) for word in block.split() if word[-1].isdigit() and "_" not in word]


def test_each_and_together(arms: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    main(["stats", f"data=[{arms[0]},{arms[1]}]", "features=[action]"])
    said = capsys.readouterr().out
    held = [EpisodeDataset(arm).columns(["action"])["action"][:, 0].astype(float) for arm in arms]
    for part, values in enumerate([*held, np.concatenate(held)]):
        wanted = [values.mean(), values.std(), values.min(), values.max(), *np.quantile(values, [0.01, 0.99])]
        np.testing.assert_allclose(table(said, "action", part), wanted, rtol=1e-4)
    assert said.count("meta/stats.json agrees") == 2 and "2 data sets of so101_follower together" in said
    assert "29 samples" in said and "quantiles exact" in said


def test_chunks(arms: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Offsets of a chunk's steps: the actions count the frames, the state is half a frame behind."""
    main(["stats", f"data={arms[0]}", "horizon=5", "relative=true"])
    said = capsys.readouterr().out
    for step in (0, 2, 4):
        line = next(line for line in said.splitlines() if f"step {step} shoulder_pan.pos" in line)
        assert float(line.split()[3]) == step + 0.5 and float(line.split()[4]) == 0


def test_what_is_stated_wrongly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arm = write_arm(tmp_path / "arm")
    stats = json.loads((arm / "meta" / "stats.json").read_text())
    stats["action"]["mean"][1] = -5.0
    (arm / "meta" / "stats.json").write_text(json.dumps(stats))
    main(["stats", f"data={arm}", "features=[action]"])
    assert "action[1] (shoulder_lift.pos): mean is -5" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["data=outputs/none"], "dataset folder does not exist: outputs/none"),
        (["data=ARM", "features=[acton]"], "has no feature 'acton' (did you mean 'action'?)"),
        (["data=ARM", "features=[observation.images.front]"], "is image, not numbers"),
        (["data=ARM", "horizon=9"], "no episode has 9 valid steps in a row"),
        (["data=ARM", "horizon=0"], "horizon=0: at least 1"),
        (["data=ARM", "relative=true"], "give horizon=STEPS"),
        (["data=[]"], "there is nothing to measure"),
        ([], "data"),
    ],
)
def test_mistakes_are_one_line(
    arms: list[Path], arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["stats", *(each.replace("ARM", str(arms[0])) for each in arguments)])
    said = capsys.readouterr().err.strip()
    assert left.value.code == 2 and expected in said and len(said.splitlines()) == 1, said
