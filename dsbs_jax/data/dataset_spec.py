"""Everything that is specific to a dataset, stated once.

A `DatasetSpec` states how a dataset's completions are parsed, how its labels are
compared, which labels there are, which teachers labeled it and how long its texts
are. Tasks, the quality card, the TFDS builder, vocabularies and evaluation read it.

The built-in specs are those of the paper's datasets and `DEFAULT`, for a user's data.
`register` adds a user's own:

    dataset_spec.register(
        dataset_spec.user_dataset("tickets", labels=("approve", "refuse"))
    )
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from dsbs_jax.data import completions, metrics
from dsbs_jax.data.completions import CompletionParser, ParsedCompletion
from dsbs_jax.data.metrics import Metric
from dsbs_jax.errors import UserError

# Prefixes of the two-task methods (paper, section 3.2). The single-output baselines of
# the released code have none.
PREDICT_PREFIX = "predict: "
EXPLAIN_PREFIX = "explain: "

PALM = "palm"
GPT_NEOX = "gpt_neox"
# The teacher's name in a user's data.
USER_TEACHER = "teacher"

# SeqIO's default of 1,000 examples would leave the order of most datasets almost
# unchanged.
SHUFFLE_BUFFER = 20_000


@dataclasses.dataclass(frozen=True, slots=True)
class FeatureLengths:
    """The longest input and target that a student reads, in tokens.

    Attributes:
        inputs: Tokens of an input, end token included.
        targets: Tokens of a target, end token included.
    """

    inputs: int
    targets: int

    @property
    def task_feature_lengths(self) -> dict[str, int]:
        """The lengths of each feature of a task, as SeqIO takes them.

        FeatureLengths(512, 128) ->
        {"inputs": 512, "targets": 128, "task_ids": 128}
        """
        return {
            "inputs": self.inputs,
            "targets": self.targets,
            "task_ids": self.targets,
        }


def check_lengths(lengths: Mapping[str, int]) -> None:
    """Checks the lengths of a task's features.

    Raises:
        UserError: A length is missing or below 1, or `task_ids` differs from `targets`.
    """
    for feature in ("inputs", "targets"):
        length = lengths.get(feature)
        if length is None or length < 1:
            raise UserError(
                f"TASK_FEATURE_LENGTHS: {feature} is {length}, expected 1 token or more"
            )
    if lengths.get("task_ids") != lengths["targets"]:
        raise UserError(
            f"TASK_FEATURE_LENGTHS: task_ids is {lengths.get('task_ids')}, expected "
            f"the length of targets, {lengths['targets']}"
        )


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """Everything that is specific to a dataset.

    Attributes:
        name: Name of the dataset, the first part of the names of its tasks.
        parser: Reads the teacher's completions.
        metric: Compares the labels of the student and of the teacher with human labels.
        labels: The closed set of labels, or None where labels are free text.
        teachers: Names of the teachers whose labels and rationales the dataset has.
        teacher_parsers: Parsers by teacher, for teachers whose completions need
            another parser than `parser`.
        feature_lengths: Tokens to which inputs and targets are truncated.
        shuffle_buffer: Examples in SeqIO's shuffle buffer. A buffer as large as the
            training split shuffles completely.
        predict_prefix: Prefix of the label task of the two-task methods.
        explain_prefix: Prefix of the rationale task of the two-task methods.
        parts: Names of other datasets. A dataset with parts has no rows of its own: it
            mixes its parts in proportion to their sizes, and its first part is tested.
    """

    name: str
    parser: CompletionParser
    metric: Metric = metrics.EXACT_MATCH
    labels: tuple[str, ...] | None = None
    teachers: tuple[str, ...] = (USER_TEACHER,)
    teacher_parsers: Mapping[str, CompletionParser] = dataclasses.field(
        default_factory=dict
    )
    feature_lengths: FeatureLengths = FeatureLengths(512, 128)
    shuffle_buffer: int = SHUFFLE_BUFFER
    predict_prefix: str = PREDICT_PREFIX
    explain_prefix: str = EXPLAIN_PREFIX
    parts: tuple[str, ...] = ()

    def parser_of(self, teacher: str) -> CompletionParser:
        """Returns the parser of a teacher's completions."""
        return self.teacher_parsers.get(teacher, self.parser)

    def parse(self, completion: str, teacher: str = PALM) -> ParsedCompletion:
        """Reads the rationale and the label of a teacher's completion."""
        return self.parser_of(teacher).parse(completion)


