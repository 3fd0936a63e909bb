"""What a wheel holds, what is pinned, and how a Python is found: from a fresh clone to a command."""

import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from scripts import cli, data, speech

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {
    "vla": "vla",
    "envs": "envs",
    "policies": "policies",
    "vla_scripts": "scripts",
    "vla_conf": "conf",
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the tree, so that no build folder is left in it."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ["pyproject.toml", "setup.py", "README.md", "LICENSE", "THIRD_PARTY.md"]:
        shutil.copy(ROOT / name, tree)
    for name in PACKAGES.values():
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    out = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(out),
        ".",
    ]
    subprocess.run(command, cwd=tree, check=True, capture_output=True, timeout=180)
    return next(out.glob("*.whl"))


def test_the_wheel_holds_all_code_and_configs_and_nothing_else(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    wanted = set()
    for package, folder in PACKAGES.items():
        for path in (ROOT / folder).rglob("*"):
            weights = (ROOT / "policies" / "pretrained") in path.parents and path.is_file()
            if path.suffix in (".py", ".yaml") or weights:
                wanted.add(f"{package}/{path.relative_to(ROOT / folder).as_posix()}")
    assert held == wanted


def test_an_installed_wheel_runs_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--target",
        str(site),
        str(wheel),
    ]
    subprocess.run(pip, check=True, capture_output=True, timeout=120)
    code = (
        "import sys, vla.config; print(vla.config.config_dir());"
        "from vla_scripts.cli import main; main(sys.argv[1:])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, "collect", "--help"],
        cwd=elsewhere,
        env={"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines()[0] == str(site / "vla_conf")
    assert "episodes:" in answer.stdout


def test_every_folder_with_code_is_a_package() -> None:
    for folder in ("vla", "envs", "policies"):
        for path in (ROOT / folder).rglob("*.py"):
            assert (path.parent / "__init__.py").exists(), (
                f"{path.parent.relative_to(ROOT)} has no __init__.py"
            )


SCRIPTS = {name: [name] for name in cli.COMMANDS}
SCRIPTS |= {
    name: [f"{name} {part}" for part in each.PARTS] for name, each in (("data", data), ("speech", speech))
}
"""What each command runs, by the words on the command line: a second word is a part with its own config."""


@pytest.mark.parametrize("command", [words for each in SCRIPTS.values() for words in each])
def test_every_command_is_a_script(command: str) -> None:
    name = command.replace(" ", "_")
    assert (ROOT / "scripts" / f"{name}.py").exists()
    assert (ROOT / "conf" / f"{name}.yaml").exists()


@pytest.mark.parametrize("command", [words for each in SCRIPTS.values() for words in each])
def test_a_script_shows_its_config(command: str) -> None:
    script, *part = command.split()
    answer = subprocess.run(
        [sys.executable, f"scripts/{script}.py", *part, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert answer.returncode == 0, answer.stderr
    assert "Override anything" in answer.stdout


def test_the_command_says_what_it_can_do(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["--help"])
    said = capsys.readouterr().out
    assert all(name in said for name in cli.COMMANDS)


def test_an_unknown_command_gets_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["trian"])
    assert left.value.code == 2
    assert capsys.readouterr().err == "vla: no command 'trian' (did you mean 'train'?)\n"


def _pins(name: str) -> dict[str, Version]:
    found = re.findall(
        r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)", (ROOT / "requirements" / f"{name}.txt").read_text(), re.M
    )
    return {canonicalize_name(package): Version(version) for package, version in found}


@pytest.mark.parametrize("name", ["run", "test", "check"])
def test_requirements_are_exact_hashed_and_name_no_place(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    assert "://" not in text and "index" not in text
    blocks = re.split(r"^(?=[A-Za-z])", text, flags=re.M)[1:]
    assert blocks
    for block in blocks:
        assert re.match(r"[A-Za-z0-9_.-]+==\S+", block), block
        assert "--hash=sha256:" in block, block


@pytest.mark.parametrize(
    ("name", "extras"), [("run", []), ("test", ["test", "lerobot", "meshed"]), ("check", ["check"])]
)
def test_pins_satisfy_what_the_project_asks_for(name: str, extras: list[str]) -> None:
    pins = _pins(name)
    asked = list(PROJECT["dependencies"])
    for extra in extras:
        asked += PROJECT["optional-dependencies"][extra]
    for requirement in map(Requirement, asked):
        if requirement.name != "vla":
            assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement


@pytest.mark.parametrize("name", ["test", "check"])
def test_all_sets_pin_the_same_versions(name: str) -> None:
    """They share one .venv: a test run must not change what the demo runs on."""
    run, other = _pins("run"), _pins(name)
    assert run == {package: other.get(package) for package in run}


TOOLS = ["bash", "env", "dirname", "ls", "sort", "cat", "grep", "cut", "cksum", "tail", "tee", "sed", "make"]


def _tools(folder: Path, **scripts: str) -> Path:
    """A PATH folder with the usual tools, and only such Pythons as `scripts` names (name=what it runs)."""
    folder.mkdir(parents=True)
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None
        (folder / tool).symlink_to(found)
    for name, line in scripts.items():
        _script(folder / name, line)
    return folder


def _script(path: Path, line: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{line}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


REAL = f'exec "{sys.executable}" "$@"'


def _find(path: Path, home: Path, **env: str) -> "subprocess.CompletedProcess[str]":
    everything = {"PATH": str(path), "HOME": str(home), **env}
    return subprocess.run(
        [ROOT / "scripts" / "setup", "--find"], env=everything, capture_output=True, text=True, timeout=60
    )


def _elsewhere_has_312() -> bool:
    return any(Path(p).exists() for p in ("/usr/local/bin/python3.12", "/opt/homebrew/bin/python3.12"))


def test_setup_skips_a_shim_and_finds_pyenvs_python(tmp_path: Path) -> None:
    shim = "echo 'pyenv: python3.12: command not found' >&2; exit 127"
    path = _tools(tmp_path / "bin", **{"python3.12": shim, "python3": "exit 1"})
    kept = tmp_path / "home" / ".pyenv" / "versions" / "3.12.1" / "bin" / "python"
    _script(kept, REAL)
    answer = _find(path, tmp_path / "home")
    assert (answer.stdout.strip(), answer.stderr, answer.returncode) == (str(kept), "", 0)


def test_setup_asks_uv(tmp_path: Path) -> None:
    kept = tmp_path / "uv" / "python3.12"
    _script(kept, REAL)
    path = _tools(tmp_path / "bin", uv=f"echo {kept}")
    answer = _find(path, tmp_path / "home")
    assert (answer.stdout.strip(), answer.returncode) == (str(kept), 0)


def test_setup_says_how_to_get_a_python(tmp_path: Path) -> None:
    if _elsewhere_has_312():
        pytest.skip("this machine keeps a Python 3.12 where setup looks in any case")
    answer = _find(_tools(tmp_path / "bin"), tmp_path / "home")
    assert answer.returncode == 1
    assert "no Python 3.12 found; get one with" in answer.stderr
    assert answer.stderr.count("\n") == 1


def test_setup_refuses_another_version_by_name(tmp_path: Path) -> None:
    answer = _find(_tools(tmp_path / "bin"), tmp_path / "home", PYTHON="/bin/false")
    assert answer.returncode == 1
    assert answer.stderr == "setup: PYTHON=/bin/false is not a Python 3.12\n"


def _make_demo(tmp_path: Path, *arguments: str) -> str:
    """What `make demo` hands to scripts/demo.py, a line an argument."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    _script(tmp_path / "scripts" / "setup", "exit 0")
    _script(tmp_path / ".venv" / "bin" / "python", r"""[ "$1" = -m ] || printf '%s\n' "${@:2}" """)
    # The suite itself may run under make, whose flags would be inherited.
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "SAY"
    }
    make = ["make", "--no-print-directory", "demo", *arguments]
    answer = subprocess.run(make, cwd=tmp_path, env=clean, capture_output=True, text=True, check=True)
    return answer.stdout.removesuffix("\n")


def test_make_demo_alone_runs_the_default_sentences(tmp_path: Path) -> None:
    assert _make_demo(tmp_path) == ""


@pytest.mark.parametrize(
    "sentence",
    [
        "put the red cube in the blue bowl",
        "it's here, please: {go} [now]",
        'say "hi" = 1 + 1',
        "",
        "touch $HOME #1",
    ],
)
def test_make_demo_hands_over_any_sentence(tmp_path: Path, sentence: str) -> None:
    """Quotes and commas mean something to make, the shell and hydra; a sentence is only text."""
    line = _make_demo(tmp_path, "SAY=" + sentence.replace("$", "$$"))
    override = OverridesParser.create().parse_override(line)
    assert override.key_or_group == "say"
    assert override.value() == sentence
