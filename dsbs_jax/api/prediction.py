"""A student's answer for one input, and its fields in files."""

import dataclasses
from typing import Any

# The answer of a row whose best label is less probable than `abstain_below`.
UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True, slots=True)
class Prediction:
    """The student's answer for one input.

    Attributes:
        predicted_label: The label; `UNKNOWN` if the student abstains.
        log_probability: Log-probability of the answer's tokens in nats, end token
            included. In the single-task methods the answer is the rationale and the
            label. If the student abstains, it is the log-probability of the best label.
        probabilities: Probability of each label of the closed label set, normalized
            over the set. None where answers are free text.
        predicted_rationale: The student's rationale, if it was requested.
    """

    predicted_label: str
    log_probability: float
    probabilities: dict[str, float] | None = None
    predicted_rationale: str | None = None


def as_fields(prediction: Prediction) -> dict[str, Any]:
    """Returns the fields of a prediction that have a value, as written to files."""
    fields = dataclasses.asdict(prediction)
    fields["log_probability"] = round(prediction.log_probability, 6)
    return {name: value for name, value in fields.items() if value is not None}
