"""The card of a trained student: a page about a run."""

import dataclasses
import math
import os
import pathlib
from collections.abc import Sequence

from dsbs_jax import files, json_input
from dsbs_jax.api.student import Student
from dsbs_jax.data import tables
from dsbs_jax.data.records import Record
from dsbs_jax.errors import UserError
from dsbs_jax.local import curves, student_folder
from dsbs_jax.local.student_folder import StudentSpec
from dsbs_jax.rationales.card import bias_inputs
from dsbs_jax.rationales.card.config import BiasConfig
from dsbs_jax.reports import inheritance, saved_report, student_card
from dsbs_jax.reports.classification import ClassificationReport
from dsbs_jax.reports.curve_plots import Curves
from dsbs_jax.reports.inheritance import Inheritance
from dsbs_jax.reports.open_answers import OpenReport
from dsbs_jax.reports.page import WrittenPage
from dsbs_jax.reports.report import Texts
from dsbs_jax.reports.student_card import StudentCard
from dsbs_jax.student.network import parameter_shapes

_Report = ClassificationReport | OpenReport
_Path = str | os.PathLike[str]
_LOSSES = {"label_loss": "label", "rationale_loss": "rationale", "loss": "total"}


def write_student_card(
    run: _Path,
    output: _Path | None = None,
    *,
    test_data: _Path | None = None,
    group_by: Sequence[str] = (),
    group_file: _Path | None = None,
) -> WrittenPage:
    """Writes a page about a trained student.

    The page shows the curves of training, the metrics, the skew of teacher and student,
    examples with the rationales of both, the settings of the run, and facts about the
    data.

        dsbs_jax.write_student_card("runs/tickets")

    Args:
        run: A run folder, or an exported student.
        output: Folder to write `card.html` to; by default the run folder.
        test_data: Labeled rows to score the student on, with the fields of a training
            row. None takes the run's `report/report.json`, and without it the run's
            `data/test.jsonl`. The page shows the teacher's rationales of the same rows.
        group_by: Columns whose values are groups of test rows; the page compares the
            accuracy of teacher and student in each group.
        group_file: File with these columns and the column `id`, which has the ids of
            the test rows; by default the test rows.

    Raises:
        UserError: The folder holds no student, or a file cannot be read.
        OSError: The page cannot be written.
    """
    folder = pathlib.Path(run)
    spec = student_folder.read_spec(folder)
    bias = BiasConfig(
        group_by=tuple(group_by),
        group_file=None if group_file is None else os.fspath(group_file),
    )
    report, source = _report(folder, spec, test_data)
    results = folder / saved_report.RESULTS
    best = saved_report.read_best(results) if results.exists() else None
    card = StudentCard(
        title=f"Student: {spec.dataset or folder.resolve().name}",
        report=report,
        best=best,
        curves=_curves(folder),
        facts=_facts(folder, spec) | source,
        settings=_settings(folder),
        inheritance=_inheritance(folder, spec, _test_file(folder, test_data), bias),
    )
    page = pathlib.Path(output or folder) / student_card.HTML
    files.write(page, card.as_html())
    return WrittenPage(page, card.headline())


def _report(
    folder: pathlib.Path, spec: StudentSpec, test_data: _Path | None
) -> tuple[_Report | None, dict[str, str]]:
    """Returns the report, with rationales in its examples, and its source."""
    data = _test_file(folder, test_data)
    rows = [] if data is None else tables.read_split(os.fspath(data))
    path = folder / saved_report.REPORT
    saved = None
    if test_data is None and path.exists():
        saved = saved_report.read_report(path)
    elif test_data is None and all(row.label is None for row in rows):
        return None, {}
    explains = spec.explain_prefix is not None or spec.single_task
    student = None
    if saved is None or explains:
        student = Student.load(os.fspath(folder))
    report: _Report
    if saved is None:
        assert student is not None
        report, source = student.evaluate(os.fspath(data or "")), str(data)
    else:
        report, source = saved, saved_report.REPORT
    examples = {
        title: _with_rationales(texts, student if explains else None, rows)
        for title, texts in report.examples.items()
    }
    report = dataclasses.replace(report, examples=examples)
    return report, {"report on": source}


