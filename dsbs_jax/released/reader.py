"""Strict reader of the authors' released files (a folder or `datasets.zip`).

Layout (google-research/distilling-step-by-step, `data_utils.py`), at the root or in
one folder below it:

    <name>/<name>_{train,valid,test}.json       one JSON object a line
    <name>/llm/{train,valid,test}_CoT_<k>.json  PaLM: JSON lists of raw completions,
                                                 joined in numeric order of k
    gpt-neox/<name>/{train,valid,test}.json     GPT-NeoX: one JSON list a split

`released_specs` says what the rows hold and which raw splits (those of the files) make
up which splits (those of the paper).

A record's id is `<dataset>-<raw split>-<row>`, rows counted from 0: "cqa-train-17".
"""

import collections
import dataclasses
import functools
import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any

from dsbs_jax.data import completions, metrics, splits
from dsbs_jax.data.records import Record
from dsbs_jax.errors import UserError
from dsbs_jax.released import archives
from dsbs_jax.released.specs import RELEASED, DatasetSpec, Row, dataset_spec


@dataclasses.dataclass(frozen=True, slots=True)
class Quarantined:
    """A completion that is no (full) training target.

    Attributes:
        index: Row number in the raw split, from 0.
        id: The record's.
        completion: As it was released.
        problem: One of the reasons in `completions`.
    """

    index: int
    id: str
    completion: str
    problem: str


@dataclasses.dataclass(frozen=True, slots=True)
class RawSplit:
    """One raw split, with one teacher's completions or none.

    Attributes:
        dataset: A key of `RELEASED`.
        records: One a row, in the file's order.
        choices: Cqa: the five answers to choose from, one tuple a row; else None.
        quarantine: In row order.
    """

    dataset: str
    records: list[Record]
    choices: list[tuple[str, ...] | None]
    quarantine: list[Quarantined]


@dataclasses.dataclass(frozen=True, slots=True)
class SplitRead:
    """One split as the paper uses it.

    Attributes:
        records: The split's examples.
        indices: Their row numbers in the raw split, from 0.
        quarantine: What could not be parsed of them, in the split's order.
    """

    records: list[Record]
    indices: list[int]
    quarantine: list[Quarantined]

    @property
    def counts(self) -> dict[str, int]:
        """Rows, those with each optional field, and those with each problem."""
        counted = {"rows": len(self.records)}
        for field in ("label", "teacher_label", "rationale"):
            have = sum(getattr(record, field) is not None for record in self.records)
            counted[field] = have
        return counted | collections.Counter(q.problem for q in self.quarantine)


@dataclasses.dataclass(frozen=True, slots=True)
class TeacherStatistics:
    """How a teacher did on some rows, scored by the dataset's metric.

    Attributes:
        rows: All of them; a row without a parsed label counts as wrong.
        correct: Rows whose teacher label is right.
        unparsable: Rows without a parsable label, those of `run_on` left out.
        run_on: Rows whose label goes on into other text.
        blank_rationale: Rows with a label but no rationale.
        out_of_choices: Cqa: parsed labels that are none of the choices; else None.
    """

    rows: int
    correct: int
    unparsable: int
    run_on: int
    blank_rationale: int
    out_of_choices: int | None

    @property
    def accuracy(self) -> float:
        """Share of correct rows, 0 to 1."""
        return self.correct / self.rows


def score_teacher(
    raw: RawSplit, indices: Iterable[int] | None = None
) -> TeacherStatistics:
    """Scores the teacher's labels on some rows of a raw split, by default on all."""
    chosen = range(len(raw.records)) if indices is None else [int(i) for i in indices]
    correct = metrics.correct_fn(raw.dataset)
    right = outside = 0
    for i in chosen:
        label, choices = raw.records[i].teacher_label, raw.choices[i]
        if label is not None:
            right += correct(raw.records[i].label, label)
            outside += choices is not None and label not in choices
    among = set(chosen)
    problems = collections.Counter(
        q.problem for q in raw.quarantine if q.index in among
    )
    run_on = problems.pop(completions.RUNS_ON, 0)
    blank = problems.pop(completions.BLANK_RATIONALE, 0)
    return TeacherStatistics(
        rows=len(chosen),
        correct=right,
        unparsable=problems.total(),
        run_on=run_on,
        blank_rationale=blank,
        out_of_choices=outside if raw.dataset == "cqa" else None,
    )


