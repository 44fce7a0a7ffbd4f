r"""The quality card of a set of rationales: one page, as Markdown and as HTML.

    python -m dsbs_jax.rationales.card --jsonl=runs/mine/rationales.jsonl --output=DIR
    python -m dsbs_jax.rationales.card --release=datasets.zip --dataset=cqa --output=DIR

Takes the rows that an extraction kept, with `filtered.jsonl` beside them, or anybody's
own rows, or the released data. Filters other than the defaults are set by
`--gin_file=teacher/filters.gin --gin.MIN_WORDS=5`; where there is a `filtered.jsonl`,
they have run before. Writes `card.md`, `card.png` and `card.html`, which needs no other
file.
"""

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

from dsbs_jax import cli, files
from dsbs_jax.data import completions, jsonl
from dsbs_jax.errors import UserError
from dsbs_jax.rationales import filters, quality, voting
from dsbs_jax.rationales.card import documents
from dsbs_jax.rationales.card import plots as figures
from dsbs_jax.rationales.card.documents import Block, Example, Heading, Paragraph, Table
from dsbs_jax.rationales.lengths import Lengths, in_tokens
from dsbs_jax.rationales.quality import Proportion, Quality
from dsbs_jax.rationales.voting import VotedExample
from dsbs_jax.released import reader as released
from dsbs_jax.teacher import results

# Tokens of inputs and targets, as gin/datasets has them.
RELEASED_LENGTHS = (1024, 256)
OWN_LENGTHS = (512, 128)
_SHARE_COLUMNS = ["#right", "#rows", "#accuracy", "#95 % interval"]
_LABEL_LENGTH = 40


def write(
    folder: str | os.PathLike[str],
    found: Sequence[VotedExample],
    result: filters.FilterResult,
    *,
    title: str = "Quality card",
    dataset: str = "default",
    lengths: Lengths | None = None,
    failed: int = 0,
    facts: Mapping[str, object] | None = None,
) -> Quality:
    """Writes card.png, card.md and card.html, replacing those that are there.

    Args:
        folder: Where to; made where it is missing.
        found: Every outcome.
        result: What the filters kept of them, and what they dropped.
        title: The card's.
        dataset: Whose way of comparing labels counts.
        lengths: The student's feature lengths; by default those of one's own data.
        failed: Inputs without an outcome, because no reply came.
        facts: What else to say of the set, such as the teacher's name. Another "parser
            version" than this one's, where rows were parsed before.

    Returns:
        The numbers on the card.

    Raises:
        OSError: A file cannot be written.
    """
    measured = quality.measure(found, result, dataset, lengths, failed)
    picture = documents.Picture(
        "card.png", figures.draw(measured), "Plots of the numbers below"
    )
    facts = {"parser version": completions.PARSER_VERSION, **(facts or {})}
    blocks = [
        Paragraph(headline(measured)),
        picture,
        Heading("Made from"),
        Table(["what", "value"], [[str(k), str(v)] for k, v in facts.items()]),
        *_counts(measured),
        *_filters(result),
        *_accuracy(measured),
        *_lengths(measured),
        *_leakage(measured),
        *_margins(measured),
        *_samples(measured, dict((id(o), reason) for o, reason in result.dropped)),
    ]
    folder = pathlib.Path(folder)
    files.write(folder / picture.name, picture.content)
    files.write(folder / "card.md", documents.markdown(title, blocks))
    files.write(folder / "card.html", documents.web_page(title, blocks))
    return measured


def headline(measured: Quality) -> str:
    """What matters most, in a sentence or two."""
    stages = dict(measured.stages)
    text = f"Kept {stages['kept']:,} of {stages['inputs']:,} inputs."
    right = measured.agreement
    if not right.total:
        return f"{text} No row has a human label to judge the teacher by."
    return (
        f"{text} The teacher's label is right on {_percent(right)} of the "
        f"{right.total:,} rows with a human label (95 % interval {_interval(right)})."
    )


def _percent(share: Proportion) -> str:
    return f"{100 * share.value:.2f} %" if share.total else "–"


def _interval(share: Proportion) -> str:
    if not share.total:
        return "–"
    low, high = share.interval
    return f"{100 * low:.2f} to {100 * high:.2f}"


def _share_cells(share: Proportion) -> list[str]:
    return [f"{share.count:,}", f"{share.total:,}", _percent(share), _interval(share)]


