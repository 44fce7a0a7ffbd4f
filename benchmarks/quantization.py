"""Compares the answers of quantized students with those of the float32 student.

    python benchmarks/quantization.py runs/demo/*-seed*
    python benchmarks/quantization.py runs/cqa --quantizations=int8 --rows=200

Each run is exported for CTranslate2 in each type, and student and export label the
inputs of the run's test predictions. Prints a Markdown table: the answers that are
equal to those of engine jax in float32, both accuracies, and their difference, with
95 % intervals. It needs the extra `serve`.
"""

import argparse
import json
import pathlib
import tempfile
from collections.abc import Sequence

from dsbs_jax.reports.paired import PairedComparison
from dsbs_jax.reports.proportion import Proportion

QUANTIZATIONS = ("float32", "bfloat16", "int8")
HEADER = """\
| run | type | equal answers, % | accuracy, % | of engine jax, % | difference, points |
| --- | --- | --- | --- | --- | --- |"""


def parse_options() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("runs", nargs="+", type=pathlib.Path, help="run folders with test predictions")
    add("--quantizations", nargs="+", default=QUANTIZATIONS, help="types to compare")
    add("--rows", type=int, help="number of test rows; all by default")
    return parser.parse_args()


def read_rows(run: pathlib.Path, prefix: str) -> tuple[list[str], list[str]]:
    """Returns the inputs without prefix, and the targets, of a run's test rows."""
    paths = sorted((run / "predictions").glob("test-best-*.jsonl"))
    if not paths:
        raise SystemExit(f"{run}: no predictions/test-best-*.jsonl; train with a test")
    rows = [json.loads(line) for line in paths[0].read_text("utf-8").splitlines()]
    inputs = [row["input"].removeprefix(prefix) for row in rows]
    return inputs, [row["target"] for row in rows]


def compare(
    student: Sequence[str], export: Sequence[str], targets: Sequence[str]
) -> tuple[Proportion, PairedComparison]:
    """Returns the share of equal answers, and both accuracies and their difference."""
    total = len(targets)
    equal = sum(a == b for a, b in zip(student, export, strict=True))
    pairs = [
        (a == target, b == target)
        for a, b, target in zip(student, export, targets, strict=True)
    ]
    comparison = PairedComparison(
        first=Proportion(sum(a for a, _ in pairs), total),
        second=Proportion(sum(b for _, b in pairs), total),
        only_first=sum(a and not b for a, b in pairs),
        only_second=sum(b and not a for a, b in pairs),
    )
    return Proportion(equal, total), comparison


def main(options: argparse.Namespace) -> None:
    """Exports and labels, and prints one line for each run and type."""
    import dsbs_jax

    print(HEADER)
    for run in options.runs:
        student = dsbs_jax.Student.load(run)
        inputs, targets = read_rows(run, student.spec.label_prefix)
        inputs, targets = inputs[: options.rows], targets[: options.rows]
        answers = [p.predicted_label or "" for p in student.predict(inputs)]
        for quantization in options.quantizations:
            with tempfile.TemporaryDirectory() as folder:
                path = pathlib.Path(folder) / run.name
                dsbs_jax.export_student(
                    run, path, format="ctranslate2", quantization=quantization
                )
                export = dsbs_jax.Student.load(path)
                theirs = [p.predicted_label or "" for p in export.predict(inputs)]
            equal, found = compare(answers, theirs, targets)
            low, high = found.interval
            print(
                f"| {run.name} | {quantization} "
                f"| {100 * equal.value:.2f} ({equal.percent_interval}) "
                f"| {100 * found.second.value:.2f} ({found.second.percent_interval}) "
                f"| {100 * found.first.value:.2f} ({found.first.percent_interval}) "
                f"| {100 * found.difference:+.2f} ({100 * low:+.2f} to "
                f"{100 * high:+.2f}) |",
                flush=True,
            )


if __name__ == "__main__":
    main(parse_options())
