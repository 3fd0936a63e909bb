"""LeRobot's act, smolvla and pi0_fast, built from their own classes with random weights, at a given size.

What runs is LeRobot's code, unchanged. Three things are put in its way while a policy is being built, because
LeRobot takes them from the network or fixes them in code: smolvla's VLM is a config in a temporary folder;
pi0_fast's PaliGemma is built from a small config in place of its two fixed sizes, and its tokenizers, which
are on no timed path, are stand-ins; act's ResNet is narrower than torchvision's narrowest.

Kept as published: layers of each kind of block, MLP over width, heads sharing keys and values, act's share of
parameters in its ResNet (a third), smolvla's ten denoising steps. Like ours: two pictures of one size, 24
words, the joints, a trunk of four layers.
In their favour: pictures come as floats, already scaled; act has no variational encoder (it would hold
parameters that never run when acting); pi0_fast says as many codes as our FAST and is not made to turn them
into actions; smolvla's and pi0_fast's vision towers see fewer, larger patches than published.
"""

import contextlib
import dataclasses
import io
import logging
import tempfile
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import nn

from policies.runtime.benchmark.equal import matched
from policies.runtime.benchmark.options import Decoding
from policies.runtime.benchmark.timing import Contender, passes_of
from vla.optional import need

__all__ = ["act", "act_published", "pi0_fast", "smolvla"]

WORDS, LAYERS, EYES, HEADS, PATCH = 24, 4, 3, 6, 16
FAST_CODES, FAST_SKIPPED = 1024, 128
"""pi0_fast counts its codes back from the end of the vocabulary, past the last 128."""
RESNET_18 = 11_180_000


def act(options: Decoding, device: str) -> Contender:
    """Action Chunking Transformer (Zhao et al. 2023) with a narrow ResNet-18."""
    base = max(8, 8 * round(64 * (options.size / 3 / RESNET_18) ** 0.5 / 8))

    def make(width: int, mlp: int) -> Any:
        import torchvision

        narrow = mock.patch.object(torchvision.models, "resnet_narrow", _narrow_resnet(base), create=True)
        with narrow:
            return _act(options, vision_backbone="resnet_narrow", dim_model=width, dim_feedforward=mlp)

    policy = _sized(make, options.size, step=16, expansion=6.25, what="lerobot act")
    return _entry(
        f"lerobot act, ResNet-18 at {base} of 64 channels", policy, policy.model.encoder, options, device
    )


def act_published(options: Decoding, device: str) -> Contender:
    """The same as LeRobot configures it: 512 wide, a whole ResNet-18. It has a size of its own."""
    policy = _act(options)
    return _entry("lerobot act as published", policy, policy.model.encoder, options, device)


def smolvla(options: Decoding, device: str) -> Contender:
    """SmolVLA (Shukor et al. 2025): a VLM, and an expert that denoises the chunk in ten steps."""
    transformers = need("transformers", "transformers", "lerobot's smolvla")
    from lerobot.policies.smolvla import smolvlm_with_expert as parts
    from lerobot.policies.smolvla.configuration_smolvla import SmolVLAConfig
    from lerobot.policies.smolvla.modeling_smolvla import SmolVLAPolicy

    ids = SimpleNamespace(tokenizer=SimpleNamespace(fake_image_token_id=4, global_image_token_id=5))

    def make(width: int, mlp: int) -> Any:
        vlm = transformers.SmolVLMConfig(
            vision_config=_eyes(options, width, mlp),
            text_config={
                "model_type": "llama",
                "num_key_value_heads": HEADS // 3,
                "vocab_size": 256,
                **_trunk(width, mlp),
            },
            scale_factor=2,
            image_token_id=3,
            pad_token_id=0,
        )
        with (
            tempfile.TemporaryDirectory() as folder,
            mock.patch.object(parts.AutoProcessor, "from_pretrained", return_value=ids),
        ):
            vlm.save_pretrained(folder)
            return SmolVLAPolicy(
                _config(
                    SmolVLAConfig,
                    options,
                    vlm_model_name=folder,
                    num_vlm_layers=0,  # all that the config has
                    resize_imgs_with_padding=(options.side, options.side),
                    tokenizer_max_length=WORDS,
                )
            )

    policy = _sized(make, options.size, step=4 * HEADS, expansion=8 / 3, what="lerobot smolvla")
    return _entry("lerobot smolvla", policy, policy.model.vlm_with_expert, options, device)


