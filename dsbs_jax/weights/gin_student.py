"""The student's config from gin, for `gin/local/student.gin`."""

from typing import Any

import gin

from dsbs_jax.settings import settings_of
from dsbs_jax.student.config import SIZE_FIELDS, T5Config
from dsbs_jax.weights import student_size


@gin.configurable
def student_config(checkpoint: str | None = None, **fields: Any) -> T5Config:
    """Builds the config, and adds the checkpoint's sizes to gin's bindings."""
    values = {info.macro: fields.get(info.field) for info in settings_of(T5Config)}
    config = student_size.student_config(values, checkpoint)
    with gin.unlock_config():
        for field in SIZE_FIELDS:
            if fields.get(field) is None:
                gin.bind_parameter(f"student_config.{field}", getattr(config, field))
    return config