def _short(label: str) -> str:
    """A label as a table shows it."""
    return label if len(label) <= _LABEL_LENGTH else f"{label[:_LABEL_LENGTH]}…"


def _counts(measured: Quality) -> list[Block]:
    blocks: list[Block] = [
        Heading("Counts at each stage"),
        Table(["stage", "#count"], [[n, f"{c:,}"] for n, c in measured.stages]),
    ]
    if measured.sampled:
        share = measured.sampled
        text = f"{share.count:,} of {share.total:,} samples have a label"
        blocks.append(Paragraph(f"{text} ({_percent(share)})."))
    if measured.problems:
        rows = [[name, f"{count:,}"] for name, count in measured.problems.items()]
        blocks.append(
            Table(["without a label or a rationale, because", "#inputs"], rows)
        )
    return blocks


def _filters(result: filters.FilterResult) -> list[Block]:
    counts = result.counts
    asked = described(result.settings) if result.settings else {}
    if not result.settings:
        note = "Settings are not recorded here; the reasons are those that stand beside"
        note += " each dropped row."
    else:
        note = "Filters run in this order; the first that applies gives the reason."
    names = dict.fromkeys([*asked, *counts])
    rows = [[n, asked.get(n, "not recorded"), f"{counts.get(n, 0):,}"] for n in names]
    blocks: list[Block] = [Heading("Filters"), Paragraph(note)]
    return [*blocks, Table(["filter", "setting", "#dropped"], rows)] if rows else blocks


def described(chosen: filters.FilterConfig) -> dict[str, str]:
    """What each filter is set to, by its reason."""

    def switch(on: bool) -> str:
        return "on" if on else "off"

    def bound(text: str, value: float) -> str:
        return f"{text} {value}" if value else "off"

    return {
        filters.UNPARSABLE: switch(chosen.unparsable),
        filters.DISAGREES: switch(chosen.disagreement),
        filters.NARROW: bound("at least", chosen.min_margin),
        filters.SHORT: bound("words at least", chosen.min_words),
        filters.LONG: bound("words at most", chosen.max_words),
        filters.LEAKS: bound("first words", chosen.leak_words),
        filters.SAME_INPUT: switch(chosen.duplicate_inputs),
        filters.SAME_ROW: switch(chosen.duplicate_rows),
    }


def _accuracy(measured: Quality) -> list[Block]:
    if not measured.agreement.total:
        return []
    blocks: list[Block] = [
        Heading("Teacher accuracy"),
        Paragraph("Rows without a teacher label count as wrong."),
        Table(
            ["rows", *_SHARE_COLUMNS],
            [
                ["all with a human label", *_share_cells(measured.agreement)],
                ["those kept", *_share_cells(measured.kept_agreement)],
            ],
        ),
        Paragraph(f"By {measured.class_kind}:"),
    ]
    rows = [
        [
            _short(one.name),
            *_share_cells(one.right),
            "; ".join(f"{_short(x)} × {count:,}" for x, count in one.wrong) or "–",
        ]
        for one in measured.classes
    ]
    header = ["human label", *_SHARE_COLUMNS, "most frequent wrong labels"]
    blocks.append(Table(header, rows))
    if measured.columns:
        rows = [
            [
                _short(one.name),
                *(f"{one.answers.get(c, 0):,}" for c in measured.columns),
            ]
            for one in measured.classes
        ]
        header = [
            "human ↓ teacher →",
            *(f"#{_short(column)}" for column in measured.columns),
        ]
        blocks.append(Table(header, rows))
    return blocks


def _lengths(measured: Quality) -> list[Block]:
    if not measured.lengths:
        return []
    exact = measured.unit == "tokens"
    note = (
        "Counted in tokens of the student's vocabulary, without the end token. Texts "
        "that leave it no room are cut."
        if exact
        else "Counted in words, since no vocabulary was given. A word is a token or "
        "more, so at least these rows are cut."
    )
    columns = ["#median", "#95th percentile", "#longest", "#student's tokens", "#cut"]
    rows = []
    for name, sizes in measured.lengths.items():
        cells = [sizes.quantile(0.5), sizes.quantile(0.95), sizes.sizes[-1]]
        cells += [sizes.limit, sizes.cut.count]
        rows.append([name, *(f"{cell:,}" for cell in cells)])
    header = [measured.unit, *columns]
    return [Heading("Lengths of what was kept"), Paragraph(note), Table(header, rows)]


