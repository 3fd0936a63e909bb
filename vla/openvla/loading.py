"""A folder in OpenVLA's layout becomes a `VLA` and its `Processor`.

    sequence: <s>, the picture's patches, the rest of the prompt, 29871, then one token a number of the action

The two towers are `PrismaticEncoder`, the projector is a perceptron of three maps without places, the
language model a causal Llama whose last 256 words are actions. Data sets with statistics of their own are the
model's `robots`: an observation's `robot` names one, and need not where there is only one.

Widths and depths come from the shapes of the weights, never from a name.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from vla.configuration import (
    BinsConfig,
    CameraConfig,
    DecoderConfig,
    ImageConfig,
    MLPConfig,
    PrismaticConfig,
    ProcessorConfig,
    TransformersConfig,
    VLAConfig,
    WordsConfig,
)
from vla.errors import BadInput
from vla.model import VLA
from vla.openvla.layout import Layout, read_layout
from vla.openvla.shards import Shards
from vla.openvla.weightless import weightless
from vla.optional import need
from vla.processor import Processor
from vla.tokens.pretrained_text import PretrainedTokenizer

__all__ = ["load_openvla", "load_openvla_processor"]

CAMERA = "front"
START, SPACE = 29_871, "▁"
"""A lone space: the original puts it after its prompt, and what follows is the action."""
TEMPLATE = "In: What action should the robot take to {task}?\nOut:"
MAX_LENGTH = 96
"""Tokens of the prompt, of which 16 are the template's. The original reads up to 2048; what is not used here
is filled up and masked."""

DINO, SIGLIP = "vision_backbone.featurizer.", "vision_backbone.fused_featurizer."
EMBEDDING = "language_model.model.embed_tokens.weight"
RENAMED = {
    DINO: f"senses.encoders.{CAMERA}.dino.",
    SIGLIP: f"senses.encoders.{CAMERA}.siglip.",
    "projector.fc1.": f"senses.connect.{CAMERA}.project.0.",
    "projector.fc2.": f"senses.connect.{CAMERA}.project.2.",
    "projector.fc3.": f"senses.connect.{CAMERA}.project.4.",
    "language_model.": "backbone.model.",
}
"""How the names of weights start, there and here."""
UNUSED = (".attn_pool.", ".rotary_emb.inv_freq")
"""Parts of names of weights that are in the files and never run."""
DTYPES = {"BF16": "bfloat16", "F32": "float32"}


def load_openvla(path: Path) -> tuple[VLA, Processor]:
    """The model, in evaluation mode on the CPU, and its processor. Raises BadInput with one line.

    Weights keep the type that they have in the files, which are mapped: openvla-7b (7.54 billion in bfloat16)
    takes 15.1 GB: pages of the files on the CPU, which must stay, and memory of the GPU it is moved to.
    """
    layout, shards = read_layout(path), Shards(path)
    config = model_config(path, layout, shards)
    processor = _processor(path, config, layout, shards)
    with weightless(), _of(path):
        model = VLA(config)
    _fill(model, shards)
    if layout.colours is not None:
        encoder = model.senses.camera(CAMERA)
        for name, colours in zip(("normalise_dino", "normalise_siglip"), layout.colours, strict=True):
            for buffer, values in zip(("mean", "std"), colours, strict=True):
                getattr(encoder.get_submodule(name), buffer).copy_(torch.tensor(values))
    return model.eval(), processor


def load_openvla_processor(path: Path) -> Processor:
    """The processor alone; of the weights only the headers are read. Raises BadInput with one line."""
    layout, shards = read_layout(path), Shards(path)
    return _processor(path, model_config(path, layout, shards), layout, shards)


def model_config(path: Path, layout: Layout, shards: Shards) -> VLAConfig:
    """What the folder describes, in this project's terms. Raises BadInput with one line."""
    dtype = shards.dtype(EMBEDDING)
    if dtype not in DTYPES:
        raise BadInput(f"{path}: its weights are {dtype}, which is not one of: {', '.join(DTYPES)}")
    camera = CameraConfig(CAMERA, size=layout.size, points=0, grid=0)
    dino = _tower(shards, DINO, layout.heads[0])
    registers = f"{DINO}reg_token"
    dino["registers"] = shards.shape(registers)[1] if registers in shards else 0
    with _of(path):
        return VLAConfig(
            name="openvla",
            vocabulary=layout.vocabulary,
            image=ImageConfig(
                cameras=(camera,),
                encoder=PrismaticConfig(dino=dino, siglip=_tower(shards, SIGLIP, layout.heads[1])),
                resize="bicubic",
                fit=layout.fit,
            ),
            text=WordsConfig(tokenizer="backbone", template=TEMPLATE, max_length=MAX_LENGTH, lower=True),
            state=None,
            connector=MLPConfig(layers=3, hidden=shards.shape("projector.fc1.weight")[0], place=False),
            backbone=TransformersConfig(
                config=layout.text_config,
                attention="causal",
                dtype=DTYPES[dtype],  # type: ignore[arg-type]
            ),
            decoder=DecoderConfig(
                kind="autoregressive",
                ids="overwrite",
                start=START,
                horizon=1,
                dim=layout.dim,
                tokenizer=BinsConfig(count=layout.bins, spacing="openvla"),
                smoothing=0,
                readout="mode",
            ),
            processor=ProcessorConfig(
                relative=(False,) * layout.dim, actions="q01_q99", robots=layout.datasets
            ),
            order=("bos", "images", "audio", "text", "state"),
        )


