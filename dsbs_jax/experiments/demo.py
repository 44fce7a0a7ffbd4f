"""The demo: both methods on the same generated examples, from random weights.

    python -m dsbs_jax.experiments.demo --output_dir=runs/demo

The learning curve is the same with several sizes:

    python -m dsbs_jax.experiments.demo --output_dir=runs/curve \
      --sizes=200,400,800,1600 --seeds=0
"""

import json
import pathlib
import time
from collections.abc import Sequence

from absl import flags

from dsbs_jax import cli, files

if __name__ == "__main__":
    # Before anything else imports TensorFlow, which is talkative.
    cli.quiet_tensorflow()

from dsbs_jax.data import vocabulary
from dsbs_jax.errors import UserError
from dsbs_jax.experiments import demo_data as demo
from dsbs_jax.experiments import grid, plots
from dsbs_jax.local import inference

METHODS = ("finetune", "step_by_step")
# Rows a batch: the same number of label rows in both.
BATCH_SIZES = {"finetune": 16, "step_by_step": 32}
PIECES = 220
SHOWN = 4


def _data(size: int, folder: pathlib.Path) -> dict[str, object]:
    """Makes one training set and its vocabulary; returns the runs' macros."""
    made = demo.make(size)
    written = demo.write(made, folder)
    model = folder / "vocabulary.model"
    vocabulary.train(vocabulary.texts_of(made.records["train"]), model, PIECES)
    answered = [r for r in made.records["train"] if r.teacher_label]
    wrong = sum(r.teacher_label != r.label for r in answered)
    print(
        f"{size:,} training examples: the teacher answered {len(answered):,}, "
        f"{wrong} of them wrongly; {folder}"
    )
    return {
        "DATASET": f"demo_{size}",
        "FILES": written,
        "VOCABULARY_PATH": str(model),
        "VOCAB_SIZE": vocabulary.rows(vocabulary.load(str(model)).vocab_size),
    }


def _show_predictions(run_folder: pathlib.Path, folder: pathlib.Path) -> None:
    """Prints what the step-by-step student says of tickets it has never seen."""
    examples = (folder / "test.jsonl").read_text().splitlines()[:SHOWN]
    asked, answered = run_folder / "questions.jsonl", run_folder / "answers.jsonl"
    files.write(asked, "\n".join(examples) + "\n")
    cli.configure(
        ["local/infer.gin", str(run_folder / "config.gin")],
        [
            f"CHECKPOINT_PATH = {str(run_folder)!r}",
            f"INPUT_FILE = {str(asked)!r}",
            f"OUTPUT_FILE = {str(answered)!r}",
            "RATIONALE = True",
            "RATIONALE_LENGTH = 32",
        ],
    )
    inference.infer()
    truth = [json.loads(line)["label"] for line in examples]
    for line, label in zip(answered.read_text().splitlines(), truth, strict=True):
        row = json.loads(line)
        print(f"\n  {row['input']}\n    because: {row['rationale']}")
        print(f"    student: {row['label']}   right answer: {label}")


def run(sizes: Sequence[int], seeds: Sequence[int], folder: pathlib.Path) -> None:
    """Makes the data, trains, and writes `results.json`, `table.txt`, `figure.png`."""
    began = time.monotonic()
    runs = []
    for size in sizes:
        macros = _data(size, folder / f"data-{size}")
        for method in METHODS:
            gin = ["sizes/tiny.gin", f"methods/{method}.gin", "experiments/demo.gin"]
            own = {**macros, "BATCH_SIZE": BATCH_SIZES[method]}
            runs += [grid.Run(method, size, seed, gin, own) for seed in seeds]
    rows = grid.run_all(runs, folder)
    files.write(folder / "results.json", json.dumps(rows, indent=2) + "\n")
    text = plots.summary(rows) + f"\nteacher: {rows[0]['teacher']:.1f}\n"
    files.write(folder / "table.txt", text)
    plots.figure(rows, folder / "figure.png")

    best = max(
        (r for r in runs if r.method == "step_by_step"),
        key=lambda r: rows[runs.index(r)]["accuracy"],
    )
    print(f"\nThe student of {best.name}, with its own rationales:")
    _show_predictions(folder / best.name, folder / f"data-{best.size}")
    print(f"\n{text}")
    print("\n".join(plots.verdict(rows)))
    print(f"Figure: {folder / 'figure.png'}   ({time.monotonic() - began:.0f} s)")


def main(_: list[str]) -> None:
    """Runs the demo as the flags say."""
    try:
        sizes = [int(size) for size in flags.FLAGS.sizes]
        seeds = [int(seed) for seed in flags.FLAGS.seeds]
    except ValueError as error:
        raise UserError(f"--sizes and --seeds: expected integers ({error})") from error
    if not sizes or not seeds or min(sizes) < 1 or min(seeds) < 0:
        raise UserError("--sizes needs numbers from 1, --seeds numbers from 0")
    run(sizes, seeds, pathlib.Path(flags.FLAGS.output_dir))


if __name__ == "__main__":
    flags.DEFINE_string("output_dir", "runs/demo", "Where everything is written.")
    flags.DEFINE_list("sizes", ["800"], "Numbers of training examples.")
    flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds of the runs.")
    cli.run(main)
