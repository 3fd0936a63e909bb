"""Picture-text data from the web, whatever its form: pictures, and turns of prompt and answer about them.

source = open_source("captions", CocoConfig(path="captions.json", images="train2017"))
source[7]   # WebSample; raises Damaged where that record cannot be used
good = Guarded(WebPictures(source, 96, image, cached=True), skip=0.01)
good[7]     # sized pictures; a damaged record is replaced by the next good one, and counted
"""

from vla.configuration.web import (
    CocoConfig,
    DocumentsConfig,
    LlavaConfig,
    ParquetConfig,
    RefcocoConfig,
    ShardsConfig,
    VqaConfig,
    WebSourceConfig,
)
from vla.data.web.base import FileSource
from vla.errors import BadInput

__all__ = ["open_source"]


def open_source(name: str, config: WebSourceConfig) -> FileSource:
    """Open what `config` describes. name: what messages call it. Raises BadInput where it is not there, or
    has no record."""
    source = _opened(name, config)
    if len(source) == 0:
        raise BadInput(
            f"web.{name}: {source.files[0]} holds no record" if source.files else f"web.{name}: empty"
        )
    return source


def _opened(name: str, config: WebSourceConfig) -> FileSource:
    if isinstance(config, ShardsConfig):
        from vla.data.web.shards import Shards

        return Shards(name, config)
    if isinstance(config, LlavaConfig):
        from vla.data.web.llava import Llava

        return Llava(name, config)
    if isinstance(config, ParquetConfig):
        from vla.data.web.parquet import Parquet

        return Parquet(name, config)
    if isinstance(config, CocoConfig):
        from vla.data.web.coco import Coco

        return Coco(name, config)
    if isinstance(config, VqaConfig):
        from vla.data.web.vqa import Vqa

        return Vqa(name, config)
    if isinstance(config, RefcocoConfig):
        from vla.data.web.refcoco import Refcoco

        return Refcoco(name, config)
    assert isinstance(config, DocumentsConfig)
    from vla.data.web.documents import Documents

    return Documents(name, config)
