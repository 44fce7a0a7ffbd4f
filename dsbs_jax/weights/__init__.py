"""Checkpoints of a student: every format that is read and written.

reader = weights.open_checkpoint("hub:google/t5-v1_1-base")
config = weights.config_of(reader)
params = weights.load_params(reader, abstract_params)
"""

from dsbs_jax.weights.loading import (
    check_finite,
    check_shapes,
    check_tree,
    load_params,
)
from dsbs_jax.weights.opening import open_checkpoint
from dsbs_jax.weights.reader import ParameterReader
from dsbs_jax.weights.student_size import config_of, student_config

__all__ = [
    "check_finite",
    "ParameterReader",
    "check_shapes",
    "check_tree",
    "config_of",
    "load_params",
    "open_checkpoint",
    "student_config",
]
