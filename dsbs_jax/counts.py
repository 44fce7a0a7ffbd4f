"""Numbers of things in messages: "1 row", "1,200 rows"."""


def counted(number: int, one: str, many: str | None = None) -> str:
    """Returns a number and its noun, in singular or plural.

    (1, "row") -> "1 row", (1200, "row") -> "1,200 rows",
    (2, "reply is", "replies are") -> "2 replies are"

    Args:
        number: The number.
        one: The words for one thing.
        many: The words for several; None adds "s".
    """
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
