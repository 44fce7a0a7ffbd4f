"""Ids of the objective's two tasks; each target token carries the id of its task.

The ids start at 1: 0 is padding, and SeqIO's packer counts a token only if it is not 0.

A token can also carry the weight of its example in the mean of its task, as the upper
bits of the id, in units of 1/1024, at least one unit. SeqIO packs integers only, and a
feature of its own would have to be in every task. An id without upper bits has weight
1:

    LABEL -> weight 1        RATIONALE + 4 * 512 -> weight 0.5
"""

LABEL = 1
RATIONALE = 2
# A token that the decoder reads and that has no loss.
CONTEXT = 3

# The lower bits of an id are the task.
TASK_BITS = 2
# Units of a weight of 1.
ONE = 1024
# The largest whole weight whose units fit the upper bits of an int32. As float32, its
# units are exact, so rounding does not exceed the bits.
MAX_WEIGHT = ((2**31 - 1) >> TASK_BITS) // ONE
