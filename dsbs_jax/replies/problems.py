"""Reasons why a reply gives no label, as written to files and reports.

The reasons that the paper's parsers also have are in `dsbs_jax.data.completions`.
"""

TWO_ANSWERS = "two different answers"
AMBIGUOUS_CHOICE = "ambiguous choice"
NOT_A_CHOICE = "label is none of the choices"
NO_CHOICES = "letter of a choice, but the input lists no choices"
NOT_ARITHMETIC = "label is not arithmetic"
UNEQUAL = "equation whose sides differ"
UNFINISHED_REASONING = "reasoning block without an end"
ONLY_REASONING = "rationale only in the reasoning block"
INCOMPLETE = "cut off before the answer was complete"
TOO_LONG = "reply too long"
NO_LABEL_FIELD = "JSON without a label"
LABEL_NOT_TEXT = "label in JSON is not a text or a number"
NO_VERDICT = "no verdict"
