"""Swaps terms of inputs, such as "he" and "she", to test whether an answer changes."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from dsbs_jax.errors import UserError


class Replacement(NamedTuple):
    """A term as the user writes it, and the other term of its pair."""

    term: str
    other: str


# The replacement of each term by the term in lower case.
Terms = Mapping[str, Replacement]


def read_pairs(texts: Iterable[str]) -> Terms:
    """Reads pairs of terms: ["he:she", "north:south"] -> both directions of both.

    Raises:
        UserError: A text is not a pair, or a term is in two pairs.
    """
    terms: dict[str, Replacement] = {}
    for text in texts:
        first, colon, second = (part.strip() for part in text.partition(":"))
        if not (first and colon and second) or first.casefold() == second.casefold():
            raise UserError(
                f"the pair {text!r} has not the form of two different terms with a "
                "colon between them, expected for example he:she"
            )
        for one, other in ((first, second), (second, first)):
            if one.casefold() in terms:
                raise UserError(
                    f"the term {one!r} is in two pairs, expected each term once"
                )
            terms[one.casefold()] = Replacement(one, other)
    if not terms:
        raise UserError("no pair of terms is given, expected for example he:she")
    return terms


def swap(text: str, terms: Terms) -> str:
    """Replaces complete words. A word in another case than its term keeps this case.

    "He said she left. HE did." -> "She said he left. SHE did."
    """
    # Longer terms first: of "New" and "New York", the text "New York" is the latter.
    names = sorted(terms, key=len, reverse=True)
    pattern = rf"(?<!\w)(?:{'|'.join(map(re.escape, names))})(?!\w)"
    return re.sub(
        pattern,
        lambda match: _replaced(match[0], terms[match[0].casefold()]),
        text,
        flags=re.IGNORECASE,
    )


def _replaced(found: str, pair: Replacement) -> str:
    if found == pair.term:
        return pair.other
    if found.isupper():
        return pair.other.upper()
    first = pair.other[:1]
    return (first.upper() if found[:1].isupper() else first) + pair.other[1:]


def swapped_rows(rows: Sequence[dict[str, Any]], terms: Terms) -> list[dict[str, Any]]:
    """Returns the rows whose input contains a term, with swapped terms.

    Ids and all other columns remain.

    Args:
        rows: Rows with the texts `id` and `input` (`tables.read_inputs`).
        terms: The pairs of terms.

    Raises:
        UserError: No input contains a term.
    """
    pairs = ((row, swap(row["input"], terms)) for row in rows)
    swapped = [row | {"input": text} for row, text in pairs if text != row["input"]]
    if not swapped:
        raise UserError(
            f"none of {len(rows):,} inputs contains one of the terms "
            f"{', '.join(sorted(terms))}"
        )
    return swapped
