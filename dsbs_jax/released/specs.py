"""What each released dataset's rows and splits look like.

Read in google-research/distilling-step-by-step, `data_utils.py`. "Raw splits" are the
released files' train, valid and test; "splits" are what the paper trains and scores
on: train, validation and test. Where there is no valid file, validation is carved out
of raw train (`splits.carve_validation`). asdiv only adds to svamp's training examples:
all of its train stays train, and its test is read only where it is there.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from dsbs_jax.data import completions
from dsbs_jax.data.records import SEGMENT_SEPARATOR
from dsbs_jax.errors import UserError

TEACHERS = ("palm", "gpt_neox")


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """What one released row says: input, human label and, for cqa, the choices."""

    input: str
    label: str
    choices: tuple[str, ...] | None = None


def _cqa_row(row: dict[str, Any]) -> Row:
    choices = row["choices"]
    if len(choices) != 5 or not all(isinstance(choice, str) for choice in choices):
        raise ValueError(f"choices must be five texts, found {choices!r:.80}")
    if row["answer"] not in choices:
        raise ValueError(f"answer {row['answer']!r:.80} is none of the choices")
    lines = [f"({letter}) {c}" for letter, c in zip("abcde", choices, strict=True)]
    text = "\n".join([row["question"], "Answer Choices:", *lines])
    return Row(text, row["answer"], tuple(choices))


def _svamp_row(row: dict[str, Any]) -> Row:
    return Row(row["input"], row["label"])


def _nli_row(row: dict[str, Any]) -> Row:
    label = row["label"]
    if isinstance(label, bool) or label not in (0, 1, 2):
        raise ValueError(f"label must be 0, 1 or 2, found {label!r}")
    text = row["premise"] + SEGMENT_SEPARATOR + row["hypothesis"]
    return Row(text, completions.NLI_CLASSES[label])


def _asdiv_row(row: dict[str, Any]) -> Row:
    first_word, *_ = [*row["Answer"].split(), ""]
    return Row(f"{row['Body']}\n{row['Question']}", first_word)


@dataclasses.dataclass(frozen=True, slots=True)
class DatasetSpec:
    """How one dataset was released.

    Attributes:
        fields: The fields that a row must have, and their types; others are ignored.
        read_row: Turns a checked row into a `Row`; raises ValueError for what is wrong.
        splits: From each split to the raw split that its rows are in.
        teachers: Whose completions were released.
        optional: Splits whose files may be absent.
    """

    fields: dict[str, type]
    read_row: Callable[[dict[str, Any]], Row]
    splits: dict[str, str]
    teachers: tuple[str, ...] = TEACHERS
    optional: frozenset[str] = frozenset()

    @property
    def carved(self) -> bool:
        """Whether validation is carved out of raw train."""
        return self.splits.get("validation") == "train"


_CARVED = {"train": "train", "validation": "train", "test": "test"}
_GIVEN = {"train": "train", "validation": "valid", "test": "test"}
_NLI_FIELDS = {"premise": str, "hypothesis": str, "label": int}

RELEASED: dict[str, DatasetSpec] = {
    "cqa": DatasetSpec(
        {"question": str, "choices": list, "answer": str}, _cqa_row, _CARVED
    ),
    "svamp": DatasetSpec({"input": str, "label": str}, _svamp_row, _CARVED),
    "anli1": DatasetSpec(_NLI_FIELDS, _nli_row, _GIVEN),
    "esnli": DatasetSpec(_NLI_FIELDS, _nli_row, _GIVEN),
    "asdiv": DatasetSpec(
        {"Body": str, "Question": str, "Answer": str},
        _asdiv_row,
        {"train": "train", "test": "test"},
        teachers=("palm",),
        optional=frozenset({"test"}),
    ),
}


def dataset_spec(dataset: str) -> DatasetSpec:
    """Returns a dataset's spec.

    Raises:
        UserError: There is no released dataset of that name.
    """
    if dataset not in RELEASED:
        raise UserError(
            f"no released dataset is called {dataset!r}, expected one of "
            f"{', '.join(RELEASED)}"
        )
    return RELEASED[dataset]
