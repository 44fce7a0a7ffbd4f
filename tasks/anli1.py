"""Adversarial NLI, round 1: premise, end-of-sequence token, hypothesis."""

import functools

from dsbs_jax.data import dataset_spec, registration
from dsbs_jax.released.source import ReleasedSource

registration.register(dataset_spec.ANLI1, functools.partial(ReleasedSource, "anli1"))
