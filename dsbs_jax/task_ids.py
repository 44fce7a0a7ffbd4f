"""Which task a target token belongs to, as it travels with the tokens.

From 1, because 0 is padding and SeqIO's packer counts what is not 0.
"""

LABEL = 1
RATIONALE = 2
