"""The exception for bad input, and how commands print errors."""


class UserError(ValueError):
    """Input, settings or files are wrong, and the user can correct them.

    The message is one sentence that names the file, row and field, and says what was
    found and what was expected. Commands print it without a traceback and exit with
    status 2.
    """


def describe(error: UserError | OSError) -> str:
    """Returns the line that a command prints for an error that the user can correct.

    OSError(2, "No such file or directory", "a.jsonl")
    -> "a.jsonl: No such file or directory"
    """
    if isinstance(error, UserError):
        return str(error)
    place = f"{error.filename}: " if error.filename else ""
    return f"{place}{reason(error)}"


def reason(error: Exception) -> str:
    """Returns why a file cannot be used, for a message that names the file itself.

    OSError(2, "No such file or directory", "a.jsonl") -> "No such file or directory"
    JsonError("not UTF-8 at byte 3") -> "not UTF-8 at byte 3"
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return first_line(error)


def first_line(error: Exception) -> str:
    """Returns the first line of an error's message; without a message, its type."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
