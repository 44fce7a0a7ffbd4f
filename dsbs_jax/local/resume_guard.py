"""Checks that a run is resumed with the settings and the data that it started with.

A run folder records its settings in `config.gin`, and its student in `student.json`.
Every setting of a training run is in one of three groups: it must be unchanged, it may
change with a note, or it may change freely. docs/training.md lists the groups.
"""

import ast
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from dsbs_jax.errors import UserError
from dsbs_jax.local import student_folder
from dsbs_jax.local.student_folder import StudentSpec
from dsbs_jax.weights.checkpoint_folders import PREFIX

CONFIG_FILE = "config.gin"

# Settings that decide what the student learns.
FIXED = frozenset(
    {
        "ADAFACTOR_DECAY_RATE",
        "ADAM_B1",
        "ADAM_B2",
        "ADAM_EPS",
        "ALPHA",
        "ALPHA_END",
        "ALPHA_SCHEDULE",
        "BATCH_SIZE",
        "BETA",
        "CLIP_NORM",
        "DATASET",
        "DROPOUT_RATE",
        "EMB_DIM",
        "EXPLAIN_FIRST_STEPS",
        "FREEZE_EMBEDDING",
        "HEAD_DIM",
        "LABEL_RATE",
        "LEARNING_RATE",
        "LION_B1",
        "LION_B2",
        "LOGITS_VIA_EMBEDDING",
        "LORA_ALPHA",
        "LORA_DROPOUT",
        "LORA_RANK",
        "LORA_TARGETS",
        "METHOD",
        "MIXTURE_OR_TASK_NAME",
        "MLP_ACTIVATIONS",
        "MLP_DIM",
        "NUM_DECODER_LAYERS",
        "NUM_ENCODER_LAYERS",
        "NUM_HEADS",
        "OPTIMIZER",
        "PACK",
        "RANDOM_SEED",
        "RATIONALE_RATE",
        "RELATIVE_BIAS_IN_LAYERS",
        "SCHEDULE",
        "SUBSAMPLE_FRACTION",
        "SUBSAMPLE_SEED",
        "TEACHER_WEIGHTS",
        "TEST_DATASET",
        "TRAINABLE",
        "TRAIN_LAST_LAYERS",
        "VOCAB_SIZE",
        "WARMUP_STEPS",
        "WEIGHT_DECAY",
        "WRONG_RATIONALE_WEIGHT",
    }
)
# Settings whose effect `student.json` records: paths may change if the content is the
# same, and None may become the value that it meant.
BY_CONTENT = frozenset(
    {"DATA_FILES", "TASK_FEATURE_LENGTHS", "TEACHER", "VOCABULARY_PATH"}
)
_ROUNDING = "the result is not bitwise that of a run with one value"
_SCORES = "earlier scores on validation were computed with the old value"
# Settings that may change, and what the change means.
NOTED = {
    "ATTENTION_QUERIES": _ROUNDING,
    "INITIAL_CHECKPOINT_PATH": "it is not read, because the run has a checkpoint",
    "LENGTH_PENALTY": _SCORES,
    "MAX_DECODE_LENGTH": _SCORES,
    "NUM_BEAMS": _SCORES,
    "NUM_MICROBATCHES": _ROUNDING,
    "NUM_PARTITIONS": _ROUNDING,
    "PARAMETER_PARTITIONING_DIMS": _ROUNDING,
    "PRECISION": _ROUNDING,
    "SCAN_LAYERS": _ROUNDING,
    "TRAIN_STEPS": "learning rate and alpha follow the schedules of the new length",
}
# Settings that do not change the result of an update. EVAL_PERIOD decides which
# checkpoints a run has, PATIENCE after which update it ends, and LABELS decides which
# answers predictions can have.
FREE = frozenset(
    {
        "DATASET_MODULE",
        "EVAL_BATCH_SIZE",
        "EVAL_PERIOD",
        "LABELS",
        "LOG_PERIOD",
        "MODEL_DIR",
        "PATIENCE",
        "REMAT",
        "TRACKERS",
    }
)

# Fields of `student.json` that must be the same, and the setting that decides each.
_IDENTITY = {
    "dataset": "DATASET",
    "method": "METHOD",
    "teacher": "TEACHER",
    "label_prefix": "METHOD",
    "explain_prefix": "METHOD",
    "input_length": "TASK_FEATURE_LENGTHS",
    "target_length": "TASK_FEATURE_LENGTHS",
    "vocabulary_sha256": "VOCABULARY_PATH",
    "data_fingerprint": "DATA_FILES",
    "validation_fingerprint": "DATA_FILES",
}
_CONTENT = {
    "vocabulary_sha256": "the vocabulary",
    "data_fingerprint": "the training rows",
    "validation_fingerprint": "the validation rows",
}
# A macro and its value, which may continue in indented lines.
_ASSIGNMENT = re.compile(r"^([A-Z][A-Z0-9_]*) = (.*(?:\n[ \t]+.*)*)", re.MULTILINE)
_NOT_RECORDED = object()


