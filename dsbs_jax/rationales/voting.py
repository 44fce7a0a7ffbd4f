"""Majority vote over a teacher's samples for one input.

The dataset's parser reads each completion, and each label is one vote. The dataset's
metric compares labels, so "(4 + 3)" and "(3 + 4)" are the same candidate in svamp. If
several candidates have the most votes, the one that came first wins.

    "3 and 4. The answer is (3 + 4).", "4 * 3. The answer is (4 * 3).",
    "4 and 3. The answer is (4 + 3)."
    -> label "(3 + 4)", rationale "3 and 4.", 2 votes of 3 samples, margin 1/3
"""

import collections
import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self, TypeVar

import msgspec

from dsbs_jax import json_input
from dsbs_jax.data import dataset_spec, tables
from dsbs_jax.data.completions import PARSER_VERSION, ParsedCompletion
from dsbs_jax.data.dataset_spec import DatasetSpec
from dsbs_jax.data.metrics import Metric, Target
from dsbs_jax.data.records import Record, check_text
from dsbs_jax.errors import UserError
from dsbs_jax.settings import Fraction, NonNegativeInt

# Problems of rows that were read from a file and have no completion to parse. The
# problems of completions are in `dsbs_jax.data.completions`.
MISSING_RATIONALE = "no rationale given"
MISSING_LABEL = "no label given"

