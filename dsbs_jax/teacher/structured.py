r"""Structured output: a reply that is a JSON object with a rationale and a label.

Servers that offer it hold the model to a schema. What comes back is untrusted all the
same: it is read strictly and put into the words of a completion, so that one parser
reads everything a teacher says:

    '{"rationale": "It is hot.", "label": "yes"}' -> "It is hot. So the answer is yes."
"""

import json
from typing import Any

from dsbs_jax.data import completions

FIELDS = ("rationale", "label")


def response_format() -> dict[str, Any]:
    """Makes the request's field `response_format`."""
    schema = {
        "type": "object",
        # In this order: the reasoning has to come before the answer.
        "properties": {name: {"type": "string"} for name in FIELDS},
        "required": list(FIELDS),
        "additionalProperties": False,
    }
    return {
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": True, "schema": schema},
    }


def from_completion(answer: str, rule: str) -> str:
    """Puts an exemplar's answer into structured output's form."""
    marker = next(m for m in completions.RULES[rule].markers if m in answer)
    rationale, _, label = answer.partition(marker)
    values = (rationale.strip(), label.strip().removesuffix("."))
    return json.dumps(dict(zip(FIELDS, values, strict=True)), ensure_ascii=False)


def to_completion(text: str, rule: str) -> str | None:
    """Puts a structured reply into a completion's form.

    Returns:
        The completion, or None when the reply is not exactly such an object.
    """
    try:
        found = json.loads(text)
    # Nested without end is a RecursionError.
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or set(found) != set(FIELDS):
        return None
    rationale, label = (found[name] for name in FIELDS)
    if not isinstance(rationale, str) or not isinstance(label, str):
        return None
    marker = completions.RULES[rule].markers[0]
    return f"{rationale} {marker} {label.strip().removesuffix('.')}."


def without_answer(text: str, rule: str) -> str:
    """Cuts a text off before its answer, where that is not to be trusted."""
    for marker in completions.RULES[rule].markers:
        text = text.partition(marker)[0]
    return text
