"""The report of a grid: one HTML page, Markdown, CSV, JSON, PNG and SVG.

| file | content |
| --- | --- |
| `report.html` | the page, which needs no other file |
| `report.md` | the same page; the picture is `figure.png` |
| `report.csv` | one line for each cell and selection |
| `comparisons.csv` | one line for each comparison |
| `report.json` | all numbers |
| `figure.png`, `figure.svg` | the plot of a figure |

A record (`docs/results`) has the same files without HTML and JSON.
"""

import csv
import dataclasses
import io
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from dsbs_jax import files
from dsbs_jax.errors import UserError
from dsbs_jax.experiments.paper import (
    cost,
    execution,
    finished,
    planning,
    plots,
    published,
    results,
    signature,
    titles,
)
from dsbs_jax.experiments.paper.cell import Cell
from dsbs_jax.experiments.paper.config import GridConfig, parse_method
from dsbs_jax.experiments.paper.finished import BEST, LAST, SELECTIONS, FinishedRun
from dsbs_jax.experiments.paper.planning import PlannedRun
from dsbs_jax.experiments.paper.results import CellComparison, CellResult
from dsbs_jax.reports import p_values, page
from dsbs_jax.reports.page import (
    Block,
    Column,
    Heading,
    Paragraph,
    Picture,
    Row,
    Table,
    TextFields,
)

HTML, MARKDOWN = "report.html", "report.md"
_FIGURE = "figure"


def _number(title: str) -> Column:
    return Column(title, numeric=True)


