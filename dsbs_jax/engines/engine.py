"""What a student needs of an engine: answers and label scores, from token ids."""

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np

EngineName = Literal["jax", "ctranslate2"]


class Engine(Protocol):
    """Computes a student's answers. Methods may be called from several threads.

    Attributes:
        name: Name of the engine.
    """

    name: EngineName

    def generate(
        self, inputs: Sequence[np.ndarray], max_length: int
    ) -> tuple[list[list[int]], list[float]]:
        """Decodes inputs.

        Args:
            inputs: Token ids of each input with the end token, int32 [S].
            max_length: Longest answer in tokens, with the end token.

        Returns:
            For each input the generated ids, and their log-probability in nats, with
            that of the end token.
        """
        ...

    def score_labels(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        """Scores each label of the closed set, which must exist, for each input.

        Args:
            inputs: As for `generate`.

        Returns:
            Log-probability of each of A labels with its end token, float32 [N, A], in
            nats, in the order of `StudentSpec.closed_labels`. The labels'
            probabilities need not sum to 1, because the student can also generate other
            text.
        """
        ...
