import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from vla.errors import BadInput
from vla.tokens.pretrained_text import PretrainedTokenizer

SENTENCES = ["put the red cube in the blue bowl", "lift the ball", "push the brick onto the zone"] * 3


@pytest.fixture(scope="module")
def wrapped() -> Any:
    """A byte-level BPE that puts <s> before what it reads, as Llama's does."""
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(SENTENCES, trainer)
    bpe.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<s>", eos_token="</s>")


@pytest.fixture(scope="module")
def tokenizer(wrapped: Any) -> PretrainedTokenizer:
    return PretrainedTokenizer(wrapped)


def test_ids_are_the_text_alone(tokenizer: PretrainedTokenizer, wrapped: Any) -> None:
    ids = tokenizer.ids(SENTENCES[0], 48)
    assert isinstance(ids, tuple) and [0, *ids] == wrapped(SENTENCES[0])["input_ids"]
    assert tokenizer.bos == 0 and tokenizer.bos not in ids
    assert tokenizer.decode(ids) == SENTENCES[0]
    assert tokenizer.decode([0, *ids, 10**6]) == SENTENCES[0]
    assert tokenizer.ids(SENTENCES[0], 48) is ids


def test_size_is_past_the_largest_id(tokenizer: PretrainedTokenizer, wrapped: Any) -> None:
    assert tokenizer.size == len(wrapped) == max(wrapped.get_vocab().values()) + 1
    more = pickle.loads(pickle.dumps(wrapped))
    more.add_tokens([f"<action_{i}>" for i in range(256)])
    assert PretrainedTokenizer(more).size == tokenizer.size + 256


def test_bad_text_is_one_line(tokenizer: PretrainedTokenizer) -> None:
    for empty in ("", "   "):
        with pytest.raises(BadInput, match="the sentence is empty"):
            tokenizer.ids(empty, 48)
    length = len(tokenizer.ids(SENTENCES[0], 48))
    with pytest.raises(BadInput, match=f"the text has {length} tokens, the model reads at most {length - 1}"):
        tokenizer.ids(SENTENCES[0], length - 1)


def test_unknown_words_are_refused() -> None:
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<unk>": 0, "lift": 1, "it": 2}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PretrainedTokenizer(PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>"))
    assert tokenizer.ids("lift it", 5) == (1, 2) and tokenizer.bos is None
    with pytest.raises(BadInput, match="does not know: 'lift him'"):
        tokenizer.ids("lift him", 5)


def test_round_trip_through_a_folder(tokenizer: PretrainedTokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "tokenizer")
    again = PretrainedTokenizer.load(tmp_path / "tokenizer")
    assert (again.size, again.bos) == (tokenizer.size, tokenizer.bos)
    assert all(again.ids(s, 99) == tokenizer.ids(s, 99) for s in [*SENTENCES, "ünknown wörds, 3 cm"])
    assert pickle.loads(pickle.dumps(again)).ids("lift", 9) == again.ids("lift", 9)


def test_must_match_the_weights(tokenizer: PretrainedTokenizer) -> None:
    tokenizer.must_fit(tokenizer.size, "here")
    tokenizer.must_fit(tokenizer.size + 64, "here")
    with pytest.raises(BadInput, match=rf"has {tokenizer.size} tokens, the embedding of here 128 rows; give"):
        tokenizer.must_fit(128, "here")


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="there is no folder"):
        PretrainedTokenizer.load(tmp_path / "nowhere")
    with pytest.raises(BadInput, match=r"holds no tokenizer\.json"):
        PretrainedTokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": 3}))
    with pytest.raises(BadInput, match="cannot read the tokenizer") as caught:
        PretrainedTokenizer.load(tmp_path)
    assert "\n" not in str(caught.value)
