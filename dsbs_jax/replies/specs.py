"""Dataset specs for new rows, as opposed to the released ones."""

import dataclasses

from dsbs_jax.data import metrics
from dsbs_jax.data.dataset_spec import DatasetSpec
from dsbs_jax.data.metrics import Metric
from dsbs_jax.replies import arithmetic_text

# Equation accuracy that reads both labels in the forms that people type: "1,234" equals
# "1234". The published scores use `metrics.EQUATION_ACCURACY`.
TYPED_EQUATION_ACCURACY = Metric(
    metrics.EQUATION_ACCURACY.name, arithmetic_text.same_value
)


def for_new_rows(spec: DatasetSpec) -> DatasetSpec:
    """Returns a spec whose metric reads labels that people or models have typed."""
    if spec.metric is not metrics.EQUATION_ACCURACY:
        return spec
    return dataclasses.replace(spec, metric=TYPED_EQUATION_ACCURACY)
