"""Converts the features of a task to the batch that a student reads."""

from collections.abc import Mapping

import seqio
import tensorflow as tf

from dsbs_jax.data.dataset_spec import check_lengths

_INT32 = seqio.FeatureConverter.FeatureSpec(dtype=tf.int32)


class DistillationFeatureConverter(seqio.EncDecFeatureConverter):
    """SeqIO's encoder-decoder converter that also keeps the task of each target token.

    Example, packed to lengths {"inputs": 8, "targets": 5, "task_ids": 5}:

      [{"inputs": [7, 8, 1], "targets": [3, 1], "task_ids": [1, 1]},
       {"inputs": [8, 4, 9, 1], "targets": [4, 5, 1], "task_ids": [2, 2, 2]}]

    become one row. The row has the features of `seqio.EncDecFeatureConverter` and also
    `decoder_task_ids`:

      "decoder_target_tokens": [3, 1, 4, 5, 1],
           "decoder_task_ids": [1, 1, 2, 2, 2]
    """

    TASK_FEATURES = {**seqio.EncDecFeatureConverter.TASK_FEATURES, "task_ids": _INT32}
    MODEL_FEATURES = {
        **seqio.EncDecFeatureConverter.MODEL_FEATURES,
        "decoder_task_ids": _INT32,
    }

    def _convert_example(
        self, features: Mapping[str, tf.Tensor]
    ) -> Mapping[str, tf.Tensor]:
        converted = super()._convert_example(features)
        return {**converted, "decoder_task_ids": features["task_ids"]}

    def get_model_feature_lengths(
        self, task_feature_lengths: Mapping[str, int]
    ) -> Mapping[str, int]:
        """Converts the lengths of a task's features to those of the model's features.

        Raises:
            UserError: `task_ids` has no length, or not the length of `targets`.
        """
        check_lengths(task_feature_lengths)
        lengths = super().get_model_feature_lengths(task_feature_lengths)
        return {**lengths, "decoder_task_ids": task_feature_lengths["targets"]}