def pi0_fast(options: Decoding, device: str, codes: int) -> Contender:
    """pi0-FAST (Pertsch et al. 2025), with its cache, saying `codes` codes."""
    transformers = need("transformers", "transformers", "lerobot's pi0_fast")
    from lerobot.policies.pi0_fast import modeling_pi0_fast as parts
    from lerobot.policies.pi0_fast.configuration_pi0_fast import PI0FastConfig

    words = 128 + FAST_CODES + FAST_SKIPPED

    def make(width: int, mlp: int) -> Any:
        config = transformers.PaliGemmaConfig(
            vision_config={
                "model_type": "siglip_vision_model",
                "vision_use_head": False,
                **_eyes(options, width, mlp // 2),
            },
            text_config={
                "model_type": "gemma",
                "num_key_value_heads": 1,
                "vocab_size": words,
                "hidden_activation": "gelu_pytorch_tanh",
                **_trunk(width, mlp),
            },
            projection_dim=width,
            image_token_index=words - 1,
        )
        config.text_config.use_adarms, config.text_config.adarms_cond_dim = False, None

        class Small(parts.PI0FastPaliGemma):  # type: ignore[misc]
            def __init__(self, *_: Any, precision: str = "float32", **__: Any) -> None:
                nn.Module.__init__(self)
                self.paligemma = parts.PaliGemmaForConditionalGenerationWithPiGemma(config=config)
                self.to_bfloat16_for_selected_params(precision)

        # Its end marker gets an id that no answer has: every answer has the same length.
        tokenizer = SimpleNamespace(bos_token_id=1, vocab_size=words, convert_tokens_to_ids=lambda token: -1)
        with (
            mock.patch.object(parts, "PI0FastPaliGemma", Small),
            mock.patch.object(parts.PI0FastPytorch, "to", lambda self, *_: self),  # it may be a sketch
            mock.patch.object(parts.AutoProcessor, "from_pretrained", return_value=None),
            mock.patch.object(parts.AutoTokenizer, "from_pretrained", return_value=tokenizer),
        ):
            policy = parts.PI0FastPolicy(
                _config(
                    PI0FastConfig,
                    options,
                    image_resolution=(options.side, options.side),
                    max_decoding_steps=codes,
                    tokenizer_max_length=WORDS,
                )
            )
        policy.detokenize_actions = lambda tokens, **_: tokens
        return policy

    policy = _sized(make, options.size, step=4 * HEADS, expansion=8.0, what="lerobot pi0_fast")
    trunk = policy.model.paligemma_with_expert
    return dataclasses.replace(
        _entry("lerobot pi0_fast, cached", policy, trunk, options, device), codes=codes
    )


def _act(options: Decoding, **settings: Any) -> Any:
    from lerobot.policies.act.configuration_act import ACTConfig
    from lerobot.policies.act.modeling_act import ACTPolicy

    config = _config(ACTConfig, options, use_vae=False, pretrained_backbone_weights=None, **settings)
    return ACTPolicy(config)


def _config(cls: Any, options: Decoding, **settings: Any) -> Any:
    from lerobot.configs.types import FeatureType, PolicyFeature

    shape = (3, options.side, options.side)
    inputs = {name: PolicyFeature(FeatureType.VISUAL, shape) for name in _cameras()}
    return cls(
        input_features={**inputs, "observation.state": PolicyFeature(FeatureType.STATE, (options.dim,))},
        output_features={"action": PolicyFeature(FeatureType.ACTION, (options.dim,))},
        chunk_size=options.horizon,
        n_action_steps=options.horizon,
        device="cpu",
        **settings,
    )


def _cameras() -> tuple[str, str]:
    return "observation.images.front", "observation.images.wrist"


def _eyes(options: Decoding, width: int, mlp: int) -> dict[str, Any]:
    """A SigLIP tower."""
    return {
        "hidden_size": width,
        "intermediate_size": mlp,
        "num_hidden_layers": EYES,
        "num_attention_heads": HEADS,
        "image_size": options.side,
        "patch_size": PATCH,
    }


def _trunk(width: int, mlp: int) -> dict[str, Any]:
    """What Llama and Gemma have in common."""
    return {
        "hidden_size": width,
        "intermediate_size": mlp,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "head_dim": width // HEADS,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


def _narrow_resnet(base: int) -> Callable[..., nn.Module]:
    """torchvision's ResNet-18 with `base` channels where it has 64."""

    def build(replace_stride_with_dilation: Any, weights: Any, norm_layer: Any) -> nn.Module:
        from torchvision.models.resnet import BasicBlock, ResNet

        class Narrow(ResNet):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__(BasicBlock, [2, 2, 2, 2], norm_layer=norm_layer)
                self.inplanes = base
                self.conv1 = nn.Conv2d(3, base, 7, stride=2, padding=3, bias=False)
                self.bn1 = norm_layer(base)
                for i in range(4):
                    layer = self._make_layer(BasicBlock, base * 2**i, 2, stride=1 if i == 0 else 2)
                    setattr(self, f"layer{i + 1}", layer)
                self.fc = nn.Linear(base * 8, 1)

        return Narrow()

    return build


def _sized(make: Callable[[int, int], Any], size: int, *, step: int, expansion: float, what: str) -> Any:
    """The policy of `size` parameters."""

    def count(width: int, mlp: int) -> int:
        with torch.device("meta"):
            return _parameters(make(width, mlp))

    with _quiet():
        width, mlp = matched(count, size, step=step, expansion=expansion, what=what)
        torch.manual_seed(0)
        return make(width, mlp)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What LeRobot prints and logs while it builds a policy is of no use here."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def _parameters(policy: nn.Module) -> int:
    return sum(p.numel() for p in policy.parameters())


def _entry(name: str, policy: Any, trunk: nn.Module, options: Decoding, device: str) -> Contender:
    policy = policy.eval().to(device)
    random = torch.Generator().manual_seed(0)
    count, side = options.batch, options.side
    batch = {camera: torch.rand(count, 3, side, side, generator=random) for camera in _cameras()}
    batch["observation.state"] = torch.rand(count, options.dim, generator=random) * 2 - 1
    batch["observation.language.tokens"] = torch.randint(128, (count, WORDS), generator=random)
    batch["observation.language.attention_mask"] = torch.ones(count, WORDS, dtype=torch.bool)
    there = {key: value.to(device) for key, value in batch.items()}

    def run() -> Any:
        return policy.predict_action_chunk(dict(there))

    return Contender(name, run, _parameters(policy), passes_of(trunk, run), None)
