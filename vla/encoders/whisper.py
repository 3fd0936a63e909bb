"""The encoder half of a Whisper checkpoint (Radford et al. 2022), 50 tokens a second.

Whisper was trained on clips of 30 s: shorter sounds end in silence, which its attention sees. Computing that
silence would make 1,500 tokens of every sound. Here the clip is cut to the model's `audio.seconds` (its table
of places is cut with it) and the silence after a sound is not attended to. For a sound that fills the whole
clip the output is Whisper's own. For a shorter one the tokens enter the transformer exactly as in Whisper
(features, convolutions, places), but attend to the sound alone: near Whisper's output, not equal to it.

Shapes: B batch, S samples at 16 kHz, T mel frames, N tokens, C channels.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla.configuration import WhisperConfig
from vla.encoders.audio import AudioEncoder, attendable
from vla.encoders.base import Tokens
from vla.encoders.mel import HOP, RATE, log_mel
from vla.errors import BadInput, did_you_mean
from vla.optional import need, quiet

__all__ = ["WhisperEncoder"]

NOT_OURS = ("_name_or_path", "dtype", "torch_dtype", "transformers_version", "architectures", "model_type")
"""Keys of a checkpoint's config that tell nothing about the network's shape."""


class WhisperEncoder(AudioEncoder):
    """Log-mel spectrogram of the checkpoint's own number of bands, then Whisper's convolutions and layers.

    Weights and their config come from `config.path`; without one, `config.config` gives a network of random
    weights. Dropout before the layers and LayerDrop, which published checkpoints have at 0, are left out.
    """

    hop = 2 * HOP

    def __init__(self, config: WhisperConfig, seconds: float) -> None:
        super().__init__()
        self.encoder = _load(config.path) if config.path else _build(config.config)
        whisper = self.encoder.config
        self.channels = whisper.d_model
        self.tokens = -(-round(seconds * RATE) // self.hop)
        self.places = whisper.max_source_positions
        if self.tokens > self.places:
            raise BadInput(
                f"audio.seconds {seconds:g} is longer than this Whisper takes: it has {self.places} places, "
                f"enough for {self.places * self.hop / RATE:g} s"
            )

    @property
    def layer_list(self) -> Sequence[nn.Module]:
        """Its transformer layers, first to last."""
        return list(self.encoder.layers)

    def config_dict(self) -> dict[str, Any]:
        """What `WhisperConfig.config` must hold to build this network again without its checkpoint."""
        known = _known_keys()
        shape = {k: v for k, v in self.encoder.config.to_diff_dict().items() if k in known}
        return {"model_type": "whisper", **shape}

    def forward(self, audio_BS: Tensor, length_B: Tensor) -> Tokens:
        """As `AudioEncoder.forward`; raises BadInput for a row longer than the checkpoint's clip."""
        encoder, clip = self.encoder, self.places * self.hop
        if audio_BS.shape[1] > clip:
            seconds = audio_BS.shape[1] / RATE
            raise BadInput(f"the sound lasts {seconds:g} s, this Whisper takes at most {clip / RATE:g} s")
        row_BS, mask_BN = self.pad_rows(audio_BS, length_B)
        count = mask_BN.shape[1]
        # The last token's convolutions reach one frame further than the token.
        row_BS = F.pad(row_BS, (0, min(self.hop, clip - row_BS.shape[1])))
        x_BMT = log_mel(row_BS, encoder.config.num_mel_bins, clip).transpose(1, 2)
        x_BCT = F.gelu(encoder.conv1(x_BMT.to(encoder.conv1.weight.dtype)))
        x_BNC = F.gelu(encoder.conv2(x_BCT)).transpose(1, 2)[:, :count]
        x_BNC = x_BNC + encoder.embed_positions.weight[:count].to(x_BNC.dtype)
        seen = attendable(mask_BN).expand(-1, -1, count, -1)
        for layer in encoder.layers:
            x_BNC = layer(x_BNC, seen)
        return Tokens(encoder.layer_norm(x_BNC), mask_BN)


def _known_keys() -> set[str]:
    transformers = need("transformers", "transformers", "a Whisper encoder")
    return set(transformers.WhisperConfig().to_dict()) - set(NOT_OURS)


def _check_family(model_type: object, where: str) -> None:
    if model_type != "whisper":
        raise BadInput(f"{where}: model_type is {model_type!r}, 'whisper' is needed")


def _build(raw: Mapping[str, Any]) -> Any:
    """The network with random weights."""
    transformers = need("transformers", "transformers", "a Whisper encoder")
    from huggingface_hub.errors import StrictDataclassError

    where = "audio.encoder.config"
    _check_family(raw.get("model_type"), where)
    known = _known_keys()
    for key in raw:
        if key not in known and key not in NOT_OURS:
            raise BadInput(f"{where}: unknown key '{key}'{did_you_mean(key, known)}")
    try:
        config = transformers.WhisperConfig(**{k: v for k, v in raw.items() if k not in NOT_OURS})
        return _network()._from_config(config, attn_implementation="sdpa")
    except (StrictDataclassError, TypeError, ValueError) as error:
        raise BadInput(f"{where} makes no Whisper encoder: {_one_line(error)}") from None


def _load(path: str) -> Any:
    """The network with a checkpoint's weights, in float32."""
    transformers = need("transformers", "transformers", "a Whisper encoder")
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    where = f"audio.encoder.path '{path}'"
    try:
        raw, _ = transformers.PreTrainedConfig.get_config_dict(path)
    except (OSError, ValueError):
        raw = {}
    if not raw:
        found = "it has no readable config.json" if Path(path).is_dir() else "there is no such folder"
        raise BadInput(f"{where}: {found}; config.json and model.safetensors of a Whisper are needed")
    _check_family(raw.get("model_type"), where)
    try:
        with quiet():  # that the decoder's weights are not used is no news
            encoder, info = _network().from_pretrained(
                path,
                key_mapping={r"^(model\.)?encoder\.": ""},
                use_safetensors=True,
                dtype=torch.float32,
                attn_implementation="sdpa",
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except (OSError, RuntimeError, ValueError, SafetensorError, StrictDataclassError) as error:
        raise BadInput(f"{where} cannot be loaded: {_one_line(error)}") from None
    for name, found, wanted in sorted(info["mismatched_keys"]):
        shapes = f"{list(found)}, its config.json asks for {list(wanted)}"
        raise BadInput(f"{where}: 'encoder.{name}' has the shape {shapes}")
    for name in sorted(info["missing_keys"]):
        raise BadInput(f"{where}: its weights lack 'encoder.{name}'; is it complete, and a Whisper?")
    return encoder


def _network() -> Any:
    from transformers.models.whisper import modeling_whisper

    return modeling_whisper.WhisperEncoder


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
