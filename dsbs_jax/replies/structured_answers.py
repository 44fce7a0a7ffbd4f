r"""Reads rationale and label from the JSON object of a structured reply.

    '```json\n{"reasoning": "It is hot.", "answer": "yes"}\n```'
    -> rationale "It is hot.", label text "yes"

The label's field defines the label, also if the rationale's text names another one.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from dsbs_jax.data.completions import BLANK_RATIONALE
from dsbs_jax.replies import json_objects
from dsbs_jax.replies.problems import LABEL_NOT_TEXT, NO_LABEL_FIELD, TWO_ANSWERS

# Names of the fields, the expected one first; case, blanks and "_" do not count.
LABEL_FIELDS = (
    *("label", "answer", "finalanswer", "final", "prediction", "class", "category"),
    *("choice", "option", "result", "output", "decision", "classification", "verdict"),
    *("correctanswer", "solution", "equation", "expression", "value", "response"),
)
RATIONALE_FIELDS = (
    *("rationale", "reasoning", "explanation", "reason", "justification", "thought"),
    *("thoughts", "chainofthought", "cot", "analysis", "why", "steps", "thinking"),
)
_MAX_DEPTH = 4
# Control characters that JSON's escapes make of LaTeX with one backslash.
_LATEX = {
    "\times": "\\times",
    "\text": "\\text",
    "\frac": "\\frac",
    "\boxed": "\\boxed",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Fields:
    """The fields of a structured reply.

    Attributes:
        rationale: The rationale, or None.
        labels: The texts of the label's field: one, or several of a list.
        problem: Why there is no label, or None.
    """

    rationale: str | None
    labels: tuple[str, ...]
    problem: str | None = None


def read(text: str, label_fields: Sequence[str] = LABEL_FIELDS) -> Fields | None:
    """Reads the object of a reply.

    Args:
        text: The reply.
        label_fields: The names of the label's field. The first one that an object has
            counts.

    Returns:
        Its fields, or None if the text has no object with one of the fields' names.
    """
    found = []
    for value in json_objects.find(_unquoted(text)):
        fields = _fields(value, label_fields, 0)
        if fields:
            found.append(fields)
    if not found:
        return None
    with_label = [fields for fields in found if fields.labels] or found
    rationale = next((f.rationale for f in found if f.rationale), None)
    labels = tuple(label for fields in with_label for label in fields.labels)
    if any(fields.problem == TWO_ANSWERS for fields in found):
        return Fields(None, (), TWO_ANSWERS)
    problem = None if labels else with_label[0].problem
    return Fields(rationale, labels, problem)


def blank_rationale(fields: Fields) -> str | None:
    """Returns the problem of fields without a rationale."""
    return None if (fields.rationale or "").strip() else BLANK_RATIONALE


def _unquoted(text: str) -> str:
    """Reads a reply that is a JSON string whose content is JSON."""
    stripped = text.strip()
    if not stripped.startswith('"'):
        return text
    try:
        value = json.loads(stripped)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, str) else text


def _fields(
    value: Mapping[str, Any], label_fields: Sequence[str], depth: int
) -> Fields | None:
    """Finds the fields in an object or in an object within it."""
    names = {_plain(name): name for name in reversed([*value])}
    rationale = _find(value, names, RATIONALE_FIELDS)
    label_name = next((names[n] for n in label_fields if n in names), None)
    label = value[label_name] if label_name is not None else None
    if isinstance(label, Mapping) and depth < _MAX_DEPTH:
        inner = _fields(label, label_fields, depth + 1)
        if inner:
            return dataclasses.replace(
                inner, rationale=inner.rationale or _text(rationale)
            )
        label = next(iter(label.values())) if len(label) == 1 else label
    if label_name is not None:
        return _with_label(label, _text(rationale))
    if depth < _MAX_DEPTH:
        for inner_value in value.values():
            if isinstance(inner_value, Mapping) and (
                inner := _fields(inner_value, label_fields, depth + 1)
            ):
                return inner
    if rationale is None:
        return None
    return Fields(_text(rationale), (), NO_LABEL_FIELD)


def _with_label(label: Any, rationale: str | None) -> Fields:
    if label is json_objects.DUPLICATE:
        return Fields(None, (), TWO_ANSWERS)
    labels = tuple(map(_latex, json_objects.texts(label)))
    if labels:
        return Fields(rationale, labels)
    return Fields(None, (), NO_LABEL_FIELD if label is None else LABEL_NOT_TEXT)


def _find(
    value: Mapping[str, Any], names: Mapping[str, str], wanted: tuple[str, ...]
) -> Any:
    name = next((names[n] for n in wanted if n in names), None)
    return None if name is None else value[name]


def _text(value: Any) -> str | None:
    """Returns a rationale as text; the steps of a list become lines."""
    lines = [_latex(text) for text in json_objects.texts(value)]
    return "\n".join(lines) if lines else None


def _latex(text: str) -> str:
    for broken, command in _LATEX.items():
        text = text.replace(broken, command)
    return text


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold()))
