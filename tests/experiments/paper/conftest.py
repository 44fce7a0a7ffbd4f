import json

import pytest

from dsbs_jax.experiments.paper import study

TOY = """
include 'experiments/{base}.gin'
TITLE = 'Toy grid'
DATA = {{'jars': {data!r}}}
DATASETS = ('jars',)
METHODS = ('finetune', 'step_by_step/teacher')
FRACTIONS = {{'jars': {fractions}}}
SEEDS = {seeds}
STEPS = {{'tiny': 4}}
PAIRS = {{'tiny': 8}}
VOCABULARY = {vocabulary!r}
TOKENS = {{'jars': (30, 2, 20)}}
RUN_FILES = ({run_file!r},)
"""
RUN = """
VOCAB_SIZE = 256
TASK_FEATURE_LENGTHS = {'inputs': 48, 'targets': 48, 'task_ids': 48}
EVAL_PERIOD = 2
LOG_PERIOD = 1
MAX_DECODE_LENGTH = 8
LEARNING_RATE = 0.003
TRACKERS = ()
"""


@pytest.fixture
def toy_file(tmp_path, tiny_jsonl, tiny_vocabulary):
    """Writes the gin file of a small grid: (fractions, seeds) -> path."""

    def write(fractions=(1.0,), seeds=(0,), base="tickets"):
        run_file = tmp_path / "toy_run.gin"
        run_file.write_text(RUN)
        path = tmp_path / "toy.gin"
        path.write_text(
            TOY.format(
                base=base,
                data=str(tiny_jsonl),
                vocabulary=str(tiny_vocabulary),
                run_file=str(run_file),
                fractions=fractions,
                seeds=seeds,
            )
        )
        return path

    return write


@pytest.fixture
def toy_config(toy_file):
    """Reads a small grid: (fractions, seeds) -> GridConfig."""
    return lambda **given: study.read(str(toy_file(**given)), {})


@pytest.fixture
def write_finished(tmp_path):
    """Writes the files of a finished run that a report reads, without training."""

    def write(folder, run, correct, best=None, **changes):
        cell = run.cell
        settings = {
            "METHOD": cell.method,
            "DATASET": cell.dataset,
            "SUBSAMPLE_FRACTION": cell.fraction,
            "ALPHA": cell.alpha,
            "PRECISION": "float32",
            "OPTIMIZER": "adamw",
            "LEARNING_RATE": 5e-5,
            "SCHEDULE": "constant",
            "DROPOUT_RATE": 0.1,
            "LORA_TARGETS": ("query",),
            "INITIAL_CHECKPOINT_PATH": None,
            "RANDOM_SEED": run.seed,
            **_size_of(cell.size),
            **run.macros,
            **changes,
        }
        folder.mkdir(parents=True)
        lines = [f"{name} = {value!r}\n" for name, value in settings.items()]
        (folder / "config.gin").write_text("".join(lines))
        student = {"teacher": cell.teacher or "palm", "written_by": "9.9"}
        (folder / "student.json").write_text(json.dumps(student))
        results = {"seconds": 3.6, "teacher_test": {"palm": {"accuracy": 70.0}}}
        (folder / "predictions").mkdir()
        for selection, right in (
            ("last", correct),
            ("best", correct if best is None else best),
        ):
            accuracy = 100 * sum(right) / len(right)
            results[selection] = {"step": 4, "test": {"t": {"accuracy": accuracy}}}
            rows = [
                {"id": f"r{i}", "target": "x", "correct": bool(value)}
                for i, value in enumerate(right)
            ]
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / f"predictions/test-{selection}-t.jsonl").write_text(text)
        (folder / "results.json").write_text(json.dumps(results))

    return write


def _size_of(name):
    from dsbs_jax.student import sizes

    return sizes.size_of(name)
