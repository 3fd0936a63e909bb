"""The comparison itself: a debug training, a column with a masked camera, the table."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.compare import Compare
from vla.config import load_config
from vla.errors import BadInput

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_model_in_a_table(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "scripts/compare.py",
        "comparison=fusion",
        "train=['experiment=tabletop_debug']",
        f"data={tmp_path}/data",
        "~variants",
        "+variants={other:['model/fusion=late']}",
        "~evaluations",
        "+evaluations={both:{},blind:{mask:[wrist]}}",
        "skills=[touch]",
        "env.image_size=32",
        "episodes=1",
        f"out={tmp_path}/out",
        f"table={tmp_path}/table.md",
        "workers=1",
    ]
    for _ in range(2):  # the second time everything is there
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert ran.returncode == 0, ran.stderr
    assert "trained policy" not in ran.stdout
    table = (tmp_path / "table.md").read_text()
    (row,) = [line for line in table.splitlines() if line.startswith("| other")]
    assert row.count("%") == 7  # two rates with their intervals, and the wrong objects
    assert "- other: `model/fusion=late`" in table
    blind = json.loads((tmp_path / "out" / "other" / "blind-40000-1.json").read_text())
    assert blind["episodes"] == 1 and blind["seed"] == 40000


def test_every_comparison_makes_valid_trainings() -> None:
    from scripts.train import Train

    for file in sorted((ROOT / "conf/comparison").glob("*.yaml")):
        config = load_config("compare", [f"comparison={file.stem}"], Compare)
        for overrides in config.variants.values():
            load_config("train", [*config.train, *overrides, "out=x"], Train)
    with pytest.raises(BadInput, match="each name at least one"):
        load_config("compare", ["evaluations={}", "~evaluations.success"], Compare)
