"""Comparison of an exported student's answers with those of the student."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from flax import traverse_util

from dsbs_jax import json_input
from dsbs_jax.data import vocabulary
from dsbs_jax.errors import UserError
from dsbs_jax.local import evaluation
from dsbs_jax.local.input_batches import encode_inputs
from dsbs_jax.local.partitioning import Partitioner
from dsbs_jax.local.student_folder import StudentSpec
from dsbs_jax.student.network import Transformer

# Decodes inputs greedily, as `Engine.generate`.
Generate = Callable[[Sequence[np.ndarray], int], tuple[list[list[int]], list[float]]]

# The run's final predictions, and the number of them that are compared.
_PREDICTIONS, _ROWS = "predictions/validation-best-*.jsonl", 256
# Made-up inputs of a student without predictions, and their length in tokens.
_MADE_UP, _LENGTH = 32, 16
# Largest difference of a log-probability in nats, and smallest share of equal answers.
_TOLERANCE = 1e-3
_MIN_EQUAL = 0.9


@dataclasses.dataclass(frozen=True, kw_only=True)
class Agreement:
    """Comparison of an export's answers with the student's answers.

    Attributes:
        rows: Inputs that both answered.
        equal: Inputs with equal answers.
        difference: Largest difference of the log-probabilities of equal answers, nats.
        targets: Whether the right answers are known.
        student_right: Right answers of the student.
        export_right: Right answers of the export.
    """

    rows: int
    equal: int
    difference: float
    targets: bool = False
    student_right: int = 0
    export_right: int = 0

    def text(self) -> str:
        """Returns the comparison as one line."""
        line = (
            f"{self.equal} of {self.rows} answers are equal to the student's, and "
            f"their log-probabilities differ by at most {self.difference:.2g}"
        )
        if self.targets:
            line += (
                f"; {self.export_right} answers of the export and "
                f"{self.student_right} of the student are right"
            )
        return line


def check(
    generate: Generate,
    name: str,
    run: pathlib.Path,
    spec: StudentSpec,
    words: vocabulary.Vocabulary,
    params: Mapping[str, np.ndarray],
    *,
    exact: bool,
) -> Agreement:
    """Compares the answers of an export with those of the student.

    Args:
        generate: Decodes with the export.
        name: What the export is, for the message.
        run: The folder of the student. The compared inputs are those of its predictions
            on validation, or made-up inputs if it has none.
        spec: The student.
        words: The vocabulary.
        params: Float32 arrays by parameter name.
        exact: Whether all answers must be equal.

    Raises:
        UserError: The answers differ more than expected.
    """
    texts, targets = _samples(run, words)
    agreement = _compare(generate, spec, words, params, texts, targets)
    if (
        agreement.equal < agreement.rows * (1.0 if exact else _MIN_EQUAL)
        or (exact and agreement.difference > _TOLERANCE)
        or not np.isfinite(agreement.difference)
    ):
        expected = f"all, to {_TOLERANCE:g}" if exact else f"at least {_MIN_EQUAL:.0%}"
        raise UserError(
            f"the export {name} does not answer as the student: {agreement.text()}; "
            f"expected {expected}"
        )
    return agreement


def _samples(
    run: pathlib.Path, words: vocabulary.Vocabulary
) -> tuple[list[str], list[str]]:
    """Returns inputs with prefix, and their targets if they are known."""
    for path in sorted(run.glob(_PREDICTIONS)):
        lines = path.read_bytes().splitlines()[:_ROWS]
        rows = [json_input.parse(line, dict) for line in lines]
        if rows:
            return [row["input"] for row in rows], [row["target"] for row in rows]
    rng = np.random.default_rng(0)
    ids = rng.integers(3, words.vocab_size - words.extra_ids, (_MADE_UP, _LENGTH))
    return [words.decode(row) or "a" for row in ids.tolist()], []


def _compare(
    generate: Generate,
    spec: StudentSpec,
    words: vocabulary.Vocabulary,
    params: Mapping[str, Any],
    texts: Sequence[str],
    targets: Sequence[str],
) -> Agreement:
    """Answers the texts with the student and the export, both greedily."""
    inputs = encode_inputs(texts, words, spec.input_length)
    decoding = dataclasses.replace(spec.decoding, num_beams=1)
    tree = traverse_util.unflatten_dict(dict(params), sep="/")
    # The weights are compared, not the precision that the student was trained in.
    network = dataclasses.replace(spec.network, precision="float32")
    predictor = evaluation.Predictor(Transformer(network), decoding, Partitioner(1))
    ours, our_scores = predictor(tree, inputs)
    theirs, their_scores = generate(inputs, decoding.max_decode_length)
    answers = [
        (words.decode(a), words.decode(b)) for a, b in zip(ours, theirs, strict=True)
    ]
    equal = [one == other for one, other in answers]
    # Without targets, nothing is counted as right.
    known = list(zip(answers, targets, strict=bool(targets)))
    differences = np.abs(np.subtract(our_scores, their_scores))[equal]
    return Agreement(
        rows=len(texts),
        equal=sum(equal),
        difference=float(differences.max(initial=0.0)),
        targets=bool(targets),
        student_right=sum(one == target for (one, _), target in known),
        export_right=sum(other == target for (_, other), target in known),
    )
