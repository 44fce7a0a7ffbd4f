"""Swaps terms of inputs, such as "he" and "she", to test whether an answer changes."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from dsbs_jax.errors import UserError


class Replacement(NamedTuple):
    """A term as the user writes it, and the other term of its pair."""

    term: str
    other: str


# Both directions of each pair. `swap` finds terms in any case, by the rules of
# `re.IGNORECASE`. The same rules decide which terms are equal: "i" and "ı" are.
Terms = Sequence[Replacement]


def read_pairs(texts: Iterable[str]) -> Terms:
    """Reads pairs of terms: ["he:she", "north:south"] -> both directions of both.

    Raises:
        UserError: A text is not a pair, or a term is in two pairs.
    """
    terms: list[Replacement] = []
    for text in texts:
        first, colon, second = (part.strip() for part in text.partition(":"))
        if not (first and colon and second) or _are_equal(first, second):
            raise UserError(
                f"the pair {text!r} has not the form of two different terms with a "
                "colon between them, expected for example he:she"
            )
        for one in (first, second):
            if any(_are_equal(one, known.term) for known in terms):
                raise UserError(
                    f"the term {one!r} is in two pairs, expected each term once"
                )
        terms += [Replacement(first, second), Replacement(second, first)]
    if not terms:
        raise UserError("no pair of terms is given, expected for example he:she")
    return terms


def _are_equal(one: str, other: str) -> bool:
    """Whether two terms are equal, without regard to case."""
    return bool(re.fullmatch(re.escape(one), other, re.IGNORECASE))


def swap(text: str, terms: Terms) -> str:
    """Replaces complete words. A word in another case than its term keeps this case.

    "He said she left. HE did." -> "She said he left. SHE did."
    """
    # Longer terms first: of "New" and "New York", the text "New York" is the latter.
    ordered = sorted(terms, key=lambda pair: len(pair.term), reverse=True)
    # Each term is a group of its own, whose number gives the pair of a match.
    groups = "|".join(f"({re.escape(pair.term)})" for pair in ordered)

    def replace(match: re.Match[str]) -> str:
        assert match.lastindex is not None
        return _replaced(match[0], ordered[match.lastindex - 1])

    return re.sub(rf"(?<!\w)(?:{groups})(?!\w)", replace, text, flags=re.IGNORECASE)


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
            f"{', '.join(sorted(pair.term for pair in terms))}"
        )
    return swapped