class Release:
    """The released files, read only when asked for. Made by `open_release`."""

    def __init__(self, tree: archives.Tree) -> None:
        """Takes the files; raises UserError when they hold none of the datasets."""
        self._tree = tree
        self._root = _find_root(tree)

    def missing(
        self, dataset: str, teacher: str | None, wanted: Sequence[str]
    ) -> list[str]:
        """Names the files that reading some splits needs and that are not there."""
        raws = dict.fromkeys(_raw_split(dataset, split) for split in wanted)
        absent = []
        for raw in raws:
            name = self._rows_name(dataset, raw)
            if not self._tree.is_file(name):
                absent.append(name)
            if teacher and not self._completion_names(dataset, raw, teacher):
                absent.append(self._completions_pattern(dataset, raw, teacher))
        return [self._tree.where(name) for name in absent]

    def splits(self, dataset: str) -> list[str]:
        """Splits whose rows are there, in the order train, validation, test."""
        wanted = dataset_spec(dataset).splits
        return [split for split in wanted if not self.missing(dataset, None, [split])]

    def read(
        self,
        dataset: str,
        teacher: str | None = None,
        wanted: Sequence[str] | None = None,
    ) -> dict[str, SplitRead]:
        """Reads splits as the paper uses them.

        Args:
            dataset: A key of `RELEASED`.
            teacher: Whose completions to parse; None for none.
            wanted: Splits to read; None for all of the dataset's (those of `optional`
                only where they are there). Nothing else needs to be there.

        Raises:
            UserError: An unknown name, or files that are missing, cut short,
                misaligned or of the wrong shape.
        """
        spec = dataset_spec(dataset)
        if wanted is None:
            there = set(self.splits(dataset)) if spec.optional else set()
            wanted = [s for s in spec.splits if s not in spec.optional or s in there]
        self.require(dataset, teacher, wanted)
        raws = {
            raw: self.read_raw(dataset, raw, teacher)
            for raw in dict.fromkeys(spec.splits[split] for split in wanted)
        }
        return {
            split: select(raws[spec.splits[split]], split, spec) for split in wanted
        }

    def require(self, dataset: str, teacher: str | None, wanted: Sequence[str]) -> None:
        """Raises UserError listing the missing files, if there are any."""
        if teacher and teacher not in dataset_spec(dataset).teachers:
            raise UserError(
                f"{dataset} has no completions by {teacher!r}; it has them by "
                f"{', '.join(dataset_spec(dataset).teachers)}"
            )
        absent = self.missing(dataset, teacher, wanted)
        if absent:
            raise UserError(f"{dataset}: missing {', '.join(absent)}")

    def read_raw(
        self, dataset: str, raw_split: str, teacher: str | None = None
    ) -> RawSplit:
        """Reads the whole of a raw split ("train", "valid", "test").

        Raises:
            UserError: As `read`.
        """
        spec = dataset_spec(dataset)
        wanted = [split for split, raw in spec.splits.items() if raw == raw_split]
        if not wanted:
            raise UserError(
                f"{dataset} has no raw split {raw_split!r}, expected one of "
                f"{', '.join(dict.fromkeys(spec.splits.values()))}"
            )
        self.require(dataset, teacher, wanted[:1])
        rows = self._rows(dataset, raw_split)
        texts: Sequence[str | None] = [None] * len(rows)
        if teacher:
            texts = self._completions(dataset, raw_split, teacher, len(rows))
        raw = RawSplit(dataset, [], [row.choices for row in rows], [])
        for index, (row, text) in enumerate(zip(rows, texts, strict=True)):
            id_ = f"{dataset}-{raw_split}-{index}"
            parsed = completions.Parsed(None, None, None)
            if text is not None:
                parsed = completions.parse(dataset, text, teacher)
            record = Record(id_, row.input, row.label, parsed.label, parsed.rationale)
            raw.records.append(record)
            if parsed.problem:
                raw.quarantine.append(Quarantined(index, id_, text, parsed.problem))
        return raw

    def teacher_statistics(
        self, dataset: str, raw_split: str, teacher: str = "palm"
    ) -> TeacherStatistics:
        """Scores a teacher on a raw split. Raises UserError as `read`."""
        return score_teacher(self.read_raw(dataset, raw_split, teacher))

    def fingerprint(self, dataset: str) -> str:
        """A hash of every file of a dataset, the same for a folder and a zip of it."""
        spec = dataset_spec(dataset)
        names = []
        for raw in dict.fromkeys(spec.splits.values()):
            names += filter(self._tree.is_file, [self._rows_name(dataset, raw)])
            for teacher in spec.teachers:
                names += self._completion_names(dataset, raw, teacher)
        digest = hashlib.sha256(f"parser {completions.PARSER_VERSION}".encode())
        for name in names:
            content = hashlib.sha256(self._tree.read(name)).hexdigest()
            digest.update(f"{name.removeprefix(self._root)} {content}".encode())
        return digest.hexdigest()

    def _rows_name(self, dataset: str, raw: str) -> str:
        return f"{self._root}{dataset}/{dataset}_{raw}.json"

    def _completions_pattern(self, dataset: str, raw: str, teacher: str) -> str:
        """The name of a teacher's file, "*" for the number of PaLM's."""
        if teacher == "palm":
            return f"{self._root}{dataset}/llm/{raw}_CoT_*.json"
        return f"{self._root}gpt-neox/{dataset}/{raw}.json"

    def _completion_names(self, dataset: str, raw: str, teacher: str) -> list[str]:
        """A teacher's files for a raw split in order; none if there are none."""
        pattern = self._completions_pattern(dataset, raw, teacher)
        if "*" not in pattern:
            return [pattern] if self._tree.is_file(pattern) else []
        folder, _, base = pattern.rpartition("/")
        numbered = re.compile(re.escape(base).replace(r"\*", "([0-9]{1,9})"))
        found = sorted(
            (int(match.group(1)), name)
            for name in self._tree.list(folder)
            if (match := numbered.fullmatch(name))
        )
        numbers = [number for number, _ in found]
        if numbers != list(range(len(numbers))):
            raise UserError(
                f"{dataset}: {self._tree.where(pattern)} are numbered {numbers}, "
                "expected 0, 1, 2, … without a gap"
            )
        return [f"{folder}/{name}" for _, name in found]

    def _rows(self, dataset: str, raw: str) -> list[Row]:
        name = self._rows_name(dataset, raw)
        where = self._tree.where(name)
        lines = self._tree.read(name).removeprefix(b"\xef\xbb\xbf").split(b"\n")
        while lines and not lines[-1].strip():
            lines.pop()
        if not lines:
            raise UserError(f"{where}: holds no rows")
        spec = dataset_spec(dataset)
        return [
            _read_row(spec, line, f"{where}, row {n}") for n, line in _number(lines)
        ]

    def _completions(
        self, dataset: str, raw: str, teacher: str, rows: int
    ) -> list[str]:
        """All completions of a raw split, one for each of its rows."""
        texts: list[str] = []
        counts = {}
        for name in self._completion_names(dataset, raw, teacher):
            where = self._tree.where(name)
            found = _load_json(self._tree.read(name), where)
            if not isinstance(found, list):
                raise UserError(
                    f"{where}: expected a list, found {type(found).__name__}"
                )
            for n, text in _number(found):
                if not isinstance(text, str):
                    raise UserError(
                        f"{where}, entry {n}: expected a text, "
                        f"found {type(text).__name__}"
                    )
            counts[name.rpartition("/")[2]] = len(found)
            texts += found
        if len(texts) != rows:
            each = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise UserError(
                f"{dataset}: {self._tree.where(self._rows_name(dataset, raw))} has "
                f"{rows} rows but {teacher} has {len(texts)} completions ({each})"
            )
        return texts


