"""Weights of the teachers whose rationales a row has: TinyLLM's gamma.

Tian et al. 2024 (arXiv 2402.04616) give the rationale loss of each teacher a weight.
Here a teacher's weight multiplies the weights of its rationales, so the rationale loss
stays a weighted mean over tokens.

    weights {"ann": 0.5}, rationales of the teachers ("ann", "bo", "ann") with weights
    (1.0, 1.0, 0.4) -> weights (0.5, 1.0, 0.2)
"""

import dataclasses
from collections.abc import Mapping, Sequence

from dsbs_jax.data.records import Record
from dsbs_jax.errors import UserError


def apply(records: Sequence[Record], weights: Mapping[str, float]) -> list[Record]:
    """Multiplies the weights of rationales by those of their teachers.

    Rationales of weight 0 are removed. If each weight is 1, the records stay the same.

    Args:
        records: Training rows.
        weights: The weight of each teacher, 0 or more; a teacher without an entry has
            weight 1.

    Raises:
        UserError: A teacher has no rationale in the rows, a product is too large, or
            every product is 0.
    """
    teachers = dict.fromkeys(name for r in records for name in r.rationale_teachers)
    found = ", ".join(teachers) or "no teacher (the field rationale_teachers)"
    for name in weights:
        if name not in teachers:
            raise UserError(
                f"TEACHER_WEIGHTS has {name!r}, expected a teacher of the training "
                f"rows; found {found}"
            )
    if all(weight == 1 for weight in weights.values()):
        return list(records)
    changed = [_weighted(record, weights) for record in records]
    if not any(record.rationale_teachers for record in changed):
        raise UserError(
            f"all rationales of {found} have weight 0 after multiplication by "
            "TEACHER_WEIGHTS, expected a weight above 0 for a teacher that has "
            "rationales of weight above 0"
        )
    return changed


def _weighted(record: Record, weights: Mapping[str, float]) -> Record:
    if not record.rationale_teachers:
        return record
    pairs = zip(record.rationale_teachers, record.weighted_rationales, strict=True)
    products = [(name, text, weights.get(name, 1.0) * w) for name, (text, w) in pairs]
    kept = [product for product in products if product[2] > 0]
    try:
        return dataclasses.replace(
            record,
            rationale=kept[0][1] if kept else None,
            rationales=tuple(text for _, text, _ in kept),
            rationale_weights=tuple(weight for _, _, weight in kept),
            rationale_teachers=tuple(name for name, _, _ in kept),
        )
    except ValueError as error:
        raise UserError(
            f"row {record.id!r}: after multiplication by TEACHER_WEIGHTS, {error}"
        ) from error
