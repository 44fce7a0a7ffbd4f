"""The student: a T5 in Flax, its decoding and its objective.

Array docstrings use the axis letters of docs/style.md: B batch, S source tokens, T
target tokens, D model width, H heads, K width of a head, F width of the MLP, V
vocabulary rows.
"""
