r"""Prepares the authors' released datasets for training with SeqIO.

    python -m dsbs_jax.released.prepare --release=datasets.zip --datasets=cqa,svamp \
        --tfds_data_dir=DIR

Prints the size of each split, the accuracy of each teacher, and the file that lists the
completions that cannot be parsed. A dataset that was prepared from the same files is
left unchanged.
"""

import dataclasses
import os
import pathlib
import sys
import tempfile

from dsbs_jax import cli, tensorflow_import
from dsbs_jax.settings import AnyPath, Settings, Text, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrepareConfig(Settings):
    """The datasets to prepare, and the folder for them."""

    release: AnyPath = setting(
        help="The released data: a folder, a zip file, or the http(s) address of one."
    )
    datasets: tuple[Text, ...] = setting(
        help="Names, separated by commas: cqa, svamp, asdiv, anli1, esnli."
    )
    tfds_data_dir: AnyPath = setting(
        help="Folder or bucket for the prepared datasets; training reads it with the "
        "same flag."
    )
    allow_missing_splits: bool = setting(
        False, help="Prepare the splits whose files exist, and warn about the others."
    )


def main(config: PrepareConfig) -> None:
    """Prepares the datasets and prints a table for each."""
    tensorflow_import.import_quietly()
    # TensorFlow takes seconds to import, which --help should not wait for.
    import tensorflow_datasets as tfds

    from dsbs_jax.released import preparation, tfds_builder

    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        release = config.release
        if release.startswith(("http://", "https://")):
            release = os.fspath(preparation.download(release, pathlib.Path(folder)))
        summaries = preparation.prepare(
            release, config.datasets, config.tfds_data_dir, config.allow_missing_splits
        )
    for summary in summaries:
        place = summary["folder"]
        print(f"\n{summary['dataset']}: {place}\n{preparation.table(summary)}")
        print(f"completions with a problem: {place}/{tfds_builder.QUARANTINE}")


if __name__ == "__main__":
    cli.run_with_flags(main, PrepareConfig, __doc__)
