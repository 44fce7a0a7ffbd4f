"""The SeqIO source of a prepared released dataset."""

from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from dsbs_jax.data import splits
from dsbs_jax.data.splits import ALL_ROWS, Subsample
from dsbs_jax.errors import UserError, first_line
from dsbs_jax.released.specs import released_spec

# What SeqIO and TFDS raise for a dataset that is not prepared.
_UNPREPARED = (AssertionError, FileNotFoundError, LookupError)


class ReleasedSource(seqio.TfdsDataSource):
    """A dataset that `python -m dsbs_jax.released.prepare` wrote.

    The subsample of the training rows is chosen before validation is carved out, as in
    the authors' code. So a subsample has other training and validation rows than the
    complete dataset.

    Attributes:
        has_human_labels: True; every released row has a human label.
    """

    has_human_labels = True

    def __init__(self, name: str, subsample: Subsample = ALL_ROWS) -> None:
        """Names the dataset; nothing is read before it is used.

        Args:
            name: Name of a released dataset, for example "cqa".
            subsample: The part of the training rows to use.
        """
        # The import registers the builder's name with TFDS.
        from dsbs_jax.released import tfds_builder

        released = released_spec(name)
        self._name, self._carved = name, released.carved
        self._subsample = subsample
        super().__init__(
            tfds_name=f"dsbs/{name}:{tfds_builder.Dsbs.VERSION}",
            splits=released.required,
        )

    def _chosen(self, split: str) -> np.ndarray | None:
        """Returns which raw training rows a split has; None if no row is left out."""
        if self._subsample.fraction == 1 or split not in ("train", "validation"):
            return None
        if split == "validation" and not self._carved:
            return None
        rows = super().num_input_examples("train")
        if self._carved:
            rows += super().num_input_examples("validation")
        train, validation = splits.train_and_validation(
            rows, self._subsample, self._carved
        )
        return train if split == "train" else validation

    def get_dataset(
        self, split: str = "train", *args: Any, **kwargs: Any
    ) -> tf.data.Dataset:
        """Returns the rows of a split. See the base class.

        Raises:
            UserError: The dataset is not prepared.
        """
        try:
            chosen = self._chosen(split)
            dataset = super().get_dataset(split, *args, **kwargs)
            if chosen is None:
                return dataset
            if self._carved:
                # The subsample takes rows of both prepared splits.
                other = "validation" if split == "train" else "train"
                dataset = dataset.concatenate(
                    super().get_dataset(other, *args, **kwargs)
                )
        except _UNPREPARED as error:
            raise self._unprepared(error) from error
        keep = np.zeros(int(chosen.max()) + 1, bool)
        keep[chosen] = True
        return dataset.filter(_is_kept(tf.constant(keep)))

    def num_input_examples(self, split: str) -> int | None:
        """Returns the number of rows of a split, after subsampling.

        Raises:
            UserError: The dataset is not prepared.
        """
        try:
            chosen = self._chosen(split)
            return super().num_input_examples(split) if chosen is None else len(chosen)
        except _UNPREPARED as error:
            raise self._unprepared(error) from error

    def _unprepared(self, error: Exception) -> UserError:
        cause = first_line(error)
        return UserError(
            f"dataset {self._name!r} is not prepared in --tfds_data_dir ({cause}); "
            f"run python -m dsbs_jax.released.prepare --datasets={self._name} first"
        )


def _is_kept(keep: tf.Tensor) -> Any:
    """Returns a filter of rows by their `index`.

    Args:
        keep: bool [N], whether the raw row with this index is kept. Rows with an index
            of N or more are not kept.
    """
    size = tf.cast(tf.size(keep), tf.int64)
    return lambda row: (
        row["index"] < size and tf.gather(keep, tf.minimum(row["index"], size - 1))
    )
