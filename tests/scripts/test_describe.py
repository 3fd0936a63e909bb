"""The command that prints what a model does and costs."""

import json
from pathlib import Path

import pytest
from PIL import Image

from scripts import cli, describe
from vla.config import config_dir


def test_a_model_is_printed_drawn_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture, numbers = tmp_path / "new" / "model.png", tmp_path / "model.json"
    describe.main(["model=debug", "model/fusion=cross_attention", f"out={picture}", f"json={numbers}"])
    printed = capsys.readouterr().out
    assert printed.startswith("debug: ") and "gated" in printed and str(picture) in printed
    with Image.open(picture) as image:
        assert image.format == "PNG"
    found = json.loads(numbers.read_text())
    assert (
        found["parameters"]
        == found["trained"] + found["frozen"]
        == sum(p["parameters"] for p in found["parts"])
    )
    assert found["flops_per_chunk"] == found["steps"] * found["flops_per_step"]
    assert found["kv_cache"]["bytes"] > 0 and found["warnings"] == []


def test_a_saved_policy_is_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    describe.main(["policy=tabletop-small", f"out={tmp_path / 'x.png'}"])
    assert "4.18 M parameters" in capsys.readouterr().out


def test_the_command_line_knows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["describe", "model=debug", f"out={tmp_path / 'x.png'}"])
    assert "debug: " in capsys.readouterr().out
    assert "describe" in cli.usage()


def choices(group: str) -> list[str]:
    return sorted(file.stem for file in (config_dir() / "model" / group).glob("*.yaml"))


@pytest.mark.parametrize("tokenizer", choices("tokenizer"))
@pytest.mark.parametrize("decoder", choices("decoder"))
def test_every_decoder_with_every_tokenizer_is_drawn_or_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], decoder: str, tokenizer: str
) -> None:
    picture = tmp_path / "x.png"
    chosen = [f"model/decoder={decoder}", f"model/tokenizer={tokenizer}"]
    command = ["model=debug", *chosen, "model.decoder.horizon=8", f"out={picture}"]
    if decoder == "flow":
        wrong = "" if tokenizer == "none" else "decoder.kind=flow answers with numbers, not with codes"
    elif tokenizer == "fast" and decoder != "autoregressive":
        wrong = f"decoder.kind={decoder} needs codes of a fixed number"
    else:
        wrong = "choose model/tokenizer=bins or another" if tokenizer == "none" else ""
    if not wrong:
        describe.main(command)
        assert "answer" in capsys.readouterr().out
        with Image.open(picture) as image:
            assert image.format == "PNG"
        return
    with pytest.raises(SystemExit) as stop:
        describe.main(command)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and wrong in error and error.count("\n") == 1 and not picture.exists()


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("out=picture.jpg", "let it end in .png"),
        ("out=/proc/x.png", "cannot write /proc/x.png"),
        ("model.alignment={pairs: [], kind: clip}", "alignment.pairs is empty"),
        (
            "model.image.cameras=[{name: front, grid: 40}]",
            "grid 40 is finer than the encoder's map of 12 x 12",
        ),
        ("out=/dev/null/x.png", "cannot make the folder /dev/null"),
        ("json=/tmp", "is a folder"),
        ("policy=expert", "the policy 'expert' is no model"),
        ("policy=tabletop-smal", "did you mean 'tabletop-small'?"),
        ("model=tabletop_smal", "did you mean 'tabletop_small'?"),
        ("model.backbone.heads=7", "multiple of backbone.heads 7"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], override: str, line: str
) -> None:
    out = [] if override.startswith("out=") else [f"out={tmp_path / 'x.png'}"]
    with pytest.raises(SystemExit) as stop:
        describe.main([*out, override])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and line in error and error.count("\n") == 1


def test_a_key_that_another_choice_took_away_is_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        describe.main(["model/decoder=flow", "model.decoder.tokenizer.count=7"])
    assert "unknown config key 'model.decoder.tokenizer.count'" in capsys.readouterr().err
