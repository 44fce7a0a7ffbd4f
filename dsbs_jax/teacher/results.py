"""From stored replies to what a run leaves behind; every file is written as a whole.

Each example ends in exactly one of three files: `rationales.jsonl` (a dataset to train
on), `filtered.jsonl` (with the filter's reason) or `failed.jsonl` (no usable reply).
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from dsbs_jax import files
from dsbs_jax.data import completions, dataset_spec
from dsbs_jax.rationales import filters, voting
from dsbs_jax.rationales.output_files import FAILED, FILTERED, KEPT, REPORT  # noqa: F401
from dsbs_jax.rationales.voting import VotedExample
from dsbs_jax.teacher import structured
from dsbs_jax.teacher.store import Stored


@dataclasses.dataclass(frozen=True, slots=True)
class Example:
    """An input that the teacher is asked about.

    Attributes:
        id: Unique among the inputs.
        input: The text that the student will read.
        label: The answer a person gave, or None.
        keys: The request's key of each sample.
    """

    id: str
    input: str
    label: str | None
    keys: tuple[str, ...]


def readable(stored: Stored, rule: str, is_structured: bool) -> str:
    """Makes the text that the parser reads of a stored reply.

    An answer that may not be whole is left out: where the limit of tokens ended the
    reply before it ran on into a next question, and where structured output is broken.
    """
    text = stored.text
    if is_structured:
        completion = structured.to_completion(text, rule)
        if completion is not None:
            return completion
        return structured.without_answer(text, rule)
    runs_on = any(cut in text for cut in completions.RULES[rule].cuts)
    if stored.finish_reason == "length" and not runs_on:
        return structured.without_answer(text, rule)
    return text


def decide(
    examples: Sequence[Example],
    replies: Mapping[str, Stored],
    rule: str,
    is_structured: bool,
) -> list[VotedExample]:
    """Lets the replies of each example vote; examples without any are left out."""
    spec = dataset_spec.get(rule)
    found = []
    for example in examples:
        stored = [replies[key] for key in example.keys if key in replies]
        if not stored:
            continue
        texts = [readable(s, rule, is_structured) for s in stored]
        outcome = voting.vote(example.id, example.input, example.label, texts, spec)
        raw = tuple(s.text for s in stored)
        found.append(dataclasses.replace(outcome, completions=raw))
    return found


def failed_rows(
    examples: Sequence[Example],
    replies: Mapping[str, Stored],
    reasons: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Makes the rows of `failed.jsonl`: the examples without any reply, and why."""
    rows = []
    for example in examples:
        if any(key in replies for key in example.keys):
            continue
        row = {"id": example.id, "input": example.input}
        if example.label is not None:
            row["label"] = example.label
        row["reason"] = reasons[example.keys[0]]
        rows.append(row)
    return rows


def write(
    folder: pathlib.Path,
    result: filters.FilterResult,
    failed: Sequence[Mapping[str, Any]],
) -> None:
    """Writes the three files.

    Raises:
        OSError: They cannot be written.
    """
    files.write_jsonl(folder / FAILED, failed)
    filters.write(result, folder / KEPT, folder / FILTERED)
