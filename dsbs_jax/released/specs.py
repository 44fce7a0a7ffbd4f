"""How each of the paper's datasets was released.

The facts are those of google-research/distilling-step-by-step, `data_utils.py`. "Raw
splits" are the released files' train, valid and test. "Splits" are what the paper
trains and scores on: train, validation and test. Where there is no valid file,
validation is carved out of raw train (`splits.carve_validation`). ASDiv only adds
training examples to SVAMP: its complete raw train split is the train split, and its
test split is optional.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from dsbs_jax.data import completions, dataset_spec
from dsbs_jax.data.dataset_spec import DatasetSpec
from dsbs_jax.data.records import SEGMENT_SEPARATOR
from dsbs_jax.errors import UserError


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """The fields of one released row.

    Attributes:
        input: The text that the student reads.
        label: The human label.
        choices: The five choices of a cqa question, else None.
        explanations: The human rationales of an e-SNLI row, one for each annotator, and
            None for a missing one; otherwise empty.
    """

    input: str
    label: str
    choices: tuple[str, ...] | None = None
    explanations: tuple[str | None, ...] = ()


class _CqaRow(msgspec.Struct):
    question: str
    choices: list[str]
    answer: str


class _SvampRow(msgspec.Struct):
    input: str
    label: str


class _NliRow(msgspec.Struct):
    premise: str
    hypothesis: str
    label: int
    explanation_1: str = ""
    explanation_2: str = ""
    explanation_3: str = ""


class _AsdivRow(msgspec.Struct):
    Body: str
    Question: str
    Answer: str


def _cqa_row(row: _CqaRow) -> Row:
    r"""Formats a question: "Where?" -> "Where?\nAnswer Choices:\n(a) kettle\n(b) …"."""
    if len(row.choices) != 5:
        raise ValueError(f"field 'choices' has {len(row.choices)} texts, expected five")
    if row.answer not in row.choices:
        raise ValueError(f"answer {row.answer!r:.80} is none of the choices")
    lines = [f"({letter}) {c}" for letter, c in zip("abcde", row.choices, strict=True)]
    text = "\n".join([row.question, "Answer Choices:", *lines])
    return Row(text, row.answer, tuple(row.choices))


def _svamp_row(row: _SvampRow) -> Row:
    return Row(row.input, row.label)


def _nli_row(row: _NliRow) -> Row:
    """Joins the two texts: "A man.", "No man." -> "A man.</s>No man."."""
    if not 0 <= row.label < len(completions.NLI_CLASSES):
        raise ValueError(f"field 'label' is {row.label}, expected 0, 1 or 2")
    text = row.premise + SEGMENT_SEPARATOR + row.hypothesis
    given = row.explanation_1, row.explanation_2, row.explanation_3
    explanations = tuple(explanation.strip() or None for explanation in given)
    return Row(text, completions.NLI_CLASSES[row.label], explanations=explanations)


def _asdiv_row(row: _AsdivRow) -> Row:
    """Takes the first word of the answer as the label: "3 (apples)" -> "3"."""
    first_word, *_ = [*row.Answer.split(), ""]
    return Row(f"{row.Body}\n{row.Question}", first_word)


@dataclasses.dataclass(frozen=True, slots=True)
class ReleasedSpec:
    """Fields, splits and files of one released dataset.

    Attributes:
        spec: The dataset's spec.
        row_type: The fields that a row must have, with their types.
        read_row: Turns a value of `row_type` into a `Row`; raises ValueError for a
            wrong value.
        splits: The raw split that holds the rows of each split.
        optional: Splits whose files may be missing.
    """

    spec: DatasetSpec
    row_type: type[Any]
    read_row: Callable[[Any], Row]
    splits: Mapping[str, str]
    optional: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """Name of the dataset."""
        return self.spec.name

    @property
    def required(self) -> list[str]:
        """Splits whose files must exist."""
        return [split for split in self.splits if split not in self.optional]

    @property
    def raw_splits(self) -> list[str]:
        """The raw splits, each once."""
        return list(dict.fromkeys(self.splits.values()))

    @property
    def carved(self) -> bool:
        """Whether validation is carved out of raw train."""
        return self.splits.get("validation") == "train"

    def raw_split_of(self, split: str) -> str:
        """Returns the raw split that holds a split's rows.

        Raises:
            UserError: The dataset has no such split.
        """
        if split not in self.splits:
            raise UserError(
                f"{self.name} has no split {split!r}, expected one of "
                f"{', '.join(self.splits)}"
            )
        return self.splits[split]


_CARVED = {"train": "train", "validation": "train", "test": "test"}
_OWN_FILES = {"train": "train", "validation": "valid", "test": "test"}

RELEASED: dict[str, ReleasedSpec] = {
    released.name: released
    for released in (
        ReleasedSpec(dataset_spec.CQA, _CqaRow, _cqa_row, _CARVED),
        ReleasedSpec(dataset_spec.SVAMP, _SvampRow, _svamp_row, _CARVED),
        ReleasedSpec(dataset_spec.ANLI1, _NliRow, _nli_row, _OWN_FILES),
        ReleasedSpec(dataset_spec.ESNLI, _NliRow, _nli_row, _OWN_FILES),
        ReleasedSpec(
            dataset_spec.ASDIV,
            _AsdivRow,
            _asdiv_row,
            {"train": "train", "test": "test"},
            optional=frozenset({"test"}),
        ),
    )
}


def released_spec(dataset: str) -> ReleasedSpec:
    """Returns the released spec of a dataset.

    Raises:
        UserError: No dataset of that name was released.
    """
    if dataset not in RELEASED:
        raise UserError(
            f"{dataset!r} is not a released dataset, expected one of "
            f"{', '.join(RELEASED)}"
        )
    return RELEASED[dataset]