@dataclasses.dataclass(frozen=True)
class GridReport:
    """The results of some runs.

    Attributes:
        title: Title of the page.
        cells: The results by cell.
        comparisons: The comparisons of both selections.
        fewer_rows: The comparisons, of both selections, of a baseline with all rows and
            another method with a part of them.
        signatures: Signature of each dataset and selection.
        missing: Planned runs that are not finished, with the message of a failed run.
        hours: Time of all runs.
        config: The settings of the grid; None for runs without a plan.
    """

    title: str
    cells: Sequence[CellResult]
    comparisons: Sequence[CellComparison]
    signatures: Mapping[str, str]
    missing: Mapping[str, str]
    hours: float
    config: GridConfig | None = None
    fewer_rows: Sequence[CellComparison] = ()

    def to_json(self) -> dict[str, Any]:
        """Returns JSON values."""
        return {
            "title": self.title,
            "cells": [cell.to_json() for cell in self.cells],
            "comparisons": [one.to_json() for one in self.comparisons],
            "fewer_rows": [one.to_json() for one in self.fewer_rows],
            "signatures": dict(self.signatures),
            "missing": dict(self.missing),
            "hours": self.hours,
        }

    def blocks(self) -> list[Block]:
        """Returns the contents of the page."""
        return [
            *self._progress(),
            *_accuracy_table(self.cells, self._without_data()),
            *self._budgets(),
            *self._least(),
            *self._plot(),
            *self._all_comparisons(),
            *_claims(self.config),
            Heading("Signatures"),
            TextFields([(name, text) for name, text in self.signatures.items()]),
            Paragraph(f"All runs together took {self.hours:.2f} hours."),
        ]

    def _progress(self) -> list[Block]:
        runs = sum(len(cell.runs) for cell in self.cells)
        text = f"{runs} runs are finished"
        if not self.missing:
            return [Paragraph(f"{text}.")]
        rows = [[name, text or "not finished"] for name, text in self.missing.items()]
        return [
            Paragraph(f"{text}, and {len(rows)} planned runs are missing."),
            Table([Column("missing run"), Column("reason")], rows),
        ]

    def _draw(self, kind: Literal["png", "svg"]) -> bytes | None:
        """Draws the plot; None without one."""
        if self.config is None or self.config.axis == "none":
            return None
        rows = self.config.embedding_rows
        return plots.draw(self.cells, self.config.axis, LAST, kind, rows)

    def _plot(self) -> list[Block]:
        content = self._draw("png")
        if content is None or self.config is None:
            return []
        axis = self.config.axis
        text = f"Test accuracy of the last step by {axis}, with standard errors"
        return [
            Heading("Plot"),
            Picture(f"{_FIGURE}.png", content, text),
            Paragraph(f"{text} over seeds."),
        ]

    def _without_data(self) -> list[Cell]:
        """Returns the cells of methods that read fields their dataset lacks."""
        return planning.cells_without_data(self.config) if self.config else []

    def _budgets(self) -> list[Block]:
        """Returns the updates and the operations of each method, if they differ."""
        if self.config is None or "operations" not in self.config.budgets:
            return []
        rows: list[Row] = []
        for result in self.cells:
            work = cost.cost_of(self.config, result.cell).operations
            steps = result.cell.updates(self.config.steps)
            names = [result.cell.dataset, result.cell.size, titles.short(result.cell)]
            rows.append([*names, f"{steps:,}", f"{work / 1e12:,.1f}"])
        columns = [Column("dataset"), Column("size"), Column("method")]
        columns += map(_number, ("updates", "TFLOP"))
        return [
            Heading("Cost of training"),
            Table(columns, rows),
            Paragraph(_ABOUT_OPERATIONS),
        ]

    def _least(self) -> list[Block]:
        if self.config is None or not self.config.least:
            return []
        rows: list[Row] = []
        for (dataset, method), cell in results.least(self.cells, LAST).items():
            found = ["no run", "", "", ""]
            if cell is not None:
                found = [
                    cell.cell.size,
                    titles.percent(cell.cell.fraction),
                    titles.number(cell.mean(LAST)),
                    titles.number(cell.teacher),
                ]
            rows.append([dataset, method, *found])
        heads = ("size", "training rows", "accuracy, %", "teacher, %")
        columns = [Column("dataset"), Column("method"), *map(_number, heads)]
        return [
            Heading("Smallest student above the teacher, with the least data"),
            Table(columns, rows),
        ]

    def _all_comparisons(self) -> list[Block]:
        blocks = [
            *_comparison_tables("Comparisons", self.comparisons),
            *_comparison_tables("All rows, and a part of them", self.fewer_rows),
        ]
        if self.fewer_rows:
            blocks.append(Paragraph(_ABOUT_FEWER_ROWS))
        if blocks:
            blocks.append(Paragraph(_ABOUT_COMPARISONS))
        return blocks

    def write(self, folder: pathlib.Path, record: bool = False) -> pathlib.Path:
        """Writes the files; returns the path of the page.

        Args:
            folder: The folder to write.
            record: Whether to write only the files of a record, and Markdown as page.
        """
        blocks = self.blocks()
        path = folder / (MARKDOWN if record else HTML)
        files.write(folder / MARKDOWN, page.as_markdown(self.title, blocks))
        if not record:
            files.write(folder / HTML, page.as_html(self.title, blocks))
            files.write_json(folder / "report.json", self.to_json())
        files.write(folder / "report.csv", _csv(_cell_lines(self.cells)))
        lines = [
            {"rows": rows, **_flat(one.to_json())}
            for rows, compared in (
                ("the same", self.comparisons),
                ("a part, and all", self.fewer_rows),
            )
            for one in compared
        ]
        files.write(folder / "comparisons.csv", _csv(lines))
        for block in blocks:
            if isinstance(block, Picture):
                files.write(folder / block.file_name, block.content)
        drawing = self._draw("svg")
        if drawing is not None:
            files.write(folder / f"{_FIGURE}.svg", drawing)
        return path


_ABOUT_COMPARISONS = (
    "Differences are those of mean accuracies, in points. The interval is the t "
    "interval over paired seeds and test rows, which both vary; with one seed it is "
    "the score interval over rows, with McNemar's exact test. The last column is "
    "Holm's correction of the p-values within the table; * marks values below 0.05. No "
    "random numbers are used."
)
_ABOUT_FEWER_ROWS = (
    "The first method is trained on labels alone, with all rows; the second one has a "
    "part of the rows. The paper compares them in Figures 4 and 5."
)
_ABOUT_OPERATIONS = (
    "Operations of one run: those of the forward pass and twice as many for the "
    "backward pass, over the mean lengths of inputs and targets in TOKENS, without "
    "padding and evaluation. A row with a number of updates in its name has as many "
    "updates as fit the operations of the first method's other runs."
)
_COMPARED = (
    Column("dataset"),
    Column("size"),
    Column("first"),
    Column("second"),
    *map(
        _number,
        ("seeds", "difference", "95 % interval", "p", "p, Holm"),
    ),
)


