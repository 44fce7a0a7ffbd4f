"""Writes the text of a new prompt file for a user's task.

With exemplars, the file shows one row of the data for each label and leaves the
rationale to the user: an invented rationale would teach the teacher a wrong reason.
Without exemplars (zero-shot), the file is ready to use.
"""

import statistics
from collections.abc import Sequence

from dsbs_jax.data.records import Record
from dsbs_jax.errors import UserError
from dsbs_jax.teacher import prompts
from dsbs_jax.teacher.prompts import PLACEHOLDER

# Labels that get an exemplar; more would make each request long.
MAX_EXEMPLARS = 10
# Exemplars for open answers.
OPEN_EXEMPLARS = 5

_COMMENTS = """\
# Prompt for a teacher, made from {source}.
# Lines that begin with "#" above the first section are comments.
#
{steps}
#
#   rule: how the answers are read. "default" takes the text after "So the answer is".
#   stop: text at which the server stops generating, "\\n" for a new line.
"""
_LABEL_COMMENT = """\
#   label: the task's labels. Other labels of the teacher do not count.
"""
_FEW_SHOT_STEPS = """\
# 1. Replace each {placeholder} by the reason for the label: facts
#    of the input and the rule that leads to the label. Do not begin with the label.
# 2. {meaning}
# 3. The teacher sees the labels of these examples. Leave the rows out of your test set.
# 4. See what is sent: add --dry_run to the command `dsbs-jax extract`."""
_MORE_LABELS = """
#    Only {shown} of {total} labels have an example. Add more where the teacher errs."""
_ZERO_SHOT_STEPS = """\
# 1. {meaning}
# 2. See what is sent: add --dry_run to the command `dsbs-jax extract`."""
_LABEL_MEANING = """\
Say in the instructions what each label means, and which label to choose in
#    unclear cases."""
_OPEN_MEANING = "Say in the instructions what is asked and how an answer is written."
_HEADER = "rule: default\nstop: \\nQ:\n"
_INSTRUCTIONS = """\
=== instructions
{task}
First write one or two sentences that give the reason, with facts of the text. Then \
write "So the answer is", {answer}, and a full stop.

=== question
Q: {{input}}
A:
"""
_EXEMPLAR = """
=== input
{input}
=== label
{label}
=== answer
{placeholder} So the answer is {label}.
"""


def text(
    rows: Sequence[Record],
    labels: Sequence[str],
    source: str,
    zero_shot: bool = False,
) -> str:
    """Returns the text of a prompt file.

    Args:
        rows: Rows with a label, from which the exemplars are chosen.
        labels: The task's labels; without labels, the answers are open.
        source: Name of the data, for the comments.
        zero_shot: Whether to leave out exemplars.

    Raises:
        UserError: A label has no row to show, or cannot be written to a prompt file.
    """
    if len(set(labels)) != len(labels) or len(labels) == 1:
        raise UserError(
            "expected two or more different labels, found "
            f"{', '.join(map(repr, labels))}"
        )
    steps = _ZERO_SHOT_STEPS if zero_shot else _FEW_SHOT_STEPS
    if not zero_shot and len(labels) > MAX_EXEMPLARS:
        steps += _MORE_LABELS.format(shown=MAX_EXEMPLARS, total=len(labels))
    parts = [
        _comments(source, steps, bool(labels)),
        _HEADER,
        *(f"label: {label}\n" for label in labels),
        "\n",
        _instructions(labels),
    ]
    if not zero_shot:
        parts += [
            _EXEMPLAR.format(**row, placeholder=PLACEHOLDER)
            for row in _exemplars(rows, labels)
        ]
    written = "".join(parts)
    _check(written, source)
    return written


def _comments(source: str, steps: str, closed: bool) -> str:
    meaning = _LABEL_MEANING if closed else _OPEN_MEANING
    filled = steps.format(placeholder=PLACEHOLDER, meaning=meaning)
    text = _COMMENTS.format(source=source, steps=filled)
    return text + _LABEL_COMMENT if closed else text


def _instructions(labels: Sequence[str]) -> str:
    if not labels:
        task, answer = 'Answer the text after "Q:".', "the answer"
        return _INSTRUCTIONS.format(task=task, answer=answer)
    task = f'Choose one of these labels for the text after "Q:": {", ".join(labels)}.'
    answer = "the label exactly as it is written above"
    return _INSTRUCTIONS.format(task=task, answer=answer)


def _exemplars(rows: Sequence[Record], labels: Sequence[str]) -> list[dict[str, str]]:
    """Chooses one row for each label, whose input has the median length.

    For open answers, the labels are the first ones of the rows.
    """
    chosen = []
    if not labels:
        found = dict.fromkeys(row.label for row in rows if row.label is not None)
        labels = list(found)[:OPEN_EXEMPLARS]
    for label in labels[:MAX_EXEMPLARS]:
        inputs = [
            row.input.strip()
            for row in rows
            if row.label == label and not prompts.has_heading(row.input)
        ]
        if not inputs:
            raise UserError(
                f"no row has the label {label!r:.40}, expected one to show for each "
                "label; correct the labels, or write a prompt with zero_shot"
            )
        median = statistics.median_low([len(one) for one in inputs])
        first = next(one for one in inputs if len(one) == median)
        chosen.append({"input": first, "label": label})
    return chosen


def _check(written: str, source: str) -> None:
    """Raises UserError unless `prompts` reads the file once it is filled in."""
    try:
        prompts.parse(written.replace(PLACEHOLDER, "It is stated."), source)
    except ValueError as error:
        raise UserError(f"{source}: cannot make a prompt: {error}") from error
