"""The signature of a result: what was measured, and how, in one line.

    accuracy|dataset:cqa|data:1f3a9c02|train:released|fractions:1|split:test|
    selection:last|seeds:0,1,2,3|size:base|init:hub:google/t5-v1_1-base|steps:10000|
    pairs:64|optimizer:adamw|rate:5e-05|schedule:linear|dropout:0.1|beams:1|
    precision:float32|version:0.2.0

Two results are comparable if their signatures differ only in what is compared, in the
manner of sacreBLEU (Post 2018). `data` is a hash of ids and labels of the test rows,
`train` one of a user's training rows in all runs, or "released" for a dataset of the
paper. `selection` is "last" for the last step, and "best" for the checkpoint with the
best score on validation.
"""

import hashlib
from collections.abc import Iterable, Sequence

from dsbs_jax.experiments.paper.finished import FinishedRun

_DIGITS = 8
# Settings by their fields. An earlier version did not write all of them.
_SETTINGS = {
    "optimizer": "OPTIMIZER",
    "rate": "LEARNING_RATE",
    "schedule": "SCHEDULE",
    "dropout": "DROPOUT_RATE",
    "beams": "NUM_BEAMS",
    "precision": "PRECISION",
}


def of_runs(runs: Sequence[FinishedRun], selection: str) -> str:
    """Returns the signature of runs on one dataset.

    Fields in which the runs differ have all values, separated by "+".

    Args:
        runs: The runs.
        selection: Which checkpoint is scored: "last" or "best".
    """
    seeds = sorted({run.seed for run in runs})
    fields = {
        "dataset": _values(run.cell.dataset for run in runs),
        "data": _values(run.answers(selection).fingerprint for run in runs),
        "train": _training_data(runs),
        "fractions": _values(sorted({f"{run.cell.fraction:g}" for run in runs})),
        "split": "test",
        "selection": selection,
        "seeds": ",".join(map(str, seeds)),
        "size": _values(run.cell.size for run in runs),
        "init": _values(_initial(run) for run in runs),
        "steps": _values(run.settings["TRAIN_STEPS"] for run in runs),
        "pairs": _values(_pairs(run) for run in runs),
        **{
            field: _values(run.settings.get(name, "unknown") for run in runs)
            for field, name in _SETTINGS.items()
        },
        "version": _values(run.student["written_by"] for run in runs),
    }
    return "|".join(["accuracy", *(f"{name}:{text}" for name, text in fields.items())])


def _values(values: Iterable[object]) -> str:
    return "+".join(dict.fromkeys(map(str, values)))


def _training_data(runs: Iterable[FinishedRun]) -> str:
    """Returns a hash of the fingerprints of all training rows.

    With a proportion of the rows, each seed has other rows.
    """
    fingerprints = {run.student.get("data_fingerprint") or "" for run in runs}
    if "" in fingerprints:
        return "released"
    text = " ".join(sorted(fingerprints))
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def _initial(run: FinishedRun) -> str:
    return run.settings.get("INITIAL_CHECKPOINT_PATH") or "random"


def _pairs(run: FinishedRun) -> int:
    rows = int(run.settings["BATCH_SIZE"])
    return rows // 2 if run.cell.two_tasks else rows
