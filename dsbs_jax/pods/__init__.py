"""The same tasks on T5X, for everything beyond one host; the one place that imports it.

Raises:
    UserError: T5X, or a package that it needs, is not installed.
"""

from dsbs_jax.errors import UserError

try:
    import t5x  # noqa: F401
except ImportError as error:
    raise UserError(
        f"T5X cannot be imported ({error}); the README's section on pods gives the "
        "line that installs it: the extra `t5x` of this project, and T5X and airio "
        "from their repositories without their own dependencies"
    ) from error
