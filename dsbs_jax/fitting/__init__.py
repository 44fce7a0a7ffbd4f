"""Plans the training of a student on a user's rows: every choice with its reason.

`rows` reads and checks the rows, `vocabularies` and `lengths` look at their tokens,
`plan` chooses the settings of the run, and `trial` measures its first steps.
"""
