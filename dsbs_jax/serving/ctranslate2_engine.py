"""Answers of a student that was exported for CTranslate2."""

import pathlib
from collections.abc import Sequence

import numpy as np

from dsbs_jax.errors import UserError


class CTranslate2Engine:
    """Decodes greedily on the CPU, from token ids to token ids."""

    def __init__(self, folder: pathlib.Path, tokens: Sequence[str]) -> None:
        """Opens the model.

        Args:
            folder: The folder that `ctranslate2_format.write_model` wrote.
            tokens: The text of each row of the embedding, as for `write_model`.

        Raises:
            UserError: CTranslate2 is not installed.
        """
        try:
            import ctranslate2
        except ImportError as error:
            raise UserError(
                "the package ctranslate2 is not installed: pip install "
                "'dsbs-jax[serve]'"
            ) from error
        self._tokens = list(tokens)
        self._ids = {token: number for number, token in enumerate(tokens)}
        self._translator = ctranslate2.Translator(str(folder), device="cpu")

    def generate(
        self, inputs: Sequence[np.ndarray], max_length: int, batch_size: int = 32
    ) -> tuple[list[list[int]], list[float]]:
        """Decodes inputs greedily.

        Args:
            inputs: Token ids of each input with the end token, int32 [S].
            max_length: Longest answer in tokens, with the end token.
            batch_size: Inputs decoded at a time; they are sorted by length.

        Returns:
            For each input the generated ids without the end token, and their
            log-probability in nats, which includes the end token.
        """
        results = self._translator.translate_batch(
            [[self._tokens[number] for number in ids] for ids in inputs],
            max_batch_size=batch_size,
            beam_size=1,
            length_penalty=0,
            max_input_length=0,
            min_decoding_length=0,  # an empty answer is possible
            max_decoding_length=max_length,
            return_scores=True,
        )
        ids = [[self._ids[t] for t in result.hypotheses[0]] for result in results]
        return ids, [float(result.scores[0]) for result in results]