def check(
    folder: pathlib.Path, values: Mapping[str, Any], spec: StudentSpec
) -> list[str]:
    """Compares the settings of a run with those that its folder records.

    Args:
        folder: The run folder. Without a checkpoint, anything may change.
        values: The settings of the run by macro name.
        spec: The student of the run.

    Returns:
        A note for each changed setting that may change: both values and the effect.

    Raises:
        UserError: The folder has a checkpoint of other settings, data or vocabulary.
            The message names each difference with both values.
    """
    if not any((folder / "checkpoints").glob(f"{PREFIX}*")):
        return []
    stored = read_settings(folder / CONFIG_FILE)
    differences = list(
        dict.fromkeys(
            [*_of_student(folder, values, stored, spec), *_of_settings(values, stored)]
        )
    )
    if differences:
        raise UserError(
            f"MODEL_DIR {folder} holds a run with other settings: "
            f"{'; '.join(differences)}; use a new MODEL_DIR, or the settings of the "
            f"run, which are in {folder / CONFIG_FILE}"
        )
    return [
        f"{name} is {values[name]!r}, was {stored[name]!r}: {effect}"
        for name, effect in NOTED.items()
        if name in stored
        and name in values
        and not _same(values[name], stored[name])
        # Constant values do not depend on the number of steps.
        and not (name == "TRAIN_STEPS" and _is_constant(values))
    ]


def _is_constant(values: Mapping[str, Any]) -> bool:
    """Whether learning rate and alpha are constant."""
    schedules = values["SCHEDULE"], values.get("ALPHA_SCHEDULE", "constant")
    return schedules == ("constant", "constant")


def check_steps(folder: pathlib.Path, done: int | None, train_steps: int) -> None:
    """Checks that TRAIN_STEPS is not below the updates that a run has already done.

    Args:
        folder: The run folder.
        done: Updates of its newest checkpoint; None without a checkpoint.
        train_steps: TRAIN_STEPS, the updates at which the run ends.

    Raises:
        UserError: The run has already done more updates.
    """
    if done is not None and done > train_steps:
        raise UserError(
            f"TRAIN_STEPS is {train_steps}, expected at least {done}, the steps that "
            f"the run in {folder} already has; its scores are in results.json"
        )


def _of_settings(values: Mapping[str, Any], stored: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(FIXED & stored.keys() & values.keys()):
        if not _same(values[name], stored[name]):
            yield f"{name} is {values[name]!r}, was {stored[name]!r}"


def _of_student(
    folder: pathlib.Path,
    values: Mapping[str, Any],
    stored: Mapping[str, Any],
    spec: StudentSpec,
) -> Iterator[str]:
    """Yields the differences from the student that the folder describes."""
    if not (folder / student_folder.STUDENT_FILE).exists():
        return  # a run of version 0.1
    earlier = student_folder.read_spec(folder)
    for field, name in _IDENTITY.items():
        now, then = getattr(spec, field), getattr(earlier, field)
        if now == then or (field.endswith("_fingerprint") and None in (now, then)):
            continue  # None: not recorded by an earlier version
        if field in _CONTENT:
            path, old = values.get(name), stored.get(name, _NOT_RECORDED)
            moved = "" if old in (path, _NOT_RECORDED) else f" (was {old!r})"
            yield (
                f"{_CONTENT[field]} of {name} {path!r}{moved} differ from those of the "
                "run"
            )
        elif field.endswith("_length"):
            yield f"the {field.replace('_', ' ')} in {name} is {now}, was {then}"
        elif not field.endswith("_prefix"):
            yield f"{name} is {now!r}, was {then!r}"
        elif spec.method == earlier.method:
            yield f"the {field.replace('_', ' ')} is {now!r}, was {then!r}"


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return list(left) == list(right)
    return left == right and isinstance(left, bool) == isinstance(right, bool)


def read_settings(path: pathlib.Path) -> dict[str, Any]:
    """Reads the settings of a run's `config.gin`; executes and imports nothing.

    Values that are not literals (references, in files of version 0.1) are left out.

        ALPHA = 0.5
        OPTIMIZER = @optimizers.adamw()     -> {"ALPHA": 0.5}

    Args:
        path: The file; without it, the result is empty.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return {}
    values = {}
    for match in _ASSIGNMENT.finditer(text):
        source = match[2].replace("\\\n", " ").strip()
        try:
            values[match[1]] = ast.literal_eval(f"({source}\n)")
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    return values
