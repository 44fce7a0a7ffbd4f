"""The students that tests of this folder share."""

from support.students import student, t5x  # noqa: F401
