"""Prepares released datasets for SeqIO, and reports what was prepared."""

import json
import os
import pathlib
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from typing import Any

import tabulate
import tensorflow as tf
from etils import epath

from dsbs_jax.errors import UserError
from dsbs_jax.released import reader, tfds_builder
from dsbs_jax.released.specs import released_spec

MAX_DOWNLOAD_BYTES = 4 << 30
_CHUNK_BYTES = 1 << 20
_TIMEOUT_SECONDS = 60
# Each column of the report and its alignment.
_COLUMNS = {
    "split": "left",
    "rows": "right",
    "labels": "right",
    "teacher": "left",
    "parsed": "right",
    "unparsable": "right",
    "runs on": "right",
    "accuracy %": "right",
}


def prepare(
    release: str | os.PathLike[str],
    datasets: Sequence[str],
    data_dir: str,
    allow_missing_splits: bool = False,
) -> list[dict[str, Any]]:
    """Prepares datasets; each is written completely or not at all.

    Args:
        release: Folder or zip file of the released data.
        datasets: Names of released datasets.
        data_dir: TFDS's data directory; a dataset is written to
            `dsbs/<name>/<version>` in it.
        allow_missing_splits: Whether to prepare the splits whose files exist and to
            print a warning for the others.

    Returns:
        For each dataset the content of its `summary.json`, and its "folder".

    Raises:
        UserError: A name is unknown, the release has missing or wrong files, a dataset
            was prepared from other files, or a folder cannot be written.
    """
    if not datasets:
        raise UserError("DATASETS: no dataset is named")
    opened = reader.open_release(release)
    for dataset in datasets:
        splits = tfds_builder.wanted_splits(opened, dataset, allow_missing_splits)
        for split in released_spec(dataset).required:
            if split not in splits:
                print(f"warning: {dataset} has no {split} split", file=sys.stderr)
    return [
        _prepare_one(release, opened, dataset, data_dir, allow_missing_splits)
        for dataset in datasets
    ]


def _prepare_one(
    path: str | os.PathLike[str],
    release: reader.Release,
    dataset: str,
    data_dir: str,
    allow_missing_splits: bool,
) -> dict[str, Any]:
    try:
        builder = tfds_builder.Dsbs(
            config=dataset,
            data_dir=data_dir,
            release=path,
            allow_missing_splits=allow_missing_splits,
        )
        folder = epath.Path(builder.data_path)
        existed = builder.is_prepared()
        # TFDS needs a download folder, although nothing is downloaded.
        with tempfile.TemporaryDirectory() as unused:
            builder.download_and_prepare(download_dir=unused)
        summary = json.loads(
            (folder / tfds_builder.SUMMARY).read_text(encoding="utf-8")
        )
    except (OSError, tf.errors.OpError) as error:
        raise UserError(f"{data_dir}: cannot prepare {dataset}: {error}") from error
    if existed and summary["fingerprint"] != release.fingerprint(dataset):
        raise UserError(
            f"{folder} was prepared from other files than {path}; remove it or give "
            "another --tfds_data_dir"
        )
    return {**summary, "folder": os.fspath(folder)}


def table(summary: dict[str, Any]) -> str:
    """Formats a summary: one line for each split and teacher, accuracy in percent."""
    return tabulate.tabulate(
        _cells(summary),
        headers=list(_COLUMNS),
        tablefmt="plain",
        colalign=list(_COLUMNS.values()),
        disable_numparse=True,
    )


def _cells(summary: dict[str, Any]) -> Iterable[list[str]]:
    for split, counts in summary["splits"].items():
        start = [split, f"{counts['rows']:,}", f"{counts['labels']:,}"]
        for teacher, s in counts["teachers"].items():
            parsed = s["rows"] - s["unparsable"] - s["run_on"]
            numbers = [f"{n:,}" for n in (parsed, s["unparsable"], s["run_on"])]
            yield [*start, teacher, *numbers, f"{100 * s['accuracy']:.2f}"]
        if not counts["teachers"]:
            yield [*start, "none", "-", "-", "-", "-"]


def download(url: str, folder: pathlib.Path) -> pathlib.Path:
    """Downloads a zip file and prints the progress.

    Args:
        url: An http or https address.
        folder: Folder to write the file to.

    Returns:
        The path of the file.

    Raises:
        UserError: The file cannot be downloaded, or is larger than
            `MAX_DOWNLOAD_BYTES`.
    """
    path = folder / "release.zip"
    try:
        with (
            urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response,
            path.open("wb") as file,
        ):
            total = int(response.headers.get("Content-Length") or 0)
            done = 0
            while chunk := response.read(_CHUNK_BYTES):
                done += len(chunk)
                if max(done, total) > MAX_DOWNLOAD_BYTES:
                    raise UserError(f"{url}: over {MAX_DOWNLOAD_BYTES} bytes")
                file.write(chunk)
                of = f" of {total >> 20:,}" if total else ""
                print(f"\rdownloaded {done >> 20:,}{of} MiB", end="", file=sys.stderr)
            print(file=sys.stderr)
    except UserError:
        raise
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise UserError(f"{url}: cannot be downloaded ({error})") from error
    if total and done != total:
        raise UserError(f"{url}: received {done} bytes, expected {total}")
    return path
