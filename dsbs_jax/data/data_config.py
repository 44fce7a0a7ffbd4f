"""Settings of the training data."""

import dataclasses
import re
from typing import Annotated

from msgspec import Meta

from dsbs_jax.data.dataset_spec import check_lengths
from dsbs_jax.data.methods import AnyMethod, info_of
from dsbs_jax.data.splits import Subsample
from dsbs_jax.errors import UserError
from dsbs_jax.settings import (
    AnyPath,
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    Settings,
    Text,
    setting,
)
from dsbs_jax.task_ids import MAX_WEIGHT

# The vocabulary of all T5 and T5 v1.1 checkpoints.
T5_VOCABULARY = "gs://t5-data/vocabs/cc_all.32000.100extra/sentencepiece.model"
# One source of rows, or several.
Files = AnyPath | tuple[AnyPath, ...]
# Registers the paper's datasets.
DATASET_MODULE = "dsbs_jax.tasks.all_datasets"

# The weight of a teacher; a larger one does not fit a token's id.
TeacherWeight = Annotated[float, Meta(ge=0, le=MAX_WEIGHT)]

# What SeqIO allows in the name of a task.
_NAME = re.compile(r"[\w.:]+")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig(Settings):
    """Which examples a student is trained and scored on.

    Raises:
        UserError: A value is wrong, both rates are 0, or TASK_FEATURE_LENGTHS lacks a
            length or gives task_ids another length than targets.
    """

    dataset: Text = setting(
        help="Name of a registered dataset. With DATA_FILES, a name that you choose."
    )
    method: AnyMethod = setting(help="The training method: its tasks and labels.")
    teacher: Text | None = setting(
        None,
        help="Teacher whose labels and rationales are used; None is the first of the "
        "dataset.",
    )
    data_files: Files | dict[str, Files] | None = setting(
        None,
        help="Your own rows: a file (JSON lines, JSON, CSV, TSV or Parquet), a glob, a "
        "folder that Hugging Face datasets saved, 'hub:' and a dataset's id, or a list "
        "of these, split 80/10/10; or a dictionary with one of these for train and "
        "optionally validation and test.",
    )
    labels: tuple[Text, ...] | None = setting(
        None,
        help="The closed label set from which a student chooses. None takes that of "
        "the dataset, or of the training rows if they have one; an empty list allows "
        "any text.",
    )
    dataset_module: Text = setting(
        DATASET_MODULE,
        help="Python module that registers DATASET. Not used with DATA_FILES.",
    )
    test_dataset: Text | None = setting(
        None, help="Dataset whose test split is scored; None uses DATASET."
    )
    mixture_or_task_name: Text | None = setting(
        None,
        help="A task or mixture of the dataset or of SeqIO's registry; None uses the "
        "mixture of DATASET, TEACHER and METHOD.",
    )
    task_feature_lengths: dict[str, int] | None = setting(
        None,
        help="Tokens of inputs, targets and task_ids (the same as targets), end tokens "
        "included; None takes the dataset's.",
    )
    vocabulary_path: AnyPath = setting(
        T5_VOCABULARY,
        help="SentencePiece model or tokenizer.json of a T5: a file, a Hugging Face "
        "folder, a gs:// address, or 'hub:' and the id of a repository. 'bytes' reads "
        "the bytes of a text, as ByT5.",
    )
    label_rate: NonNegativeFloat = setting(
        1.0, help="Examples of label tasks in a batch, relative to RATIONALE_RATE."
    )
    rationale_rate: NonNegativeFloat = setting(
        1.0, help="Examples of rationale tasks in a batch, relative to LABEL_RATE."
    )
    wrong_rationale_weight: Fraction | None = setting(
        None,
        help="Weight of a rationale in the mean of the rationale loss if the teacher's "
        "label is wrong; 0 drops it. None takes the method's: 0 for "
        "step_by_step_correct, 1 for the others.",
    )
    teacher_weights: dict[Text, TeacherWeight] = setting(
        {},
        help="Weights of teachers by name, for step_by_step_multi: a teacher's weight "
        "multiplies the weights of its rationales. A teacher without an entry has "
        "weight 1. Rows name the teachers in the field rationale_teachers.",
    )
    subsample_fraction: Annotated[float, Meta(gt=0, le=1)] = setting(
        1.0, help="Proportion of the training rows to use."
    )
    subsample_seed: NonNegativeInt = setting(
        0, help="Seed of the random choice of these training rows."
    )

    def __post_init__(self) -> None:
        """Checks every value, and those that depend on each other."""
        super().__post_init__()
        if not self.label_rate and not self.rationale_rate:
            raise UserError(
                f"LABEL_RATE is {self.label_rate} and RATIONALE_RATE is "
                f"{self.rationale_rate}, expected numbers >= 0, one of them > 0"
            )
        for macro, name in (
            ("DATASET", self.dataset),
            ("TEACHER", self.teacher),
            ("TEST_DATASET", self.test_dataset),
        ):
            if name is not None and not _NAME.fullmatch(name):
                raise UserError(
                    f"{macro} is {name!r}, expected letters, digits, '_' and '.' only, "
                    "because SeqIO's names of tasks begin with it"
                )
        if self.teacher_weights and not info_of(self.method).each_rationale:
            raise UserError(
                f"TEACHER_WEIGHTS is given with METHOD {self.method!r}, expected "
                "'step_by_step_multi', or no weights"
            )
        if self.task_feature_lengths is not None:
            check_lengths(self.task_feature_lengths)

    @property
    def rationale_weight_if_wrong(self) -> float:
        """WRONG_RATIONALE_WEIGHT, or else the method's."""
        if self.wrong_rationale_weight is not None:
            return self.wrong_rationale_weight
        return info_of(self.method).wrong_rationale_weight

    @property
    def subsample(self) -> Subsample:
        """The part of the training rows to use."""
        return Subsample(self.subsample_fraction, self.subsample_seed)
