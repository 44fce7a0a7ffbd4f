"""The plan of a fit: every setting that is chosen, with its reason."""

import dataclasses
import functools
import pathlib
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tabulate

from dsbs_jax import files, settings
from dsbs_jax.counts import counted
from dsbs_jax.data import dataset_spec, mixtures, vocabulary
from dsbs_jax.data.dataset_spec import USER_TEACHER
from dsbs_jax.data.label_sets import target_labels
from dsbs_jax.data.methods import METHODS, MethodInfo
from dsbs_jax.data.records import as_row
from dsbs_jax.errors import UserError
from dsbs_jax.fitting import lengths, precision_trial, recipe
from dsbs_jax.fitting.config import FitConfig
from dsbs_jax.fitting.lengths import ChosenLength
from dsbs_jax.fitting.rows import FitRows
from dsbs_jax.fitting.vocabularies import ChosenVocabulary
from dsbs_jax.local import resume_guard, run_lock, student_folder
from dsbs_jax.local.config import TRAIN_SETTINGS, TrainSettings
from dsbs_jax.settings import SettingInfo
from dsbs_jax.student.config import T5Config, check_vocabulary_size
from dsbs_jax.student.sizes import size_of
from dsbs_jax.weights import student_config

PLAN_FILE = "plan.gin"
_GIN_HEADER = """\
# The settings of a run, which a fit has chosen for its rows. This command repeats the
# run in another folder:
#
#   python -m dsbs_jax.train --gin_file={plan} --gin.MODEL_DIR=<folder>
"""
# Width of the reasons in the printed plan.
_REASON_WIDTH = 60
_GIN_WIDTH = 88
# Settings that the rows, the output folder, and choices with other names decide.
_FIXED = {
    "DATASET",
    "DATASET_MODULE",
    "DATA_FILES",
    "INITIAL_CHECKPOINT_PATH",
    "MIXTURE_OR_TASK_NAME",
    "MODEL_DIR",
    "RANDOM_SEED",
    "TASK_FEATURE_LENGTHS",
    "TEACHER",
    "TEST_DATASET",
    "VOCABULARY_PATH",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """One line of the plan.

    Attributes:
        name: Name of the choice, as printed.
        value: The chosen value, as printed.
        reason: The reason for the value, as printed.
        macros: The settings that it sets, by macro name.
    """

    name: str
    value: str
    reason: str = "given"
    macros: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """A run that is planned; nothing is written yet.

    Attributes:
        output: The run folder.
        rows: The rows.
        choices: The choices, in the order in which they are printed.
        words: The vocabulary.
        warnings: What can make the run or its scores worse, one sentence each.
    """

    output: pathlib.Path
    rows: FitRows
    choices: Sequence[Choice]
    words: vocabulary.Vocabulary
    warnings: Sequence[str]

    @property
    def macros(self) -> dict[str, Any]:
        """The settings of the run by macro name."""
        return {k: v for choice in self.choices for k, v in choice.macros.items()}

    @functools.cached_property
    def settings(self) -> TrainSettings:
        """The settings of the run."""
        return TrainSettings.from_macros(self.macros)

    @functools.cached_property
    def network(self) -> T5Config:
        """The student's size; the first use reads the shapes of the checkpoint.

        Raises:
            UserError: The checkpoint cannot be read, or has fewer rows in its embedding
                than the vocabulary has ids.
        """
        config = self.settings
        rows = vocabulary.padded_size(self.words)
        checkpoint = config.loop.initial_checkpoint_path
        network = student_config(config.student, checkpoint, rows)
        check_vocabulary_size(network.vocab_size, self.words.vocab_size)
        return network

    @functools.cached_property
    def method_data(self) -> mixtures.MethodData:
        """The examples of the rows, as the run reads them from its files."""
        config = self.settings.data
        return mixtures.build_from_records(config, self.rows.splits, self.words)

    def check_folder(self) -> None:
        """Checks that the output folder is new, or holds this run.

        Raises:
            UserError: The folder holds another run or other files, or another process
                trains in it.
        """
        self._check_contents()
        run_lock.check_free(self.output)

    def _check_contents(self) -> None:
        """Checks the files of the output folder, if it has files."""
        folder = self.output
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder} is a file, expected a new folder")
        names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        if names - {run_lock.LOCK_FILE}:
            if not (folder / PLAN_FILE).exists():
                raise UserError(
                    f"{folder} has files and no {PLAN_FILE}, expected a new folder or "
                    "one of an earlier fit"
                )
            config = self.settings
            spec = student_folder.spec_of_run(
                config.data, self.method_data, self.network, config.decoding
            )
            every = config.all_settings(spec.network)
            resume_guard.check(folder, settings.values_of(every), spec)

    def text(self) -> str:
        """Returns the plan to print: the rows, the choices, the warnings."""
        lines = [
            (c.name, c.value, textwrap.fill(c.reason, _REASON_WIDTH))
            for c in self.choices
        ]
        table = tabulate.tabulate(lines, tablefmt="plain", disable_numparse=True)
        warnings = [f"warning: {warning}" for warning in self.warnings]
        return "\n".join([self.rows.report.text(), *warnings, "", table])

    def gin(self) -> str:
        """Returns the gin file that repeats the run."""
        parts = [_GIN_HEADER.format(plan=self.output / PLAN_FILE)]
        for choice in self.choices:
            comment = textwrap.fill(
                f"{choice.name.capitalize()}: {choice.value} ({choice.reason})",
                _GIN_WIDTH,
                initial_indent="# ",
                subsequent_indent="# ",
            )
            lines = [f"{name} = {value!r}" for name, value in choice.macros.items()]
            parts.append("\n".join([comment, *lines, ""]))
        return "\n".join(parts)

    def write(self) -> None:
        """Writes the rows, a vocabulary that was trained, and the gin file.

        The folder is checked again, because another fit may have begun in it since.

        Raises:
            UserError: As `check_folder`.
            OSError: A file cannot be written.
        """
        with run_lock.RunLock(self.output):
            self._check_contents()
            # First, so that a fit that is stopped here may write the others again.
            files.write(self.output / PLAN_FILE, self.gin())
            for split, path in split_paths(self.output, self.rows.splits).items():
                files.write_jsonl(path, map(as_row, self.rows.splits[split]))
            student_folder.write_vocabulary(self.output, self.words)


