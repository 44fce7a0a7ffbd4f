"""Students for the tests in this folder."""

from support.students import student, t5x  # noqa: F401
