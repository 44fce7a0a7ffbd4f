"""The results of a grid: means over seeds, published values and comparisons."""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from dsbs_jax.data import dataset_spec
from dsbs_jax.data.methods import METHODS, WITHOUT_HUMAN_LABELS
from dsbs_jax.errors import UserError
from dsbs_jax.experiments.paper import finished, published
from dsbs_jax.experiments.paper.cell import Cell
from dsbs_jax.experiments.paper.finished import SELECTIONS, FinishedRun
from dsbs_jax.reports import paired_seeds
from dsbs_jax.reports.paired_seeds import SeedComparison
from dsbs_jax.student import sizes

Axis = Literal["method", "alpha", "dataset"]
_LABELS_ALONE = ("finetune", "distill")


@dataclasses.dataclass(frozen=True)
class CellResult:
    """The runs of one cell.

    Attributes:
        cell: The cell.
        runs: Its runs by seed.
    """

    cell: Cell
    runs: Mapping[int, FinishedRun]

    def accuracies(self, selection: str) -> list[float]:
        """Returns the accuracy of each seed on test, in percent."""
        return [self.runs[seed].accuracy(selection) for seed in sorted(self.runs)]

    def mean(self, selection: str) -> float:
        """Returns the mean accuracy over seeds, in percent."""
        return statistics.fmean(self.accuracies(selection))

    def error(self, selection: str) -> float | None:
        """Returns the standard error over seeds, in points; None with one seed."""
        values = self.accuracies(selection)
        if len(values) < 2:
            return None
        return statistics.stdev(values) / math.sqrt(len(values))

    @property
    def teacher(self) -> float | None:
        """The teacher's own accuracy on the same test rows, in percent.

        The runs compute it from the teacher's labels. A run without them has the
        number of the published completions.
        """
        run = next(iter(self.runs.values()))
        scores: dict[str, Any] = run.results["teacher_test"]
        name = self.cell.teacher or dataset_spec.PALM
        if name not in scores and scores:
            name = next(iter(scores))
        if name in scores:
            return float(scores[name]["accuracy"])
        return published.load().teacher.accuracy.get(self.cell.dataset)

    @property
    def published(self) -> float | None:
        """The paper's accuracy in percent, if it prints one."""
        return published.load().score_of(self.cell)

    def to_json(self) -> dict[str, Any]:
        """Returns JSON values, in percent."""
        values: dict[str, Any] = {
            **dataclasses.asdict(self.cell),
            "seeds": sorted(self.runs),
            "published": self.published,
            "teacher_accuracy": self.teacher,
        }
        for selection in SELECTIONS:
            mean = self.mean(selection)
            values[selection] = {
                "accuracies": self.accuracies(selection),
                "mean": mean,
                "standard_error": self.error(selection),
                "minus_published": None
                if self.published is None
                else mean - self.published,
            }
        return values


@dataclasses.dataclass(frozen=True)
class CellComparison:
    """Two cells that differ in one respect.

    Attributes:
        first: The baseline.
        second: The other cell.
        selection: Which checkpoint is scored.
        result: The comparison by test row and seed.
        adjusted: Holm's adjusted p-value within the table.
    """

    first: Cell
    second: Cell
    selection: str
    result: SeedComparison
    adjusted: float

    @property
    def is_significant(self) -> bool:
        """Whether the adjusted p-value is below 0.05."""
        return self.adjusted < paired_seeds.LEVEL

    def to_json(self) -> dict[str, Any]:
        """Returns JSON values; proportions are 0 to 1."""
        return {
            "first": self.first.name,
            "second": self.second.name,
            "selection": self.selection,
            **self.result.to_json(),
            "adjusted_p_value": self.adjusted,
            "is_significant": self.is_significant,
        }


def group(runs: Sequence[FinishedRun]) -> list[CellResult]:
    """Groups runs by cell, in the order of datasets, sizes, methods and fractions.

    Raises:
        UserError: Runs of one cell have other settings, or the same seed.
    """
    cells: dict[Cell, dict[int, FinishedRun]] = {}
    for run in runs:
        seeds = cells.setdefault(run.cell, {})
        _check_same_settings(next(iter(seeds.values()), run), run)
        other = seeds.setdefault(run.seed, run)
        if other.folder.resolve() != run.folder.resolve():
            raise UserError(
                f"{other.folder} and {run.folder} have the same method, data, settings "
                f"and seed, {run.seed}; report one of them"
            )
    order, methods = list(sizes.SIZES), list[str](METHODS)

    def key(cell: Cell) -> tuple[Any, ...]:
        size = order.index(cell.size) if cell.size in order else len(order)
        method = methods.index(cell.method)
        rest = cell.teacher, cell.fraction, cell.alpha, cell.steps, cell.variant
        return cell.dataset, size, method, *rest

    return [CellResult(cell, cells[cell]) for cell in sorted(cells, key=key)]


