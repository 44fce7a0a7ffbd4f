"""Training of a student on a user's rows, in one call."""

import dataclasses
import json
import os
import pathlib
import tempfile
from collections.abc import Mapping, Set
from typing import Any

from dsbs_jax import files, interruption
from dsbs_jax.api import student_cards
from dsbs_jax.api.student import PREDICTIONS_FILE, Student
from dsbs_jax.data.column_config import TrainingColumnConfig
from dsbs_jax.data.data_config import Files
from dsbs_jax.data.methods import METHODS, prefixes_of
from dsbs_jax.data.tables.columns import ColumnMap
from dsbs_jax.errors import UserError
from dsbs_jax.fitting import plan as plans
from dsbs_jax.fitting import rows as fit_rows
from dsbs_jax.fitting import trial, vocabularies
from dsbs_jax.fitting.config import FitConfig
from dsbs_jax.fitting.plan import Plan
from dsbs_jax.fitting.vocabularies import ChosenVocabulary
from dsbs_jax.local import curves, loop
from dsbs_jax.reports import paired
from dsbs_jax.reports.paired import PairedComparison
from dsbs_jax.reports.report import Report
from dsbs_jax.settings import check_names, from_fields, settings_of

REPORT_FOLDER = "report"
# Folder of the baseline of a comparison, and the comparison, in the run folder.
BASELINE_FOLDER = "baseline"
COMPARISON_FILE = "comparison.json"

# Settings that the baseline does not share.
_RATIONALE_SETTINGS = (
    "alpha",
    "alpha_end",
    "alpha_schedule",
    "explain_first_steps",
    "label_rate",
    "rationale_rate",
    "teacher_weights",
    "wrong_rationale_weight",
)

