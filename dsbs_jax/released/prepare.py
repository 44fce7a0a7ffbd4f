r"""Turns the authors' release into prepared datasets that SeqIO tasks read.

    python -m dsbs_jax.released.prepare --release=datasets.zip --datasets=cqa,svamp \
        --tfds_data_dir=DIR

`--release` is a folder, a zip file or an http(s) address of one. DIR may be a bucket.
Prints what each split holds and how the teachers did, and says where the completions
that could not be parsed are listed. A dataset that was prepared from the same files
already is left as it is.
"""

import json
import os
import pathlib
import sys
import tempfile
import urllib.error
import urllib.request
from typing import Any

from absl import flags, logging

from dsbs_jax import cli

if __name__ == "__main__":
    # Before anything else imports TensorFlow, which is talkative.
    cli.quiet_tensorflow()

import tensorflow as tf
import tensorflow_datasets as tfds
from etils import epath

from dsbs_jax.errors import UserError
from dsbs_jax.released import reader as released
from dsbs_jax.released import tfds_builder
from dsbs_jax.released.specs import dataset_spec

MAX_DOWNLOAD_BYTES = 4 << 30
_CHUNK_BYTES = 1 << 20
_TIMEOUT_SECONDS = 60
_COLUMNS = (
    "split",
    "rows",
    "labels",
    "teacher",
    "parsed",
    "unparsable",
    "runs on",
    "accuracy %",
)


def prepare(
    release: str, datasets: list[str], data_dir: str, allow_missing_splits: bool = False
) -> list[dict[str, Any]]:
    """Prepares datasets, each of them wholly or not at all.

    Args:
        release: Folder or zip file.
        datasets: Names among `released_specs.RELEASED`.
        data_dir: TFDS's data directory; a dataset gets `dsbs/<name>/<version>` in it.
        allow_missing_splits: Prepare the splits that are there and warn of the others.

    Returns:
        Each dataset's summary (`tfds_builder.summarize`), "folder" added.

    Raises:
        UserError: An unknown name, a release that is not as it should be, a dataset
            that was prepared from other files, or a folder that cannot be written.
    """
    if not datasets:
        raise UserError("no dataset is named")
    opened = released.open_release(release)
    for dataset in datasets:
        there = tfds_builder.wanted_splits(opened, dataset, allow_missing_splits)
        spec = dataset_spec(dataset)
        for split in spec.splits:
            if split not in there and split not in spec.optional:
                print(f"warning: {dataset} has no {split} split", file=sys.stderr)
    return [
        _prepare_one(release, opened, dataset, data_dir, allow_missing_splits)
        for dataset in datasets
    ]


def _prepare_one(
    path: str,
    release: released.Release,
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
        with tempfile.TemporaryDirectory() as unused:
            builder.download_and_prepare(download_dir=unused)
        summary = json.loads((folder / tfds_builder.SUMMARY).read_text())
    except (OSError, tf.errors.OpError) as error:
        raise UserError(f"{data_dir}: cannot prepare {dataset}: {error}") from error
    if existed and summary["fingerprint"] != release.fingerprint(dataset):
        raise UserError(
            f"{folder} was prepared from other files than {path}; remove it or give "
            "another --tfds_data_dir"
        )
    return summary | {"folder": os.fspath(folder)}


def table(summary: dict[str, Any]) -> str:
    """Formats a summary: one line a split and teacher, accuracy in percent."""
    lines = [list(_COLUMNS)]
    for split, counts in summary["splits"].items():
        start = [split, f"{counts['rows']:,}", f"{counts['labels']:,}"]
        for teacher, s in counts["teachers"].items():
            parsed = s["rows"] - s["unparsable"] - s["run_on"]
            numbers = [f"{n:,}" for n in (parsed, s["unparsable"], s["run_on"])]
            lines.append([*start, teacher, *numbers, f"{100 * s['accuracy']:.2f}"])
        if not counts["teachers"]:
            lines.append([*start, "none", "-", "-", "-", "-"])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(_align, line, widths, _COLUMNS)) for line in lines)


def _align(cell: str, width: int, column: str) -> str:
    return cell.ljust(width) if column in ("split", "teacher") else cell.rjust(width)


def fetch(url: str, folder: pathlib.Path) -> pathlib.Path:
    """Downloads a zip file, printing how far it is.

    Args:
        url: An http or https address.
        folder: Where to put it.

    Returns:
        The file's path.

    Raises:
        UserError: It cannot be had, or is larger than `MAX_DOWNLOAD_BYTES`.
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
    except (urllib.error.URLError, OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{url}: cannot be downloaded ({error})") from error
    if total and done != total:
        raise UserError(f"{url}: {done} of {total} bytes came")
    return path


def main(argv: list[str]) -> None:
    """Runs the command."""
    del argv
    options = flags.FLAGS
    logging.set_verbosity(logging.ERROR)
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        release = options.release
        if release.startswith(("http://", "https://")):
            release = os.fspath(fetch(release, pathlib.Path(folder)))
        summaries = prepare(
            release,
            options.datasets,
            options.tfds_data_dir,
            options.allow_missing_splits,
        )
    for summary in summaries:
        print(f"\n{summary['dataset']}: {summary['folder']}\n{table(summary)}")
        print(f"not parsed: {summary['folder']}/{tfds_builder.QUARANTINE}")


def _define_flags() -> None:
    flags.DEFINE_string("release", None, "Folder, zip file or http(s) address of one.")
    flags.DEFINE_list("datasets", None, "Names, separated by commas.")
    flags.DEFINE_string("tfds_data_dir", None, "Where to put the prepared datasets.")
    flags.DEFINE_bool(
        "allow_missing_splits", False, "Prepare the splits whose files are there."
    )
    flags.mark_flags_as_required(["release", "datasets", "tfds_data_dir"])


if __name__ == "__main__":
    _define_flags()
    cli.run(main)
