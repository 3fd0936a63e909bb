"""Commands of a user who has pretrained parts: tiny folders, as `transformers` writes and reads them.

In this process, through the commands' own `main`: what is trained, what a saved policy holds, that it comes
back the same, and that each mistake is one line with status 2.
"""

import copy
import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

for _folder in ("vla/backbones", "vla/data", "vla/openvla"):
    sys.path.insert(0, str(Path(__file__).parents[1] / _folder))

from families import LANGUAGE, PICTURED
from openvla_folder import publish
from synthetic_episodes import write_dataset

import policies
from scripts.describe import main as describe
from scripts.train import main as train
from vla.describe import dummy_batch
from vla.errors import BadInput
from vla.generation import generate
from vla.interfaces import Observation
from vla.pretrained import load, save
from vla.training.tuning import parts_of

LORA = ["model/tuning=lora", "model.tuning.language.rank=2"]
WORDS = "touch lift push the red cube blue ball tap make contact with"


# -- folders -----------------------------------------------------------------------------------------------


def tokenizer(folder: Path, size: int = 64) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    letters = [*"abcdefghijklmnopqrstuvwxyz,.", "\u0120"]
    made.train_from_iterator(
        [WORDS],
        trainers.BpeTrainer(
            vocab_size=size, special_tokens=["<pad>", "<s>"], initial_alphabet=letters, show_progress=False
        ),
    )
    made.add_tokens([f"<more{i}>" for i in range(size - made.get_vocab_size())])
    PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", pad_token="<pad>").save_pretrained(folder)


