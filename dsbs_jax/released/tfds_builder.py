"""The released datasets as a TFDS dataset, one config each: "dsbs/cqa:1.0.0".

Preparing reads the release; reading what was prepared needs only this module imported
(so that TFDS knows the name) and the directory, which may be a bucket. The rows are
those of `row_schema` for both teachers; each split's members are the paper's, their
order is TFDS's own shuffle by key. Beside the records stand `summary.json` (counts and
the teachers' accuracy) and `quarantine.jsonl` (every completion that could not be
parsed, with its reason); TFDS renames the folder into place once all of it is written.
"""

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from dsbs_jax.data.records import Record
from dsbs_jax.errors import UserError
from dsbs_jax.released import reader as released
from dsbs_jax.released.specs import RELEASED, TEACHERS, dataset_spec

SUMMARY = "summary.json"
QUARANTINE = "quarantine.jsonl"


def row_schema(teachers: Sequence[str]) -> dict[str, type]:
    """Returns the type of each field of a row, all of them scalars.

    `id` and `input` are str, `index` (row number in the raw split, from 0) is np.int64.
    `label` and, for each teacher <t>, `<t>_label` and `<t>_rationale` are str, each
    with a np.bool_ `has_…`: TensorFlow has no None, so what is missing is "" with its
    flag False.
    """
    fields = {"id": str, "index": np.int64, "input": str}
    optional = ["label"]
    for teacher in teachers:
        optional += [f"{teacher}_label", f"{teacher}_rationale"]
    for name in optional:
        fields |= {name: str, f"has_{name}": np.bool_}
    return fields


def make_row(
    index: int, record: Record, teachers: Mapping[str, Record | None]
) -> dict[str, Any]:
    """Flattens one example.

    Args:
        index: Row number in the raw split, from 0.
        record: Gives id, input and human label.
        teachers: For each teacher, the record that holds its label and rationale, or
            None where it said nothing.

    Returns:
        A dict with the fields of `row_schema(teachers)`.
    """
    optional = {"label": record.label}
    for teacher, said in teachers.items():
        optional[f"{teacher}_label"] = said and said.teacher_label
        optional[f"{teacher}_rationale"] = said and said.rationale
    flat: dict[str, Any] = {"id": record.id, "index": index, "input": record.input}
    for name, text in optional.items():
        flat |= {name: text or "", f"has_{name}": text is not None}
    return flat