_RELEASED_LENGTHS = FeatureLengths(1024, 256)
_RELEASED_TEACHERS = (PALM, GPT_NEOX)
_ANLI1_PARSER = CompletionParser(
    ("Premise:",), ("So the answer is",), completions.read_nli_class
)

DEFAULT = DatasetSpec(
    name="default",
    parser=CompletionParser(
        ("Q:", "Input:"), ("So the answer is",), completions.read_text
    ),
)
CQA = DatasetSpec(
    name="cqa",
    parser=CompletionParser(("Q:",), ("So the answer is",), completions.read_choice),
    teachers=_RELEASED_TEACHERS,
    feature_lengths=_RELEASED_LENGTHS,
    shuffle_buffer=9_741,
)
SVAMP = DatasetSpec(
    name="svamp",
    parser=CompletionParser(("Q:",), ("The answer is",), completions.read_equation),
    metric=metrics.EQUATION_ACCURACY,
    teachers=_RELEASED_TEACHERS,
    feature_lengths=_RELEASED_LENGTHS,
    shuffle_buffer=800,
)
ASDIV = dataclasses.replace(SVAMP, name="asdiv", teachers=(PALM,), shuffle_buffer=2_305)
# ASDiv adds unlabeled examples to SVAMP (paper, section 4.2).
SVAMP_ASDIV = dataclasses.replace(
    SVAMP, name="svamp_asdiv", teachers=(PALM,), parts=("svamp", "asdiv")
)
ANLI1 = DatasetSpec(
    name="anli1",
    parser=_ANLI1_PARSER,
    labels=completions.NLI_CLASSES,
    teachers=_RELEASED_TEACHERS,
    teacher_parsers={
        GPT_NEOX: dataclasses.replace(
            _ANLI1_PARSER, answer_markers=("So the answer is", "The answer is")
        )
    },
    feature_lengths=_RELEASED_LENGTHS,
    shuffle_buffer=16_946,
)
ESNLI = DatasetSpec(
    name="esnli",
    # "Premise" without its colon, because a completion may end just before it.
    parser=CompletionParser(("Premise",), ("Answer:",), completions.read_nli_class),
    labels=completions.NLI_CLASSES,
    teachers=_RELEASED_TEACHERS,
    feature_lengths=_RELEASED_LENGTHS,
)

_BUILT_IN = (CQA, SVAMP, ASDIV, SVAMP_ASDIV, ANLI1, ESNLI, DEFAULT)
_SPECS: dict[str, DatasetSpec] = {spec.name: spec for spec in _BUILT_IN}


def register(spec: DatasetSpec) -> None:
    """Adds a dataset's spec; a spec of the same name is replaced."""
    _SPECS[spec.name] = spec


def names() -> tuple[str, ...]:
    """Returns the names of the registered datasets that have rows of their own."""
    return tuple(name for name, spec in _SPECS.items() if not spec.parts)


def all_names() -> tuple[str, ...]:
    """Returns the names of all registered datasets, including those with parts."""
    return tuple(_SPECS)


def user_dataset(name: str, **changes: Any) -> DatasetSpec:
    """Returns the spec of a user's dataset: `DEFAULT` with another name and changes.

    Args:
        name: Name of the dataset.
        **changes: Other fields of `DatasetSpec`.
    """
    return dataclasses.replace(DEFAULT, name=name, **changes)


def find(name: str) -> DatasetSpec | None:
    """Returns the spec of a dataset, or None if no spec of that name is registered."""
    return _SPECS.get(name)


def get(name: str) -> DatasetSpec:
    """Returns the spec of a dataset.

    Raises:
        UserError: No spec of that name is registered.
    """
    if name not in _SPECS:
        raise UserError(
            f"the dataset is {name!r}, expected one of {', '.join(names())} or a name "
            "that dataset_spec.register added"
        )
    return _SPECS[name]


def of_files(name: str) -> DatasetSpec:
    """Returns the spec of a user's files: the registered one, or the default.

    A built-in dataset of the same name has other rows, so its spec does not apply.
    """
    spec = find(name)
    built_in = any(spec is other for other in _BUILT_IN)
    return user_dataset(name) if spec is None or built_in else spec
