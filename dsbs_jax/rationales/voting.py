"""What a teacher's completions for one input come to: a vote, a label, a rationale.

Each completion is read by the dataset's parser and votes for the label it gives. Labels
are compared as the dataset's metric compares them, so that "(4 + 3)" and "(3 + 4)" are
one candidate of svamp. Of candidates with as many votes the one that came first wins.

    "3 and 4. The answer is (3 + 4).", "4 * 3. The answer is (4 * 3).",
    "4 and 3. The answer is (4 + 3)."
    -> label "(3 + 4)", rationale "3 and 4.", 2 votes of 3 samples, margin 1/3
"""

import dataclasses
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from dsbs_jax.data import completions as parsers
from dsbs_jax.data import dataset_spec, jsonl
from dsbs_jax.data.completions import ParsedCompletion
from dsbs_jax.data.metrics import Metric
from dsbs_jax.data.records import Record, check_text
from dsbs_jax.errors import UserError

# Of rows that were no completions.
MISSING_RATIONALE = "no rationale given"
MISSING_LABEL = "no label given"

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class VotedExample:
    """One input and what its completions come to.

    Attributes:
        id: Unique among the inputs.
        input: The text that the student reads.
        label: The answer a person gave, or None.
        completions: The teacher's raw texts, one a sample, as far as they are at hand.
        parsed: What each of them says.
        teacher_label: The label with the most votes, or None without any.
        rationale: That of the first sample that voted for it and gives one, or None.
        votes: How many samples voted for `teacher_label`.
        samples: How many completions there were, those without a label included; 0 for
            a row of one's own that no teacher answered.
        margin: (votes - those of the runner-up) / samples, 0 to 1.
        problem: None when there are both a label and a rationale to train on; else one
            of the reasons in `dsbs_jax.data.completions` or of those above.
    """

    id: str
    input: str
    label: str | None
    completions: tuple[str, ...]
    parsed: tuple[parsers.Parsed, ...]
    teacher_label: str | None
    rationale: str | None
    votes: int
    samples: int
    margin: float
    problem: str | None


def vote(
    id: str,
    input: str,
    label: str | None,
    completions: Sequence[str],
    dataset: str = "default",
    teacher: str = "palm",
) -> VotedExample:
    """Parses every completion and lets them vote.

    Args:
        id: The input's.
        input: Its text.
        label: The human label, or None; it has no vote.
        completions: The teacher's raw texts, at least one.
        dataset: A key of `dsbs_jax.data.completions.RULES`.
        teacher: The teacher's short name, where one's completions read differently.

    Raises:
        ValueError: There is no completion.
        UserError: `dataset` has no spec.
    """
    spec = dataset_spec.get(dataset)
    parsed = [spec.parse(text, teacher) for text in completions]
    return vote_parsed(id, input, label, parsed, spec.metric, completions)


def vote_parsed(
    id: str,
    input: str,
    label: str | None,
    parsed: Sequence[ParsedCompletion],
    metric: Metric,
    completions: Sequence[str] = (),
) -> VotedExample:
    """Counts the votes of samples that are already parsed.

    Args:
        id: The id of the input.
        input: The text of the input.
        label: The human label, or None. It has no vote.
        parsed: The samples, at least one.
        metric: Compares labels.
        completions: The raw text of each sample, where it is known.

    Raises:
        ValueError: There is no sample.
    """
    if not parsed:
        raise ValueError(f"{id}: no completion to decide by")
    ballots = count_votes(parsed, metric.is_correct)
    # Sorting is stable: of candidates with as many votes the first stays first.
    ranked = sorted(ballots, key=len, reverse=True)
    winners = ranked[0] if ranked else []
    runner_up = len(ranked[1]) if len(ranked) > 1 else 0
    rationale = next((p.rationale for p in winners if p.rationale), None)
    return VotedExample(
        id=id,
        input=input,
        label=label,
        completions=tuple(completions),
        parsed=tuple(parsed),
        teacher_label=winners[0].label if winners else None,
        rationale=rationale,
        votes=len(winners),
        samples=len(parsed),
        margin=(len(winners) - runner_up) / len(parsed),
        problem=None if rationale else (winners or parsed)[0].problem,
    )