def _leakage(measured: Quality) -> list[Block]:
    if not measured.leakage[math.inf].total:
        return []
    rows = [
        ["anywhere" if n == math.inf else f"first {n}", f"{s.count:,}", _percent(s)]
        for n, s in measured.leakage.items()
    ]
    note = (
        "Kept rows whose rationale states the teacher's whole label within its first "
        "words. One that begins with the answer explains little."
    )
    return [
        Heading("Leakage"),
        Paragraph(note),
        Table(["words of the rationale", "#rows", "#share"], rows),
    ]


def _margins(measured: Quality) -> list[Block]:
    if not measured.margins:
        return []
    rows = [
        [f"{one.low:.1f} to {one.low + 0.1:.1f}", f"{one.rows:,}", _percent(one.right)]
        for one in measured.margins
        if one.rows
    ]
    note = "The winner's votes less the runner-up's, as a share of an input's samples."
    return [
        Heading("Vote margins"),
        Paragraph(note),
        Table(["margin", "#inputs", "#teacher accuracy"], rows),
    ]


def _samples(measured: Quality, reasons: Mapping[int, str]) -> list[Block]:
    """Samples under their titles; `reasons` goes by the identity of an outcome."""
    blocks: list[Block] = []
    for title, some in measured.samples.items():
        blocks.append(Heading(title))
        blocks += [_example(outcome, reasons.get(id(outcome))) for outcome in some]
    return blocks


def _example(outcome: VotedExample, reason: str | None) -> Example:
    fields = {
        "id": outcome.id,
        "dropped": reason,
        "input": outcome.input,
        "human": outcome.label,
        "teacher": outcome.teacher_label,
        "rationale": outcome.rationale,
    }
    if outcome.samples > 1:
        fields["votes"] = f"{outcome.votes} of {outcome.samples}"
    if reason and outcome.completions:
        fields["completion"] = outcome.completions[0]
    return Example([(name, text) for name, text in fields.items() if text is not None])


@dataclasses.dataclass(frozen=True)
class Rationales:
    """A set of rationales as it was read.

    Attributes:
        found: Every outcome.
        result: What the filters kept of them, and what they dropped.
        facts: What the card is to say of the set.
        dataset: Whose way of comparing labels counts.
        failed: Inputs without an outcome.
    """

    found: list[VotedExample]
    result: filters.FilterResult
    facts: dict[str, object]
    dataset: str
    failed: int = 0


def of_jsonl(path: str, filtered: str | None, dataset: str | None) -> Rationales:
    """Reads rows with rationales, those kept first.

    Args:
        path: The rows.
        filtered: What was dropped; None looks for `filtered.jsonl` beside them, and
            then for `failed.jsonl` and `report.json` too. Without any, the filters
            run now.
        dataset: Whose way of comparing labels counts; None is the report's.

    Raises:
        UserError: As `filters.read`.
    """
    beside, failed = pathlib.Path(path).parent / results.FILTERED, 0
    chosen, made_from = None, {}
    if filtered is None and beside.is_file() and beside != pathlib.Path(path):
        filtered = os.fspath(beside)
        failed = len(_rows(beside.with_name(results.FAILED)))
        chosen, made_from = _reported(beside.with_name(results.REPORT))
    result = dataclasses.replace(filters.read(path, filtered), settings=chosen)
    dataset = dataset or (chosen.dataset if chosen else "default")
    paths = [path, filtered] if filtered else [path]
    if not filtered:
        result = filters.apply(result.kept, _configured(dataset))
    versions = {
        str(row.get("parser_version", "not recorded"))
        for one in paths
        for row in _rows(pathlib.Path(one))
    }
    facts = {
        "file": path,
        **made_from,
        "labels compared as": dataset,
        "parser version": ", ".join(sorted(versions)),
    }
    found = [*result.kept, *(outcome for outcome, _ in result.dropped)]
    return Rationales(found, result, facts, dataset, failed)


def _reported(
    path: pathlib.Path,
) -> tuple[filters.FilterConfig | None, dict[str, object]]:
    """The filters that ran and what was asked; nothing where no report says so."""
    try:
        report = json.loads(path.read_bytes())
        chosen = filters.FilterConfig(**report["filters"])
        if chosen.dataset in completions.RULES:
            return chosen, dict(report["made_from"])
    # An older report, or a file of another program.
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        pass
    return None, {}


