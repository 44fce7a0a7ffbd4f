"""The one exception for bad input."""


class UserError(ValueError):
    """Input, settings or files that the person running the program can mend.

    The message is one line that names the file, row and field concerned, what was
    found and what was expected. The binaries print it without a traceback and exit
    with status 2.
    """
