"""Weights of a student: every checkpoint format it is read from and written to."""
