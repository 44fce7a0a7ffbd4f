"""Checks of settings; what is wrong is said by the setting's name in gin."""

import math

from dsbs_jax.errors import UserError


def whole(name: str, value: object, least: int = 1) -> None:
    """Raises UserError unless `value` is a whole number from `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UserError(
            f"{name.upper()} is {value!r}, expected a whole number from {least}"
        )


def number(name: str, value: object, low: float = 0.0, high: float = math.inf) -> None:
    """Raises UserError unless `value` is a finite number between both bounds."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not low <= value <= high:
        bounds = f"from {low:g}" + (f" to {high:g}" if high < math.inf else "")
        raise UserError(f"{name.upper()} is {value!r}, expected a number {bounds}")


def text(name: str, value: object) -> None:
    """Raises UserError unless `value` is text, and not empty."""
    if not isinstance(value, str) or not value:
        raise UserError(f"{name.upper()} is {value!r}, expected text")
