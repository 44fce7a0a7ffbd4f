"""Converts stored replies to voted examples and to rows of failed inputs."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from dsbs_jax.data.completions import ParsedCompletion
from dsbs_jax.data.dataset_spec import DatasetSpec
from dsbs_jax.rationales import voting
from dsbs_jax.rationales.voting import VotedExample
from dsbs_jax.teacher import structured
from dsbs_jax.teacher.store import StoredReply


@dataclasses.dataclass(frozen=True, slots=True)
class ExtractionInput:
    """An input that is sent to the teacher.

    Attributes:
        id: Unique among the inputs.
        input: The text that the student will read.
        label: The human label, or None.
        keys: The key of each sample's request.
    """

    id: str
    input: str
    label: str | None
    keys: tuple[str, ...]


def parse_reply(
    reply: StoredReply, spec: DatasetSpec, is_structured: bool
) -> ParsedCompletion:
    """Reads rationale and label of a reply.

    An answer that may be incomplete is ignored: in invalid structured output, and in a
    completion that the token limit ended before it ran on into a next question.
    """
    text, parser = reply.text, spec.parser
    if is_structured:
        parsed = structured.parse(text, parser)
        return parsed or parser.parse(structured.without_answer(text, parser))
    runs_on = any(cut in text for cut in parser.cut_at)
    if reply.finish_reason == "length" and not runs_on:
        text = structured.without_answer(text, parser)
    return parser.parse(text)


def vote_all(
    inputs: Sequence[ExtractionInput],
    replies: Mapping[str, StoredReply],
    spec: DatasetSpec,
    is_structured: bool,
) -> list[VotedExample]:
    """Counts the votes of each input's replies; inputs without a reply are left out."""
    examples = []
    for row in inputs:
        samples = [replies[key] for key in row.keys if key in replies]
        if not samples:
            continue
        parsed = [parse_reply(sample, spec, is_structured) for sample in samples]
        texts = [sample.text for sample in samples]
        example = voting.vote_parsed(
            row.id, row.input, row.label, parsed, spec.metric, texts
        )
        examples.append(example)
    return examples


def failed_rows(
    inputs: Sequence[ExtractionInput],
    replies: Mapping[str, StoredReply],
    reasons: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Returns the rows of failed.jsonl: inputs without any reply, and the reason.

    Args:
        inputs: All inputs.
        replies: The stored replies by request key.
        reasons: The last error by request key.
    """
    rows = []
    for row in inputs:
        if any(key in replies for key in row.keys):
            continue
        label = {} if row.label is None else {"label": row.label}
        reason = reasons[row.keys[0]]
        rows.append({"id": row.id, "input": row.input, **label, "reason": reason})
    return rows