def _test_file(folder: pathlib.Path, test_data: _Path | None) -> pathlib.Path | None:
    """Returns the file of the test rows: the given one, or that of the run."""
    if test_data is not None:
        return pathlib.Path(test_data)
    return saved_report.split_files(folder).get(saved_report.scored_split(folder))


def _inheritance(
    folder: pathlib.Path,
    spec: StudentSpec,
    data: pathlib.Path | None,
    bias: BiasConfig,
) -> Inheritance | None:
    """Compares the labels of teacher and student on the test rows that have both.

    Raises:
        UserError: Groups are wanted, and the comparison or a column is not possible.
    """
    records = [] if data is None else tables.read_split(os.fspath(data))
    rows = [r for r in records if r.label and r.teacher_label and not r.answers]
    if data is None or not rows or spec.closed_labels is None:
        if bias.group_by:
            raise UserError(
                "GROUP_BY needs a student with a closed label set, and test rows with "
                "label and teacher_label"
            )
        return None
    columns = bias_inputs.read_columns(bias, [data], {row.id for row in rows})
    student = Student.load(os.fspath(folder))
    predictions = student.predict([row.input for row in rows])
    return inheritance.compare(
        [str(row.label) for row in rows],
        [row.teacher_label for row in rows],
        [prediction.predicted_label for prediction in predictions],
        {name: [column.get(r.id) for r in rows] for name, column in columns.items()},
    )


def _with_rationales(
    examples: Sequence[Texts], student: Student | None, rows: Sequence[Record]
) -> list[Texts]:
    """Adds the student's rationales, and the teacher's answers to the same inputs.

    Args:
        examples: Named texts, one of which is "input".
        student: The student; None if it gives no rationales.
        rows: Rows that may have the teacher's answers.
    """
    inputs = [texts["input"] for texts in examples]
    explained = student.explain(inputs) if student is not None else []
    records = {row.input: row for row in rows}
    result: list[Texts] = []
    for number, texts in enumerate(examples):
        record = records.get(texts["input"])
        added = {
            "teacher's label": record.teacher_label if record else None,
            "student's rationale": explained[number] if explained else None,
            "teacher's rationale": record.rationale if record else None,
        }
        present = {name: text for name, text in added.items() if text is not None}
        result.append({**texts, **present})
    return result


def _curves(folder: pathlib.Path) -> Curves:
    points = curves.read_curve(folder)
    scores: dict[str, list[tuple[int, float]]] = {}
    for point in points:
        for task, metrics in point.validation.items():
            for metric, value in metrics.items():
                name = f"{metric}, {task}"
                scores.setdefault(name, []).append((point.step, value))
    losses = {name: curves.series(points, key) for key, name in _LOSSES.items()}
    return Curves(losses=losses, validation=scores)


def _facts(folder: pathlib.Path, spec: StudentSpec) -> dict[str, str | int]:
    """Returns facts about student and data; facts that are not known are left out."""
    shapes = parameter_shapes(spec.network)
    facts: dict[str, str | int | None] = {
        "dataset": spec.dataset,
        "method": spec.method,
        "teacher": spec.teacher,
        "labels": "free text" if spec.labels is None else ", ".join(spec.labels),
        "parameters": sum(map(math.prod, shapes.values())),
        "vocabulary, rows of the embedding": spec.network.vocab_size,
        "longest input, tokens": spec.input_length,
        "longest target, tokens": spec.target_length,
        "fingerprint of the data": spec.data_fingerprint,
        "SHA-256 of the vocabulary": spec.vocabulary_sha256,
        "version of dsbs_jax": spec.written_by,
    }
    for split, path in saved_report.split_files(folder).items():
        lines = json_input.numbered_lines(path.read_bytes())
        facts[f"{split} rows"] = sum(1 for _ in lines)
    return {name: value for name, value in facts.items() if value is not None}


def _settings(folder: pathlib.Path) -> dict[str, str]:
    """Returns the settings in `config.gin` as text; nothing of it is executed."""
    path = folder / "config.gin"
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8", errors="backslashreplace").splitlines()
    parts = [line.partition(" = ") for line in lines]
    return {name: value for name, sign, value in parts if sign}
