"""Settings of which parts learn and how, and of losses beside the action loss. Part of the model's config,
because adapters are part of the network and a checkpoint should say what was trained."""

from dataclasses import dataclass, field
from typing import Literal

from vla.checks import at_least
from vla.errors import BadInput

__all__ = ["AlignmentConfig", "PartConfig", "TuningConfig"]


@dataclass(frozen=True)
class PartConfig:
    """How one part of the model learns.

    train: `full`; `frozen`; `last`, its last `layers` layers (and final norm) alone; `lora`, low-rank
    adapters of `rank` on its linear layers (needs peft) with the weights under them frozen.
    lr: factor on the optimiser's learning rate.
    """

    train: Literal["full", "frozen", "last", "lora"] = "full"
    lr: float = 1.0
    layers: int = 2
    rank: int = 16
    alpha: int = 32

    def __post_init__(self) -> None:
        at_least(self, 1, "layers", "rank", "alpha")
        if not self.lr > 0:
            raise BadInput(f"lr must be above 0 (to keep a part still, train=frozen), not {self.lr}")


@dataclass(frozen=True)
class TuningConfig:
    """vision: the picture encoders (and a VLM's own tower). audio: the sound's encoder. connector: connectors
    and fusion, and what reads points out of a pretrained tower's features. language: the backbone. rest: text
    and state encoders and the decoders.

    insulate: the action expert of a flow learns without teaching what it looks at: its gradient stops before
    the backbone's keys and values (Driess et al. 2025, "Knowledge Insulating Vision-Language-Action Models").
    There the backbone goes on learning from discrete codes of the same actions (`FlowConfig.auxiliary`) and
    from words. A decoder of codes writes with the backbone's own layers, so there is nothing to keep apart.
    """

    vision: PartConfig = field(default_factory=PartConfig)
    audio: PartConfig = field(default_factory=PartConfig)
    connector: PartConfig = field(default_factory=PartConfig)
    language: PartConfig = field(default_factory=PartConfig)
    rest: PartConfig = field(default_factory=PartConfig)
    insulate: bool = False


@dataclass(frozen=True)
class AlignmentConfig:
    """A contrastive loss that draws matching senses together, beside the action loss.

    pairs: of `image`, `text`, `audio`. kind: `clip`, softmax with a learned temperature; or `siglip`,
    pairwise sigmoid with a learned temperature and bias. width: of the shared space.
    """

    pairs: tuple[tuple[Literal["image", "text", "audio"], Literal["image", "text", "audio"]], ...] = (
        ("image", "text"),
    )
    kind: Literal["clip", "siglip"] = "siglip"
    width: int = 128
    weight: float = 0.1

    def __post_init__(self) -> None:
        at_least(self, 1, "width")
        at_least(self, 0, "weight")
        if not self.pairs:
            raise BadInput("alignment.pairs is empty; name a pair, for instance [image, text]")
        for one, other in self.pairs:
            if one == other:
                raise BadInput(f"alignment.pairs: '{one}' cannot be paired with itself")
