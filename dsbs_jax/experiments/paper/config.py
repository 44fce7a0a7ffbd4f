"""Settings of a grid of runs, read from a file of `gin/experiments`."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta

from dsbs_jax import settings
from dsbs_jax.data.data_config import Files, TeacherWeight
from dsbs_jax.data.dataset_spec import EXPLAIN_PREFIX, PREDICT_PREFIX
from dsbs_jax.data.methods import (
    ANSWER_MARKER,
    COUNTERFACTUAL_PREFIX,
    FACTUAL_PREFIX,
    METHODS,
    Method,
)
from dsbs_jax.errors import UserError
from dsbs_jax.local.config import TRAIN_SETTINGS
from dsbs_jax.settings import (
    AnyPath,
    Fraction,
    NonNegativeInt,
    PositiveInt,
    Settings,
    Text,
    setting,
)
from dsbs_jax.student import operations, sizes

# Proportion of the training rows.
Proportion = Annotated[float, Meta(gt=0, le=1)]
Names = Annotated[tuple[Text, ...], Meta(min_length=1)]
# A setting of a variant.
Value = str | bool | int | float
# What is equal for all methods of a table.
Budget = Literal["steps", "operations"]
# Texts that the project adds to inputs and targets.
FIXED_TEXTS = (
    PREDICT_PREFIX,
    EXPLAIN_PREFIX,
    FACTUAL_PREFIX,
    COUNTERFACTUAL_PREFIX,
    ANSWER_MARKER,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GridConfig(Settings):
    """A grid of runs: every combination of datasets, sizes, methods and seeds.

    Raises:
        UserError: A value is wrong, or a size has no entry in STEPS or PAIRS.
    """

    title: Text = setting(help="Title of the report.")
    datasets: Names = setting(
        help="Datasets: those of gin/datasets, of DATA, and generated ones (tickets)."
    )
    sizes: Names = setting(("base",), help="Sizes of the student, files of gin/sizes.")
    methods: Names = setting(
        help="Methods, each with '/' and the teacher if it uses one, and with '+' and "
        "a name of VARIANTS for other settings: 'step_by_step/palm', 'finetune+wide'."
    )
    variants: dict[Text, dict[Text, Value]] = setting(
        {},
        help="Settings of the runs of a variant by its name: "
        "{'cosine': {'ALPHA_SCHEDULE': 'cosine'}}.",
    )
    fractions: dict[str, tuple[Proportion, ...]] = setting(
        {}, help="Proportions of the training rows by dataset; by default all rows."
    )
    alphas: tuple[Fraction, ...] = setting(
        (), help="Weights of the label loss; by default that of the method."
    )
    seeds: Annotated[tuple[NonNegativeInt, ...], Meta(min_length=1)] = setting(
        (0, 1, 2, 3), help="Seeds; also of the choice of a proportion of the rows."
    )
    steps: dict[str, PositiveInt] = setting(help="Updates of a run by size.")
    budgets: Annotated[tuple[Budget, ...], Meta(min_length=1)] = setting(
        ("steps",),
        help="What is equal for all methods: 'steps', the updates in STEPS, or "
        "'operations', the training operations of the first of METHODS with STEPS "
        "updates. With both, each method has two rows.",
    )
    pairs: dict[str, PositiveInt] = setting(
        help="Training rows of a batch by size. A two-task method has two examples of "
        "each row, so its BATCH_SIZE is twice this number."
    )
    initial_checkpoints: dict[str, AnyPath] = setting(
        {}, help="Weights to start from by size; without an entry, random weights."
    )
    pretrain_steps: dict[str, PositiveInt] = setting(
        {},
        help="Updates of span corruption by size, on the generated texts of the "
        "released data; the runs of the size start from this student.",
    )
    vocabulary: AnyPath | None = setting(
        None,
        help="VOCABULARY_PATH of the runs; None takes that of the initial checkpoint "
        "on the hub, or else the published one.",
    )
    data: dict[str, Files | dict[str, Files]] = setting(
        {}, help="DATA_FILES of your own datasets by name."
    )
    run_files: tuple[Text, ...] = setting(
        (), help="Further gin files of every run, after that of the dataset."
    )
    tokens: dict[str, tuple[PositiveInt, PositiveInt, PositiveInt]] = setting(
        {},
        help="Mean tokens of input, label and rationale by dataset, for the estimate "
        "of the cost; 'dataset/method/teacher' for a method with others.",
    )
    fixed_tokens: dict[str, NonNegativeInt] = setting(
        {ANSWER_MARKER: 5},
        help="Tokens of the prefixes and of the text before the label, for the "
        "estimate of the cost; a text without an entry has none.",
    )
    teacher_weights: dict[Text, TeacherWeight] = setting(
        {},
        help="TEACHER_WEIGHTS of the runs of step_by_step_multi: the weights of "
        "teachers by name.",
    )
    embedding_rows: PositiveInt = setting(
        operations.PUBLISHED_ROWS,
        help="Rows of the embedding, for the estimate of the cost.",
    )
    compare: Literal["method", "alpha", "dataset"] = setting(
        "method",
        help="What the comparisons vary; the first value is compared with the others.",
    )
    axis: Literal["fraction", "size", "alpha", "none"] = setting(
        "none", help="The x axis of the plots; 'none' draws none."
    )
    least: bool = setting(
        False,
        help="Whether the report lists the smallest student, and the least data, with "
        "a higher accuracy than the teacher.",
    )

    def __post_init__(self) -> None:
        """Checks every value, and those that depend on each other."""
        super().__post_init__()
        for size in self.sizes:
            sizes.size_of(size)
            for macro, values in (("STEPS", self.steps), ("PAIRS", self.pairs)):
                if size not in values:
                    raise UserError(
                        f"{macro} has entries for {', '.join(values) or 'no size'}, "
                        f"expected one for {size!r} of SIZES"
                    )
        for size in self.pretrain_steps.keys() & self.initial_checkpoints.keys():
            raise UserError(
                f"PRETRAIN_STEPS and INITIAL_CHECKPOINTS have an entry for {size!r}, "
                "expected one of them"
            )
        for variant, changes in self.variants.items():
            _check_variant(variant, changes)
        for name in self.methods:
            if (variant := parse_method(name).variant) not in {"", *self.variants}:
                raise UserError(
                    f"METHODS has {name!r}, expected after '+' one of VARIANTS: "
                    f"{', '.join(self.variants) or 'it has no entry'}"
                )
        for key in self.tokens:
            _, slash, name = key.partition("/")
            if slash:
                parse_method(name, f"TOKENS has {key!r}: found the method")
        for text in self.fixed_tokens:
            if text not in FIXED_TEXTS:
                raise UserError(
                    f"FIXED_TOKENS has {text!r}, expected one of "
                    f"{', '.join(map(repr, FIXED_TEXTS))}"
                )

    def fractions_of(self, dataset: str) -> tuple[float, ...]:
        """Returns the proportions of a dataset's training rows."""
        return self.fractions.get(dataset, (1.0,))