def make(
    rows: FitRows,
    chosen: ChosenVocabulary,
    output: pathlib.Path,
    config: FitConfig,
    others: Mapping[str, Any],
) -> Plan:
    """Chooses the settings of a run.

    Args:
        rows: The rows.
        chosen: The vocabulary.
        output: The run folder.
        config: The user's choices.
        others: Further settings of a training run, by name in lower case.

    Raises:
        UserError: A choice does not fit the rows, or `others` has an unknown name or
            wrong value.
    """
    train = rows.splits["train"]
    known = other_settings()
    settings.check_names(others, known)
    given = {
        known[name].macro: settings.check(known[name], value)
        for name, value in others.items()
    }
    method = METHODS[rows.method]
    targets = lengths.target_length(train, chosen.words, method, config.target_length)
    inputs = lengths.input_length(train, chosen.words, method, config.input_length)
    label_tokens = lengths.label_length(
        rows.labels or target_labels(train),
        chosen.words,
        rows.labels is not None,
        given.get("MAX_DECODE_LENGTH"),
    )
    decoded = targets.tokens if method.rationale_first else label_tokens
    choices = [
        *_data_choices(rows, output),
        _vocabulary_choice(chosen, output),
        *_length_choices(inputs, targets, decoded),
        *_training_choices(rows, config),
        Choice(
            name="seed", value=str(config.seed), macros={"RANDOM_SEED": config.seed}
        ),
    ]
    others_choice = []
    if given:
        choices = [_without(choice, given) for choice in choices]
        values = ", ".join(f"{name} = {value!r}" for name, value in given.items())
        others_choice = [Choice(name="other", value=values, macros=given)]
    plan = Plan(
        output=output,
        rows=rows,
        choices=[*choices, *others_choice],
        words=chosen.words,
        warnings=_warnings(rows, chosen, inputs, targets),
    )
    _ = plan.settings  # checks every value
    if "PRECISION" in given:
        return plan
    choices.append(_precision_choice(plan, inputs.tokens, targets.tokens))
    return dataclasses.replace(plan, choices=[*choices, *others_choice])


