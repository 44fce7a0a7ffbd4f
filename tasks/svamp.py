"""SVAMP word problems, answered by an equation; ASDiv adds unlabelled ones.

`svamp_asdiv_palm_distill` and `svamp_asdiv_palm_step_by_step_unlabeled` train on both,
in proportion to their sizes, with the teacher's labels (paper, section 4.2).
"""

import functools

from dsbs_jax.data import dataset_spec, registration
from dsbs_jax.released.source import ReleasedSource

registration.register(dataset_spec.SVAMP, functools.partial(ReleasedSource, "svamp"))
registration.register(dataset_spec.ASDIV, functools.partial(ReleasedSource, "asdiv"))
registration.register(dataset_spec.SVAMP_ASDIV)
