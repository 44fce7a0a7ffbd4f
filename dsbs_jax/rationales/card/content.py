"""The content of a quality card: figures of rationales as text and tables."""

import math
from collections.abc import Mapping

from dsbs_jax.rationales import filters
from dsbs_jax.rationales.quality import Quality
from dsbs_jax.rationales.voting import VotedExample
from dsbs_jax.reports.page import (
    Block,
    Column,
    Heading,
    Paragraph,
    Row,
    Table,
    TextFields,
)
from dsbs_jax.reports.proportion import NO_VALUE, Proportion
from dsbs_jax.settings import settings_of

_MAX_LABEL = 40  # characters of a label in a table
_ACCURACY_COLUMNS = (
    Column("right", numeric=True),
    Column("rows", numeric=True),
    Column("accuracy", numeric=True),
    Column("95 % interval", numeric=True),
)


def headline(quality: Quality) -> str:
    """Returns the most important figures in one or two sentences."""
    stages = dict(quality.stages)
    kept = f"{stages['kept']:,} of {stages['inputs']:,} inputs are kept."
    right = quality.accuracy
    if not right.total:
        return f"{kept} No row has a human label to compare the teacher's label with."
    return (
        f"{kept} The teacher's label is right on {right.percent} of the "
        f"{right.total:,} rows with a human label "
        f"(95 % interval {right.percent_interval})."
    )


def sections(
    quality: Quality, result: filters.FilterResult, facts: Mapping[str, object]
) -> list[Block]:
    """Returns the first sections of the card, after the headline and the plots.

    Args:
        quality: The figures.
        result: The filters and the rows that they dropped.
        facts: Facts about the rationales, by name.
    """
    return [
        *_source(facts),
        *_counts(quality),
        *_filters(result),
        *_accuracy(quality),
        *_lengths(quality),
        *_leakage(quality),
        *_margins(quality),
    ]


def _accuracy_cells(right: Proportion) -> Row:
    return [right.count, right.total, right.percent, right.percent_interval]


def short(label: str) -> str:
    """Cuts a long label for a table."""
    return label if len(label) <= _MAX_LABEL else f"{label[:_MAX_LABEL]}…"


def _source(facts: Mapping[str, object]) -> list[Block]:
    rows = [[name, str(value)] for name, value in facts.items()]
    return [Heading("Source"), Table([Column("field"), Column("value")], rows)]


def _counts(quality: Quality) -> list[Block]:
    columns = [Column("stage"), Column("rows", numeric=True)]
    blocks: list[Block] = [
        Heading("Rows at each stage"),
        Table(columns, quality.stages),
    ]
    if quality.samples_with_label:
        share = quality.samples_with_label
        text = f"{share.count:,} of {share.total:,} samples have a label"
        blocks.append(Paragraph(f"{text} ({share.percent})."))
    if quality.answer_given.count:
        share = quality.answer_given
        text = (
            f"On {share.count:,} of the {share.total:,} kept rows ({share.percent}, "
            f"95 % interval {share.percent_interval}) the teacher was given the human "
            "label, because it did not reach it without help. The teacher's accuracy "
            "below is that without help."
        )
        blocks.append(Paragraph(text))
    if quality.problems:
        columns = [
            Column("reason for a missing label or rationale"),
            Column("rows", numeric=True),
        ]
        blocks.append(Table(columns, list(quality.problems.items())))
    return blocks


def _filters(result: filters.FilterResult) -> list[Block]:
    counts = result.counts
    if result.config:
        note = "The filters run in this order. The first filter that applies to a row "
        note += "gives the reason."
    else:
        note = "The filters ran earlier and their settings are not recorded. The "
        note += "reasons are those of the file of dropped rows."
    settings = filter_settings(result.config) if result.config else {}
    if counts.get(filters.OTHER_LABEL):
        settings = {filters.OTHER_LABEL: "LABELS", **settings}
    rows: list[Row] = [
        [reason, settings.get(reason, "not recorded"), counts.get(reason, 0)]
        for reason in dict.fromkeys([*settings, *counts])
    ]
    blocks: list[Block] = [Heading("Filters"), Paragraph(note)]
    columns = [
        Column("reason to drop a row"),
        Column("setting"),
        Column("dropped rows", numeric=True),
    ]
    return [*blocks, Table(columns, rows)] if rows else blocks


def filter_settings(config: filters.FilterConfig) -> dict[str, str]:
    """Returns each filter's setting by the reason that the filter gives.

    FilterConfig(min_words=5) -> {…, "rationale too short": "MIN_WORDS = 5", …}
    """
    texts = {}
    for info in settings_of(filters.FilterConfig):
        value = getattr(config, info.field)
        state = "" if value else " (off)"
        reason = filters.REASON_OF_SETTING[info.field]
        texts[reason] = f"{info.macro} = {value}{state}"
    return texts