def _check_same_settings(first: FinishedRun, other: FinishedRun) -> None:
    if found := finished.difference(first, other):
        raise UserError(
            f"{first.folder} and {other.folder} have the same method and data, and "
            f"differ in {found}; report them separately, or train one of them again"
        )


def baselines(cells: Sequence[Cell], axis: Axis) -> list[tuple[Cell, Cell]]:
    """Returns the pairs that a table compares: the first cell with each other one.

    Args:
        cells: The cells in the order of the table.
        axis: In what two cells of a pair differ. With "method" this includes the
            teacher, alpha, the updates and the variant.
    """
    of_method = "method", "teacher", "alpha", "steps", "variant"
    varied = {"method": of_method, "alpha": ("alpha",)}
    names = varied.get(axis, (axis,))
    first: dict[tuple[Any, ...], Cell] = {}
    pairs = []
    for cell in cells:
        rest = {k: v for k, v in dataclasses.asdict(cell).items() if k not in names}
        baseline = first.setdefault(tuple(rest.values()), cell)
        if baseline is not cell:
            pairs.append((baseline, cell))
    return pairs


def fewer_rows(cells: Sequence[Cell]) -> list[tuple[Cell, Cell]]:
    """Returns the pairs of a baseline with all rows and a method with a part of them.

    The baselines are trained on labels alone, as in the paper's Figures 4 and 5:
    standard finetuning for methods with human labels, and standard distillation for
    those with the teacher's. Cells with a variant or with an alpha of their own are not
    compared.
    """

    def labels_of(cell: Cell) -> tuple[Any, ...]:
        teacher = cell.teacher if cell.method in WITHOUT_HUMAN_LABELS else ""
        return cell.dataset, cell.size, cell.steps, teacher

    plain = [cell for cell in cells if cell.has_default_alpha and not cell.variant]
    complete = {
        labels_of(cell): cell
        for cell in plain
        if cell.method in _LABELS_ALONE and cell.fraction == 1
    }
    return [
        (complete[labels_of(cell)], cell)
        for cell in plain
        if cell.method not in _LABELS_ALONE
        and cell.fraction < 1
        and labels_of(cell) in complete
    ]


def compare(
    results: Sequence[CellResult], pairs: Sequence[tuple[Cell, Cell]], selection: str
) -> list[CellComparison]:
    """Compares cells by test row and seed, with Holm's correction over all pairs.

    Pairs without a seed in common are left out.

    Raises:
        UserError: The runs of a pair have other test rows.
    """
    by_cell = {result.cell: result for result in results}
    compared = []
    for first, second in pairs:
        answers = [
            {s: r.answers(selection).correct for s, r in by_cell[cell].runs.items()}
            for cell in (first, second)
        ]
        if answers[0].keys() & answers[1].keys():
            compared.append((first, second, paired_seeds.compare(*answers)))
    adjusted = paired_seeds.holm([result.p_value for _, _, result in compared])
    return [
        CellComparison(first, second, selection, result, p)
        for (first, second, result), p in zip(compared, adjusted, strict=True)
    ]


def least(
    results: Sequence[CellResult], selection: str
) -> dict[tuple[str, str], CellResult | None]:
    """Finds the smallest student, and then the least data, above the teacher.

    Args:
        results: The results.
        selection: Which checkpoint is scored.

    Returns:
        The first cell by dataset and method; None if no cell is above the teacher.
    """
    order = list(sizes.SIZES)
    found: dict[tuple[str, str], CellResult | None] = {}
    ordered = sorted(
        (r for r in results if r.cell.size in order),
        key=lambda r: (order.index(r.cell.size), r.cell.fraction),
    )
    for result in ordered:
        line = result.teacher
        key = result.cell.dataset, result.cell.method
        if line is None or found.get(key) is not None:
            continue
        found[key] = result if result.mean(selection) > line else None
    return dict(sorted(found.items()))