# Which rationales of the samples that voted for the label a row has.
KeptRationales = Literal["first", "all", "weighted"]
# A judge's answer to whether a rationale supports its label, or that it cannot be read.
Verdict = Literal["yes", "no", "unreadable"]

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class VotedExample:
    """One input with the result of the vote over its samples.

    Attributes:
        id: Unique among the inputs.
        input: The text that the student reads.
        label: The human label, or None.
        completions: The teacher's raw texts, one per sample, where they are known.
        parsed: What the parser reads from each sample.
        teacher_label: The label with the most votes, or None without any vote.
        rationale: The first rationale among the samples that voted for
            `teacher_label`, or None.
        votes: Number of samples that voted for `teacher_label`.
        samples: Number of samples, including those without a label; 0 for a row that no
            teacher answered.
        margin: (votes - votes of the runner-up) / samples, 0 to 1.
        problem: None when there are both a label and a rationale to train on, otherwise
            the reason: a problem of `dsbs_jax.data.completions`, `MISSING_RATIONALE` or
            `MISSING_LABEL`.
        answers: All acceptable human labels, `label` first, where there are several.
        rationales: All rationales that the row has, `rationale` first, where it has
            several or has weights; otherwise empty.
        rationale_weights: The weight of each of `rationales`, or empty.
        rationale_teachers: The teacher of each of `rationales`, or empty.
        counterfactual_rationale: The teacher's reasoning for another answer than the
            right one, or None.
        counterfactual_label: The answer to which it leads, or None.
        parser_version: Version of the rules that read the completions.
        answer_given: Whether the teacher was given the human label, because it did not
            reach it without help.
        own_label: With `answer_given`, the label that the teacher gave without help.
        judge_verdict: Whether a judge says that `rationale` supports `teacher_label`;
            None without a judge.
        judge_reason: The judge's reason, or why its reply cannot be read.
    """

    id: str
    input: str
    label: str | None
    completions: tuple[str, ...]
    parsed: tuple[ParsedCompletion, ...]
    teacher_label: str | None
    rationale: str | None
    votes: int
    samples: int
    margin: float
    problem: str | None
    answers: tuple[str, ...] = ()
    rationales: tuple[str, ...] = ()
    rationale_weights: tuple[float, ...] = ()
    rationale_teachers: tuple[str, ...] = ()
    counterfactual_rationale: str | None = None
    counterfactual_label: str | None = None
    parser_version: int = PARSER_VERSION
    answer_given: bool = False
    own_label: str | None = None
    judge_verdict: Verdict | None = None
    judge_reason: str | None = None

    @property
    def unaided_label(self) -> str | None:
        """The label that the teacher gave without help."""
        return self.own_label if self.answer_given else self.teacher_label

    @property
    def target(self) -> Target | None:
        """The human label, or all acceptable ones."""
        return self.answers or self.label

    @classmethod
    def from_record(
        cls, record: Record, problem: str | None = None, completion: str | None = None
    ) -> Self:
        """Makes the voted example of a record, as the vote of one sample.

        A record without a teacher label has no sample, unless there is a problem: then
        its one sample has no label.

        Args:
            record: A record whose completion is already parsed.
            problem: The problem that the parser reported, if any.
            completion: The raw text, where it is known.
        """
        has_sample = problem is not None or record.teacher_label is not None
        parsed = ParsedCompletion(record.rationale, record.teacher_label, problem)
        if problem is None and record.rationale is None:
            problem = MISSING_RATIONALE
        elif problem is None and record.label is record.teacher_label is None:
            problem = MISSING_LABEL
        votes = int(record.teacher_label is not None)
        return cls(
            id=record.id,
            input=record.input,
            label=record.label,
            completions=() if completion is None else (completion,),
            parsed=(parsed,) if has_sample else (),
            teacher_label=record.teacher_label,
            rationale=record.rationale,
            votes=votes,
            samples=int(has_sample),
            margin=float(votes),
            problem=problem,
            answers=record.answers,
            rationales=record.rationales,
            rationale_weights=record.rationale_weights,
            rationale_teachers=record.rationale_teachers,
            counterfactual_rationale=record.counterfactual_rationale,
            counterfactual_label=record.counterfactual_label,
        )

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Makes the voted example of a JSONL row: one of `to_row`, or a user's.

        A teacher label without `votes` counts as the vote of one sample.

        {"id": "7", "input": "2 + 2", "teacher_label": "4", "rationale": "Count on."}
        -> 1 vote of 1 sample, margin 1.0

        Raises:
            ValueError: A field has a wrong type or value; the message names the field.
        """
        fields: dict[str, Any] = {name: row.get(name) for name in tables.FIELDS}
        answers = tables.canonical_labels("label", row.get("label"))
        fields["label"] = answers[0] if answers else None
        fields["answers"] = answers if len(answers) > 1 else ()
        teacher_label = tables.canonical_label(
            "teacher_label", row.get("teacher_label")
        )
        fields["teacher_label"] = teacher_label
        fields |= {
            "counterfactual_label": tables.canonical_label(
                "counterfactual_label", row.get("counterfactual_label")
            ),
            "rationales": tables.text_list("rationales", row.get("rationales")),
            "rationale_weights": tables.number_list(
                "rationale_weights", row.get("rationale_weights")
            ),
            "rationale_teachers": tables.text_list(
                "rationale_teachers", row.get("rationale_teachers")
            ),
        }
        if fields["rationale"] is None:
            fields["rationale"] = next(iter(fields["rationales"]), None)
        known = {name: value for name, value in row.items() if value is not None}
        given = json_input.convert(known, _VoteFields, strict=False)
        if given.problem is not None:
            check_text("problem", given.problem)
        example = cls.from_record(Record(**fields), given.problem)
        samples = example.samples if given.samples is None else given.samples
        votes = example.votes if given.votes is None else given.votes
        if votes > samples:
            raise ValueError(f"votes is {votes}, expected at most samples, {samples}")
        margin = given.margin
        if margin is None:
            margin = votes / samples if samples else 0.0
        return dataclasses.replace(
            example,
            completions=tuple(given.completions),
            votes=votes,
            samples=samples,
            margin=margin,
            answer_given=given.answer_given,
            own_label=given.own_label,
            judge_verdict=given.judge_verdict,
            judge_reason=given.judge_reason,
        )

    def to_row(self) -> dict[str, Any]:
        """Returns a JSONL row that can be trained on; fields that are None are absent.

        The completions are not in it.
        """
        row = {
            "id": self.id,
            "input": self.input,
            "label": list(self.answers) or self.label,
            "teacher_label": self.teacher_label,
            "rationale": self.rationale,
            "rationales": list(self.rationales) or None,
            "rationale_weights": [round(w, 6) for w in self.rationale_weights] or None,
            "rationale_teachers": list(self.rationale_teachers) or None,
            "counterfactual_rationale": self.counterfactual_rationale,
            "counterfactual_label": self.counterfactual_label,
            "parser_version": self.parser_version,
            "votes": self.votes,
            "samples": self.samples,
            "margin": round(self.margin, 6),
            "answer_given": self.answer_given or None,
            "own_label": self.own_label,
            "judge_verdict": self.judge_verdict,
            "judge_reason": self.judge_reason,
        }
        return {name: value for name, value in row.items() if value is not None}


class _VoteFields(msgspec.Struct):
    """The fields of a row that `to_row` adds, without fields that are null."""

    votes: NonNegativeInt | None = None
    samples: NonNegativeInt | None = None
    margin: Fraction | None = None
    completions: list[str] = []
    problem: str | None = None
    answer_given: bool = False
    own_label: str | None = None
    judge_verdict: Verdict | None = None
    judge_reason: str | None = None


def vote(
    id: str,
    input: str,
    label: str | None,
    completions: Sequence[str],
    spec: DatasetSpec = dataset_spec.DEFAULT,
    teacher: str = dataset_spec.PALM,
) -> VotedExample:
    """Parses each completion and counts the votes.

    Args:
        id: The id of the input.
        input: The text of the input.
        label: The human label, or None. It has no vote.
        completions: The teacher's raw texts, at least one.
        spec: The dataset, whose parser and metric are used.
        teacher: Name of the teacher, for datasets with a parser for each teacher.

    Raises:
        ValueError: No completion is given.
    """
    parsed = [spec.parse(text, teacher) for text in completions]
    return vote_parsed(id, input, label, parsed, spec.metric, completions)


def vote_parsed(
    id: str,
    input: str,
    label: str | None,
    parsed: Sequence[ParsedCompletion],
    metric: Metric,
    completions: Sequence[str] = (),
    kept: KeptRationales = "first",
) -> VotedExample:
    """Counts the votes of samples that are already parsed.

    Args:
        id: The id of the input.
        input: The text of the input.
        label: The human label, or None. It has no vote.
        parsed: The samples, at least one.
        metric: Compares labels.
        completions: The raw text of each sample, where it is known.
        kept: Which rationales of the samples that voted for the label the row has: the
            first, all different ones, or all with weights, the share of the input's
            samples that gave this rationale.

    Raises:
        ValueError: No sample is given.
    """
    if not parsed:
        raise ValueError(f"{id}: no completion, expected at least one")
    # Sorting is stable: of candidates with equally many votes the first remains first.
    ranked = sorted(group_by_label(parsed, metric), key=len, reverse=True)
    winners = ranked[0] if ranked else []
    runner_up_votes = len(ranked[1]) if len(ranked) > 1 else 0
    given = collections.Counter(p.rationale for p in winners if p.rationale)
    rationale = next(iter(given), None)
    weights = [count / len(parsed) for count in given.values()]
    several = kept == "weighted" or (kept == "all" and len(given) > 1)
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
        margin=(len(winners) - runner_up_votes) / len(parsed),
        problem=None if rationale else (winners or parsed)[0].problem,
        rationales=tuple(given) if several else (),
        rationale_weights=tuple(weights) if kept == "weighted" else (),
    )


def group_by_label(
    parsed: Sequence[ParsedCompletion], metric: Metric
) -> list[list[ParsedCompletion]]:
    """Groups samples by their label, in the order in which the labels first occur.

    Labels "(3 + 4)", "(x)", None, "(4 + 3)", "(x)" of svamp
    -> groups of 2 (value 7) and 2 ("(x)") samples

    Args:
        parsed: The samples. Those without a label are in no group.
        metric: Compares labels. Equal texts are always one group, also those that the
            metric never calls correct, such as an equation without a value.
    """
    groups: list[list[ParsedCompletion]] = []
    for sample in parsed:
        if sample.label is None:
            continue
        for group in groups:
            first = group[0].label
            assert first is not None
            if first == sample.label or metric.is_correct(first, sample.label):
                group.append(sample)
                break
        else:
            groups.append([sample])
    return groups


def read_rows(
    path: str | os.PathLike[str], read_row: Callable[[Mapping[str, Any]], T]
) -> list[T]:
    """Reads a file of rationales, in any format.

    Args:
        path: The file.
        read_row: Converts a row, for example `VotedExample.from_row`; raises ValueError
            for a bad row.

    Raises:
        UserError: The file cannot be read, or it has bad rows; the message names the
            first one.
    """
    rows = []
    for row in tables.read_inputs(path):
        try:
            rows.append(read_row(row))
        except ValueError as error:
            raise UserError(f"{path}: row {row['id']!r}: {error}") from error
    return rows
