"""SeqIO source of a prepared released dataset."""

import numpy as np
import seqio
import tensorflow as tf

from dsbs_jax.data import splits
from dsbs_jax.data.splits import ALL_ROWS, Subsample
from dsbs_jax.errors import UserError
from dsbs_jax.released.specs import dataset_spec as released_spec


class ReleasedSource(seqio.TfdsDataSource):
    """A dataset that `python -m dsbs_jax.released.prepare` wrote.

    A part of the training rows is chosen before the validation rows are carved out, as
    the authors' code does; both splits then hold other rows than with the whole.
    """

    has_human_labels = True

    def __init__(self, name: str, subsample: Subsample = ALL_ROWS) -> None:
        """Names the dataset; nothing is read before it is used.

        Args:
            name: A config of the TFDS builder, for example "cqa".
            subsample: The part of the training rows to use.
        """
        # Registers the builder by its name.
        from dsbs_jax.released import tfds_builder

        spec = released_spec(name)
        self._name, self._carved, self._subsample = name, spec.carved, subsample
        version = tfds_builder.Dsbs.VERSION
        required = [split for split in spec.splits if split not in spec.optional]
        super().__init__(tfds_name=f"dsbs/{name}:{version}", splits=required)

    def _chosen(self, split: str) -> np.ndarray | None:
        """Returns the raw training rows of a split, or None for all its rows."""
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
        self, split: str = "train", *args: object, **kwargs: object
    ) -> tf.data.Dataset:
        """Rows of a split. See the base class.

        Raises:
            UserError: The dataset has not been prepared.
        """
        try:
            chosen = self._chosen(split)
            dataset = super().get_dataset(split, *args, **kwargs)
            if chosen is None:
                return dataset
            if self._carved:
                other = "validation" if split == "train" else "train"
                dataset = dataset.concatenate(
                    super().get_dataset(other, *args, **kwargs)
                )
        except (AssertionError, FileNotFoundError, LookupError) as error:
            raise self._unprepared(error) from error
        keep = np.zeros(int(chosen.max()) + 1, bool)
        keep[chosen] = True
        keep = tf.constant(keep)
        inside = tf.cast(tf.size(keep), tf.int64)
        return dataset.filter(
            lambda row: (
                row["index"] < inside
                and tf.gather(keep, tf.minimum(row["index"], inside - 1))
            )
        )

    def num_input_examples(self, split: str) -> int | None:
        """Rows of a split, after a part has been chosen."""
        try:
            chosen = self._chosen(split)
            return super().num_input_examples(split) if chosen is None else len(chosen)
        except (AssertionError, FileNotFoundError, LookupError) as error:
            raise self._unprepared(error) from error

    def _unprepared(self, error: Exception) -> UserError:
        return UserError(
            f"dataset {self._name!r} is not prepared in --tfds_data_dir "
            f"({str(error).splitlines()[0] if str(error) else type(error).__name__}); "
            f"run python -m dsbs_jax.released.prepare --datasets={self._name} first"
        )
