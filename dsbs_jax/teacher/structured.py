"""Structured output: requests for a JSON object with a rationale and a label.

Servers that support `response_format` restrict the model to a schema. The replies are
read by `dsbs_jax.replies`, because a server may ignore the schema or cut a reply off.
"""

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from dsbs_jax.data.completions import CompletionParser
from dsbs_jax.replies.reader import ReplyReader


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
    """Converts an exemplar's answer to the JSON that is expected of the teacher."""
    marker = next((m for m in parser.answer_markers if m in answer), None)
    if marker is None:  # another answer phrase, which only the tolerant rules read
        parsed = ReplyReader(parser).read(answer)
        value = StructuredAnswer(parsed.rationale or "", parsed.label or "")
    else:
        rationale, _, label = answer.partition(marker)
        value = StructuredAnswer(rationale.strip(), label.strip().removesuffix("."))
    return json.dumps(msgspec.structs.asdict(value), ensure_ascii=False)
