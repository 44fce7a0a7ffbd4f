r"""Asks the teacher again, with the human label given, for rows that it gets wrong.

STaR (Zelikman et al. 2022, arXiv 2203.14465) calls this rationalization: the teacher
first reasons without help, and only where it does not reach the right answer, the
question gives the answer as a hint. The rationales named CROP in Li et al. 2022 (arXiv
2210.06726) combine both in the same way. The hint is part of the input, so a request
with it is a request like any other: it is stored under a hash of its own body, and
resumes, caps and batches apply.

    input "line is dead", label "visit"
    -> "line is dead\n(The correct answer is: visit)"

The exemplars of the prompt give their labels in the same way.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from dsbs_jax.data.metrics import Metric
from dsbs_jax.data.records import Record
from dsbs_jax.rationales import accuracy
from dsbs_jax.rationales.voting import VotedExample
from dsbs_jax.teacher.request_plan import RequestPlan

_BEFORE, _AFTER = "\n(The correct answer is: ", ")"


def with_answer(input: str, label: str) -> str:
    """Returns an input that gives the label.

    A change to this text would send paid requests again.
    """
    return f"{input}{_BEFORE}{label}{_AFTER}"


def split(text: str) -> tuple[str, str | None]:
    """Separates an input from its label; the label is None if none is given."""
    input, before, label = text.rpartition(_BEFORE)
    if not (before and label.endswith(_AFTER)):
        return text, None
    return input, label.removesuffix(_AFTER)


def is_needed(example: VotedExample, metric: Metric) -> bool:
    """Whether the teacher did not reach a row's human label with a rationale."""
    if example.label is None:
        return False
    return example.rationale is None or not accuracy.is_correct(example, metric)


def plan_of(
    plan: RequestPlan, examples: Iterable[VotedExample], metric: Metric
) -> RequestPlan | None:
    """Returns the plan that asks again, with the label given.

    Args:
        plan: The plan of the first requests.
        examples: The teacher's answers without help.
        metric: Compares labels.

    Returns:
        The plan; None if the teacher got every labeled row right.

    Raises:
        UserError: An input does not fit the prompt.
    """
    rows = [
        Record(e.id, with_answer(e.input, e.label or ""), e.label, answers=e.answers)
        for e in examples
        if is_needed(e, metric)
    ]
    if not rows:
        return None
    exemplars = tuple(
        dataclasses.replace(exemplar, input=with_answer(exemplar.input, exemplar.label))
        for exemplar in plan.prompt.exemplars
    )
    prompt = dataclasses.replace(plan.prompt, exemplars=exemplars)
    return dataclasses.replace(plan, rows=rows, prompt=prompt)


def merge(
    examples: Sequence[VotedExample], aided: Iterable[VotedExample], metric: Metric
) -> list[VotedExample]:
    """Replaces examples by those in which the teacher, given the label, explains it.

    An aided example counts only if it has a rationale and reaches the human label. Its
    `own_label` remains the label that the teacher gave without help.

    Args:
        examples: The teacher's answers without help.
        aided: Its answers to inputs that give the label, for some of the ids.
        metric: Compares labels.
    """
    useful: Mapping[str, VotedExample] = {
        e.id: e for e in aided if e.rationale and accuracy.is_correct(e, metric)
    }
    return [
        dataclasses.replace(
            useful[example.id],
            input=example.input,
            answer_given=True,
            own_label=example.teacher_label,
        )
        if example.id in useful
        else example
        for example in examples
    ]