def language(folder: Path, name: str) -> Path:
    """A tiny random language model or VLM with its tokenizer beside it."""
    import transformers

    raw = copy.deepcopy({**LANGUAGE, **PICTURED}[name])
    kind = raw.pop("model_type")
    auto = transformers.AutoModelForImageTextToText if name in PICTURED else transformers.AutoModelForCausalLM
    torch.manual_seed(0)
    auto.from_config(transformers.AutoConfig.for_model(kind, **raw)).save_pretrained(folder)
    tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of a VLM, a language model, a vision tower and a Whisper; and a dataset."""
    import transformers

    root = tmp_path_factory.mktemp("parts")
    for name in ("smolvlm", "qwen3_vl", "llama"):
        language(root / name, name)
    sizes = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    dino = transformers.Dinov2Config(**sizes, image_size=32, patch_size=8)
    transformers.Dinov2Model(dino).save_pretrained(root / "dinov2")
    whisper = transformers.WhisperConfig(
        vocab_size=64,
        d_model=16,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_source_positions=200,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    transformers.WhisperForConditionalGeneration(whisper).save_pretrained(root / "whisper")
    write_dataset(root / "data", [13, 12], size=32)
    return root


def vlm(parts: Path, name: str = "smolvlm") -> list[str]:
    return ["model=vlm", f"model.backbone.path={parts}/{name}", *LORA]


def run(parts: Path, out: Path, *arguments: str) -> Path:
    """The debug experiment with other parts -> the folder of the policy."""
    data = [] if any(a.startswith("data=") for a in arguments) else [f"data={parts}/data"]
    train(["experiment=tabletop_debug", f"out={out}", *data, *arguments])
    return out / "policy"


def mistake(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command says of a mistake: status 2 and one line."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        train(["experiment=tabletop_debug", *arguments])
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("train: ")]
    assert stopped.value.code == 2 and len(said) == 1
    return said[0]


def seen(cameras: tuple[str, ...] = ("front", "wrist"), joints: int = 6) -> Observation:
    rng = np.random.default_rng(0)
    pictures = {name: rng.integers(0, 256, (32, 32, 3), dtype=np.uint8) for name in cameras}
    return Observation(pictures, np.zeros(joints, np.float32), "touch the red cube")


# -- training, and what comes of it ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(parts: Path) -> Path:
    """The run of a VLM with adapters."""
    return run(parts, parts / "run", *vlm(parts), "trainer.samples=32").parent


def left_out(policy: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((policy / "config.json").read_text())["left_out"]
    return found


COMBINATIONS = {
    "tower": ["model/encoder=tower", "model.image.encoder.path=$/dinov2", "model.tuning.vision.train=frozen"],
    "language": [
        *("model/backbone=transformers", "model.backbone.path=$/llama", "model/text=backbone"),
        *("model.backbone.dtype=bfloat16", "model.backbone.gradient_checkpointing=true"),
        *("model.tuning.language.train=last", "model.decoder.kind=autoregressive", "model.decoder.horizon=2"),
    ],
    "everything": [
        *("model=vlm", "model.backbone.path=$/qwen3_vl", "model/cameras=tiny_patches", "model/fusion=late"),
        *("model/history=keyframes", "model/audio=whisper", "model.audio.encoder.path=$/whisper"),
        "model.tuning.audio.train=lora",
    ],
}


@pytest.mark.parametrize("name", COMBINATIONS)
def test_parts_train_and_come_back(name: str, parts: Path, tmp_path: Path) -> None:
    """Whatever is frozen and from a folder is left out of the saved policy; all else is in it."""
    policy = run(parts, tmp_path, *(each.replace("$", str(parts)) for each in COMBINATIONS[name]))
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 2 and all(np.isfinite(json.loads(line)["train/loss"]) for line in lines)
    model, processor = load(policy)
    held = load_file(policy / "model.safetensors")
    frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
    assert model.left_out and model.left_out <= frozen and not model.left_out & held.keys()
    assert left_out(policy)["tensors"] == len(model.left_out)
    folders = {str(parts / folder) for folder in ("dinov2", "llama", "qwen3_vl", "whisper")}
    assert set(left_out(policy)["paths"].values()) <= folders
    assert parts_of(model).keys() == set(model.parameters())  # none belongs to no part
    save(tmp_path / "again", model, processor)
    batch = dummy_batch(model.config, 2)
    again = load(tmp_path / "again")[0]
    assert torch.equal(generate(again, batch).ids, generate(model, batch).ids)
    [chunk] = policies.load(str(policy)).act([seen()], [0])
    assert chunk.actions.shape == (model.config.decoder.horizon, 6) and np.isfinite(chunk.actions).all()


def test_what_no_checkpoint_brought_learns_beside_a_frozen_tower(parts: Path, tmp_path: Path) -> None:
    """The points that are read out of its features: frozen and random, they would point nowhere."""
    policy = run(parts, tmp_path, *(each.replace("$", str(parts)) for each in COMBINATIONS["tower"]))
    model, _ = load(policy)
    reader = model.senses.camera("front").points
    assert reader is not None and all(parameter.requires_grad for parameter in reader.parameters())
    assert not any("points" in name for name in model.left_out)


def test_random_weights_kept_as_they_are_are_told(
    parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vla.notice._told", set())
    run(parts, tmp_path, "model.tuning.vision.train=frozen")
    said = capsys.readouterr().err
    assert "model.tuning.vision.train=frozen keeps" in said and "random weights" in said
    run(parts, tmp_path / "vlm", *vlm(parts))
    assert "random weights" not in capsys.readouterr().err


def test_a_run_that_was_cut_goes_on_to_the_same_weights(trained: Path, parts: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(trained, cut)
    checkpoints = sorted((cut / "checkpoints").glob("step-*"))
    assert len(checkpoints) == 2
    shutil.rmtree(checkpoints[1])
    shutil.rmtree(cut / "policy")
    run(parts, cut, *vlm(parts), "trainer.samples=32")
    one, two = (load_file(folder / "policy" / "model.safetensors") for folder in (trained, cut))
    assert one.keys() == two.keys() and all(one[name].equal(two[name]) for name in one)
    raw = [
        load_file(run / "checkpoints" / checkpoints[1].name / "training.safetensors")
        for run in (trained, cut)
    ]
    assert raw[0].keys() == raw[1].keys() and all(raw[0][name].equal(raw[1][name]) for name in raw[0])
    assert not {name.removeprefix("model/") for name in raw[0]} & load(trained / "policy")[0].left_out


@pytest.mark.parametrize("train_as", ["frozen", "last", "lora", "full"])
def test_going_on_in_another_way_saves_all_that_was_changed(
    train_as: str, trained: Path, parts: Path, tmp_path: Path
) -> None:
    """Folded adapters change frozen weights, which then are no longer those of the base's folder."""
    more = [f"init={trained}/policy", *LORA, f"model.tuning.language.train={train_as}"]
    policy = run(parts, tmp_path / "next", *more)
    before, after = load(trained / "policy")[0], load(policy)[0]
    before.retune(after.config.tuning)
    for name, parameter in after.named_parameters():
        if not parameter.requires_grad:
            assert torch.equal(parameter, before.get_parameter(name)), name
    held = load_file(policy / "model.safetensors")
    assert any("q_proj" in name for name in held)  # had an adapter, is saved now
    assert any("vision_model" in name for name in after.left_out)  # never touched


