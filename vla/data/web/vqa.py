"""VQAv2: ``{"data_subtype": "train2014", "questions": [{"image_id", "question", "question_id"}]}`` and
``{"annotations": [{"question_id", "multiple_choice_answer", "answers": [{"answer"}, ...]}]}``.

A record is a picture with all its questions. A turn's answer is the one that most people gave; `others` are
all ten, repeated as they were given, since the score min(1, same answers / 3) counts them.
"""

from collections.abc import Iterator
from typing import Any

from vla.configuration.web import VqaConfig
from vla.data.web.base import FileSource, Raw
from vla.data.web.damage import Fault
from vla.data.web.files import local_files
from vla.data.web.json_records import number_of, whole_json
from vla.data.web.sample import Turn

__all__ = ["Vqa"]


class Vqa(FileSource):
    """A `WebSource` on VQAv2's files."""

    config: VqaConfig

    def __init__(self, name: str, config: VqaConfig) -> None:
        given = (config.annotations,) if isinstance(config.annotations, str) else config.annotations
        answers = local_files(given, (".json",), config.cache)
        questions = local_files(config.paths, (".json",), config.cache)
        super().__init__(name, config, [*questions, *answers])
        self._records: list[tuple[str, Any, str, list[tuple[Any, Any]]]] = []
        for file, answer_file in zip(questions, answers, strict=True):
            content = whole_json(file, "questions")
            annotated = whole_json(answer_file, "annotations")["annotations"]
            held = {number_of(each, "question_id"): each for each in annotated}
            subtype = str(content.get("data_subtype", ""))
            images: dict[Any, list[tuple[Any, Any]]] = {}
            for asked in content["questions"]:
                pair = (asked.get("question"), held.get(number_of(asked, "question_id")))
                images.setdefault(number_of(asked, "image_id"), []).append(pair)
            self._records += [(str(file), image, subtype, pairs) for image, pairs in images.items()]

    def count(self) -> int:
        """Pictures with questions."""
        return len(self._records)

    def place(self, number: int) -> str:
        """File, record and picture."""
        file, image, _, _ = self._records[number]
        return f"{file}: record {number} (image_id {image})"

    def names(self) -> Iterator[list[str]]:
        """See `FileSource`."""
        for number in range(len(self._records)):
            try:
                yield [self._name(number)]
            except Fault:
                yield []

    def raw(self, number: int) -> Raw:
        """One picture's questions. Raises Fault."""
        named, pairs = self._name(number), self._records[number][3]
        return Raw(tuple(_turn(question, answer) for question, answer in pairs), (self.picture(named),))

    def _name(self, number: int) -> str:
        _, image, subtype, _ = self._records[number]
        try:
            return self.config.file_name.format(image_id=image, data_subtype=subtype)
        except (ValueError, TypeError):
            raise Fault("image_id does not fit file_name", f"{image!r:.40}") from None


def _turn(question: Any, answer: Any) -> Turn:
    if answer is None:
        raise Fault("a question has no annotation", f"{question!r:.80}")
    try:
        given = tuple(each["answer"] for each in answer.get("answers", ()))
        return Turn(question, answer["multiple_choice_answer"], others=given)
    except (KeyError, TypeError) as error:
        raise Fault("an annotation has another form", f"{type(error).__name__}: {error}") from None