def count_votes(
    parsed: Sequence[parsers.Parsed], same: Callable[[str, str], bool]
) -> list[list[parsers.Parsed]]:
    """Groups samples by their label, in the order in which the labels come up.

    Args:
        parsed: The samples; those without a label have no vote.
        same: Whether two labels mean the same. A label always equals itself, also one
            that is no arithmetic and so has no value.
    """
    ballots: list[list[parsers.Parsed]] = []
    for sample in parsed:
        if sample.label is None:
            continue
        for voters in ballots:
            first = voters[0].label
            if first == sample.label or same(first, sample.label):
                voters.append(sample)
                break
        else:
            ballots.append([sample])
    return ballots


def from_record(
    record: Record, problem: str | None = None, completion: str | None = None
) -> VotedExample:
    """Takes an example that was read before as the outcome of one sample.

    An example without a teacher label counts as no sample, unless there is a problem.

    Args:
        record: What it says.
        problem: What its parser said.
        completion: The raw text, where it is at hand.
    """
    asked = problem is not None or record.teacher_label is not None
    parsed = parsers.Parsed(record.rationale, record.teacher_label, problem)
    if problem is None and record.rationale is None:
        problem = MISSING_RATIONALE
    elif problem is None and record.label is record.teacher_label is None:
        problem = MISSING_LABEL
    votes = int(record.teacher_label is not None)
    return VotedExample(
        id=record.id,
        input=record.input,
        label=record.label,
        completions=() if completion is None else (completion,),
        parsed=(parsed,) if asked else (),
        teacher_label=record.teacher_label,
        rationale=record.rationale,
        votes=votes,
        samples=int(asked),
        margin=float(votes),
        problem=problem,
    )


def to_row(outcome: VotedExample) -> dict[str, Any]:
    """Makes a JSONL row that `dsbs_jax.data.jsonl` reads; what is None is left out."""
    row = {
        "id": outcome.id,
        "input": outcome.input,
        "label": outcome.label,
        "teacher_label": outcome.teacher_label,
        "rationale": outcome.rationale,
        "parser_version": parsers.PARSER_VERSION,
        "votes": outcome.votes,
        "samples": outcome.samples,
        "margin": round(outcome.margin, 6),
    }
    return {name: value for name, value in row.items() if value is not None}


def from_row(row: Mapping[str, Any]) -> VotedExample:
    """Reads a row of `to_row` back, or one of anybody's own dataset.

    A teacher label without votes counts as one sample's. Raw completions and the
    parser's problem are read where they are there.

    Raises:
        ValueError: A field is not what it should be; the message names it.
    """
    fields = {name: row.get(name) for name in jsonl.FIELDS}
    problem = row.get("problem")
    if problem is not None:
        check_text("problem", problem)
    outcome = from_record(Record(**fields), problem)
    samples = _whole("samples", row.get("samples", outcome.samples))
    votes = _whole("votes", row.get("votes", outcome.votes))
    if votes > samples:
        raise ValueError(f"votes is {votes}, expected at most samples, {samples}")
    margin = row.get("margin", votes / samples if samples else 0.0)
    if isinstance(margin, bool) or not isinstance(margin, int | float):
        raise ValueError(f"margin must be a number, found {type(margin).__name__}")
    if not (math.isfinite(margin) and 0 <= margin <= 1):
        raise ValueError(f"margin is {margin}, expected 0 to 1")
    texts = row.get("completions", [])
    if not isinstance(texts, list) or not all(isinstance(t, str) for t in texts):
        raise ValueError("completions must be a list of texts")
    return dataclasses.replace(
        outcome,
        completions=tuple(texts),
        votes=votes,
        samples=samples,
        margin=float(margin),
    )


def _whole(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{name} must be a whole number from 0, found {value!r:.40}")
    return value


def read(
    path: str | os.PathLike[str], read_row: Callable[[Mapping[str, Any]], T] = from_row
) -> list[T]:
    """Reads a JSONL of rationales: rows of `to_row`, or anybody's own.

    Args:
        path: The file.
        read_row: Takes a row; raises ValueError for what is wrong with it.

    Raises:
        UserError: It cannot be read or has bad rows; the first one is named.
    """
    found = []
    for row in jsonl.read_inputs(path):
        try:
            found.append(read_row(row))
        except ValueError as error:
            raise UserError(f"{path}: row {row['id']!r}: {error}") from error
    return found