def _comparison_tables(
    heading: str, comparisons: Sequence[CellComparison]
) -> list[Block]:
    blocks: list[Block] = []
    for selection, title in SELECTIONS.items():
        rows = [_comparison_row(c) for c in comparisons if c.selection == selection]
        if rows:
            blocks += [Heading(f"{heading}, {title}"), Table(_COMPARED, rows)]
    return blocks


def _comparison_row(comparison: CellComparison) -> Row:
    result = comparison.result
    low, high = result.interval
    first, second = comparison.first, comparison.second
    names = [titles.short(first), titles.short(second)]
    mark = " *" if comparison.is_significant else ""
    dataset = first.dataset
    if first.dataset != second.dataset:
        names = [f"{titles.short(one)} ({one.dataset})" for one in (first, second)]
    return [
        dataset,
        first.size,
        *names,
        len(result.seeds),
        titles.number(100 * result.difference, sign=True),
        f"{100 * low:+.2f} to {100 * high:+.2f}",
        p_values.number(result.p_value),
        p_values.number(comparison.adjusted) + mark,
    ]


def _accuracy_table(
    cells: Sequence[CellResult], without_data: Sequence[Cell]
) -> list[Block]:
    """Returns the table of accuracies, with both selections side by side."""
    columns = [Column("dataset"), Column("size"), Column("method")]
    heads = ("seeds", *SELECTIONS.values(), "published", "difference", "teacher")
    columns += map(_number, heads)
    rows: list[Row] = []
    for result in cells:
        values = result.to_json()
        rows.append(
            [
                result.cell.dataset,
                result.cell.size,
                titles.short(result.cell),
                len(result.runs),
                *(_with_error(values[selection]) for selection in SELECTIONS),
                titles.number(result.published),
                titles.number(values[LAST]["minus_published"], sign=True),
                titles.number(result.teacher),
            ]
        )
    for cell in without_data:
        names = [cell.dataset, cell.size, titles.short(cell)]
        rows.append([*names, "", *["no data"] * len(SELECTIONS), "", "", ""])
    text = (
        "Accuracy on test in percent: the mean over seeds ± its standard error. "
        f"Published numbers are those of {published.load().paper}; the difference is "
        "that of the last step. The teacher's accuracy is that of its own labels on "
        "the test rows."
    )
    if without_data:
        text += " 'no data': the rows lack the fields that the method reads."
    return [Heading("Accuracy"), Table(columns, rows), Paragraph(text), *_reruns(cells)]


def _with_error(values: Mapping[str, Any]) -> str:
    """Formats a mean and its standard error: "71.20 ± 0.41"."""
    mean, error = titles.number(values["mean"]), values["standard_error"]
    return mean if error is None else f"{mean} ± {titles.number(error)}"


def _reruns(cells: Sequence[CellResult]) -> list[Block]:
    """Returns what others measured for the same cells."""
    rerun = published.load().reruns
    lines = [
        f"{c.cell.dataset} {rerun.accuracy[c.cell.dataset]:.2f} %"
        for c in cells
        if c.cell.dataset in rerun.accuracy
        and (c.cell.size, c.cell.method) == (rerun.size, rerun.method)
        and c.cell.teacher == rerun.teacher
        and c.published is not None
    ]
    return [Paragraph(f"{rerun.source}: {', '.join(lines)}.")] if lines else []


def _claims(config: GridConfig | None) -> list[Block]:
    """Returns what the paper says about this figure, in words."""
    where = config.title.partition(":")[0] if config else ""
    found = [c for c in published.load().claims if c.where == where]
    if not found:
        return []
    rows = [[claim.dataset, claim.text] for claim in found]
    return [
        Heading(f"What the paper says about {where}"),
        Table([Column("dataset"), Column("statement")], rows),
    ]


