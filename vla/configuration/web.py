"""Settings of picture-text data: one dataclass a kind of source; `kind` chooses among them."""

import string
from dataclasses import dataclass
from typing import ClassVar, Literal

from vla.checks import at_least
from vla.errors import BadInput

__all__ = [
    "CocoConfig",
    "DocumentsConfig",
    "LlavaConfig",
    "ParquetConfig",
    "RefcocoConfig",
    "ShardsConfig",
    "VqaConfig",
    "WebConfig",
    "WebSourceConfig",
]


@dataclass(frozen=True, kw_only=True)
class WebConfig:
    """What all kinds have.

    path: the file or files with the texts, or with all of it: names, a folder of them, patterns (``*``,
    ``?``), braces (``{000..012}.tar``), or URLs that webdataset opens, fetched once into `cache`.
    images: folder, or start of a URL, of the pictures that records name; '' where they lie in the records.
    A record that names a whole URL gets it where `images` is that URL's start (``https://`` allows all).
    weight: how often this source is drawn, relative to the others; loss: how much its answers count.
    split: share of its pictures held for validation, with all records that name them; of its records where
    pictures have no names (vla/data/web/choosing.py). limit: only the first so many records are used.
    prompts: phrases that stand for an empty prompt, one chosen for each record and draw.
    max_words: a longer text is damage, and so is one of 16 times as many characters. max_side: pixels; a
    larger picture is damage. cache: folder for what is fetched, indexed or decoded; '': ``.cache`` beside the
    data, or the user's cache folder for URLs.
    """

    path: str | tuple[str, ...]
    images: str = ""
    weight: float = 1.0
    loss: float = 1.0
    split: float = 0.0
    limit: int | None = None
    prompts: tuple[str, ...] = ()
    max_words: int = 512
    max_side: int = 8192
    cache: str = ""

    WRAPS: ClassVar[bool] = False
    """Whether the prompts are put around what a record asks, at ``{}``."""
    NEEDS_IMAGES: ClassVar[bool] = False

    def __post_init__(self) -> None:
        at_least(self, 0, "weight", "loss", "split")
        at_least(self, 1, "limit", "max_words")
        at_least(self, 8, "max_side")
        if self.split >= 1:
            raise BadInput(f"split={self.split}: a share from 0 up to below 1 is needed")
        if not self.paths or "" in self.paths:
            raise BadInput("path is empty: give the source's file, folder, pattern or URL")
        if self.NEEDS_IMAGES and not self.images:
            raise BadInput("images is empty: give the folder (or the start of the URL) of the pictures")
        if self.images.startswith("pipe:"):
            raise BadInput("images cannot be a pipe: names from data would become part of a command")
        for phrase in self.prompts:
            if not phrase.strip():
                raise BadInput("prompts: an empty phrase cannot stand for an empty prompt")
            if ("{}" in phrase) != self.WRAPS:
                wanted = "needs {} where the record's words go" if self.WRAPS else "cannot hold {} here"
                raise BadInput(f"prompts: {phrase!r} {wanted}")

    @property
    def paths(self) -> tuple[str, ...]:
        """`path` as several."""
        return (self.path,) if isinstance(self.path, str) else self.path


@dataclass(frozen=True, kw_only=True)
class ShardsConfig(WebConfig):
    """WebDataset tar files; vla/data/web/shards.py tells what a record is. `path`: files, a folder, URLs."""

    kind: Literal["shards"] = "shards"


@dataclass(frozen=True, kw_only=True)
class LlavaConfig(WebConfig):
    """LLaVA's JSON or JSON lines: ``{"image": "a.jpg", "conversations": [{"from": "human", ...}]}``."""

    kind: Literal["llava"] = "llava"


@dataclass(frozen=True, kw_only=True)
class ParquetConfig(WebConfig):
    """A folder that Hugging Face `datasets` saved (``save_to_disk``), or parquet files: FineVision, the
    Cauldron. Columns ``images`` (or ``image``) and ``texts`` (list of {user, assistant}), or
    ``conversations``, ``messages``, ``captions``, ``caption``. part: which one where
    several were saved together."""

    kind: Literal["parquet"] = "parquet"
    part: str = "train"


@dataclass(frozen=True, kw_only=True)
class CocoConfig(WebConfig):
    """COCO captions: `path` is ``captions_*.json``. A record is a picture with all its captions, as turns."""

    kind: Literal["coco"] = "coco"
    NEEDS_IMAGES: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class VqaConfig(WebConfig):
    """VQAv2: `path` is ``*_questions.json``, `annotations` its ``*_annotations.json``. A record is a picture
    with all its questions, as turns. file_name: of a picture, from its number and the file's data_subtype."""

    kind: Literal["vqa"] = "vqa"
    annotations: str | tuple[str, ...] = ""
    file_name: str = "COCO_{data_subtype}_{image_id:012d}.jpg"
    NEEDS_IMAGES: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        given = (self.annotations,) if isinstance(self.annotations, str) else self.annotations
        if not given or "" in given:
            raise BadInput("annotations is empty: give VQAv2's *_annotations.json, which holds the answers")
        if len(given) != len(self.paths):
            raise BadInput(f"annotations: {len(given)} files for the {len(self.paths)} of path; one for each")
        try:
            fields = {name for _, name, _, _ in string.Formatter().parse(self.file_name) if name is not None}
            self.file_name.format(data_subtype="train", image_id=1)
        except (ValueError, LookupError, AttributeError):
            fields = {"?"}
        if not {"image_id"} <= fields <= {"image_id", "data_subtype"}:
            raise BadInput(f"file_name={self.file_name!r}: it may use {{image_id}} and {{data_subtype}} only")


@dataclass(frozen=True, kw_only=True)
class RefcocoConfig(WebConfig):
    """Boxes with the words that refer to them; vla/data/web/refcoco.py tells the format. The prompt is the
    words, in one of `prompts`; the answer is the box, in the model's location words."""

    kind: Literal["refcoco"] = "refcoco"
    prompts: tuple[str, ...] = ("where is {}",)
    WRAPS: ClassVar[bool] = True
    NEEDS_IMAGES: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class DocumentsConfig(WebConfig):
    """Pages of pictures between paragraphs (OBELICS, MMC4), as parquet, a saved folder, JSON or JSON lines:
    lists ``images`` and ``texts`` of one length, None where the other stands. A record is one picture: the
    text before it is the prompt, the text after it the answer, each cut to `context` words. part: as for
    `parquet`."""

    kind: Literal["documents"] = "documents"
    context: int = 64
    max_words: int = 20_000
    part: str = "train"

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "context")


WebSourceConfig = (
    ShardsConfig | LlavaConfig | ParquetConfig | CocoConfig | VqaConfig | RefcocoConfig | DocumentsConfig
)
