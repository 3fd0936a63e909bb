import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import observations, raw_batch, tiny

from policies.base import Policy
from policies.vla import VLAPolicy
from vla.errors import BadInput
from vla.model import VLA
from vla.pretrained import load


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model, processor = tiny()
    model.save_pretrained(tmp_path / "m", processor=processor, card="# tiny\n")
    return tmp_path / "m"


@pytest.mark.parametrize("kind", ["parallel", "autoregressive"])
def test_saved_and_loaded_gives_the_same_answers(kind: str, tmp_path: Path) -> None:
    model, processor = tiny(kind)
    model.save_pretrained(tmp_path / "m", processor=processor)
    again, its_processor = load(tmp_path / "m")
    batch = processor.batch(raw_batch())
    assert torch.equal(model(batch)[0], again(its_processor.batch(raw_batch()))[0])
    assert VLA.from_pretrained(tmp_path / "m").config == model.config
    weights = {"config.json", "model.safetensors"}
    names = weights | {"tokenizer.json", "statistics.json", "actions.json", "README.md"}
    assert {p.name for p in (tmp_path / "m").iterdir()} == names
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_saving_again_replaces(folder: Path) -> None:
    model, processor = tiny(seed=4)
    (folder / "old.txt").touch()
    model.save_pretrained(folder, processor=processor)
    assert torch.equal(load(folder)[0].decoder.head.weight, model.decoder.head.weight)
    assert not (folder / "old.txt").exists()
    assert [p.name for p in folder.parent.iterdir()] == ["m"]


def _edit(folder: Path, **changes: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def _tokenizer(folder: Path, **changes: object) -> None:
    file = folder / "tokenizer.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def _weights(folder: Path, change: str) -> None:
    weights = load_file(str(folder / "model.safetensors"))
    if change == "missing":
        weights.pop("decoder.head.bias")
    elif change == "extra":
        weights["diffusion.step"] = torch.zeros(3)
    elif change == "shape":
        weights["decoder.head.bias"] = torch.zeros(3)
    elif change == "nan":
        weights["decoder.head.bias"][0] = float("nan")
    save_file(weights, str(folder / "model.safetensors"))


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (lambda f: (f / "config.json").unlink(), "no checkpoint"),
        (lambda f: (f / "config.json").write_text("{"), "not valid JSON"),
        (lambda f: (f / "config.json").write_text('{"type": "act"}'), "a checkpoint of 'act', not of 'vla'"),
        (lambda f: _edit(f, format=9), "has format 9"),
        (lambda f: _edit(f, config={"bakbone": {}}), "did you mean 'backbone'"),
        (lambda f: _edit(f, statistics="0"), "not of this checkpoint"),
        (lambda f: (f / "model.safetensors").unlink(), "no weights"),
        (lambda f: (f / "model.safetensors").write_bytes(b"12345"), "cannot read the weights"),
        (lambda f: (f / "tokenizer.json").unlink(), "no tokenizer"),
        (lambda f: (f / "tokenizer.json").write_text("{}"), "not a tokenizer"),
        (lambda f: _tokenizer(f, normalizer=None), "has no 'normalizer'"),
        (lambda f: _tokenizer(f, model={"type": "WordLevel", "vocab": {"a": 5}, "unk_token": "a"}), "gaps"),
        (lambda f: (f / "statistics.json").unlink(), "no statistics"),
        (lambda f: _weights(f, "missing"), "lacks 1 tensors (first: decoder.head.bias)"),
        (lambda f: _weights(f, "extra"), "has also 1 tensors (first: diffusion.step)"),
        (lambda f: _weights(f, "shape"), "'decoder.head.bias' has shape [3], not [1536]"),
        (lambda f: _weights(f, "nan"), "not finite"),
    ],
)
def test_a_bad_checkpoint_is_one_line(folder: Path, spoil: object, line: str) -> None:
    spoil(folder)  # type: ignore[operator]
    with pytest.raises(BadInput) as error:
        load(folder)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_a_truncated_weight_file(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(BadInput, match="cannot read the weights"):
        load(folder)


def test_policy(folder: Path) -> None:
    policy = VLAPolicy.from_pretrained(folder, execute=2)
    assert isinstance(policy, Policy)
    policy.reset(3)
    together = policy.act(observations(3), [0, 1, 2])
    alone = [policy.act([o], [i])[0] for i, o in enumerate(observations(3))]
    for one, other in zip(together, alone, strict=True):
        assert one.horizon == policy.horizon == 3
        assert one.tokens is not None and (one.tokens == other.tokens).all()
        assert one.actions.dtype == "float32" and abs(one.actions - other.actions).max() < 1e-3
        assert [len(one.info["points"][camera]) for camera in ("front", "wrist")] == [2, 2]
    assert policy.act([], []) == []
    assert len(VLAPolicy.from_pretrained(folder, dtype="bfloat16").act(observations(2), [0, 1])) == 2


@pytest.mark.parametrize(
    "options",
    [
        *({"execute": 4}, {"execute": 0}, {"execute": "x"}, {"dtype": "float99"}, {"device": "cuda"}),
        *({"device": "xpu9"}, {"threads": -1}, {"devic": "cpu"}),
    ],
)
def test_bad_policy_options(folder: Path, options: dict) -> None:
    if options.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(BadInput):
        VLAPolicy.from_pretrained(folder, **options)
