"""Converts the stored replies of each input to a voted example or a failed row."""

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from dsbs_jax.data.completions import ParsedCompletion
from dsbs_jax.data.dataset_spec import DatasetSpec
from dsbs_jax.rationales import voting
from dsbs_jax.rationales.voting import KeptRationales, VotedExample
from dsbs_jax.replies import characters
from dsbs_jax.replies.label_matching import LabelMatcher
from dsbs_jax.replies.reader import Reader
from dsbs_jax.reports.proportion import Proportion
from dsbs_jax.teacher.request_plan import ExtractionInput
from dsbs_jax.teacher.store import StoredReply

# The problem of a reply that no reader sees.
EMPTY = "the reply is empty"


@dataclasses.dataclass(frozen=True)
class Collected:
    """The answers to all inputs.

    Attributes:
        examples: The voted examples: inputs with a reply that has text.
        failed: The rows of failed.jsonl: inputs without a reply that has text.
        other_labels: Number of samples by label, for labels outside the label set.
        answer_given: Inputs with a rationale for the given human label, among those
            that were requested again.
        aided_failed: Requests with the human label given that failed.
    """

    examples: list[VotedExample]
    failed: list[dict[str, Any]]
    other_labels: collections.Counter[str]
    answer_given: Proportion = Proportion(0, 0)
    aided_failed: int = 0


def parse_reply(
    reply: StoredReply, reader: Reader, asked: str, is_structured: bool
) -> ParsedCompletion:
    """Reads rationale and label of a reply to an input.

    An answer that may be incomplete is ignored: in structured output without an end,
    and in a completion that was cut off right after the answer.
    """
    if reply.is_empty:
        return ParsedCompletion(None, None, EMPTY)
    read = reader.read_structured if is_structured else reader.read
    parsed = read(reply.answer_text, asked, reply.may_be_incomplete)
    reasoning = (reply.reasoning or "").strip()
    if reasoning and parsed.label is not None and reader.keep_reasoning:
        return ParsedCompletion(characters.repair(reasoning), parsed.label, None)
    return parsed


def is_cut(reply: StoredReply, reader: Reader, asked: str, is_structured: bool) -> bool:
    """Returns whether a reply was cut off before its answer was complete."""
    if not reply.may_be_incomplete:
        return False
    return parse_reply(reply, reader, asked, is_structured).label is None


def collect(
    inputs: Sequence[ExtractionInput],
    replies: Mapping[str, StoredReply],
    errors: Mapping[str, str],
    spec: DatasetSpec,
    reader: Reader,
    is_structured: bool,
    matcher: LabelMatcher | None = None,
    kept: KeptRationales = "first",
) -> Collected:
    """Counts the votes of each input's replies.

    Args:
        inputs: All inputs.
        replies: The stored replies by request key.
        errors: The last error of each failed request by request key.
        spec: The dataset, whose metric compares labels.
        reader: Reads the replies.
        is_structured: Whether the replies are structured output.
        matcher: Finds the labels that count; without it, every label counts.
        kept: Which rationales a row has; see `voting.vote_parsed`.
    """
    examples, failed = [], []
    other_labels: collections.Counter[str] = collections.Counter()
    for row in inputs:
        fields = (row.id, row.input, row.label)
        samples = [replies[key] for key in row.keys if key in replies]
        if any(not sample.is_empty for sample in samples):
            parsed = [parse_reply(s, reader, row.input, is_structured) for s in samples]
            if matcher:
                limited = [matcher.limit(one) for one in parsed]
                pairs = zip(parsed, limited, strict=True)
                other_labels.update(
                    one.label for one, limit in pairs if one.label and not limit.label
                )
                parsed = limited
            texts = [sample.text for sample in samples]
            voted = voting.vote_parsed(*fields, parsed, spec.metric, texts, kept)
            examples.append(
                dataclasses.replace(
                    voted, answers=row.answers, parser_version=reader.version
                )
            )
        else:
            values = zip(("id", "input", "label"), fields, strict=True)
            reason = samples[0].why_empty() if samples else errors[row.keys[0]]
            failed.append(
                {name: value for name, value in values if value is not None}
                | {"reason": reason}
            )
    return Collected(examples, failed, other_labels)