def _accuracy(quality: Quality) -> list[Block]:
    if not quality.accuracy.total:
        return []
    classes = quality.classes
    rows: list[Row] = [
        ["all rows with a human label", *_accuracy_cells(quality.accuracy)],
        ["kept rows", *_accuracy_cells(quality.kept_accuracy)],
    ]
    class_rows: list[Row] = []
    for score in classes.scores:
        wrong = [f"{short(x)} × {count:,}" for x, count in score.wrong_labels]
        cells = _accuracy_cells(score.correct)
        class_rows.append([short(score.name), *cells, "; ".join(wrong) or NO_VALUE])
    columns = [Column("human label"), *_ACCURACY_COLUMNS]
    blocks: list[Block] = [
        Heading("Teacher accuracy"),
        Paragraph("A row without a teacher label counts as wrong."),
        Table([Column("set"), *_ACCURACY_COLUMNS], rows),
        Paragraph(f"Accuracy by human label ({classes.kind}):"),
        Table([*columns, Column("most frequent wrong labels")], class_rows),
    ]
    return [*blocks, _confusion(quality)] if classes.columns else blocks


def _confusion(quality: Quality) -> Table:
    classes = quality.classes
    header = [Column(short(name), numeric=True) for name in classes.columns]
    rows: list[Row] = [
        [short(score.name), *(score.answers.get(name, 0) for name in classes.columns)]
        for score in classes.scores
    ]
    return Table([Column("human ↓ teacher →"), *header], rows)


def _lengths(quality: Quality) -> list[Block]:
    if not quality.lengths:
        return []
    note = (
        "Lengths are in tokens of the student's vocabulary, without the end token. "
        "Texts that are too long for the student, end token included, are truncated."
        if quality.unit == "tokens"
        else "Lengths are in words, because no vocabulary was given. Each word has at "
        "least one token, so at least this many rows are truncated."
    )
    titles = ["median", "95th percentile", "longest", "student's limit (tokens)"]
    columns = [Column(title, numeric=True) for title in [*titles, "truncated rows"]]
    rows: list[Row] = [
        [
            field,
            texts.quantile(0.5),
            texts.quantile(0.95),
            texts.lengths[-1],
            texts.limit,
            texts.truncated.count,
        ]
        for field, texts in quality.lengths.items()
    ]
    return [
        Heading("Lengths of kept rows"),
        Paragraph(note),
        Table([Column(quality.unit), *columns], rows),
    ]


def _leakage(quality: Quality) -> list[Block]:
    if not quality.leakage[math.inf].total:
        return []
    rows: list[Row] = [
        [
            "anywhere" if words == math.inf else f"first {words}",
            share.count,
            share.percent,
        ]
        for words, share in quality.leakage.items()
    ]
    note = (
        "Kept rows whose rationale states the complete teacher label within its first "
        "words. A rationale that begins with the answer explains little."
    )
    columns = [
        Column("words of the rationale"),
        Column("rows", numeric=True),
        Column("share of kept rows", numeric=True),
    ]
    return [Heading("Leakage"), Paragraph(note), Table(columns, rows)]


def _margins(quality: Quality) -> list[Block]:
    if not quality.margins:
        return []
    rows: list[Row] = [
        [f"{one.low:.1f} to {one.low + 0.1:.1f}", one.inputs, one.correct.percent]
        for one in quality.margins
        if one.inputs
    ]
    note = (
        "The vote margin of an input is the winner's votes minus the runner-up's, "
        "divided by the number of samples."
    )
    columns = [
        Column("margin"),
        Column("inputs", numeric=True),
        Column("teacher accuracy", numeric=True),
    ]
    return [Heading("Vote margins"), Paragraph(note), Table(columns, rows)]


def example_sections(quality: Quality, result: filters.FilterResult) -> list[Block]:
    """Returns the last sections of the card, which show examples of rows.

    Args:
        quality: The figures.
        result: The rows that the filters dropped, with the reasons.
    """
    # By identity, because two dropped rows may be equal and have different reasons.
    reasons = {id(example): reason for example, reason in result.dropped}
    blocks: list[Block] = []
    for title, examples in quality.shown.items():
        blocks.append(Heading(title))
        blocks += [_fields(e, reasons.get(id(e))) for e in examples]
    return blocks


def _fields(example: VotedExample, reason: str | None) -> TextFields:
    fields = {
        "id": example.id,
        "dropped": reason,
        "input": example.input,
        "human label": example.label,
        "teacher label": example.teacher_label,
        "teacher label without help": example.own_label,
        "rationale": example.rationale,
        "judge": example.judge_verdict,
        "reason of the judge": example.judge_reason,
    }
    if example.samples > 1:
        fields["votes"] = f"{example.votes} of {example.samples}"
    if reason and example.completions:
        fields["completion"] = example.completions[0]
    return TextFields(
        [(name, text) for name, text in fields.items() if text is not None]
    )
