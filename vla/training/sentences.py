"""Whether the model can read every sentence of the demonstrations; told before a training begins, with the
dataset and the episode that say one that it cannot."""

import numpy as np

from vla.data.batches import ChunkData
from vla.errors import BadInput
from vla.processor import Processor

__all__ = ["check_sentences"]


def check_sentences(processor: Processor, data: ChunkData, new: bool = True) -> None:
    """Raise BadInput naming the first sentence that is too long for the model or holds a word that it does
    not know. new: whether the model is yet to be trained, so that it may still be made to read more."""
    for number, sentence in enumerate(data.tasks):
        try:
            processor.words([sentence])
        except BadInput as error:
            longer = "; a new model reads more with a larger model.text.max_length" if new else ""
            raise BadInput(
                f"{_where(data, number)} says {_short(sentence)}, which does not fit the model: {error}; "
                f"word it otherwise in the dataset's meta folder, or leave that dataset out{longer}"
            ) from None


def _where(data: ChunkData, number: int) -> str:
    frames = np.flatnonzero(data.task_index == number)
    if not len(frames):  # a sentence that no frame goes with
        roots = [source.dataset.root for source in data.sources]
        return f"a sentence without frames in {', '.join(f'{root}/meta' for root in roots)}"
    source = int(data.source_of[frames[0]])
    dataset = data.sources[source].dataset
    return f"{dataset.root}: {dataset.where(int(frames[0]) - int(data.first_frame[source]))}"


def _short(sentence: str, letters: int = 60) -> str:
    return repr(sentence if len(sentence) <= letters else f"{sentence[:letters]}...")
