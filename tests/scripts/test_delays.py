"""The sweep over inference delays through its command: cells, table, plot, going on, mistakes in one line."""

import json
from pathlib import Path

import pytest

from policies.runtime import delays as logic
from scripts import delays

FEW = ["policy=random", "env.image_size=16", "env.skills=[touch]", "workers=1", "episodes=1"]


@pytest.mark.slow
def test_a_sweep_and_the_same_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [*FEW, "kinds=[queue,real_time]", "delays=[0,5]", f"out={tmp_path}"]
    delays.main(arguments)
    table = capsys.readouterr().out
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| random")]
    assert [(row[1], row[2]) for row in rows] == [
        (kind, delay) for kind in ("queue", "real_time") for delay in ("0 (0 ms)", "5 (250 ms)")
    ]
    assert [row[3] for row in rows] == ["8", "5", "8", "–"]
    # 5 steps are long for chunks of 8: the naive queue has 3 rows left for every 5 steps.
    held = [float(row[-1].rstrip("|% ")) for row in rows[:3]]
    assert held[0] == held[2] == 0.0 and 35 < held[1] < 50
    assert "random, real_time: delay=5: real_time needs chunks of 10 steps for it" in table
    assert (tmp_path / "delays.png").read_bytes()[:4] == b"\x89PNG"
    assert table.splitlines()[0] in (tmp_path / "delays.md").read_text()
    cells = sorted(path.name for path in (tmp_path / "cells").iterdir())
    assert len(cells) == 3 and "random-queue-5.json" in cells
    cell = json.loads((tmp_path / "cells" / "random-queue-5.json").read_text())
    assert cell["metrics"]["delay"] == 5 and cell["settings"]["seed"] == 50000

    ran: list[object] = []
    original = logic.roll_out
    monkeypatch.setattr(logic, "roll_out", lambda how, *more: ran.append(how) or original(how, *more))
    (tmp_path / "cells" / "random-queue-0.json").write_text('{"cut of')
    delays.main(arguments)
    assert len(ran) == 1  # only what was not whole
    assert capsys.readouterr().out == table
    with pytest.raises(SystemExit):  # numbers of another seed are neither taken for these nor lost
        delays.main([*arguments, "seed=1", "kinds=[queue]", "delays=[0]"])
    assert "random-queue-0.json is of a run with other settings" in capsys.readouterr().err
    assert len(ran) == 1


def test_several_policies_come_into_one_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    two = ["+policies.wanders={policy: random}", "+policies.knows={policy: expert}", "kinds=[queue]"]
    delays.main([*FEW, *two, "delays=[0]", f"out={tmp_path}"])
    table = capsys.readouterr().out
    assert "| wanders | queue" in table and "| knows | queue | 0 (0 ms) | 1 | 1/1 = 100.0%" in table


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("delays=[]", "delays is empty"),
        ("delays=[-1]", "delays: -1 is below 0"),
        ("delays=[1,1]", "delays names one twice: 1, 1"),
        ("delays=[1.5]", "'delays[0]' must be a whole number"),
        ("delays=[0,8]", "delay=8: the chunks of policy 'random' have 8 steps, so at most 7 is possible"),
        ("execute=9", "execute=9: the chunks of policy 'random' have 8 steps"),
        ("execute=0", "execute=0: at least 1"),
        ("kinds=[que]", "'kinds[0]' cannot be 'que' (did you mean 'queue'?)"),
        ("schedule=flat", "'schedule' cannot be 'flat'"),
        ("episodes=0", "episodes=0: at least 1"),
        ("policy=nobody", "no policy 'nobody'"),
        ("+policies.a={polic: random}", "did you mean 'policy'"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], override: str, line: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        delays.main([*FEW, f"out={tmp_path / 'x'}", override])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and line in error and "Traceback" not in error
    assert not list((tmp_path / "x").rglob("*.json"))


def test_names_that_would_share_a_file_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = ["+policies={a b: {policy: random}, a_b: {policy: random}}", "delays=[0]", "kinds=[queue]"]
    with pytest.raises(SystemExit):
        delays.main([*FEW, *two, f"out={tmp_path}"])
    assert "'a b' and another would share a file" in capsys.readouterr().err