_number = functools.partial(enumerate, start=1)


def select(raw: RawSplit, split: str, spec: DatasetSpec) -> SplitRead:
    """Picks a split's rows out of its raw split."""
    indices = split_indices(len(raw.records), split, spec)
    by_index = {q.index: q for q in raw.quarantine}
    return SplitRead(
        [raw.records[i] for i in indices],
        indices,
        [by_index[i] for i in indices if i in by_index],
    )


def split_indices(n: int, split: str, spec: DatasetSpec) -> list[int]:
    """Row numbers of a split among the `n` rows of its raw split."""
    if not spec.carved or split == "test":
        return list(range(n))
    train, validation = splits.carve_validation(n)
    return (train if split == "train" else validation).tolist()


def open_release(path: str | os.PathLike[str]) -> Release:
    """Opens the released data.

    Args:
        path: The folder or zip file.

    Raises:
        UserError: It is neither, is unsafe, or holds none of the datasets.
    """
    return Release(archives.open_tree(path))


def _find_root(tree: archives.Tree) -> str:
    """The folder that holds the datasets: "" or "<folder>/"."""
    known = {*RELEASED, "gpt-neox"}
    top = tree.list("")
    if known.intersection(top):
        return ""
    below = [folder for folder in top if known.intersection(tree.list(folder))]
    if len(below) != 1:
        raise UserError(
            f"{tree.path}: expected folders named {', '.join(RELEASED)}, at the top or "
            f"in one folder below; found {', '.join(top[:8]) or 'nothing'}"
        )
    return f"{below[0]}/"


def _raw_split(dataset: str, split: str) -> str:
    known = dataset_spec(dataset).splits
    if split not in known:
        raise UserError(
            f"{dataset} has no split {split!r}, expected one of {', '.join(known)}"
        )
    return known[split]


def _load_json(content: bytes, where: str) -> Any:
    try:
        return json.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise UserError(
            f"{where}: broken JSON at character {error.pos}: {error.msg}"
        ) from error
    except (RecursionError, ValueError) as error:
        raise UserError(f"{where}: unreadable JSON: {error}") from error


def _read_row(spec: DatasetSpec, line: bytes, where: str) -> Row:
    """Reads and checks one line of a row file."""
    found = _load_json(line, where)
    if not isinstance(found, dict):
        raise UserError(f"{where}: expected an object, found {type(found).__name__}")
    for field, type_ in spec.fields.items():
        if field not in found:
            raise UserError(f"{where}: field {field!r} is missing")
        if not isinstance(found[field], type_):
            raise UserError(
                f"{where}: field {field!r} must be {type_.__name__}, "
                f"found {type(found[field]).__name__}"
            )
    try:
        row = spec.read_row(found)
        Record(where, row.input, row.label)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error
    return row