def _rows(path: pathlib.Path) -> list[dict[str, Any]]:
    """The rows of a file; none of one that is empty or missing."""
    filled = path.is_file() and path.stat().st_size
    return jsonl.read_inputs(path) if filled else []


def of_release(
    path: str | os.PathLike[str],
    dataset: str,
    teacher: str = "palm",
    raw_split: str = "train",
) -> Rationales:
    """Reads a split of the released data, in the files' order.

    Raises:
        UserError: As `released.Release.read_raw`.
    """
    raw = released.open_release(path).read_raw(dataset, raw_split, teacher)
    unread = {one.index: one for one in raw.quarantine}
    found = []
    for index, record in enumerate(raw.records):
        one = unread.get(index)
        problem = (one.problem, one.completion) if one else ()
        found.append(voting.from_record(record, *problem))
    facts: dict[str, object] = {
        "released data": dataset,
        "split of the files": raw_split,
        "teacher": teacher,
    }
    outside = released.score_teacher(raw).out_of_choices
    if outside is not None:
        facts["teacher labels that are none of the choices"] = f"{outside:,}"
    result = filters.apply(found, _configured(dataset))
    return Rationales(found, result, facts, dataset)


def _configured(dataset: str) -> filters.FilterConfig:
    """The filters that gin sets, or the defaults."""
    return dataclasses.replace(filters.FilterConfig(), dataset=dataset)


def main(argv: list[str]) -> None:
    """Runs the command."""
    del argv
    options = flags.FLAGS
    if bool(options.jsonl) == bool(options.release):
        raise UserError("give either --release and --dataset, or --jsonl")
    if options.release and not options.dataset:
        raise UserError("--release needs --dataset")
    if options.gin_bindings and not options.gin_file:
        raise UserError("--gin.NAME=value needs --gin_file=teacher/filters.gin")
    if options.gin_file:
        cli.configure(options.gin_file, options.gin_bindings, options.gin_search_paths)
    dataset = options.dataset
    if dataset and dataset not in completions.RULES:
        raise UserError(
            f"--dataset is {dataset!r}, expected one of {', '.join(completions.RULES)}"
        )
    lengths = _chosen_lengths(options)
    if options.release:
        split = options.split
        read = of_release(options.release, dataset, options.teacher, split)
        title = f"{dataset} {split}: rationales by {options.teacher}"
    else:
        read = of_jsonl(options.jsonl, options.filtered, dataset)
        title = pathlib.Path(options.jsonl).name
    measured = write(
        options.output,
        read.found,
        read.result,
        title=f"Quality card: {title}",
        dataset=read.dataset,
        lengths=lengths,
        failed=read.failed,
        facts=read.facts,
    )
    print(headline(measured))
    print(pathlib.Path(options.output) / "card.html")


def _chosen_lengths(options: flags.FlagValues) -> Lengths:
    inputs, targets = RELEASED_LENGTHS if options.release else OWN_LENGTHS
    inputs = options.inputs_length or inputs
    targets = options.targets_length or targets
    if options.vocabulary:
        return in_tokens(options.vocabulary, inputs, targets)
    return Lengths(inputs, targets)


def define_flags() -> None:
    """Defines the command's flags."""
    cli.define_flags()
    flags.DEFINE_string("jsonl", None, "Rows with rationales.")
    flags.DEFINE_string(
        "filtered", None, "What was dropped of them; by default filtered.jsonl beside."
    )
    flags.DEFINE_string("release", None, "Released data instead: a folder or zip file.")
    flags.DEFINE_string("dataset", None, "Whose way of comparing labels counts.")
    flags.DEFINE_string("teacher", "palm", "Whose completions of the released data.")
    flags.DEFINE_string("split", "train", "Which of its files: train, valid or test.")
    flags.DEFINE_string("vocabulary", None, "The student's SentencePiece model file.")
    flags.DEFINE_integer("inputs_length", None, "Tokens of an input.", lower_bound=1)
    flags.DEFINE_integer("targets_length", None, "Tokens of a target.", lower_bound=1)
    flags.DEFINE_string("output", None, "The folder to write to.")
    flags.mark_flag_as_required("output")
