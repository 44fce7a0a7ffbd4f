"""Makes the texts that a student reads from the inputs of a request."""

from typing import Any

from dsbs_jax.counts import counted
from dsbs_jax.data import tables
from dsbs_jax.data.records import check_text
from dsbs_jax.serving.api_errors import ApiError
from dsbs_jax.serving.config import LimitConfig


def texts_of(
    given: Any, columns: tables.ColumnMap, limits: LimitConfig, name: str = "input"
) -> list[str]:
    """Returns the text of each input.

    [{"premise": "It rains.", "score": 2}] -> ["premise: It rains. score: 2"]

    Args:
        given: A text, an object with the columns of the input, or a list of these.
        columns: The columns of the input.
        limits: The limits of a request.
        name: Name of the field, for messages.

    Raises:
        ApiError: An input is blank, too long, or lacks a column, or there are too many.
    """
    items = given if isinstance(given, list) else [given]
    if not 0 < len(items) <= limits.max_inputs:
        raise _error(
            name,
            f"{counted(len(items), 'input')}, expected 1 to {limits.max_inputs:,} "
            "(max_inputs)",
        )
    texts = []
    for number, item in enumerate(items):
        place = f"{name}[{number}]" if isinstance(given, list) else name
        texts.append(_text(item, columns, place))
        if len(texts[-1]) > limits.max_characters:
            raise _error(
                place,
                f"{len(texts[-1]):,} characters, expected at most "
                f"{limits.max_characters:,} (max_characters)",
            )
    return texts


def _text(item: Any, columns: tables.ColumnMap, place: str) -> str:
    try:
        if isinstance(item, str):
            check_text("the text", item)
            return item
        missing = [column for column in columns.input_columns if column not in item]
        if missing:
            advice = tables.nearest_column(missing[0], item)
            raise ValueError(f"the column {missing[0]!r} is missing{advice}")
        return tables.input_text(item, columns)
    except ValueError as error:
        raise _error(place, str(error)) from error


def _error(place: str, problem: str) -> ApiError:
    return ApiError(422, f"{place}: {problem}", "invalid_input", param=place)
