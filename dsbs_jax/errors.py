"""The exception for bad input."""


class UserError(ValueError):
    """Input, settings or files are wrong, and the user can correct them.

    The message is one sentence that names the file, row and field, and says what was
    found and what was expected. Commands print it without a traceback and exit with
    status 2.
    """
