import builtins
import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from families import EVERY, LANGUAGE, tiny
from safetensors.torch import load_file, save_file

from vla.backbones.hf import TransformersBackbone
from vla.backbones.quantize import check_quantize
from vla.configuration import PartConfig, TransformersConfig, TuningConfig
from vla.errors import BadInput
from vla.training.tuning import merge_lora, tune


def load(folder: Path, **options: Any) -> TransformersBackbone:
    return TransformersBackbone(TransformersConfig(path=str(folder), **options))


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    tiny("llama").model.save_pretrained(folder, max_shard_size="20KB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    return folder


@pytest.mark.parametrize("name", ["llama", "gemma2", "smolvlm", "paligemma", "qwen2_5_vl", "llava_onevision"])
def test_weights_come_back(name: str, tmp_path: Path) -> None:
    backbone = tiny(name)
    backbone.model.save_pretrained(tmp_path)
    loaded = load(tmp_path)
    wanted = backbone.state_dict()
    assert loaded.state_dict().keys() == wanted.keys()
    assert all(torch.equal(value, wanted[key]) for key, value in loaded.state_dict().items())
    assert loaded.tokenizer_path == str(tmp_path)
    # A saved model holds the config; the weights are put in from elsewhere.
    both = TransformersConfig(path="no/longer/there", config=loaded.config_dict())
    assert TransformersBackbone(both, weights=False).state_dict().keys() == wanted.keys()


def test_shards_and_dtype(sharded: Path) -> None:
    loaded = load(sharded, dtype="bfloat16")
    assert {p.dtype for p in loaded.parameters()} == {torch.bfloat16}
    wanted = tiny("llama").state_dict()
    assert all(torch.equal(v, wanted[k].bfloat16()) for k, v in loaded.state_dict().items())


def broken(sharded: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    shutil.copytree(sharded, folder)
    return folder


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _family(folder: Path) -> None:
    _config(folder, model_type="lama")


def _no_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def _config(folder: Path, **changed: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))


def _two_shards(folder: Path) -> None:
    for shard in sorted(folder.glob("*.safetensors"))[1:3]:
        shard.unlink()


def _no_weights(folder: Path) -> None:
    for file in [*folder.glob("*.safetensors"), *folder.glob("*.index.json")]:
        file.unlink()


def _pickles(folder: Path) -> None:
    _no_weights(folder)
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02never read")


def _shape(folder: Path) -> None:
    _config(folder, intermediate_size=64)


def _tensor(folder: Path) -> None:
    for shard in folder.glob("*.safetensors"):
        kept = {k: v for k, v in load_file(shard).items() if "layers.1.mlp" not in k}
        save_file(kept, shard, metadata={"format": "pt"})


def _cut(folder: Path) -> None:
    shard = min(folder.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_no_config, "is no checkpoint of transformers: it holds no config.json"),
        (_no_json, "config.json is not valid JSON"),
        (_family, "model_type 'lama' is no causal or vision-language model .*did you mean 'llama'"),
        (_two_shards, r"lacks the shard model-00002-of-0\d+.safetensors named in .*index.json \(2 of"),
        (_no_weights, "holds no weights: neither model.safetensors nor"),
        (_pickles, "its pickled weights are not read: convert them to safetensors"),
        (
            _shape,
            r"'.*mlp.*' has shape \[.*48.*\] in the weights, and \[.*64.*\] by its config.json \(and 8 more",
        ),
        (_tensor, r"its weights lack 3 tensors of the model \(first: 'model.layers.1.mlp.down_proj.weight'"),
        (_cut, "its weights are damaged|cannot load the backbone"),
    ],
)
def test_damaged_folders_are_one_line(sharded: Path, tmp_path: Path, damage: Any, message: str) -> None:
    folder = broken(sharded, tmp_path)
    damage(folder)
    with pytest.raises(BadInput, match=message) as caught:
        load(folder)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


@pytest.mark.parametrize("path", ["./nowhere", "/no/such/folder", "nobody/no-such-model"])
def test_a_path_that_is_not_there(path: str) -> None:
    with pytest.raises(BadInput, match=f"{path}") as caught:
        load(Path(path) if path.startswith("/") else path)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("quantize", ["8bit", "4bit"])
def test_quantised_loading_says_what_is_missing(
    quantize: Any, sharded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    config = TransformersConfig(path=str(sharded), quantize=quantize)
    with pytest.raises(
        BadInput, match=rf"quantize={quantize} needs bitsandbytes: pip install 'vla\[quantize\]'"
    ):
        check_quantize(config)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BadInput, match=rf"quantize={quantize} needs a CUDA GPU, .*quantize=none"):
        TransformersBackbone(config)  # before anything is read
    with pytest.raises(BadInput, match=r"needs backbone\.path"):
        check_quantize(TransformersConfig(config=LANGUAGE["llama"], quantize=quantize))


def test_without_transformers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = builtins.__import__
    import vla.optional

    def missing(name: str) -> Any:
        if name.partition(".")[0] == "transformers":
            raise ModuleNotFoundError("no", name="transformers")
        return find(name)

    monkeypatch.setattr(vla.optional.importlib, "import_module", missing)
    with pytest.raises(BadInput, match=r"needs transformers: pip install 'vla\[transformers\]'"):
        TransformersBackbone(TransformersConfig(config=EVERY["llama"]))


@pytest.mark.parametrize(("quantize", "dtype"), [("8bit", torch.int8), ("4bit", torch.uint8)])
def test_quantised_layers_run_and_take_adapters(
    quantize: Any, dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the CPU, where bitsandbytes is installed: slow, but the same layers."""
    pytest.importorskip("bitsandbytes")
    monkeypatch.setattr("vla.backbones.loading.check_quantize", lambda config: None)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: "cpu")
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 1, "num_key_value_heads": 1}
    exact = TransformersBackbone(TransformersConfig(config={**LANGUAGE["llama"], **sizes}))
    exact.model.save_pretrained(tmp_path)
    short = load(tmp_path, quantize=quantize)
    assert {p.dtype for p in short.layer_list[0].parameters() if p.ndim == 2} == {dtype}
    x = torch.randn(5, 64)
    wanted, found = (b.core.layers[0].mlp.up_proj(x).detach() for b in (exact, short))
    assert (found - wanted).norm() < (0.03 if quantize == "8bit" else 0.12) * wanted.norm()
    words = torch.arange(3, 11)[None]

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = short

        def parts(self) -> dict[str, Any]:
            return {"language": self.backbone.language_modules}

    model = Model()
    before = short(short.embed(words)).detach()
    tune(model, TuningConfig(language=PartConfig("lora", rank=2)))
    torch.testing.assert_close(short(short.embed(words)), before, atol=0.1, rtol=0.1)
    short(short.embed(words)).square().mean().backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert len(trained) == 2 * 7 * 3 and all(p.grad is not None for p in trained)
    with pytest.raises(BadInput, match="cannot be merged into weights in few bits"):
        merge_lora(model)