def split_paths(output: pathlib.Path, splits: Iterable[str]) -> dict[str, str]:
    """Returns the file of each split's rows in a run folder."""
    return {split: str(output / "data" / f"{split}.jsonl") for split in splits}


def _data_choices(rows: FitRows, output: pathlib.Path) -> list[Choice]:
    sizes = ", ".join(f"{name} {len(part):,}" for name, part in rows.splits.items())
    made = "given"
    if rows.made:
        made = (
            f"{' and '.join(rows.made)} made from the rows: stratified by label, all "
            "rows of an input in one split"
        )
    labels = "any text" if rows.labels is None else counted(len(rows.labels), "label")
    return [
        Choice(
            name="method",
            value=rows.method,
            reason=rows.method_reason,
            macros={"METHOD": rows.method, "TEACHER": USER_TEACHER},
        ),
        Choice(
            name="rows",
            value=sizes,
            reason=made,
            macros={
                "MODEL_DIR": str(output),
                "DATASET": _dataset_name(output),
                "DATA_FILES": split_paths(output, rows.splits),
            },
        ),
        Choice(
            name="answers",
            value=labels,
            reason=rows.labels_reason,
            macros={"LABELS": rows.labels or ()},
        ),
    ]


def _dataset_name(output: pathlib.Path) -> str:
    """Returns a name for the dataset: "runs/my-tickets" -> "my_tickets".

    A run keeps its name when its folder is copied or renamed, so it can be resumed.
    """
    if (output / student_folder.STUDENT_FILE).is_file():
        stored = student_folder.read_spec(output).dataset
        if stored is not None:
            return stored
    return re.sub(r"\W+", "_", output.name).strip("_") or "own"


def _vocabulary_choice(chosen: ChosenVocabulary, output: pathlib.Path) -> Choice:
    path = chosen.path or str(output / student_folder.VOCABULARY_FILE)
    pieces = chosen.words.vocab_size - chosen.words.extra_ids
    return Choice(
        name="vocabulary",
        value=f"{pieces:,} pieces",
        reason=chosen.reason,
        macros={"VOCABULARY_PATH": path},
    )


def _length_choices(
    inputs: ChosenLength, targets: ChosenLength, decoded: int
) -> list[Choice]:
    features = dataset_spec.FeatureLengths(inputs.tokens, targets.tokens)
    return [
        Choice(
            name="input length",
            value=f"{inputs.tokens} tokens",
            reason=inputs.reason,
            macros={},
        ),
        Choice(
            name="target length",
            value=f"{targets.tokens} tokens",
            reason=targets.reason,
            macros={"TASK_FEATURE_LENGTHS": features.task_feature_lengths},
        ),
        Choice(
            name="answer length",
            value=f"{decoded} tokens",
            reason="the longest answer of the training rows",
            macros={"MAX_DECODE_LENGTH": decoded},
        ),
    ]