def _tower(shards: Shards, prefix: str, heads: int) -> dict[str, int]:
    width, _, patch, _ = shards.shape(f"{prefix}patch_embed.proj.weight")
    start = f"{prefix}blocks."
    blocks = {name[len(start) :].split(".", maxsplit=1)[0] for name in shards if name.startswith(start)}
    mlp = shards.shape(f"{start}0.mlp.fc1.weight")[0]
    return {"width": width, "layers": len(blocks), "heads": heads, "mlp": mlp, "patch": patch}


def _processor(path: Path, config: VLAConfig, layout: Layout, shards: Shards) -> Processor:
    tokenizer = _tokenizer(path)
    tokenizer.must_fit(shards.shape(EMBEDDING)[0], str(path))
    with _of(path):
        return Processor(config, tokenizer, layout.statistics)


@contextmanager
def _of(path: Path) -> Iterator[None]:
    """What is found wrong within is wrong with this checkpoint."""
    try:
        yield
    except BadInput as error:
        raise BadInput(f"checkpoint {path}: {error}") from None


def _tokenizer(path: Path) -> PretrainedTokenizer:
    transformers = need("transformers", "transformers", "OpenVLA")
    file = path / "tokenizer.json"
    if not file.is_file():
        raise BadInput(f"no tokenizer: {file} does not exist")
    try:
        # Not AutoTokenizer, which asks for leave to run the code that such a folder brings.
        found = transformers.PreTrainedTokenizerFast.from_pretrained(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        raise BadInput(f"cannot read the tokenizer {path}: {' '.join(str(error).split())[:200]}") from None
    if found.convert_ids_to_tokens(START) != SPACE:
        raise BadInput(
            f"the tokenizer {file} does not match the weights: its id {START} is not {SPACE!r} as in Llama 2"
        )
    return PretrainedTokenizer(found)


def _fill(model: VLA, shards: Shards) -> None:
    """Give every parameter its numbers. Raises BadInput where the files and the network differ."""
    wanted = dict(model.named_parameters())
    theirs = {_ours(name): name for name in shards if not any(part in name for part in UNUSED)}
    folder = shards.folder
    missing = sorted(map(_published, wanted.keys() - theirs.keys()))
    if missing:
        raise BadInput(f"{folder}: its weights lack {len(missing)} tensors (first: '{missing[0]}')")
    extra = sorted(theirs[name] for name in theirs.keys() - wanted.keys())
    if extra:
        raise BadInput(
            f"{folder}: its weights hold {len(extra)} tensors that OpenVLA has not (first: '{extra[0]}')"
        )
    for name, parameter in wanted.items():
        if shards.shape(theirs[name]) != tuple(parameter.shape):
            found, right = list(shards.shape(theirs[name])), list(parameter.shape)
            raise BadInput(
                f"{folder}: '{theirs[name]}' has shape {found} in the weights, and {right} by config.json "
                "and the other weights"
            )
    model.load_state_dict({name: shards.read(theirs[name]) for name in wanted}, strict=False, assign=True)


def _ours(name: str) -> str:
    """What a weight of the layout is called here."""
    for there, here in RENAMED.items():
        if name.startswith(there):
            return here + name.removeprefix(there)
    return name


def _published(name: str) -> str:
    """The inverse."""
    for there, here in RENAMED.items():
        if name.startswith(here):
            return there + name.removeprefix(here)
    return name