def test_the_base_moved_or_changed_is_one_line(trained: Path, parts: Path, tmp_path: Path) -> None:
    base, policy = tmp_path / "base", tmp_path / "policy"
    shutil.copytree(parts / "smolvlm", base)
    shutil.copytree(trained / "policy", policy)
    config = policy / "config.json"
    config.write_text(config.read_text().replace(str(parts / "smolvlm"), str(base)))
    asked = dummy_batch(load(policy)[0].config)
    answer = generate(load(trained / "policy")[0], asked).ids
    base.rename(tmp_path / "moved")
    with pytest.raises(BadInput, match=r"policy needs the frozen weights of .*base: .*put it back, or write"):
        load(policy)
    config.write_text(config.read_text().replace(str(base), str(tmp_path / "moved")))
    assert torch.equal(generate(load(policy)[0], asked).ids, answer)
    weights = load_file(tmp_path / "moved" / "model.safetensors")
    next(each for name, each in weights.items() if "layers.0.mlp.down" in name)[0, 0] += 1
    save_file(weights, tmp_path / "moved" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadInput, match="was trained on other weights than those now in"):
        load(policy)


def test_a_saved_policy_is_described_without_its_base(
    trained: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = tmp_path / "policy"
    shutil.copytree(trained / "policy", policy)
    config = policy / "config.json"
    config.write_text(config.read_text().replace(str(parts / "smolvlm"), "/gone/for/ever"))
    describe([f"policy={policy}", f"out={tmp_path}/a.png"])
    describe(["model=vlm", f"model.backbone.path={parts}/smolvlm", f"out={tmp_path}/b.png"])
    found = capsys.readouterr().out
    assert found.count("32 x 32 px") == 4  # the tower's own size, for both cameras of both


def test_pictures_are_kept_small_for_a_tower_that_wants_large_ones(parts: Path, tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data", [13], size=16)
    policy = run(parts, tmp_path / "run", *vlm(parts), f"data={data}")
    assert {camera.size for camera in load(policy)[0].config.image.cameras} == {32}
    assert {file.name.split("-")[-1] for file in (data / ".cache").glob("*.u8")} == {"16x16.u8"}


# -- OpenVLA -----------------------------------------------------------------------------------------------


def test_openvla_goes_on_with_a_new_robot(
    parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published = publish(tmp_path / "openvla")
    more = [f"init={published.folder}", *LORA, "model.decoder.horizon=1"]
    seven = write_dataset(tmp_path / "seven", [6, 5], size=16, joints=7, robot="my_arm")
    policy = run(parts, tmp_path / "run", *more, f"data={seven}")
    assert "statistics of robot 'my_arm' are fitted to the data" in capsys.readouterr().out
    model, processor = load(policy)
    assert model.config.robots == (*published.stats, "my_arm")
    assert float(processor.statistics["my_arm/actions"].q99.max()) > 50  # the data's, 0 to 105
    wanted = load(published.folder)[1].statistics["bridge_orig/actions"]
    assert np.array_equal(processor.statistics["bridge_orig/actions"].q99, wanted.q99)
    [chunk] = policies.load(str(policy), robot="my_arm").act([seen(("front",), 0)], [0])
    assert chunk.actions.shape == (1, 7) and float(chunk.actions.max()) < 110

    six = write_dataset(tmp_path / "six", [6, 5], size=16)  # narrower: what it lacks is masked
    assert load(run(parts, tmp_path / "b", *more, f"data={six}"))[1].joints["so101_follower"].action_dim == 6
    eight = write_dataset(tmp_path / "eight", [6], size=16, joints=8, robot="wide")
    nobody = write_dataset(tmp_path / "nobody", [6], size=16, joints=7, robot="")
    for data, line in (
        (eight, "'action' has 8 numbers, the model is for 7 or fewer"),
        (nobody, "has no robot_type"),
    ):
        assert line in mistake(capsys, *more, f"data={data}", f"out={tmp_path}/c")
    without = [f"init={published.folder}", f"data={seven}", f"out={tmp_path}/d"]
    assert "give model.decoder.horizon=1" in mistake(capsys, *without)


def test_statistics_stay_unless_new_ones_are_asked_for(
    parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run(parts, tmp_path / "first")
    other = write_dataset(tmp_path / "other", [13] * 4, size=32)  # of four episodes: actions up to 312
    kept = load(run(parts, tmp_path / "kept", f"init={first}", f"data={other}"))[1].statistics
    assert kept.hash == load(first)[1].statistics.hash
    again = [f"init={first}", f"data={other}", "reading.statistics=refit"]
    refitted = load(run(parts, tmp_path / "again", *again))[1].statistics
    assert "as reading.statistics=refit asks" in capsys.readouterr().out
    assert refitted["state"].max.max() > 300 > kept["state"].max.max()


# -- mistakes ----------------------------------------------------------------------------------------------


def edited(parts: Path, folder: Path, **changes: Any) -> Path:
    """The VLM's folder with another config.json."""
    shutil.copytree(parts / "smolvlm", folder)
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(raw | changes))
    return folder


def test_bad_folders_are_one_line(parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = load_file(parts / "smolvlm" / "model.safetensors")
    name = next(name for name in weights if name.endswith("mlp.down_proj.weight"))
    unknown = edited(parts, tmp_path / "unknown", model_type="florence9")
    shards = edited(parts, tmp_path / "shards")
    (shards / "model.safetensors").unlink()
    files = dict.fromkeys(weights, "model-00001-of-00002.safetensors")
    (shards / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    shape = edited(parts, tmp_path / "shape")
    cut = {name: weights[name][:, 1:].contiguous()}
    save_file(weights | cut, shape / "model.safetensors", metadata={"format": "pt"})
    words = edited(parts, tmp_path / "words")
    tokenizer(words, 90)
    openvla = edited(parts, tmp_path / "openvla", model_type="openvla")
    expected = {
        unknown: "model_type 'florence9' is no causal or vision-language model of transformers",
        shards: "lacks the shard model-00001-of-00002.safetensors",
        shape: f"'{name}' has shape [32, 47] in the weights, and [32, 48] by its config.json",
        words: "the tokenizer does not match the weights: it has 90 tokens, the embedding of",
        openvla: "it is a whole policy: train on from it with init=FOLDER",
    }
    for folder, line in expected.items():
        given = [f"data={parts}/data", f"out={tmp_path}/x", "model=vlm", f"model.backbone.path={folder}"]
        assert line in mistake(capsys, *given)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["model.image.cameras=[{name: frnt, size: 32, points: 0, grid: 0}]"],
            "no camera 'frnt' (of model.image.cameras); it has front, wrist",
        ),
        (
            ["model/cameras=patches"],
            "size must be a multiple of 16 up to 32 for the tower of this VLM, not 96",
        ),
        (["model.backbone.quantize=4bit"], "backbone.quantize=4bit needs"),
        (["model.text.max_length=2"], "the model reads at most 2 (text.max_length)"),
        (
            ["model/audio=whisper", "model.audio.encoder.path=$/whisper", "model.audio.seconds=20"],
            "audio.seconds 20 is longer than this Whisper takes: it has 200 places, enough for 4 s",
        ),
    ],
)
def test_bad_choices_are_one_line(
    arguments: list[str], line: str, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "4bit" in arguments[0] and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    given = [each.replace("$", str(parts)) for each in arguments]
    assert line in mistake(capsys, *vlm(parts), *given, f"data={parts}/data", f"out={tmp_path}")


def test_sounds_that_do_not_fit(
    parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another rate: resampled, said once. Longer than the model takes: one line. So is an unknown camera."""
    monkeypatch.setattr("vla.notice._told", set())
    ears = ["model/audio=whisper", f"model.audio.encoder.path={parts}/whisper", "model.audio.seconds=1"]
    policy = policies.load(str(run(parts, tmp_path, *ears)))
    capsys.readouterr()
    slow = dataclasses.replace(seen(), audio=np.zeros(4000, np.float32), audio_rate=8000)
    assert len(policy.act([slow, slow], [0, 1])) == 2
    assert capsys.readouterr().err.splitlines() == ["sound at 8000 Hz is resampled to 16000 Hz"]
    with pytest.raises(BadInput, match=r"the sound lasts 2 s, the model takes at most 1 s"):
        policy.act([dataclasses.replace(slow, audio=np.zeros(16000, np.float32))], [0])
    with pytest.raises(BadInput, match=r"camera 'wirst' \(did you mean 'wrist'\?\)"):
        policy.act([seen(("front", "wirst"))], [0])
