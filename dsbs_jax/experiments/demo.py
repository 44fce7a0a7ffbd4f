r"""The demo: trains both methods on generated examples, from random weights.

python -m dsbs_jax.experiments.demo --output_dir=runs/demo

With several sizes it draws the learning curve:

python -m dsbs_jax.experiments.demo --output_dir=runs/curve --sizes=200,400,800,1600 \
  --seeds=0
"""

import dataclasses
import pathlib
import time
from typing import Annotated, Any

from msgspec import Meta

from dsbs_jax import cli, files, malloc, tensorflow_import
from dsbs_jax.settings import (
    LocalPath,
    NonNegativeInt,
    PositiveInt,
    Settings,
    setting,
)

if __name__ == "__main__":
    # Before other modules start threads or import TensorFlow.
    malloc.keep_freed_memory()
    tensorflow_import.import_quietly()

from dsbs_jax.api import student
from dsbs_jax.data import tables, vocabulary
from dsbs_jax.data.methods import Method
from dsbs_jax.experiments import demo_data, grid, plots
from dsbs_jax.local.config import TrainSettings

# Rows of a batch, so that both methods have the same number of label rows.
BATCH_SIZES: dict[Method, int] = {"finetune": 16, "step_by_step": 32}
# Pieces of the demo's vocabulary.
VOCABULARY_PIECES = 220
# Test examples whose predictions are printed.
PRINTED_EXAMPLES = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class DemoConfig(Settings):
    """Settings of the demo."""

    output_dir: LocalPath = setting("runs/demo", help="Folder to write.")
    sizes: Annotated[tuple[PositiveInt, ...], Meta(min_length=1)] = setting(
        (800,), help="Numbers of training examples."
    )
    seeds: Annotated[tuple[NonNegativeInt, ...], Meta(min_length=1)] = setting(
        (0, 1, 2), help="Seeds of the runs."
    )


def run(config: DemoConfig) -> None:
    """Generates the data, trains, and writes results.json, table.txt and figure.png."""
    began = time.monotonic()
    folder = pathlib.Path(config.output_dir)
    runs = []
    for size in config.sizes:
        data = _write_data(size, folder / f"data-{size}")
        for method in BATCH_SIZES:
            settings = _settings(method, data)
            runs += [grid.Run(method, size, seed, settings) for seed in config.seeds]
    scores = grid.run_all(runs, folder)
    rows = [dataclasses.asdict(score) for score in scores]
    files.write_json(folder / "results.json", rows)
    text = plots.summary(scores) + f"\nteacher: {scores[0].teacher:.1f}\n"
    files.write(folder / "table.txt", text)
    plots.figure(scores, folder / "figure.png")

    best, _ = max(
        (pair for pair in zip(runs, scores, strict=True) if _is_step_by_step(pair[0])),
        key=lambda pair: pair[1].accuracy,
    )
    print(f"\nPredictions and rationales of the student {best.name}:")
    _print_predictions(folder / best.name, folder / f"data-{best.size}")
    print(f"\n{text}")
    print("\n".join(plots.verdict(scores)))
    print(f"Figure: {folder / 'figure.png'}   ({time.monotonic() - began:.0f} s)")


def _is_step_by_step(run: grid.Run) -> bool:
    return run.method == "step_by_step"


def _write_data(size: int, folder: pathlib.Path) -> dict[str, Any]:
    """Writes a training set and its vocabulary; returns the macros that name them."""
    dataset = demo_data.make(size)
    paths = demo_data.write(dataset, folder)
    model = folder / "vocabulary.model"
    train = dataset.records["train"]
    vocabulary.train(vocabulary.texts_of(train), model, VOCABULARY_PIECES)
    answered = [record for record in train if record.teacher_label]
    wrong = sum(record.teacher_label != record.label for record in answered)
    print(
        f"{size:,} training examples in {folder}: the teacher answered "
        f"{len(answered):,}, {wrong} of them wrongly"
    )
    return {
        "DATASET": f"demo_{size}",
        "DATA_FILES": paths,
        "VOCABULARY_PATH": str(model),
    }


def _settings(method: Method, data: dict[str, Any]) -> TrainSettings:
    """Returns the settings of a run; `grid` sets its folder and seed."""
    macros = {**data, "BATCH_SIZE": BATCH_SIZES[method], "MODEL_DIR": "unused"}
    cli.configure(
        ["sizes/tiny.gin", f"methods/{method}.gin", "experiments/demo.gin"],
        [f"{name} = {value!r}" for name, value in macros.items()],
    )
    return TrainSettings.from_macros(cli.values())


def _print_predictions(run_folder: pathlib.Path, data_folder: pathlib.Path) -> None:
    """Prints the student's labels and rationales for examples of the test split."""
    rows = tables.read_split(str(data_folder / "test.jsonl"))[:PRINTED_EXAMPLES]
    trained = student.Student.load(str(run_folder))
    predictions = trained.predict([row.input for row in rows], rationales=True)
    for row, prediction in zip(rows, predictions, strict=True):
        print(f"\n  {row.input}\n    because: {prediction.predicted_rationale}")
        label = prediction.predicted_label
        print(f"    student: {label}   right answer: {row.label}")


if __name__ == "__main__":
    cli.run_with_flags(run, DemoConfig, __doc__ or "")
