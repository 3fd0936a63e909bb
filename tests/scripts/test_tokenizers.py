"""The command that compares action tokenizers."""

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "vla/tokens"))

from moving_arm import write_motion

from scripts.tokenizers import Tokenizers, main
from vla.config import load_config
from vla.data.statistics import Statistics
from vla.tokens.actions.file import load_tokenizer

ROOT = Path(__file__).parents[2]
QUICK = ("horizon=8", "execute=4", "held=20", "corrupted=5", "seconds=0", "tokenizers.residual.codes=16")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_motion(tmp_path_factory.mktemp("data") / "arm", [30, 25, 20, 24])


def test_a_page_a_plot_and_files(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, table = tmp_path / "out", tmp_path / "page" / "arm.md"
    main([f"data={data}", f"out={out}", f"table={table}", *QUICK])
    printed, bar = capsys.readouterr()
    config = load_config("tokenizers", [f"data={data}", *QUICK], Tokenizers)
    text = table.read_text()
    assert text in printed and str(table) in printed and "](arm.png)" in text
    assert (tmp_path / "page" / "arm.png").read_bytes().startswith(b"\x89PNG")
    assert "100%" in bar  # the work was told rightly beforehand
    hashed = Statistics.load(out / "statistics.json").hash
    for name, settings in config.tokenizers.items():
        assert f"| {name} |" in text
        tokenizer = load_tokenizer(
            out / f"{name}.json",
            config=settings,
            horizon=8,
            dim=3,
            statistics=hashed,
            robots=["so101_follower"],
        )
        assert tokenizer.fitted


def test_one_of_my_own(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = "+tokenizers.mine={kind: spline, points: 6}"
    main([f"data=[{data}]", f"out={tmp_path}", mine, "only=[mine]", "~tokenizers.fast", *QUICK])
    printed = capsys.readouterr().out
    assert "| mine |" in printed and "| bins |" not in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "mine.json",
        "statistics.json",
        "tokenizers.md",
        "tokenizers.png",
    ]


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["data=nowhere"], "dataset folder does not exist: nowhere"),
        (["horizon=31"], "horizon=31 is longer than any episode to fit to; give "),
        (["tokenizers.bins.kind=bin"], "cannot be 'bin' (did you mean 'bins'?)"),
        (["tokenizers.bins.size=3"], "unknown config key 'tokenizers.bins.size'"),
        (["tokenizers.spline.points=9", "horizon=8"], "tokenizer 'spline': "),
        (["only=[fasst]"], "there is no tokenizer 'fasst' (did you mean 'fast'?)"),
        (["execute=9", "horizon=8"], "execute=9: a chunk has only horizon=8 steps"),
        (["+tokenizers.statistics={kind: bins}"], "'statistics' cannot be a file's name"),
        (["relative=[true]"], "processor.relative has 1 joints"),
        (["share=1"], "share=1.0: more than 0 and less than 1"),
        (["table=page.txt"], "table=page.txt is to be a file, whose name ends in .md"),
        (["out=/dev/null/x"], "cannot make the folder /dev/null"),
        (["seed=-1"], "seed=-1"),
        (["prefixes=[2,99]"], "prefixes: there is no row for the first 99 codes; 1 to 7 can be"),
        (["prefixes=[8]"], "1 to 7 can be"),
        (["prefixes=[0]"], "1 to 7 can be"),
        (["prefixes=[3]", "tokenizers.residual.levels=3"], "1 to 2 can be"),
        (["prefixes=[2]", "only=[bins]"], "prefixes: the first 2 codes alone decode with no tokenizer here"),
    ],
)
def test_mistakes_are_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], overrides: list[str], line: str
) -> None:
    first = [f"data={data}", f"out={tmp_path}", "seconds=0", "held=5", "corrupted=2"]
    given = {item.split("=")[0] for item in overrides}
    with pytest.raises(SystemExit) as stop:
        main([*(item for item in first if item.split("=")[0] not in given), *overrides])
    error = capsys.readouterr().err
    (said,) = [text for text in error.splitlines() if "tokenizers: " in text]
    assert stop.value.code == 2 and line in said and "Traceback" not in error


@pytest.mark.parametrize(
    "code", ["from tokenizers import Tokenizer", "import tokenizers.models as Tokenizer"]
)
def test_scripts_still_find_the_library_of_the_same_name(code: str) -> None:
    # Running scripts/train.py puts scripts/ first on the path, where a file is called as the library is.
    found = f"import sys; sys.path.insert(0, 'scripts'); import vla.config; {code}; print(Tokenizer.__name__)"
    ran = subprocess.run([sys.executable, "-c", found], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0 and ran.stdout.strip() in ("Tokenizer", "tokenizers.models"), ran.stderr
