"""`data cache` and `data mix`: what a training with the same overrides reads, decoded or shown beforehand."""

from pathlib import Path

import pytest
from data_folders import write_arm, write_squares

from scripts.data import main


@pytest.fixture(scope="module")
def overrides(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    place = tmp_path_factory.mktemp("mix")
    arm, squares = write_arm(place / "arm", 12, 14), write_squares(place / "squares")
    return ["experiment=tabletop_debug", f"data={arm}", "model/answer=words", "web=shards",
            f"web.shards.path={squares}", "web.shards.split=0.2"]  # fmt: skip


def test_caches_are_built_once(overrides: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(["cache", *overrides])
    first = capsys.readouterr().out.splitlines()
    assert len(first) == 4 and all("decoded in" in line for line in first[:3]) and "3 new" in first[3]
    assert "arm, camera front: 0.1 MB" in first[0] and "web.shards: 0.1 MB" in first[2]
    main(["cache", *overrides])
    again = capsys.readouterr().out.splitlines()
    assert all("there already" in line for line in again[:3]) and "nothing was to be done" in again[3]
    main(["cache", *overrides, "reading.cache=false", "mixture.cache=false"])
    assert capsys.readouterr().out.count("nothing is kept") == 2


def test_a_mix_is_counted_and_shown(
    overrides: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "mix.html"
    arguments = [*overrides, "mixture.robot_share=0.6", "samples=100", "shown=10", f"page={page}"]
    main(["mix", *arguments])
    said, text = capsys.readouterr().out, page.read_text()
    assert "60 of 100 samples, 60.0% (planned 60.0%)" in said and "40 of 100 samples" in said
    assert "touch 3" in said or "lift 3" in said or "touch 2" in said
    assert "mixture.pack=false" in said and "mixture.pack=true would be" in said and "% of the places" in said
    assert "0 of " in said and "records damaged" in said
    assert text.count("<article>") == 10 and "touch the red cube" in text and "loc" in text
    main(["mix", *arguments])  # the same again, every byte
    assert page.read_text() == text


def test_robots_alone_and_a_stage(overrides: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(["mix", *overrides[:2], "samples=30", "page=null"])
    said = capsys.readouterr().out
    assert "30 of 30 samples, 100.0%" in said and "web" not in said
    for stage, share in ((1, "30 of 30 samples, 100.0%"), (2, "15 of 30 samples, 50.0%"), (3, "30 of 30")):
        main(["mix", *overrides, "plan=align_cotrain_tune", f"stage={stage}", "samples=30", "page=null"])
        assert share in capsys.readouterr().out


@pytest.mark.parametrize("part", ["cache", "mix"])
@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data=outputs/none", "dataset folder does not exist: outputs/none"),
        ("data=[]", "no dataset is given"),
        ("web.shards.path=outputs/none", "outputs/none"),
        ("init=outputs/none", "no checkpoint: outputs/none"),
    ],
)
def test_mistakes_are_one_line(
    overrides: list[str], part: str, override: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fails([part, *overrides, override], expected, capsys)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("mixture.robot_shares=1", "did you mean"),
        ("samples=0", "samples=0: at least 1"),
        ("shown=0", "shown=0: at least 1"),
        ("stage=2", "stage=2: the plan has 1"),
        ("page=.", "page=. is a folder"),
        ("model/answer=none", "model/answer=words"),
    ],
)
def test_mistakes_of_mix(
    overrides: list[str], override: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fails(["mix", *overrides, override], expected, capsys)


def fails(arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    said = capsys.readouterr().err.strip()
    assert left.value.code == 2 and expected in said and len(said.splitlines()) == 1, said
