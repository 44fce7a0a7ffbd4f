"""Ids of the objective's two tasks; each target token carries the id of its task.

The ids start at 1: 0 is padding, and SeqIO's packer counts a token only if it is not 0.
"""

LABEL = 1
RATIONALE = 2
