"""The student: a Flax T5, its decoding and its objective."""
