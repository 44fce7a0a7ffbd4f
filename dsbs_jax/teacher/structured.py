r"""Structured output: replies that are a JSON object with a rationale and a label.

Servers that support `response_format` restrict the model to a schema. A reply is read
strictly all the same, because the server may ignore the schema or cut the reply off:

    '{"rationale": "It is hot.", "label": "yes"}'
    -> ParsedCompletion(rationale="It is hot.", label="yes", problem=None)
"""

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from dsbs_jax import json_input
from dsbs_jax.data import completions, records
from dsbs_jax.data.completions import CompletionParser, ParsedCompletion
from dsbs_jax.json_input import JsonError


class StructuredAnswer(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The JSON object of a structured reply.

    The rationale comes first, because the teacher has to reason before it answers.
    """

    rationale: str
    label: str


def response_format(labels: Sequence[str] = ()) -> dict[str, Any]:
    """Returns the request's `response_format` field.

    Args:
        labels: The labels that the server may choose from; any text without them.
    """
    names = list(StructuredAnswer.__struct_fields__)
    properties: dict[str, Any] = {name: {"type": "string"} for name in names}
    if labels:
        properties["label"]["enum"] = list(labels)
    schema = {
        "type": "object",
        "properties": properties,
        "required": names,
        "additionalProperties": False,
    }
    return {
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": True, "schema": schema},
    }


def exemplar_json(answer: str, parser: CompletionParser) -> str:
    """Converts an exemplar's answer to the JSON that the teacher is to write."""
    marker = next(m for m in parser.answer_markers if m in answer)
    rationale, _, label = answer.partition(marker)
    value = StructuredAnswer(rationale.strip(), label.strip().removesuffix("."))
    return json.dumps(msgspec.structs.asdict(value), ensure_ascii=False)


def parse(text: str, parser: CompletionParser) -> ParsedCompletion | None:
    """Reads a structured reply.

    The label gets the dataset's normalization (`CompletionParser.read_answer`), and the
    checks of a plain completion apply: an answer marker inside the rationale or the
    label is a problem, and text after the start of a next question is ignored.

    Returns:
        The parsed reply, or None if it is not exactly a `StructuredAnswer` object.
    """
    try:
        answer = json_input.parse(text, StructuredAnswer)
    except JsonError:
        return None
    rationale, label = answer.rationale, f" {answer.label.strip().removesuffix('.')}."
    if not records.is_encodable(rationale + label):
        return ParsedCompletion(None, None, completions.NOT_TEXT)
    if any(cut in rationale for cut in parser.cut_at):
        # The rationale runs on into a next question, so the label may belong to that.
        return parser.parse(rationale)
    for cut in parser.cut_at:
        label = label.partition(cut)[0]
    if parser.answer_markers[0] in rationale + label:
        return ParsedCompletion(None, None, completions.SEVERAL_MARKERS)
    return parser.parse_parts(rationale, label)


def without_answer(text: str, parser: CompletionParser) -> str:
    """Removes the answer marker and all text after it."""
    for marker in parser.answer_markers:
        text = text.partition(marker)[0]
    return text