def _check_variant(name: str, values: Mapping[str, Value]) -> None:
    """Checks a name of VARIANTS, which is a part of folder names, and its settings."""
    if not name.isidentifier():
        raise UserError(f"VARIANTS has {name!r}, expected letters, digits and '_'")
    infos = {i.macro: i for cls in TRAIN_SETTINGS for i in settings.settings_of(cls)}
    try:
        settings.check_names(values, infos)
        for macro, value in values.items():
            settings.check(infos[macro], value)
    except UserError as error:
        raise UserError(f"VARIANTS, {name!r}: {error}") from error


class MethodChoice(NamedTuple):
    """An entry of METHODS.

    Attributes:
        method: The training method.
        teacher: Name of the teacher, or "" for a method without one.
        variant: A name of VARIANTS, or "".
    """

    method: Method
    teacher: str = ""
    variant: str = ""


def parse_method(text: str, found: str = "METHODS has") -> MethodChoice:
    """Splits an entry of METHODS: "distill/palm+long" -> ("distill", "palm", "long").

    Args:
        text: The method, '/' and the teacher if it uses one, '+' and a variant if it
            has other settings.
        found: What an error says before the text.

    Raises:
        UserError: The method is unknown, or the teacher is missing or not used.
    """
    name, _, variant = text.partition("+")
    method, _, teacher = name.partition("/")
    if method not in METHODS:
        raise UserError(
            f"{found} {text!r}, expected one of {', '.join(METHODS)}, with '/' and "
            "the teacher"
        )
    if (method == "finetune") == bool(teacher):
        wanted = "no teacher" if teacher else f"a teacher, as in '{method}/palm'"
        raise UserError(f"{found} {text!r}, expected {wanted}")
    return MethodChoice(method, teacher, variant)


def macros() -> set[str]:
    """Returns the names of the settings in gin files."""
    return {info.macro for info in settings.settings_of(GridConfig)}
