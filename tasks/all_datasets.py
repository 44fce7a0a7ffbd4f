"""Registers all datasets of the paper."""

from dsbs_jax.tasks import anli1, cqa, esnli, svamp

__all__ = ["anli1", "cqa", "esnli", "svamp"]