_Path = str | os.PathLike[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitResult:
    """A finished fit, or its plan.

    Attributes:
        folder: The run folder, a complete student.
        plan: The settings that were chosen, with reasons.
        results: The content of `results.json`; None after a dry run.
        report: The scores on the test rows, or on the validation rows if there are no
            test rows; None after a dry run.
        card: The HTML page with curves, metrics and examples; None after a dry run.
        baseline: The result of the baseline, if students were compared.
        comparison: The baseline (first) and the student (second) on the same rows, if
            they were compared.
    """

    folder: pathlib.Path
    plan: Plan
    results: Mapping[str, Any] | None = None
    report: Report | None = None
    card: pathlib.Path | None = None
    baseline: "FitResult | None" = None
    comparison: PairedComparison | None = None

    @property
    def metrics(self) -> dict[str, Any]:
        """The figures of the report as JSON values; {} after a dry run."""
        return {} if self.report is None else self.report.to_json()

    @property
    def curve(self) -> list[curves.CurvePoint]:
        """Losses and validation scores by step; [] after a dry run."""
        return curves.read_curve(self.folder)

    def student(self) -> Student:
        """Loads the trained student.

        Raises:
            UserError: As `Student.load`.
        """
        return Student.load(str(self.folder))


def fit(
    data: Files | Mapping[str, Files],
    output: _Path,
    *,
    dry_run: bool = False,
    compare: bool = False,
    **options: Any,
) -> FitResult:
    """Trains a student on rows, with settings that are chosen for them.

    Prints the rows' figures, the plan with a reason for each choice, the expected time
    and memory, progress, and the final report. The same call resumes a run that was
    stopped. The run folder then has `plan.gin`, which repeats the run.

        run = dsbs_jax.fit(data="tickets.jsonl", output="runs/tickets")
        run.student().predict(["my card was charged twice"])

    Args:
        data: Rows in a format that `dsbs_jax.data.tables` reads: one source, which is
            split, a dataset with splits, or a dictionary with a source for train and
            optionally validation and test.
        output: The run folder.
        dry_run: Whether to only print the plan; nothing is written.
        compare: Whether to train the baseline on the same labels without rationales
            too, and to print the difference with its interval.
        **options: The user's choices, which are the fields of
            `dsbs_jax.fitting.config.FitConfig` (such as `method="finetune"`,
            `size="small"`, `initial_checkpoint="hub:google/t5-v1_1-small"`,
            `labels=["billing", "login"]`, `train_steps=500`); the columns of the rows
            (such as `input_column="text"`, the fields of
            `dsbs_jax.data.column_config.TrainingColumnConfig`); and all other settings
            of a training run by their names in lower case (such as
            `dropout_rate=0.1`).

    Raises:
        UserError: The rows cannot be trained or scored on, a choice is wrong, or the
            folder holds another run.
    """
    config, columns, others = _split_options(options)
    folder = files.check_output_folder(output)
    rows = fit_rows.read(data, columns.columns, config)
    if compare and not fit_rows.uses_rationales(rows.method):
        raise UserError(
            f"compare needs a method with rationales, but the method is {rows.method}: "
            f"{rows.method_reason}"
        )
    with tempfile.TemporaryDirectory() as scratch, interruption.removed(scratch):
        chosen = vocabularies.choose(
            config.vocabulary,
            config.initial_checkpoint,
            rows.splits,
            pathlib.Path(scratch),
            prefixes_of(METHODS[rows.method]),
        )
        plan = plans.make(rows, chosen, folder, config, others)
        plan.check_folder()
        print(f"{plan.text()}\n", flush=True)
        print(trial.run(plan).text(), flush=True)
        if dry_run:
            return FitResult(folder=folder, plan=plan)
        result = _train(plan, columns.columns)
        if not compare:
            return result
        baseline = _train_baseline(plan, chosen, config, others, columns.columns)
    comparison = _compare(baseline, result)
    return dataclasses.replace(result, baseline=baseline, comparison=comparison)


def _split_options(
    options: Mapping[str, Any],
) -> tuple[FitConfig, TrainingColumnConfig, dict[str, Any]]:
    """Separates the choices of a fit, the columns, and other settings of a run."""
    choices = {info.field for info in settings_of(FitConfig)}
    columns = {info.field for info in settings_of(TrainingColumnConfig)}
    check_names(options, choices | columns | set(plans.other_settings()))

    def only(names: Set[str]) -> dict[str, Any]:
        return {name: value for name, value in options.items() if name in names}

    return (
        from_fields(FitConfig, only(choices)),
        from_fields(TrainingColumnConfig, only(columns)),
        only(options.keys() - choices - columns),
    )


def _train(plan: Plan, columns: ColumnMap) -> FitResult:
    """Trains the student of a plan, and writes its report."""
    plan.write()
    results = loop.train(plan.settings, columns)
    paths = plans.split_paths(plan.output, plan.rows.splits)
    scored = paths.get("test", paths["validation"])
    student = Student.load(str(plan.output))
    report = student.evaluate(scored, output=str(plan.output / REPORT_FOLDER))
    print(report.headline())
    card = student_cards.write_student_card(plan.output)
    print(f"The student's page, with curves and examples, is {card.page}")
    return FitResult(
        folder=plan.output, plan=plan, results=results, report=report, card=card.page
    )


def _train_baseline(
    plan: Plan,
    chosen: ChosenVocabulary,
    config: FitConfig,
    others: Mapping[str, Any],
    columns: ColumnMap,
) -> FitResult:
    """Trains on the same labels, with the same number of them in each batch."""
    baseline = fit_rows.without_rationales(plan.rows)
    tasks = len(METHODS[plan.rows.method].targets)
    batch = config.batch_size and max(1, config.batch_size // tasks)
    config = dataclasses.replace(config, batch_size=batch)
    others = {k: v for k, v in others.items() if k not in _RATIONALE_SETTINGS}
    folder = plan.output / BASELINE_FOLDER
    print(f"Baseline: method {baseline.method} on the same rows, in {folder}")
    return _train(plans.make(baseline, chosen, folder, config, others), columns)


def _compare(baseline: FitResult, student: FitResult) -> PairedComparison:
    """Compares both students on the rows of their reports."""
    both = [_correct(result.folder) for result in (baseline, student)]
    comparison = paired.compare(*both)
    files.write_json(student.folder / COMPARISON_FILE, comparison.to_json())
    methods = baseline.plan.rows.method, student.plan.rows.method
    print(comparison.describe(*methods))
    return comparison


def _correct(folder: pathlib.Path) -> list[bool]:
    """Reads whether a student is right on each row of its report."""
    path = folder / REPORT_FOLDER / PREDICTIONS_FILE
    return [json.loads(line)["correct"] for line in path.read_bytes().splitlines()]
