"""Reads the rationales of a quality card: rows of a file, or the released data."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from dsbs_jax.data import dataset_spec, tables
from dsbs_jax.data.dataset_spec import DatasetSpec
from dsbs_jax.rationales import filters, output_files
from dsbs_jax.rationales.filters import FilterConfig, FilterResult
from dsbs_jax.rationales.voting import VotedExample
from dsbs_jax.released import reader
from dsbs_jax.released.raw_split import teacher_statistics
from dsbs_jax.replies import specs


@dataclasses.dataclass(frozen=True)
class RationaleSet:
    """A set of rationales to judge.

    Attributes:
        examples: All voted examples.
        result: The examples that the filters kept and dropped.
        spec: The dataset, whose metric compares labels.
        facts: What the card states about the set, by name.
        failed: Inputs without a voted example, because no reply came.
        paths: The files of the rows; empty for released data.
    """

    examples: list[VotedExample]
    result: FilterResult
    spec: DatasetSpec
    facts: Mapping[str, object]
    failed: int = 0
    paths: Sequence[pathlib.Path] = ()


def read_file(
    path: str | os.PathLike[str],
    config: FilterConfig,
    filtered_file: str | os.PathLike[str] | None = None,
    dataset: str | None = None,
) -> RationaleSet:
    """Reads rows with rationales: the kept rows of an extraction, or a user's rows.

    Args:
        path: The rows.
        config: The filters, which run on rows without a file of dropped rows.
        filtered_file: The dropped rows. None looks for the files of an extraction next
            to the rows: `filtered.jsonl`, and with it `failed.jsonl` and `report.json`.
        dataset: Name of the dataset; None takes that of the report, or "default".

    Raises:
        UserError: A file cannot be read or has bad rows, or the dataset is not
            registered.
    """
    path = pathlib.Path(path)
    failed, report = 0, None
    next_to_it = path.with_name(output_files.FILTERED)
    if filtered_file is None and next_to_it.is_file() and next_to_it != path:
        filtered_file = next_to_it
        failed = len(read_rows(path.with_name(output_files.FAILED)))
        report = output_files.read_report(path.with_name(output_files.REPORT))
    if dataset is None:
        dataset = report.dataset if report else dataset_spec.DEFAULT.name
    spec = specs.for_new_rows(dataset_spec.get(dataset))
    result = filters.read(path, filtered_file)
    if filtered_file is None:
        result = filters.apply(result.kept, config, spec)
    elif report:
        result = dataclasses.replace(result, config=report.config)
    paths = [path, pathlib.Path(filtered_file)] if filtered_file else [path]
    facts = {
        "file": os.fspath(path),
        **(report.made_from if report else {}),
        "dataset": spec.name,
        "parser version": _parser_versions(paths),
    }
    examples = [*result.kept, *(example for example, _ in result.dropped)]
    return RationaleSet(examples, result, spec, facts, failed, paths)


def _parser_versions(paths: list[pathlib.Path]) -> str:
    """Names the parser versions that the rows were parsed with."""
    versions = {
        str(row.get("parser_version", "not recorded"))
        for path in paths
        for row in read_rows(path)
    }
    return ", ".join(sorted(versions))


def read_rows(path: pathlib.Path) -> list[dict[str, Any]]:
    """Reads the rows of a file; a missing or empty file has none."""
    has_rows = path.is_file() and path.stat().st_size
    return tables.read_inputs(path) if has_rows else []


def read_release(
    path: str | os.PathLike[str],
    config: FilterConfig,
    dataset: str,
    teacher: str = dataset_spec.PALM,
    raw_split: str = "train",
) -> RationaleSet:
    """Reads one split of the released files, in their order.

    Args:
        path: The folder or zip file of the released data.
        config: The filters.
        dataset: Name of the dataset.
        teacher: Name of the teacher.
        raw_split: The split of the files: "train", "valid" or "test".

    Raises:
        UserError: A name is unknown, or a file is missing or damaged.
    """
    spec = dataset_spec.get(dataset)
    raw = reader.open_release(path).read_raw(dataset, raw_split, teacher)
    quarantined = {one.index: one for one in raw.quarantine}
    examples = []
    for index, record in enumerate(raw.records):
        one = quarantined.get(index)
        problem, completion = (one.problem, one.completion) if one else (None, None)
        examples.append(VotedExample.from_record(record, problem, completion))
    facts: dict[str, object] = {
        "released data": dataset,
        "split of the files": raw_split,
        "teacher": teacher,
    }
    not_a_choice = teacher_statistics(raw).out_of_choices
    if not_a_choice is not None:
        facts["teacher labels that are not one of the choices"] = f"{not_a_choice:,}"
    result = filters.apply(examples, config, spec)
    return RationaleSet(examples, result, spec, facts)
