"""The released datasets as a TFDS dataset with one config for each: "dsbs/cqa:1.0.0".

Preparing reads the release. Reading prepared data needs only the data directory, which
may be a bucket, and an import of this module, which tells TFDS the dataset's name. The
rows have the fields of `row_schema` for both teachers. Each split has the paper's rows;
TFDS shuffles them by their keys.

Next to the records are `summary.json` (counts and the teachers' accuracy) and
`quarantine.jsonl` (every completion with a problem, and the problem). TFDS renames the
folder into place when all of it is written.
"""

import dataclasses
import json
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from dsbs_jax.data import dataset_spec, row_schema
from dsbs_jax.errors import UserError
from dsbs_jax.released import raw_split, reader
from dsbs_jax.released.raw_split import RawSplit
from dsbs_jax.released.specs import RELEASED, released_spec

SUMMARY = "summary.json"
QUARANTINE = "quarantine.jsonl"
# Every dataset's rows have the fields of both teachers; a teacher without completions
# has unset flags.
TEACHERS = (dataset_spec.PALM, dataset_spec.GPT_NEOX)


@dataclasses.dataclass(frozen=True)
class SplitSource:
    """The data that one split is written from.

    Attributes:
        raw: The raw split without a teacher.
        by_teacher: The raw split with the labels of each teacher that has files for it.
        indices: The split's row numbers in the raw split.
    """

    raw: RawSplit
    by_teacher: dict[str, RawSplit]
    indices: list[int]

    def examples(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields (key, row) of each of the split's rows."""
        for i in self.indices:
            record = self.raw.records[i]
            by_teacher = {
                teacher: self.by_teacher[teacher].records[i]
                if teacher in self.by_teacher
                else None
                for teacher in TEACHERS
            }
            yield record.id, row_schema.make_row(i, record, by_teacher)

    def summary(self, indices: list[int]) -> dict[str, Any]:
        """Returns counts of some of the raw split's rows, and each teacher's score."""
        labels = [self.raw.records[i].label for i in indices]
        return {
            "rows": len(indices),
            "labels": sum(label is not None for label in labels),
            "teachers": {
                teacher: raw_split.teacher_statistics(raw, indices).as_dict()
                for teacher, raw in self.by_teacher.items()
            },
        }

    def quarantine(self, split: str) -> Iterator[dict[str, Any]]:
        """Yields a JSON object for each of the split's completions with a problem."""
        rows = set(self.indices)
        for teacher, raw in self.by_teacher.items():
            for q in raw.quarantine:
                if q.index in rows:
                    yield {
                        "split": split,
                        "row": q.index + 1,
                        "id": q.id,
                        "teacher": teacher,
                        "problem": q.problem,
                        "completion": q.completion,
                    }


def wanted_splits(
    release: reader.Release, dataset: str, allow_missing_splits: bool
) -> list[str]:
    """Returns the splits to prepare, after checking that their files exist.

    Raises:
        UserError: Rows or completions are missing. With `allow_missing_splits`, this is
            an error only if the dataset has no split at all.
    """
    released = released_spec(dataset)
    existing = release.splits(dataset)
    required = released.required
    if not existing or not allow_missing_splits:
        release.require(dataset, None, required)
        for teacher in released.spec.teachers:
            # A teacher without any file is absent; one with some files is incomplete.
            if any(not release.missing(dataset, teacher, [s]) for s in required):
                release.require(dataset, teacher, required)
    return existing


def read_sources(
    release: reader.Release, dataset: str, wanted: list[str]
) -> dict[str, SplitSource]:
    """Reads splits with every teacher whose files exist; each file is read once.

    Raises:
        UserError: A file is missing, truncated, misaligned or has wrong values.
    """
    released = released_spec(dataset)
    raws: dict[str, tuple[RawSplit, dict[str, RawSplit]]] = {}
    sources = {}
    for split in wanted:
        name = released.raw_split_of(split)
        if name not in raws:
            raw = release.read_raw(dataset, name)
            by_teacher = {
                teacher: release.add_teacher(raw, name, teacher)
                for teacher in released.spec.teachers
                if not release.missing(dataset, teacher, [split])
            }
            raws[name] = raw, by_teacher
        raw, by_teacher = raws[name]
        indices = raw_split.split_indices(len(raw.records), split, released)
        sources[split] = SplitSource(raw, by_teacher, indices)
    return sources


def summarize(
    dataset: str, fingerprint: str, sources: dict[str, SplitSource]
) -> dict[str, Any]:
    """Returns the content of `summary.json`.

    Where validation is carved out of train, "train+validation" is the raw train split.
    The paper's teacher accuracy is computed on its rows.
    """
    splits = {}
    for split, source in sources.items():
        splits[split] = source.summary(source.indices)
        if split == "validation" and released_spec(dataset).carved:
            all_rows = list(range(len(source.raw.records)))
            splits["train+validation"] = source.summary(all_rows)
    return {"dataset": dataset, "fingerprint": fingerprint, "splits": splits}


class Dsbs(tfds.core.GeneratorBasedBuilder):
    """The datasets of distilling step-by-step, as their authors released them."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    # TFDS would look for download checksums next to the code. None exist, and the
    # search needs a package (importlib_resources) that TFDS does not declare.
    code_path = None
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in RELEASED]

    def __init__(
        self,
        *,
        release: str | os.PathLike[str] | None = None,
        allow_missing_splits: bool = False,
        **kwargs: Any,
    ) -> None:
        """Makes the builder.

        Args:
            release: Folder or zip file with the released data; only needed to prepare.
            allow_missing_splits: Whether to prepare the splits whose files exist, even
                if others are missing.
            **kwargs: TFDS's `config`, `data_dir` and `version`.
        """
        super().__init__(**kwargs)
        self._release_path = release
        self._allow_missing_splits = allow_missing_splits
        self._sources: dict[str, SplitSource] = {}
        self._fingerprint = ""

    def download_and_prepare(self, **kwargs: Any) -> None:
        """Prepares the dataset, unless it is prepared already.

        All files are read and checked before anything is written.

        Raises:
            UserError: No release is given, or its files are missing or wrong.
        """
        dataset = self.builder_config.name
        if not self.is_prepared():
            if self._release_path is None:
                raise UserError(
                    f"dataset {dataset} is not prepared in {self._data_dir_root}; run "
                    f"python -m dsbs_jax.released.prepare --datasets={dataset} "
                    f"--tfds_data_dir={self._data_dir_root} --release=…"
                )
            release = reader.open_release(self._release_path)
            wanted = wanted_splits(release, dataset, self._allow_missing_splits)
            self._sources = read_sources(release, dataset, wanted)
            self._fingerprint = release.fingerprint(dataset)
        super().download_and_prepare(**kwargs)
        self._sources = {}  # frees the memory

    def _info(self) -> tfds.core.DatasetInfo:
        types = {str: tfds.features.Text(), np.int64: np.int64, np.bool_: np.bool_}
        fields = {
            name: types[t] for name, t in row_schema.field_types(TEACHERS).items()
        }
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
        del dl_manager  # the release has been read
        return {name: source.examples() for name, source in self._sources.items()}

    def _generate_examples(self) -> Iterator[tuple[str, dict[str, Any]]]:
        raise NotImplementedError("each split has its own generator")

    def _download_and_prepare(self, *args: Any, **kwargs: Any) -> None:
        # TFDS's data_dir is a temporary folder here, so the reports and the records are
        # moved into place together.
        super()._download_and_prepare(*args, **kwargs)
        folder = epath.Path(self._data_dir)
        lines = [
            json.dumps(quarantined) + "\n"
            for split, source in self._sources.items()
            for quarantined in source.quarantine(split)
        ]
        (folder / QUARANTINE).write_text("".join(lines), encoding="utf-8")
        summary = summarize(self.builder_config.name, self._fingerprint, self._sources)
        (folder / SUMMARY).write_text(
            json.dumps(summary, indent=2) + "\n", encoding="utf-8"
        )