def _cell_lines(cells: Sequence[CellResult]) -> list[dict[str, Any]]:
    """Returns one line for each cell and selection."""
    lines = []
    for result in cells:
        values = result.to_json()
        common = {k: v for k, v in values.items() if k not in SELECTIONS}
        for selection in (LAST, BEST):
            line = {**common, "selection": selection, **values[selection]}
            lines.append(_flat(line))
    return lines


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Joins lists to one text: {"seeds": [0, 1]} -> {"seeds": "0 1"}."""
    return {
        k: " ".join(map(str, v)) if isinstance(v, list | tuple) else v
        for k, v in values.items()
    }


def _csv(lines: Sequence[Mapping[str, Any]]) -> str:
    if not lines:
        return ""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return buffer.getvalue()


def make(
    runs: Sequence[FinishedRun],
    config: GridConfig | None = None,
    missing: Mapping[str, str] | None = None,
    title: str = "Results of runs",
) -> GridReport:
    """Makes the report of some runs.

    Args:
        runs: The runs.
        config: The settings of the grid that planned them, if any.
        missing: Planned runs that are not finished, with a message.
        title: Title of a report without a grid.

    Raises:
        UserError: The answers of a run are missing, or the runs of a pair have other
            test rows.
    """
    cells = results.group(runs)
    order = [result.cell for result in cells]
    if config is not None:
        order.sort(key=config_order(config))
    pairs = results.baselines(order, config.compare if config else "method")
    fewer = results.fewer_rows(order)
    signatures = {}
    for dataset in dict.fromkeys(run.cell.dataset for run in runs):
        chosen = [run for run in runs if run.cell.dataset == dataset]
        for selection in SELECTIONS:
            text = signature.of_runs(chosen, selection)
            signatures[f"{dataset}, {selection}"] = text
    seconds = sum(float(run.results["seconds"]) for run in runs)
    return GridReport(
        title=config.title if config else title,
        cells=cells,
        comparisons=[c for s in SELECTIONS for c in results.compare(cells, pairs, s)],
        fewer_rows=[c for s in SELECTIONS for c in results.compare(cells, fewer, s)],
        signatures=signatures,
        missing=missing or {},
        hours=seconds / 3600,
        config=config,
    )


def config_order(config: GridConfig) -> Callable[[Cell], int]:
    """Returns the sorting key that puts the baseline of the comparisons first.

    That is the first value of METHODS, ALPHAS or DATASETS, whichever is compared.
    """
    by_axis: dict[str, list[Any]] = {
        "method": [parse_method(name) for name in config.methods],
        "alpha": list(config.alphas),
        "dataset": list(config.datasets),
    }
    values = by_axis[config.compare]

    def place(cell: Cell) -> int:
        value: Any = getattr(cell, config.compare)
        if config.compare == "method":
            value = cell.method, cell.teacher, cell.variant
        return values.index(value) if value in values else len(values)

    return place


def of_grid(
    config: GridConfig,
    planned: Sequence[PlannedRun],
    output: pathlib.Path,
    failures: Mapping[str, str],
) -> GridReport:
    """Makes the report of a grid from its run folders.

    Args:
        config: The settings of the grid.
        planned: Its runs.
        output: Its folder.
        failures: The messages of failed runs by name.

    Raises:
        UserError: No run is finished, or a file is damaged.
    """
    planned = [run for run in planned if not run.cell.is_pretraining]
    done = [run for run in planned if (output / run.name / execution.RESULTS).exists()]
    done = [run for run in done if run.name not in failures]
    if not done:
        raise UserError(f"{output}: no run of this grid is finished")
    names = {run.name for run in done}
    missing = {
        run.name: failures.get(run.name, "") for run in planned if run.name not in names
    }
    runs = [finished.read_planned(output / run.name, run.cell) for run in done]
    return make(runs, config, missing)


def folder_of(output: pathlib.Path, file: str) -> pathlib.Path:
    """Returns the folder of a study's report: runs/paper/report/table1."""
    return output / "report" / pathlib.Path(file).stem
