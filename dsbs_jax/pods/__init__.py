"""Training, evaluation and inference with T5X on pods.

This is the only package that imports T5X. It uses T5X's extension points: a model, a
trainer, a dataset function and functions that the gin files in `gin/t5x` bind.

Raises:
    UserError: T5X, or a package that it needs, is not installed.
"""

from dsbs_jax.errors import UserError

try:
    import t5x  # noqa: F401
except ImportError as error:
    raise UserError(
        f"T5X cannot be imported ({error}); install the extra `t5x` of this project "
        "and the packages of launch/t5x.txt, as the README's section on pods shows"
    ) from error
