"""P-values as text. A p-value is above zero, so a small one is printed as a bound."""

_LEAST = 1e-4


def number(value: float) -> str:
    """Formats a p-value with four digits: "0.0213", "< 0.0001"."""
    return f"{value:.4f}" if value >= _LEAST else f"< {_LEAST:.4f}"


def statement(value: float) -> str:
    """Formats a p-value for a sentence: "p = 0.0213", "p < 0.0001"."""
    return f"p = {number(value)}" if value >= _LEAST else f"p {number(value)}"