@dataclasses.dataclass(frozen=True)
class SplitSource:
    """What one split is written from.

    Attributes:
        raw: The raw split without a teacher, and with each teacher that was released
            for it.
        indices: The split's row numbers in it.
    """

    raw: dict[str | None, released.RawSplit]
    indices: list[int]

    def examples(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields (key, row) of each of the split's rows."""
        for i in self.indices:
            record = self.raw[None].records[i]
            said = {
                t: self.raw[t].records[i] if t in self.raw else None for t in TEACHERS
            }
            yield record.id, make_row(i, record, said)

    def summary(self, indices: list[int]) -> dict[str, Any]:
        """Counts of some of the raw split's rows, and each teacher's statistics."""
        records = [self.raw[None].records[i] for i in indices]
        statistics = {
            teacher: released.score_teacher(raw, indices)
            for teacher, raw in self.raw.items()
            if teacher is not None
        }
        return {
            "rows": len(indices),
            "labels": sum(record.label is not None for record in records),
            "teachers": {
                teacher: dataclasses.asdict(s) | {"accuracy": s.accuracy}
                for teacher, s in statistics.items()
            },
        }

    def quarantine(self, split: str) -> Iterator[dict[str, Any]]:
        """Yields a JSON object for each of the split's quarantined completions."""
        wanted = set(self.indices)
        for teacher, raw in self.raw.items():
            for q in raw.quarantine:
                if q.index in wanted:
                    yield {
                        "split": split,
                        "row": q.index + 1,
                        "id": q.id,
                        "teacher": teacher,
                        "problem": q.problem,
                        "completion": q.completion,
                    }


def wanted_splits(
    release: released.Release, dataset: str, allow_missing_splits: bool
) -> list[str]:
    """Which splits to prepare, having checked that their files are there.

    Raises:
        UserError: Rows or completions are missing. With `allow_missing_splits` only
            when there is no split at all.
    """
    spec = dataset_spec(dataset)
    there = release.splits(dataset)
    required = [s for s in spec.splits if s not in spec.optional]
    if not there or not allow_missing_splits:
        release.require(dataset, None, required)
        for teacher in spec.teachers:
            if any(not release.missing(dataset, teacher, [s]) for s in required):
                release.require(dataset, teacher, required)
    return there


def read_sources(
    release: released.Release, dataset: str, wanted: list[str]
) -> dict[str, SplitSource]:
    """Reads splits with every teacher whose files are there.

    Raises:
        UserError: A file is missing, cut short, misaligned or of the wrong shape.
    """
    spec = dataset_spec(dataset)
    raws: dict[str, dict[str | None, released.RawSplit]] = {}
    for split in wanted:
        name = spec.splits[split]
        if name in raws:
            continue
        raws[name] = {None: release.read_raw(dataset, name)}
        for teacher in spec.teachers:
            if not release.missing(dataset, teacher, [split]):
                raws[name][teacher] = release.read_raw(dataset, name, teacher)
    sources = {}
    for split in wanted:
        raw = raws[spec.splits[split]]
        n = len(raw[None].records)
        sources[split] = SplitSource(raw, released.split_indices(n, split, spec))
    return sources


def summarize(
    dataset: str, fingerprint: str, sources: dict[str, SplitSource]
) -> dict[str, Any]:
    """What `summary.json` holds.

    Where validation was carved out of train, "train+validation" stands for the raw
    train split, the rows that the paper's teacher accuracy is over.
    """
    splits = {}
    for split, source in sources.items():
        splits[split] = source.summary(source.indices)
        if split == "validation" and dataset_spec(dataset).carved:
            everything = list(range(len(source.raw[None].records)))
            splits["train+validation"] = source.summary(everything)
    return {"dataset": dataset, "fingerprint": fingerprint, "splits": splits}


class Dsbs(tfds.core.GeneratorBasedBuilder):
    """The datasets of distilling step-by-step, as their authors released them."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    # TFDS looks for download checksums beside the code, of which there are none, and
    # that takes a package (importlib_resources) that it does not declare.
    code_path = None
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in RELEASED]

    def __init__(
        self,
        *,
        release: str | os.PathLike[str] | None = None,
        allow_missing_splits: bool = False,
        **kwargs: Any,
    ) -> None:
        """Takes what TFDS takes, and where to prepare from.

        Args:
            release: Folder or zip file with the released data; only needed to prepare.
            allow_missing_splits: Prepare the splits that are there.
            **kwargs: TFDS's `config`, `data_dir` and `version`.
        """
        super().__init__(**kwargs)
        self._release_path = release
        self._allow_missing_splits = allow_missing_splits
        self._sources: dict[str, SplitSource] = {}
        self._fingerprint = ""

    def download_and_prepare(self, **kwargs: Any) -> None:
        """Prepares the dataset unless that has been done.

        Everything is read and checked before anything is written.

        Raises:
            UserError: There is no release to prepare from, or it is not as it should
                be.
        """
        dataset = self.builder_config.name
        if not self.is_prepared():
            if self._release_path is None:
                raise UserError(
                    f"dataset {dataset} is not prepared in {self._data_dir_root}; run "
                    f"python -m dsbs_jax.released.prepare --datasets={dataset} "
                    f"--tfds_data_dir={self._data_dir_root} --release=…"
                )
            release = released.open_release(self._release_path)
            wanted = wanted_splits(release, dataset, self._allow_missing_splits)
            self._sources = read_sources(release, dataset, wanted)
            self._fingerprint = release.fingerprint(dataset)
        super().download_and_prepare(**kwargs)
        self._sources = {}

    def _info(self) -> tfds.core.DatasetInfo:
        types = {str: tfds.features.Text(), np.int64: np.int64, np.bool_: np.bool_}
        fields = {name: types[t] for name, t in row_schema(TEACHERS).items()}
        return tfds.core.DatasetInfo(
            builder=self,
            description="Inputs, human labels, two teachers' labels and rationales.",
            features=tfds.features.FeaturesDict(fields),
            homepage="https://github.com/google-research/distilling-step-by-step",
            citation="arXiv:2305.02301",
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[str, dict[str, Any]]]]:
        del dl_manager  # the release is at hand
        return {name: source.examples() for name, source in self._sources.items()}

    def _generate_examples(self) -> Iterator[tuple[str, dict[str, Any]]]:
        raise NotImplementedError("each split brings its own generator")

    def _download_and_prepare(self, *args: Any, **kwargs: Any) -> None:
        # TFDS's data_dir is a temporary folder here, so the reports get their place
        # together with the records or not at all.
        super()._download_and_prepare(*args, **kwargs)
        folder = epath.Path(self._data_dir)
        quarantined = (q for s, src in self._sources.items() for q in src.quarantine(s))
        lines = [json.dumps(q) + "\n" for q in quarantined]
        (folder / QUARANTINE).write_text("".join(lines))
        summary = summarize(self.builder_config.name, self._fingerprint, self._sources)
        (folder / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n")