def _training_choices(rows: FitRows, config: FitConfig) -> list[Choice]:
    labeled = sum(
        r.label is not None or r.teacher_label is not None for r in rows.splits["train"]
    )
    size = _size_choice(config, labeled)
    method = METHODS[rows.method]
    tasks = len(method.targets)
    chosen = recipe.choose(
        labeled,
        config.initial_checkpoint is not None,
        size.value,
        config.train_steps,
        config.batch_size and max(1, config.batch_size // tasks),
    )
    batch = config.batch_size or chosen.label_rows * tasks
    rate = config.learning_rate or chosen.learning_rate
    period = chosen.eval_period
    return [
        size,
        Choice(
            name="batch",
            value=f"{batch} rows",
            reason=_batch_reason(method),
            macros={"BATCH_SIZE": batch, "ALPHA": method.alpha},
        ),
        Choice(
            name="steps",
            value=f"{chosen.train_steps:,}",
            reason=chosen.reason,
            macros={"TRAIN_STEPS": chosen.train_steps},
        ),
        Choice(
            name="evaluation",
            value=f"every {period:,} steps",
            reason="the best checkpoint on validation is the student; training stops "
            f"after {chosen.patience} evaluations without a better score",
            macros={
                "EVAL_PERIOD": period,
                "PATIENCE": chosen.patience,
                "LOG_PERIOD": max(1, min(50, period)),
            },
        ),
        Choice(
            name="learning rate",
            value=f"{rate:g}, {chosen.schedule}",
            reason="published weights"
            if config.initial_checkpoint
            else "random weights",
            macros={
                "LEARNING_RATE": rate,
                "SCHEDULE": chosen.schedule,
                "WARMUP_STEPS": chosen.warmup_steps,
                "DROPOUT_RATE": chosen.dropout_rate,
            },
        ),
    ]


def _batch_reason(method: MethodInfo) -> str:
    if method.counterfactual:
        return "half rationales, half counterfactual rationales"
    if method.two_tasks:
        return "half labels, half rationales"
    joined = method.label_first or method.rationale_first or method.paired
    return "labels with their rationales" if joined else "labels"


def _precision_choice(plan: Plan, input_length: int, target_length: int) -> Choice:
    """Keeps the precision of a run that has begun, or measures the faster one."""
    name, reason = "float32", "the run began with it"
    if (plan.output / student_folder.STUDENT_FILE).is_file():
        name = student_folder.read_spec(plan.output).network.precision
    else:
        name, reason = precision_trial.choose(
            plan.network, plan.settings.loop.batch_size, input_length, target_length
        )
    return Choice(
        name="precision", value=name, reason=reason, macros={"PRECISION": name}
    )


def _size_choice(config: FitConfig, labeled: int) -> Choice:
    if config.initial_checkpoint is not None:
        if config.size is not None:
            raise UserError(
                f"size is {config.size!r} and initial_checkpoint "
                f"{config.initial_checkpoint!r}, expected only one of them: a "
                "checkpoint has its size"
            )
        return Choice(
            name="student",
            value="the checkpoint's",
            reason=f"weights of {config.initial_checkpoint}",
            macros={"INITIAL_CHECKPOINT_PATH": config.initial_checkpoint},
        )
    name, reason = config.size, "given; random weights"
    if name is None:
        name, reason = recipe.choose_size(labeled)
    return Choice(name="student", value=name, reason=reason, macros=size_of(name))


def other_settings() -> dict[str, SettingInfo]:
    """Returns the settings of a run that no choice of `FitConfig` decides.

    They are called by their macros' names in lower case, such as "dropout_rate".
    """
    decided = _FIXED | {info.macro for info in settings.settings_of(FitConfig)}
    return {
        info.macro.lower(): info
        for cls in TRAIN_SETTINGS
        for info in settings.settings_of(cls)
        if info.macro not in decided
    }


def _without(choice: Choice, given: Mapping[str, Any]) -> Choice:
    """Returns a choice without the settings that the user has given."""
    macros = {k: v for k, v in choice.macros.items() if k not in given}
    return dataclasses.replace(choice, macros=macros)


def _warnings(
    rows: FitRows,
    chosen: ChosenVocabulary,
    inputs: ChosenLength,
    targets: ChosenLength,
) -> list[str]:
    warnings = list(chosen.warnings)
    if rows.outside:
        warnings.append(
            f"train: {counted(rows.outside, 'row has', 'rows have')} a teacher label "
            "that is not in the label set; the teacher label and rationale are not used"
        )
    lacking = len(rows.splits["train"]) - sum(
        record.rationale is not None for record in rows.splits["train"]
    )
    if METHODS[rows.method].two_tasks and lacking > 0.9 * len(rows.splits["train"]):
        warnings.append(
            f"train: {lacking:,} of {len(rows.splits['train']):,} rows have no "
            "rationale, and half of each batch repeats the few others"
        )
    lists = any(record.rationales for record in rows.splits["train"])
    if METHODS[rows.method].each_rationale and not lists:
        warnings.append(
            "train: no row has the field 'rationales', a list of texts, so "
            f"{rows.method} trains as step_by_step"
        )
    for name, length, option in (
        ("inputs", inputs, "input_length"),
        ("targets", targets, "target_length"),
    ):
        if length.truncated:
            warnings.append(
                f"train: {length.truncated:,} of {length.texts:,} {name} are longer "
                f"than {length.tokens} tokens and are cut; {option} changes the length"
            )
    return warnings
