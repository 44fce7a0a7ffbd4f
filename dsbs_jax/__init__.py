"""Distilling Step-by-Step on JAX (Hsieh et al. 2023, arXiv 2305.02301)."""

import importlib
import typing

if typing.TYPE_CHECKING:
    from dsbs_jax.api.exporting import ExportedStudent as ExportedStudent
    from dsbs_jax.api.exporting import export_student as export_student
    from dsbs_jax.api.extraction import extract as extract
    from dsbs_jax.api.fitting import FitResult as FitResult
    from dsbs_jax.api.fitting import fit as fit
    from dsbs_jax.api.planning import plan as plan
    from dsbs_jax.api.prediction import Prediction as Prediction
    from dsbs_jax.api.prompts import init_prompt as init_prompt
    from dsbs_jax.api.student import Student as Student
    from dsbs_jax.api.student_cards import write_student_card as write_student_card
    from dsbs_jax.api.swaps import write_swapped as write_swapped
    from dsbs_jax.errors import UserError as UserError
    from dsbs_jax.teacher.extraction_result import ExtractionResult as ExtractionResult

__version__ = "0.2.0"

# Public name: the module that defines it, which is imported when the name is used.
_MODULES = {
    "ExportedStudent": "dsbs_jax.api.exporting",
    "export_student": "dsbs_jax.api.exporting",
    "ExtractionResult": "dsbs_jax.teacher.extraction_result",
    "extract": "dsbs_jax.api.extraction",
    "fit": "dsbs_jax.api.fitting",
    "FitResult": "dsbs_jax.api.fitting",
    "init_prompt": "dsbs_jax.api.prompts",
    "plan": "dsbs_jax.api.planning",
    "Prediction": "dsbs_jax.api.prediction",
    "Student": "dsbs_jax.api.student",
    "UserError": "dsbs_jax.errors",
    "write_student_card": "dsbs_jax.api.student_cards",
    "write_swapped": "dsbs_jax.api.swaps",
}

# The modules that import without TensorFlow and JAX.
_LIGHT = {
    "dsbs_jax.api.extraction",
    "dsbs_jax.api.planning",
    "dsbs_jax.api.prediction",
    "dsbs_jax.api.prompts",
    "dsbs_jax.api.swaps",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> typing.Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'dsbs_jax' has no attribute {name!r}")
    module = _MODULES[name]
    if module.startswith("dsbs_jax.api.") and module not in _LIGHT:
        from dsbs_jax import tensorflow_import

        tensorflow_import.import_quietly()
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
