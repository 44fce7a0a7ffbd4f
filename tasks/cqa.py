"""CommonsenseQA with the explanations of CoS-E v1.11: five choices, one answer."""

import functools

from dsbs_jax.data import dataset_spec, registration
from dsbs_jax.released.source import ReleasedSource

registration.register(dataset_spec.CQA, functools.partial(ReleasedSource, "cqa"))
